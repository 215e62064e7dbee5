//! How long to wait before a call is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// First wait. Most breaks are a server that restarts, which takes about this long.
const DELAY_MIN: Duration = Duration::from_millis(200);

/// Longest wait: a person who watches should not wait longer for the next try.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Tries in a row that [`Tries::limited`] allows: a little more than half a minute.
const TRIES_MAX: usize = 12;

/// The waits between tries, growing and jittered; they begin anew after a success.
#[derive(Debug)]
pub struct Tries {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    failed: usize,
}

impl Tries {
    /// Gives up after about half a minute without a success.
    pub fn limited() -> Self {
        Self::new(ExponentialBuilder::default().with_max_times(TRIES_MAX))
    }

    /// Never gives up.
    pub fn endless() -> Self {
        Self::new(ExponentialBuilder::default().without_max_times())
    }

    fn new(builder: ExponentialBuilder) -> Self {
        let builder = builder.with_min_delay(DELAY_MIN).with_max_delay(DELAY_MAX).with_jitter();
        Tries { delays: builder.build(), builder, failed: 0 }
    }

    /// Notes a failure: how long to wait before the next try, or `None` to give up.
    pub fn failed(&mut self) -> Option<Duration> {
        self.failed += 1;
        self.delays.next()
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        if self.failed > 0 {
            self.failed = 0;
            self.delays = self.builder.build();
        }
    }

    /// Failures since the latest success.
    pub fn failures(&self) -> usize {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_anew_after_a_success() {
        let mut tries = Tries::limited();
        let mut delays = Vec::new();
        while let Some(delay) = tries.failed() {
            delays.push(delay);
        }
        assert_eq!(delays.len(), TRIES_MAX);
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX * 2));
        assert!(delays.iter().sum::<Duration>() > Duration::from_secs(20));
        tries.succeeded();
        assert_eq!(tries.failures(), 0);
        assert!(tries.failed().unwrap() <= DELAY_MIN * 2);
    }
}
