//! How long something takes, as a distribution that an operator writes down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::Chance;

/// Longest delay that a setting may name: a day, far inside what a timer wheel can hold.
pub const DELAY_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A distribution of durations, in milliseconds.
///
/// As JSON or TOML: `{"fixed_ms": 50}`, `{"uniform_ms": [10, 50]}` or `{"log_normal_ms": {"p50": 50, "p99": 400}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Delay {
    /// Always the same.
    FixedMs(u64),
    /// Evenly between the two, both included.
    UniformMs(u64, u64),
    /// Long-tailed, as latencies are: log-normal through these two percentiles.
    LogNormalMs {
        /// The median.
        p50: u64,
        /// The 99th percentile; at least the median.
        p99: u64,
    },
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874;

impl Delay {
    /// No delay at all.
    pub const ZERO: Delay = Delay::FixedMs(0);

    /// Draws a duration, never above [`DELAY_MS_MAX`].
    pub(crate) fn draw(self, chance: &mut Chance) -> Duration {
        let ms = match self {
            Delay::FixedMs(ms) => ms,
            Delay::UniformMs(low, high) => chance.between(low, high),
            Delay::LogNormalMs { p50, p99 } => {
                let median = p50.max(1) as f64;
                let sigma = (p99.max(p50).max(1) as f64 / median).ln() / NORMAL_P99;
                // A float-to-integer cast saturates, so an extreme draw ends at the bound below.
                (median * (sigma * chance.normal()).exp()) as u64
            }
        };
        Duration::from_millis(ms.min(DELAY_MS_MAX))
    }

    /// What is wrong with the setting, if anything.
    pub(crate) fn check(self) -> Result<(), String> {
        let (low, high) = match self {
            Delay::FixedMs(ms) => (ms, ms),
            Delay::UniformMs(low, high) => (low, high),
            Delay::LogNormalMs { p50, p99 } => (p50, p99),
        };
        if low > high {
            return Err(format!("its first number ({low}) must not exceed its second ({high})"));
        }
        if high > DELAY_MS_MAX {
            return Err(format!("must be at most {DELAY_MS_MAX} ms, is {high}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_log_normal_delay_keeps_its_percentiles() {
        let mut chance = Chance::new(7, &["delay"]);
        let delay = Delay::LogNormalMs { p50: 100, p99: 1000 };
        let mut drawn: Vec<_> = (0..20_000).map(|_| delay.draw(&mut chance).as_millis()).collect();
        drawn.sort_unstable();
        assert!((90..=110).contains(&drawn[drawn.len() / 2]), "median {}", drawn[drawn.len() / 2]);
        let p99 = drawn[drawn.len() * 99 / 100];
        assert!((800..=1250).contains(&p99), "p99 {p99}");
    }

    proptest! {
        #[test]
        fn any_setting_draws_a_bounded_delay(low in any::<u64>(), high in any::<u64>(), seed in any::<u64>()) {
            let mut chance = Chance::new(seed, &[]);
            for delay in [Delay::FixedMs(low), Delay::UniformMs(low, high), Delay::LogNormalMs { p50: low, p99: high }] {
                prop_assert!(delay.draw(&mut chance) <= Duration::from_millis(DELAY_MS_MAX));
            }
        }
    }
}
