//! What follows a failed attempt: one rule for each reason, in [`rule`] and nowhere else.
//!
//! A failure of the message or of its recipient concerns that message and its chain: it is tried again after a wait of its
//! own, or fails. A failure of the bot or of its gateway says nothing about the message: the message goes back to the head
//! of its queue, and the whole bot or gateway waits ([`crate::backoff`]).

use std::time::Duration;

use crate::failure::{Failure, FailureReason, Scope};
use crate::limits::ATTEMPTS_MAX;

/// What a reason means for the attempts that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What a failure for this reason speaks of, unless the gateway says otherwise.
    pub scope: Scope,
    /// What becomes of the message.
    pub then: Then,
    /// First wait after a refusal that names none. It doubles with each refusal that follows.
    pub first_wait: Duration,
    /// Longest wait of that kind.
    pub longest_wait: Duration,
}

/// What becomes of a message after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is tried again.
    Retry,
    /// It fails: the answer would be the same.
    Fail,
    /// Nobody can tell whether it was sent: never tried again by itself.
    Hold,
}

/// The rule of a reason. Documented for operators in `docs/guides/retries.md`; a test keeps the two alike.
pub const fn rule(reason: FailureReason) -> Rule {
    use Scope::{Bot, Gateway, Message, Recipient};
    use Then::{Fail, Hold, Retry};
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    let (scope, then, first, longest) = match reason {
        // Networks lengthen the wait of those who come too early, so this grows fast and far.
        FailureReason::RateLimited => (Bot, Retry, 5, 15 * MINUTE),
        FailureReason::RecipientUnreachable
        | FailureReason::RecipientOptedOut
        | FailureReason::RecipientWindowClosed
        | FailureReason::RecipientCooldown => (Recipient, Fail, 0, 0),
        FailureReason::ContentRejected | FailureReason::InvalidRequest => (Message, Fail, 0, 0),
        // Restrictions last for hours or days, and each try may lengthen them.
        FailureReason::SenderRestricted => (Bot, Retry, 15 * MINUTE, 6 * HOUR),
        // The message fails; what waits behind it is not thrown after it before an operator has looked.
        FailureReason::SenderBanned => (Bot, Fail, HOUR, 24 * HOUR),
        // A person has to act; the wait bounds how long after that it is noticed.
        FailureReason::AuthInvalid => (Bot, Retry, 30, 5 * MINUTE),
        FailureReason::NotConnected => (Bot, Retry, 2, 5 * MINUTE),
        // One refused connection costs nothing, so a gateway that is back is soon found.
        FailureReason::GatewayUnavailable => (Gateway, Retry, 2, MINUTE),
        FailureReason::OutcomeUnknown => (Message, Hold, 0, 0),
        // The bot's policy decided that it does not wait.
        FailureReason::NodeAbsent => (Message, Fail, 0, 0),
        // What no table lists is not guessed to be harmless.
        FailureReason::Internal => (Message, Fail, 0, 0),
    };
    Rule { scope, then, first_wait: Duration::from_secs(first), longest_wait: Duration::from_secs(longest) }
}

impl Rule {
    /// The wait after the `nth` refusal in a row, counted from 1, that named none.
    pub fn wait(&self, nth: u32) -> Duration {
        let doublings = nth.saturating_sub(1).min(16);
        self.first_wait.saturating_mul(1 << doublings).min(self.longest_wait)
    }
}

/// What happens to a message after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is tried again after this long, counted from the report.
    RetryAfter(Duration),
    /// It is at the head of its queue again, and leaves as soon as its bot or gateway may send.
    WithItsBot,
    /// It fails for good.
    GiveUp,
    /// It is not known whether it was sent: held for a receipt or a decision, never tried again by itself.
    Hold,
}

/// Refusals of the bot or gateway, one after the other, that one message takes at the head of its queue before another
/// message gets to try: it might be the message after all.
pub const HEAD_TRIES_MAX: u32 = 3;

