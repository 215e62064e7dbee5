//! The gate: the one place that decides whether a message may leave.
//!
//! [`decide`] is pure. Dispatch asks it inside the transaction that commits the attempt, so the facts it saw are the facts
//! that held; the trace of a waiting message asks it again and prints the answer.

use jiff::Timestamp;

use crate::backoff::Backoff;
use crate::bot::{Connection, Hold, Stage};
use crate::failure::Scope;
use crate::window::Span;

/// Why a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitReason {
    /// An operator or an alert paused the bot.
    BotHeld,
    /// The bot's stage does not allow it to send.
    BotStage,
    /// The bot's login at its gateway is not up.
    BotNotConnected,
    /// The bot's node is cordoned: it takes no new work.
    NodeCordoned,
    /// The agent of the bot's node has no session.
    NodeOffline,
    /// The bot's sending window is closed.
    WindowClosed,
    /// The bot was refused, and everything of it waits.
    BotBackoff,
    /// The bot's gateway was refused or could not be reached, and all its bots wait.
    GatewayBackoff,
    /// The client named an earliest time.
    NotBefore,
    /// The latest attempt was refused before it was sent; the next one comes later.
    RetryBackoff,
    /// An earlier message to the same recipient has to leave first.
    ChainBlocked,
    /// Others of the same bot are before it.
    Queued,
}

impl WaitReason {
    /// All reasons, in the order of declaration.
    pub const ALL: [WaitReason; 12] = [
        WaitReason::BotHeld,
        WaitReason::BotStage,
        WaitReason::BotNotConnected,
        WaitReason::NodeCordoned,
        WaitReason::NodeOffline,
        WaitReason::WindowClosed,
        WaitReason::BotBackoff,
        WaitReason::GatewayBackoff,
        WaitReason::NotBefore,
        WaitReason::RetryBackoff,
        WaitReason::ChainBlocked,
        WaitReason::Queued,
    ];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            WaitReason::BotHeld => "BOT_HELD",
            WaitReason::BotStage => "BOT_STAGE",
            WaitReason::BotNotConnected => "BOT_NOT_CONNECTED",
            WaitReason::NodeCordoned => "NODE_CORDONED",
            WaitReason::NodeOffline => "NODE_OFFLINE",
            WaitReason::WindowClosed => "WINDOW_CLOSED",
            WaitReason::BotBackoff => "BOT_BACKOFF",
            WaitReason::GatewayBackoff => "GATEWAY_BACKOFF",
            WaitReason::NotBefore => "NOT_BEFORE",
            WaitReason::RetryBackoff => "RETRY_BACKOFF",
            WaitReason::ChainBlocked => "CHAIN_BLOCKED",
            WaitReason::Queued => "QUEUED",
        }
    }
}

impl std::fmt::Display for WaitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefuseReason {
    /// Its validity ended.
    Expired,
    /// The bot is out of service for good.
    BotRetired,
    /// The network banned the bot.
    BotBanned,
    /// The bot's node is absent, and the bot does not wait for it.
    NodeAbsent,
    /// The recipient opted out.
    RecipientOptedOut,
}

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may leave now.
    Admit,
    /// It waits, for a time or for an event.
    Wait {
        /// Why.
        reason: WaitReason,
        /// When it is looked at again; `None` when an event ends the wait.
        until: Option<Timestamp>,
    },
    /// It will never leave.
    Refuse {
        /// Why.
        reason: RefuseReason,
    },
}

/// What the gate knows of a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BotFacts<'a> {
    /// How far it may send.
    pub stage: Stage,
    /// A pause, if there is one.
    pub hold: Option<&'a Hold>,
    /// Its login.
    pub connection: Connection,
    /// Whether its node takes no new work.
    pub node_cordoned: bool,
    /// Whether the agent of its node has a session.
    pub node_online: bool,
    /// Its node is absent, and the bot does not wait for it: see [`crate::absence::AbsencePolicy::has_given_up`].
    pub node_given_up: bool,
    /// Its sending window around `now`, if it has one: see [`crate::window::SendingWindow::at`].
    pub window: Option<Span>,
    /// The back-off that holds it back longest, its own or its gateway's, if there is one.
    pub backoff: Option<&'a Backoff>,
}

