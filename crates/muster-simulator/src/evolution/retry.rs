//! When the gateway posts a webhook again that was not taken.

use std::time::Duration;

use crate::chance::Chance;

/// How many attempts a webhook gets.
pub(crate) const ATTEMPTS_MAX: u32 = 10;

/// Wait before the second attempt; later ones double.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Longest wait between two attempts, before jitter.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Largest part of a wait that chance adds or takes away.
const JITTER: f64 = 0.2;

/// What a receiver made of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reception {
    /// It answered with this status.
    Answered(u16),
    /// It did not answer: no connection, cut off, or too slow.
    Unreachable,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The receiver has it.
    Delivered,
    /// It is dropped for good.
    GivenUp,
    /// Again after this wait.
    Again(Duration),
}

/// Judges attempt number `attempt` (1 for the first). `scale` shortens or lengthens every wait.
pub(crate) fn judge(reception: Reception, attempt: u32, scale: f64, chance: &mut Chance) -> Verdict {
    match reception {
        Reception::Answered(200..=299) => Verdict::Delivered,
        Reception::Answered(400 | 401 | 403 | 404 | 422) => Verdict::GivenUp,
        _ if attempt >= ATTEMPTS_MAX => Verdict::GivenUp,
        _ => {
            let doublings = attempt.saturating_sub(1).min(30);
            let nominal = FIRST_WAIT.saturating_mul(1 << doublings).min(WAIT_MAX);
            let jittered = nominal.mul_f64(1.0 + JITTER * (chance.unit() * 2.0 - 1.0));
            Verdict::Again(jittered.max(FIRST_WAIT).mul_f64(scale))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_table() {
        let mut chance = Chance::new(1, &[]);
        for (attempt, nominal) in (1..).zip([5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]) {
            let Verdict::Again(wait) = judge(Reception::Unreachable, attempt, 1.0, &mut chance) else {
                panic!("attempt {attempt} is not the last");
            };
            assert!(wait >= FIRST_WAIT && (wait.as_secs_f64() / nominal - 1.0).abs() <= JITTER, "{attempt}: {wait:?}");
        }
        assert_eq!(judge(Reception::Answered(500), ATTEMPTS_MAX, 1.0, &mut chance), Verdict::GivenUp);
    }

    #[test]
    fn some_answers_end_it_at_once() {
        let mut chance = Chance::new(1, &[]);
        for status in [400, 401, 403, 404, 422] {
            assert_eq!(judge(Reception::Answered(status), 1, 1.0, &mut chance), Verdict::GivenUp, "{status}");
        }
        for status in [408, 429, 500, 503, 302] {
            assert!(matches!(judge(Reception::Answered(status), 1, 0.001, &mut chance), Verdict::Again(_)), "{status}");
        }
        assert_eq!(judge(Reception::Answered(204), 3, 1.0, &mut chance), Verdict::Delivered);
    }
}
