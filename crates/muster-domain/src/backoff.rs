//! The wait of a whole bot or gateway that was refused.
//!
//! A refusal that speaks of the bot or its gateway is an answer for all of its messages. While the back-off is in force
//! nothing of it is tried. After its end one attempt at a time is a **trial**: the first that is sent ends the back-off, and
//! the first that is refused makes it longer.

use std::time::Duration;

use jiff::Timestamp;

use crate::failure::{Failure, FailureReason, Scope};
use crate::message::Outcome;
use crate::retry::rule;

/// How long the next trial waits for the outcome of the one before. Covers a send with its time-out and courtesies; a trial
/// of which nobody tells costs this much time and nothing else.
pub const TRIAL_MAX: Duration = Duration::from_secs(60);

/// A wait of a whole bot or gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// What waits: [`Scope::Bot`] or [`Scope::Gateway`].
    pub scope: Scope,
    /// The latest refusal.
    pub failure: Failure,
    /// Refusals in a row.
    pub refusals: u32,
    /// When the first of them was reported.
    pub since: Timestamp,
    /// When the latest of them was reported. Attempts that were committed before it tell nothing new.
    pub refused: Timestamp,
    /// Nothing is tried before.
    pub until: Timestamp,
}

impl Backoff {
    /// The back-off that follows from a refusal of an attempt that was committed at `committed`; `None` if the refusal speaks
    /// of the message or its recipient.
    pub fn after(before: Option<&Backoff>, failure: &Failure, committed: Timestamp, now: Timestamp) -> Option<Backoff> {
        let scope = failure.scope();
        if !scope.is_shared() {
            return None;
        }
        let rule = rule(failure.reason);
        let fresh = |since, refusals: u32| Backoff {
            scope,
            failure: failure.clone(),
            refusals,
            since,
            refused: now,
            until: now + failure.retry_after.unwrap_or(rule.wait(refusals)),
        };
        // Refusals that lie further apart than the longest wait have nothing to do with each other.
        let Some(before) = before.filter(|before| now <= before.until + rule.longest_wait) else {
            return Some(fresh(now, 1));
        };
        if committed > before.refused {
            return Some(fresh(before.since, before.refusals.saturating_add(1)));
        }
        // It was under way when the bot was refused: the same incident, which may turn out to be longer.
        let again = fresh(before.since, before.refusals);
        Some(if again.until > before.until { again } else { before.clone() })
    }

    /// Whether nothing may be tried at `now`. Once it is not in force it stands for trials, until one of them is sent.
    pub fn in_force(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// The one of the two that holds back longer.
    pub fn longer(one: Option<Backoff>, other: Option<Backoff>) -> Option<Backoff> {
        one.into_iter().chain(other).max_by_key(|backoff| backoff.until)
    }

    /// Whether an outcome of an attempt that was committed at `committed` ends the back-off: it came after the refusal, and
    /// shows that what was refused works.
    pub fn ends_with(&self, outcome: &Outcome, committed: Timestamp) -> bool {
        let works = match outcome {
            Outcome::Sent { .. } => true,
            // Who knows the recipient has asked the network; who speaks for a bot is there.
            Outcome::Failed(failure) => match failure.scope() {
                Scope::Recipient => true,
                Scope::Bot => self.scope == Scope::Gateway,
                Scope::Message | Scope::Gateway => false,
            },
            Outcome::Uncertain(_) | Outcome::HandedBack(_) | Outcome::Expired | Outcome::Cancelled => false,
        };
        works && committed > self.refused
    }

    /// Whether a login that came up ends the back-off. A restriction or a limit survives every new login.
    pub fn ends_with_login(&self) -> bool {
        self.scope == Scope::Bot && self.failure.reason == FailureReason::NotConnected
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::retry::Then;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + secs).unwrap()
    }

    fn refused(reason: FailureReason) -> Failure {
        Failure::new(reason, "")
    }

    fn wait(backoff: &Backoff) -> i64 {
        backoff.until.as_second() - backoff.refused.as_second()
    }

