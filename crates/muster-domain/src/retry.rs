//! What follows a failed attempt.

use std::time::Duration;

use crate::failure::{Failure, FailureReason};
use crate::limits::ATTEMPTS_MAX;

/// What happens to a message after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is tried again after this long, counted from the report.
    RetryAfter(Duration),
    /// It fails for good.
    GiveUp,
    /// It is not known whether it was sent: held for a receipt or a decision, never tried again by itself.
    Hold,
}

/// First wait after a refusal that says nothing about its length.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(2);

/// Longest wait between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(600);

/// What follows attempt number `attempt_no` (counted from 1) that failed with `failure`.
///
/// Only refusals from before the gateway acted are tried again. The wait doubles from 2 s to 10 min unless the gateway named
/// one, which is then waited out in full.
pub fn after_failure(failure: &Failure, attempt_no: u32) -> Next {
    let retriable = match failure.reason {
        FailureReason::OutcomeUnknown => return Next::Hold,
        FailureReason::RateLimited
        | FailureReason::NotConnected
        | FailureReason::GatewayUnavailable
        | FailureReason::AuthInvalid
        | FailureReason::SenderRestricted => true,
        FailureReason::RecipientUnreachable
        | FailureReason::RecipientOptedOut
        | FailureReason::RecipientWindowClosed
        | FailureReason::RecipientCooldown
        | FailureReason::ContentRejected
        | FailureReason::SenderBanned
        | FailureReason::InvalidRequest
        | FailureReason::Internal => false,
    };
    if !retriable || attempt_no >= ATTEMPTS_MAX {
        return Next::GiveUp;
    }
    let doubled = BACKOFF_FIRST.saturating_mul(1 << attempt_no.saturating_sub(1).min(16));
    Next::RetryAfter(failure.retry_after.unwrap_or(doubled.min(BACKOFF_MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_retried_for_ever_and_nothing_uncertain_at_all(
            reason in 0..FailureReason::ALL.len(), attempt_no in 1u32..100, asked in prop::option::of(0u64..10_000),
        ) {
            let mut failure = Failure::new(FailureReason::ALL[reason], "");
            failure.retry_after = asked.map(Duration::from_secs);
            match after_failure(&failure, attempt_no) {
                Next::RetryAfter(wait) => {
                    prop_assert!(attempt_no < ATTEMPTS_MAX);
                    prop_assert!(asked.is_none_or(|asked| wait == Duration::from_secs(asked)));
                    prop_assert!(asked.is_some() || (BACKOFF_FIRST..=BACKOFF_MAX).contains(&wait));
                }
                Next::Hold => prop_assert_eq!(failure.reason, FailureReason::OutcomeUnknown),
                Next::GiveUp => prop_assert_ne!(failure.reason, FailureReason::OutcomeUnknown),
            }
        }
    }
}