/// What the gate knows of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecipientFacts {
    /// They opted out: see [`crate::opt_out`].
    pub opted_out: bool,
}

/// What the gate knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFacts {
    /// Whom it is for.
    pub recipient: RecipientFacts,
    /// Latest time to leave.
    pub expire_time: Timestamp,
    /// Earliest time to leave.
    pub not_before: Option<Timestamp>,
    /// Earliest time of the next attempt, after one that was refused.
    pub retry_time: Option<Timestamp>,
    /// When an earlier message of the same bot to the same recipient is tried again, if one waits for that. It blocks this
    /// one for as long as it waits, even past that time.
    pub chain_until: Option<Timestamp>,
}

/// What the bot alone allows. Separate from [`decide`] because it is asked once per bot, not once per message.
pub fn decide_bot(bot: &BotFacts<'_>, now: Timestamp) -> Decision {
    let wait = |reason, until| Decision::Wait { reason, until };
    match bot.stage {
        Stage::Retired => return Decision::Refuse { reason: RefuseReason::BotRetired },
        Stage::Banned => return Decision::Refuse { reason: RefuseReason::BotBanned },
        _ => {}
    }
    if let Some(hold) = bot.hold.filter(|hold| hold.in_force(now)) {
        return wait(WaitReason::BotHeld, hold.until);
    }
    // Before the first link the missing login is the reason that a person can act on, so the stage comes after it.
    // A silent bot may still work: its messages are what shows whether it does.
    let linked = matches!(bot.connection, Connection::Connected | Connection::Silent);
    let before_first_link = matches!(bot.stage, Stage::Provisioning | Stage::Activating) && !linked;
    if !bot.stage.may_send() && !before_first_link {
        return wait(WaitReason::BotStage, None);
    }
    if bot.node_cordoned {
        return wait(WaitReason::NodeCordoned, None);
    }
    if !bot.node_online && bot.node_given_up {
        return Decision::Refuse { reason: RefuseReason::NodeAbsent };
    }
    if !bot.node_online {
        return wait(WaitReason::NodeOffline, None);
    }
    if !linked {
        return wait(WaitReason::BotNotConnected, None);
    }
    // Before a back-off, which nobody can do anything about either, because it was declared.
    if let Some(window) = bot.window.filter(|window| window.room(now).is_none()) {
        return wait(WaitReason::WindowClosed, window.opens);
    }
    if let Some(backoff) = bot.backoff.filter(|backoff| backoff.in_force(now)) {
        let reason = if backoff.scope == Scope::Gateway { WaitReason::GatewayBackoff } else { WaitReason::BotBackoff };
        return wait(reason, Some(backoff.until));
    }
    Decision::Admit
}

/// Whether anything may be sent to the recipient. Separate from [`decide`] because it is asked at acceptance too, and when a message
/// comes back: what may never leave does not wait.
pub fn decide_recipient(recipient: RecipientFacts) -> Result<(), RefuseReason> {
    if recipient.opted_out { Err(RefuseReason::RecipientOptedOut) } else { Ok(()) }
}