    #[test]
    fn each_trial_that_is_refused_doubles_the_wait() {
        let gone = refused(FailureReason::GatewayUnavailable);
        let first = Backoff::after(None, &gone, at(0), at(1)).unwrap();
        assert_eq!((first.scope, first.refusals, wait(&first)), (Scope::Gateway, 1, 2));
        assert!(first.in_force(at(2)) && !first.in_force(at(3)));
        let second = Backoff::after(Some(&first), &gone, at(3), at(4)).unwrap();
        assert_eq!((second.refusals, second.since, wait(&second)), (2, at(1), 4));
        let late = Backoff::after(Some(&second), &gone, at(100), at(200)).unwrap();
        assert_eq!((late.refusals, wait(&late)), (1, 2), "the longest wait is a minute: another incident");
    }

    #[test]
    fn attempts_that_were_under_way_tell_nothing_new() {
        let limited = refused(FailureReason::RateLimited);
        let first = Backoff::after(None, &limited, at(0), at(1)).unwrap();
        assert_eq!(Backoff::after(Some(&first), &limited, at(0), at(1)).as_ref(), Some(&first));
        let asked = Failure { retry_after: Some(Duration::from_secs(300)), ..limited };
        let longer = Backoff::after(Some(&first), &asked, at(0), at(1)).unwrap();
        assert_eq!((longer.refusals, wait(&longer)), (1, 300));
        let sent = Outcome::Sent { network_id: "X".into() };
        assert!(!longer.ends_with(&sent, at(1)) && longer.ends_with(&sent, at(2)));
    }

    #[test]
    fn who_answers_is_there_and_who_knows_the_recipient_is_connected() {
        let failed = |reason| Outcome::Failed(refused(reason));
        let bot = Backoff::after(None, &refused(FailureReason::NotConnected), at(0), at(1)).unwrap();
        let gateway = Backoff::after(None, &refused(FailureReason::GatewayUnavailable), at(0), at(1)).unwrap();
        assert!(bot.ends_with(&failed(FailureReason::RecipientUnreachable), at(2)));
        assert!(gateway.ends_with(&failed(FailureReason::NotConnected), at(2)));
        assert!(!bot.ends_with(&failed(FailureReason::RateLimited), at(2)));
        assert!(!gateway.ends_with(&failed(FailureReason::GatewayUnavailable), at(2)));
        assert!(!gateway.ends_with(&Outcome::Uncertain(refused(FailureReason::OutcomeUnknown)), at(2)));
        assert!(bot.ends_with_login() && !gateway.ends_with_login());
    }

    #[test]
    fn the_one_that_holds_back_longer_counts() {
        let bot = Backoff::after(None, &refused(FailureReason::RateLimited), at(0), at(1));
        let gateway = Backoff::after(None, &refused(FailureReason::GatewayUnavailable), at(0), at(1));
        assert_eq!(Backoff::longer(gateway.clone(), bot.clone()), bot);
        assert_eq!(Backoff::longer(gateway.clone(), None), gateway);
        assert_eq!(Backoff::longer(None, None), None);
    }

    proptest! {
        #[test]
        fn a_backoff_never_becomes_shorter_by_what_was_under_way_and_is_bounded(
            reasons in prop::collection::vec((0..FailureReason::ALL.len(), 0i64..200, 0i64..200), 1..20),
        ) {
            let (mut backoff, mut now): (Option<Backoff>, i64) = (None, 0);
            for (reason, pause, age) in reasons {
                now += pause;
                let failure = refused(FailureReason::ALL[reason]);
                let next = Backoff::after(backoff.as_ref(), &failure, at(now - age), at(now));
                prop_assert_eq!(next.is_some(), failure.scope().is_shared());
                let Some(next) = next else { continue };
                let rule = rule(next.failure.reason);
                prop_assert!(rule.then != Then::Hold);
                prop_assert!(next.until <= next.refused + rule.longest_wait);
                if let Some(before) = &backoff && before.in_force(at(now)) && at(now - age) <= before.refused {
                    prop_assert!(next.until >= before.until);
                }
                backoff = Some(next);
            }
        }
    }
}
