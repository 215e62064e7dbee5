//! Chances that a seed decides.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A stream of chances. Clones draw from the same one; each subject has its own, so that a change to one of them leaves the
/// others as they were.
#[derive(Clone)]
pub(crate) struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// The stream of a seed for a subject.
    pub(crate) fn new(seed: u64, subject: u64) -> Self {
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(subject);
        Chance(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Whether something happens that happens once in so many times; never for zero.
    pub(crate) fn one_in(&self, times: u32) -> bool {
        times > 0 && self.draw(|rng| rng.random_range(0..times)) == 0
    }

    /// A number in a range, both ends included.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        self.draw(|rng| rng.random_range(least..=most))
    }

    /// Bits.
    pub(crate) fn bits(&self) -> u32 {
        self.draw(|rng| rng.random())
    }

    /// A time in milliseconds, both ends included.
    pub(crate) fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.draw(|rng| rng.random_range(0..of.len()))]
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
