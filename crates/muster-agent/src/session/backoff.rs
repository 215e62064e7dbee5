//! How long to wait before the next session.

use std::time::Duration;

/// Longest wait after a session that had been stable, and the base of the growth after one that was not.
const FIRST: Duration = Duration::from_millis(500);

/// Longest wait for a server that is away.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// Longest wait while the node is not declared: somebody is about to declare it, and looks at it then.
pub(super) const LONGEST_UNDECLARED: Duration = Duration::from_secs(10);

/// A session that lasted this long counts as stable.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Full jitter over a bound that doubles from 0.5 s to the longest wait, so that a fleet does not return in one moment.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next session, after one that lasted `lasted`. `chance` is drawn evenly from 0 to 1. What the
    /// server asked for is waited out in full, and the jitter comes on top, `longest` at the most.
    pub(super) fn next(&mut self, lasted: Duration, asked: Duration, longest: Duration, chance: f64) -> Duration {
        if lasted >= STABLE_AFTER {
            self.failures = 0;
        }
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        asked + bound.mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_half_a_second_to_a_minute_and_start_afresh_after_a_stable_session() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..10).map(|_| backoff.next(Duration::ZERO, Duration::ZERO, LONGEST, 1.0)).collect();
        assert_eq!(bounds[0], FIRST);
        assert!(bounds.is_sorted());
        assert_eq!(bounds[9], LONGEST);
        assert_eq!(backoff.next(Duration::ZERO, Duration::ZERO, LONGEST_UNDECLARED, 1.0), LONGEST_UNDECLARED);
        assert_eq!(backoff.next(Duration::ZERO, Duration::ZERO, LONGEST, 0.0), Duration::ZERO);
        assert_eq!(backoff.next(STABLE_AFTER, Duration::ZERO, LONGEST, 1.0), FIRST);
    }

    #[test]
    fn what_the_server_asks_for_is_waited_out() {
        let asked = Duration::from_secs(5);
        assert_eq!(Backoff::default().next(Duration::ZERO, asked, LONGEST, 0.5), asked + FIRST / 2);
    }
}
