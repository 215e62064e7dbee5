//! Randomness from a seed, so that a run can be repeated.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// One stream of random draws.
///
/// Every bot has its own, so that what one bot draws does not depend on how the others' calls interleave.
pub(crate) struct Chance(StdRng);

impl Chance {
    /// The stream that `seed` and a path of names determine.
    pub(crate) fn new(seed: u64, path: &[&str]) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        for name in path {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
        }
        Chance(StdRng::from_seed(hash.finalize().into()))
    }

    /// True with probability `share`.
    pub(crate) fn hits(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// A whole number from `low` to `high`; `low` if they are the wrong way round.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { self.0.random_range(low..=high) }
    }

    /// A draw from the standard normal distribution (Box-Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// `N` random bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.0.random()
    }
}
