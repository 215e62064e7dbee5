//! The last gate: whether an attempt may be started now, decided right before it is.

use std::time::Duration;

use muster_domain::message::{HandbackReason, Outcome};

/// What the agent as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// It was started, and attempts from before wait until the server has confirmed them.
    #[default]
    Resuming,
    /// It works.
    Working,
    /// It is about to stop and gives back what is not started.
    Draining,
    /// It stops, and starts nothing. What is not started stays in the journal.
    Stopping,
}

/// What is known of the bot's way to its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No desired state has arrived yet.
    Unknown,
    /// The bot is held, out of service, not declared here, or its gateway cannot be used.
    Unavailable,
    /// It may send.
    Ready,
}

/// What the gate looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) phase: Phase,
    /// The server drains the node.
    pub(crate) is_drained: bool,
    pub(crate) standing: Standing,
    /// How long ago the attempt arrived.
    pub(crate) age: Duration,
    /// Within which it must be started.
    pub(crate) start_within: Duration,
    /// What ends then is the bot's sending window, and not the validity of the message.
    pub(crate) window_closes: bool,
    /// The sending window was changed since the attempt was chosen.
    pub(crate) window_changed: bool,
    /// Why it goes back unstarted: an earlier message of its chain comes again, or the bot was just refused.
    pub(crate) held_back: Option<HandbackReason>,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it.
    Start,
    /// It cannot be said yet.
    Wait,
    /// Leave it in the journal.
    Leave,
    /// It ends here, unstarted.
    End(Outcome),
}

/// Whether the attempt may be started.
pub(crate) fn decide(facts: &Facts) -> Verdict {
    let is_late = facts.age > facts.start_within;
    if is_late && !facts.window_closes {
        return Verdict::End(Outcome::Expired);
    }
    match facts.phase {
        Phase::Stopping => return Verdict::Leave,
        Phase::Draining => return Verdict::End(Outcome::HandedBack(HandbackReason::Draining)),
        Phase::Resuming => return Verdict::Wait,
        Phase::Working if facts.is_drained => return Verdict::End(Outcome::HandedBack(HandbackReason::Draining)),
        Phase::Working => {}
    }
    if is_late || facts.window_changed {
        return Verdict::End(Outcome::HandedBack(HandbackReason::WindowClosed));
    }
    if let Some(reason) = facts.held_back {
        return Verdict::End(Outcome::HandedBack(reason));
    }
    match facts.standing {
        Standing::Unknown => Verdict::Wait,
        Standing::Unavailable => Verdict::End(Outcome::HandedBack(HandbackReason::BotUnavailable)),
        Standing::Ready => Verdict::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Facts = Facts {
        phase: Phase::Working,
        is_drained: false,
        standing: Standing::Ready,
        age: Duration::from_secs(1),
        start_within: Duration::from_secs(1),
        window_closes: false,
        window_changed: false,
        held_back: None,
    };

    #[test]
    fn only_a_working_agent_with_a_ready_bot_starts_an_attempt_in_time() {
        assert_eq!(decide(&READY), Verdict::Start);
        let late = Facts { age: Duration::from_millis(1_001), ..READY };
        for phase in [Phase::Resuming, Phase::Working, Phase::Draining, Phase::Stopping] {
            assert_eq!(decide(&Facts { phase, ..late }), Verdict::End(Outcome::Expired));
        }
        assert_eq!(decide(&Facts { phase: Phase::Resuming, ..READY }), Verdict::Wait);
        assert_eq!(decide(&Facts { phase: Phase::Stopping, ..READY }), Verdict::Leave);
        let unconfirmed = Facts { phase: Phase::Resuming, is_drained: true, ..READY };
        assert_eq!(decide(&unconfirmed), Verdict::Wait, "a copied journal hands nothing back");
        assert_eq!(decide(&Facts { standing: Standing::Unknown, ..READY }), Verdict::Wait);
    }

    #[test]
    fn what_is_handed_back_says_why() {
        let back = |facts| match decide(&facts) {
            Verdict::End(Outcome::HandedBack(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            back(Facts { phase: Phase::Draining, standing: Standing::Unknown, ..READY }),
            HandbackReason::Draining
        );
        assert_eq!(back(Facts { held_back: Some(HandbackReason::ChainBroken), ..READY }), HandbackReason::ChainBroken);
        assert_eq!(
            back(Facts { is_drained: true, standing: Standing::Unavailable, ..READY }),
            HandbackReason::Draining
        );
        assert_eq!(back(Facts { standing: Standing::Unavailable, ..READY }), HandbackReason::BotUnavailable);
        let late = Facts { age: Duration::from_millis(1_001), window_closes: true, ..READY };
        assert_eq!(back(late), HandbackReason::WindowClosed);
        assert_eq!(back(Facts { standing: Standing::Unavailable, ..late }), HandbackReason::WindowClosed);
        assert_eq!(back(Facts { window_changed: true, ..READY }), HandbackReason::WindowClosed);
        assert_eq!(decide(&Facts { window_closes: true, ..READY }), Verdict::Start);
        for (phase, verdict) in [(Phase::Resuming, Verdict::Wait), (Phase::Stopping, Verdict::Leave)] {
            assert_eq!(decide(&Facts { phase, ..late }), verdict, "it is the server's to decide, or the next start's");
        }
    }
}
