//! Sending once more what was not sent.
//!
//! A message never changes after acceptance, so a replay is a new message with the same content, recipient and priority and a
//! validity of its own; both know of each other. A message is replayed once: who wants it once more replays the replay.

use crate::failure::FailureReason;

/// Why a message was not sent, as failures are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It failed for this reason.
    Failed(FailureReason),
    /// Its validity ended.
    Expired,
}

impl Cause {
    /// All causes: the reasons in their order, then the end of the validity.
    pub fn all() -> impl Iterator<Item = Cause> {
        FailureReason::ALL.into_iter().map(Cause::Failed).chain([Cause::Expired])
    }

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Failed(reason) => reason.as_str(),
            Cause::Expired => "EXPIRED",
        }
    }

    /// The cause of a spelling.
    pub fn parse(text: &str) -> Option<Cause> {
        Cause::all().find(|cause| cause.as_str() == text)
    }

    /// What an operator can do about it, as a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Cause::Failed(reason) => reason.advice(),
            Cause::Expired => "See with `muster message trace` why it waited; replay it if it is still wanted.",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message that is FAILED or EXPIRED, as far as it matters whether it is sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Why it was not sent.
    pub cause: Cause,
    /// One of its attempts was sent or may have been, or the network gave it an id.
    pub may_have_been_sent: bool,
    /// It was replayed already.
    pub is_replayed: bool,
    /// Its bot is neither retired nor banned.
    pub bot_in_service: bool,
}

/// Why a message is not sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It may have been sent: the recipient could get it twice.
    MayHaveBeenSent,
    /// It was replayed already.
    Replayed,
    /// The recipient wants nothing.
    OptedOut,
    /// Its bot is out of service for good.
    BotOutOfService,
    /// The same message would be refused again; only `force` sends it.
    NeedsForce,
}

impl Refusal {
    /// All refusals, in the order in which they are looked for.
    pub const ALL: [Refusal; 5] =
        [Refusal::MayHaveBeenSent, Refusal::Replayed, Refusal::OptedOut, Refusal::BotOutOfService, Refusal::NeedsForce];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::MayHaveBeenSent => "MAY_HAVE_BEEN_SENT",
            Refusal::Replayed => "REPLAYED",
            Refusal::OptedOut => "OPTED_OUT",
            Refusal::BotOutOfService => "BOT_OUT_OF_SERVICE",
            Refusal::NeedsForce => "NEEDS_FORCE",
        }
    }
}

/// Whether a message may be sent once more. With `force` also one that would be refused again as it is, such as one whose
/// content was rejected: the operator knows that the rule has changed.
pub fn decide(facts: &Facts, force: bool) -> Result<(), Refusal> {
    let refused_again = match facts.cause {
        // What nobody knows is decided by `muster uncertain`, one by one.
        Cause::Failed(FailureReason::OutcomeUnknown) => return Err(Refusal::MayHaveBeenSent),
        Cause::Failed(
            FailureReason::RecipientUnreachable
            | FailureReason::RecipientWindowClosed
            | FailureReason::ContentRejected
            | FailureReason::InvalidRequest,
        ) => true,
        Cause::Failed(
            FailureReason::RateLimited
            | FailureReason::RecipientOptedOut
            | FailureReason::RecipientCooldown
            | FailureReason::SenderRestricted
            | FailureReason::SenderBanned
            | FailureReason::AuthInvalid
            | FailureReason::NotConnected
            | FailureReason::GatewayUnavailable
            | FailureReason::NodeAbsent
            | FailureReason::Internal,
        )
        | Cause::Expired => false,
    };
    let found = |refusal: &Refusal| match refusal {
        Refusal::MayHaveBeenSent => facts.may_have_been_sent,
        Refusal::Replayed => facts.is_replayed,
        Refusal::OptedOut => facts.cause == Cause::Failed(FailureReason::RecipientOptedOut),
        Refusal::BotOutOfService => !facts.bot_in_service,
        Refusal::NeedsForce => refused_again && !force,
    };
    Refusal::ALL.into_iter().find(found).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_may_have_been_sent_and_nobody_who_wants_nothing_whatever_is_forced() {
        let flags = [false, true];
        for cause in Cause::all() {
            assert_eq!(Cause::parse(cause.as_str()), Some(cause));
            for (may_have_been_sent, is_replayed) in flags.into_iter().flat_map(|a| flags.map(|b| (a, b))) {
                for (bot_in_service, force) in flags.into_iter().flat_map(|a| flags.map(|b| (a, b))) {
                    let facts = Facts { cause, may_have_been_sent, is_replayed, bot_in_service };
                    let Ok(()) = decide(&facts, force) else { continue };
                    assert!(!may_have_been_sent && !is_replayed && bot_in_service);
                    assert_ne!(cause, Cause::Failed(FailureReason::OutcomeUnknown));
                    assert_ne!(cause, Cause::Failed(FailureReason::RecipientOptedOut));
                }
            }
        }
        let rejected = Facts {
            cause: Cause::Failed(FailureReason::ContentRejected),
            may_have_been_sent: false,
            is_replayed: false,
            bot_in_service: true,
        };
        assert_eq!((decide(&rejected, false), decide(&rejected, true)), (Err(Refusal::NeedsForce), Ok(())));
    }
}