/// What follows for a message whose attempt failed with `failure`.
///
/// `failures` counts its failed attempts, this one among them. `streak` counts how often its bot or gateway was refused in a
/// row, this time included; it says nothing about failures of another scope.
///
/// Only refusals from before the gateway acted are tried again. A message fails after [`ATTEMPTS_MAX`] failures, except that
/// refusals of a bot or gateway that has not worked since are not held against it: those end with its validity.
pub fn after_failure(failure: &Failure, failures: u32, streak: u32) -> Next {
    let rule = rule(failure.reason);
    match rule.then {
        Then::Fail => return Next::GiveUp,
        Then::Hold => return Next::Hold,
        Then::Retry => {}
    }
    let worked_since = !failure.scope().is_shared() || streak <= 1;
    if failures >= ATTEMPTS_MAX && worked_since {
        return Next::GiveUp;
    }
    if !failure.scope().is_shared() {
        return Next::RetryAfter(failure.retry_after.unwrap_or(rule.wait(failures)));
    }
    if failures < HEAD_TRIES_MAX {
        return Next::WithItsBot;
    }
    // Not before another one has had its turn.
    let shared = failure.retry_after.unwrap_or(rule.wait(streak));
    Next::RetryAfter(shared.saturating_add(rule.wait(failures)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_guide_has_the_same_table() {
        let guide = include_str!("../../../docs/guides/retries.md");
        let length = |wait: Duration| match wait.as_secs() {
            0 => "-".to_owned(),
            secs if secs % 3600 == 0 => format!("{} h", secs / 3600),
            secs if secs % 60 == 0 => format!("{} min", secs / 60),
            secs => format!("{secs} s"),
        };
        for reason in FailureReason::ALL {
            let Rule { scope, then, first_wait, longest_wait } = rule(reason);
            let then = match then {
                Then::Retry if scope.is_shared() => "waits with it",
                Then::Retry => "is tried again",
                Then::Fail => "fails",
                Then::Hold => "is uncertain",
            };
            let scope = scope.as_str().to_lowercase();
            let row = format!("| `{reason}` | {scope} | {then} | {} | {} |", length(first_wait), length(longest_wait));
            assert!(guide.contains(&row), "docs/guides/retries.md has no row {row}");
        }
    }

    #[test]
    fn a_message_that_is_refused_where_others_are_not_fails_in_the_end() {
        let failure = Failure::new(FailureReason::NotConnected, "");
        assert_eq!(after_failure(&failure, 1, 1), Next::WithItsBot);
        assert_eq!(after_failure(&failure, HEAD_TRIES_MAX, 3), Next::RetryAfter(Duration::from_secs(8 + 8)));
        assert_eq!(after_failure(&failure, ATTEMPTS_MAX, 1), Next::GiveUp);
        assert!(matches!(after_failure(&failure, ATTEMPTS_MAX, 2), Next::RetryAfter(_)));
    }

    #[test]
    fn a_limit_for_one_recipient_concerns_nobody_else() {
        let failure = Failure::new(FailureReason::RateLimited, "").of(Scope::Recipient);
        assert_eq!(after_failure(&failure, 1, 7), Next::RetryAfter(Duration::from_secs(5)));
        assert_eq!(after_failure(&failure, 2, 7), Next::RetryAfter(Duration::from_secs(10)));
        assert_eq!(after_failure(&failure, ATTEMPTS_MAX, 7), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn nothing_is_retried_for_ever_and_nothing_uncertain_at_all(
            reason in 0..FailureReason::ALL.len(), scope in prop::option::of(0..Scope::ALL.len()),
            failures in 1u32..100, streak in 1u32..100, asked in prop::option::of(0u64..10_000),
        ) {
            let mut failure = Failure::new(FailureReason::ALL[reason], "");
            failure.retry_after = asked.map(Duration::from_secs);
            failure.told_scope = scope.map(|scope| Scope::ALL[scope]);
            let rule = rule(failure.reason);
            match after_failure(&failure, failures, streak) {
                Next::RetryAfter(wait) => {
                    prop_assert!(failures < ATTEMPTS_MAX || streak > 1);
                    prop_assert!(asked.is_none_or(|asked| wait >= Duration::from_secs(asked)));
                    prop_assert!(asked.is_some() || (rule.first_wait..=2 * rule.longest_wait).contains(&wait));
                }
                Next::WithItsBot => prop_assert!(failure.scope().is_shared() && failures < HEAD_TRIES_MAX),
                Next::Hold => prop_assert_eq!(failure.reason, FailureReason::OutcomeUnknown),
                Next::GiveUp => prop_assert_ne!(failure.reason, FailureReason::OutcomeUnknown),
            }
        }
    }
}