/// Whether a message may leave now.
///
/// The order of the checks is the order of what a person would want to hear first: what can never change, what an operator
/// decided, what is broken, what is only a matter of time.
pub fn decide(bot: &BotFacts<'_>, message: &MessageFacts, now: Timestamp) -> Decision {
    if let Err(reason) = decide_recipient(message.recipient) {
        return Decision::Refuse { reason };
    }
    if message.expire_time <= now {
        return Decision::Refuse { reason: RefuseReason::Expired };
    }
    match decide_bot(bot, now) {
        Decision::Admit => {}
        other => return other,
    }
    let ahead = |time: Option<Timestamp>| time.filter(|time| *time > now);
    if let Some(until) = ahead(message.not_before) {
        return Decision::Wait { reason: WaitReason::NotBefore, until: Some(until) };
    }
    if let Some(until) = ahead(message.retry_time) {
        return Decision::Wait { reason: WaitReason::RetryBackoff, until: Some(until) };
    }
    // One whose time has come still goes first: until it is back in the queue, nothing may overtake it.
    if message.chain_until.is_some() {
        return Decision::Wait { reason: WaitReason::ChainBlocked, until: ahead(message.chain_until) };
    }
    Decision::Admit
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::failure::{Failure, FailureReason};

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn good_bot() -> BotFacts<'static> {
        BotFacts {
            stage: Stage::Active,
            hold: None,
            connection: Connection::Connected,
            node_cordoned: false,
            node_online: true,
            node_given_up: false,
            window: None,
            backoff: None,
        }
    }

    fn good_message() -> MessageFacts {
        MessageFacts {
            recipient: RecipientFacts { opted_out: false },
            expire_time: now() + Duration::from_secs(60),
            not_before: None,
            retry_time: None,
            chain_until: None,
        }
    }

    fn reason(bot: BotFacts<'_>, message: MessageFacts) -> Option<WaitReason> {
        match decide(&bot, &message, now()) {
            Decision::Wait { reason, .. } => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn each_cause_has_its_reason() {
        let later = Some(now() + Duration::from_secs(1));
        let hold = Hold { reason: "r".into(), author: "a".into(), since: now(), until: later };
        assert_eq!(decide(&good_bot(), &good_message(), now()), Decision::Admit);
        assert_eq!(
            decide(&BotFacts { hold: Some(&hold), ..good_bot() }, &good_message(), now()),
            Decision::Wait { reason: WaitReason::BotHeld, until: later }
        );
        assert_eq!(
            reason(BotFacts { node_cordoned: true, node_online: false, ..good_bot() }, good_message()),
            Some(WaitReason::NodeCordoned),
            "what an operator decided comes before what is broken"
        );
        assert_eq!(
            reason(BotFacts { node_online: false, ..good_bot() }, good_message()),
            Some(WaitReason::NodeOffline)
        );
        assert_eq!(
            reason(BotFacts { connection: Connection::Disconnected, ..good_bot() }, good_message()),
            Some(WaitReason::BotNotConnected)
        );
        for (reason, waits) in [
            (FailureReason::RateLimited, WaitReason::BotBackoff),
            (FailureReason::GatewayUnavailable, WaitReason::GatewayBackoff),
        ] {
            let backoff = Backoff::after(None, &Failure::new(reason, ""), now(), now()).unwrap();
            let facts = BotFacts { backoff: Some(&backoff), ..good_bot() };
            let until = Some(backoff.until);
            assert_eq!(decide(&facts, &good_message(), now()), Decision::Wait { reason: waits, until });
            let valid = MessageFacts { expire_time: backoff.until + Duration::from_secs(1), ..good_message() };
            assert_eq!(decide(&facts, &valid, backoff.until), Decision::Admit);
        }
        let closed = Span { from: now(), is_open: false, change: later, opens: later };
        assert_eq!(
            decide(&BotFacts { window: Some(closed), ..good_bot() }, &good_message(), now()),
            Decision::Wait { reason: WaitReason::WindowClosed, until: later }
        );
        let open = Span { is_open: true, change: None, opens: None, ..closed };
        assert_eq!(decide(&BotFacts { window: Some(open), ..good_bot() }, &good_message(), now()), Decision::Admit);
        let absent = BotFacts { node_online: false, node_given_up: true, ..good_bot() };
        let refused = Decision::Refuse { reason: RefuseReason::NodeAbsent };
        assert_eq!(decide(&absent, &good_message(), now()), refused);
        assert_eq!(decide(&BotFacts { node_online: true, ..absent }, &good_message(), now()), Decision::Admit);
        assert_eq!(reason(BotFacts { hold: Some(&hold), ..absent }, good_message()), Some(WaitReason::BotHeld));
        let unlinked = BotFacts { stage: Stage::Provisioning, connection: Connection::Unlinked, ..good_bot() };
        assert_eq!(reason(unlinked, good_message()), Some(WaitReason::BotNotConnected));
        assert_eq!(
            reason(BotFacts { stage: Stage::Cooling, ..good_bot() }, good_message()),
            Some(WaitReason::BotStage)
        );
        assert_eq!(
            reason(good_bot(), MessageFacts { not_before: later, ..good_message() }),
            Some(WaitReason::NotBefore)
        );
        assert_eq!(
            reason(good_bot(), MessageFacts { retry_time: later, ..good_message() }),
            Some(WaitReason::RetryBackoff)
        );
        assert_eq!(
            reason(good_bot(), MessageFacts { chain_until: later, ..good_message() }),
            Some(WaitReason::ChainBlocked)
        );
        assert_eq!(
            decide(&good_bot(), &MessageFacts { chain_until: Some(now()), ..good_message() }, now()),
            Decision::Wait { reason: WaitReason::ChainBlocked, until: None }
        );
        assert_eq!(
            decide(&BotFacts { stage: Stage::Retired, ..good_bot() }, &good_message(), now()),
            Decision::Refuse { reason: RefuseReason::BotRetired }
        );
        let opted_out = MessageFacts { recipient: RecipientFacts { opted_out: true }, ..good_message() };
        for bot in [good_bot(), BotFacts { hold: Some(&hold), ..good_bot() }] {
            let refused = Decision::Refuse { reason: RefuseReason::RecipientOptedOut };
            assert_eq!(decide(&bot, &opted_out, now()), refused, "the recipient's word goes before everything else");
        }
    }

    fn any_bot() -> impl Strategy<Value = BotFacts<'static>> {
        (0..Stage::ALL.len(), 0..Connection::ALL.len(), any::<bool>(), any::<bool>(), any_window()).prop_map(
            |(stage, connection, node_cordoned, node_online, window)| BotFacts {
                stage: Stage::ALL[stage],
                hold: None,
                connection: Connection::ALL[connection],
                node_cordoned,
                node_online,
                node_given_up: false,
                window,
                backoff: None,
            },
        )
    }

    /// What is known of a window at `now()`: it was looked at before, and changes later.
    fn any_window() -> impl Strategy<Value = Option<Span>> {
        prop::option::of((any::<bool>(), 1i64..100, 1i64..100).prop_map(|(is_open, change, then)| {
            let change = now() + jiff::SignedDuration::from_secs(change);
            let opens = if is_open { change + jiff::SignedDuration::from_secs(then) } else { change };
            Span { from: now(), is_open, change: Some(change), opens: Some(opens) }
        }))
    }

    fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of((-100i64..100).prop_map(|s| now() + jiff::SignedDuration::from_secs(s)))
    }

    proptest! {
        #[test]
        fn nothing_expired_retired_unconnected_early_unwanted_or_outside_its_window_leaves(
            bot in any_bot(), expire in -100i64..100, not_before in any_time(), retry in any_time(), chain in any_time(),
            opted_out in any::<bool>(),
        ) {
            let message = MessageFacts {
                recipient: RecipientFacts { opted_out },
                expire_time: now() + jiff::SignedDuration::from_secs(expire),
                not_before, retry_time: retry, chain_until: chain,
            };
            match decide(&bot, &message, now()) {
                Decision::Admit => {
                    prop_assert!(message.expire_time > now() && !opted_out);
                    prop_assert!(bot.stage.may_send() && bot.node_online && !bot.node_cordoned);
                    prop_assert!(bot.window.is_none_or(|window| window.is_open && window.room(now()).is_some()));
                    prop_assert!([not_before, retry].into_iter().flatten().all(|t| t <= now()));
                    prop_assert_eq!(chain, None);
                }
                Decision::Wait { until, .. } => prop_assert!(until.is_none_or(|t| t > now())),
                Decision::Refuse { reason: RefuseReason::RecipientOptedOut } => prop_assert!(opted_out),
                Decision::Refuse { reason: RefuseReason::Expired } => prop_assert!(message.expire_time <= now()),
                Decision::Refuse { .. } => prop_assert!(!bot.stage.may_send()),
            }
        }
    }
}
