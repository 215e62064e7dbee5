//! A sender identity, with its three independent axes: connection, stage and hold.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::absence::{AbsencePolicy, FailOver};
use crate::backoff::Backoff;
use crate::limits::{LABEL_CHARS_MAX, LABELS_MAX, NOTE_CHARS_MAX};
use crate::window::{SendingWindow, Span};
use crate::{Address, BotId, GatewayId, Network, NodeId, Violation};

/// The bot's login at its gateway, as observed by the agent. The agent is its only writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Connection {
    /// Never linked, or the link was removed.
    #[default]
    Unlinked,
    /// Waiting for a QR code to be scanned or a pairing code to be typed.
    Linking,
    /// Logged in, and the path shows signs of life.
    Connected,
    /// The gateway says connected, but nothing goes out or comes in.
    Silent,
    /// The login is there, the connection is down; the supervisor works on it.
    Disconnected,
    /// The network ended the login. Only a new link helps.
    LoggedOut,
}

impl Connection {
    /// All values, in the order of declaration.
    pub const ALL: [Connection; 6] = [
        Connection::Unlinked,
        Connection::Linking,
        Connection::Connected,
        Connection::Silent,
        Connection::Disconnected,
        Connection::LoggedOut,
    ];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Connection::Unlinked => "UNLINKED",
            Connection::Linking => "LINKING",
            Connection::Connected => "CONNECTED",
            Connection::Silent => "SILENT",
            Connection::Disconnected => "DISCONNECTED",
            Connection::LoggedOut => "LOGGED_OUT",
        }
    }
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far a bot may send. Belongs to the identity: relinking or moving the bot does not reset it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Stage {
    /// Declared, without a login yet.
    #[default]
    Provisioning,
    /// Being linked for the first time.
    Activating,
    /// Grows within the limits of its ramp plan.
    Ramping,
    /// Finished its ramp.
    Ready,
    /// In service.
    Active,
    /// Rests because signals worsened.
    Cooling,
    /// The network restricts it.
    Restricted,
    /// The network banned it.
    Banned,
    /// Out of service for good.
    Retired,
}

impl Stage {
    /// All stages, in the order of declaration.
    pub const ALL: [Stage; 9] = [
        Stage::Provisioning,
        Stage::Activating,
        Stage::Ramping,
        Stage::Ready,
        Stage::Active,
        Stage::Cooling,
        Stage::Restricted,
        Stage::Banned,
        Stage::Retired,
    ];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Provisioning => "PROVISIONING",
            Stage::Activating => "ACTIVATING",
            Stage::Ramping => "RAMPING",
            Stage::Ready => "READY",
            Stage::Active => "ACTIVE",
            Stage::Cooling => "COOLING",
            Stage::Restricted => "RESTRICTED",
            Stage::Banned => "BANNED",
            Stage::Retired => "RETIRED",
        }
    }

    /// Whether a bot in this stage may send at all.
    pub fn may_send(self) -> bool {
        matches!(self, Stage::Ramping | Stage::Ready | Stage::Active)
    }

    /// The stage after a change of the connection: a bot enters service with its first link, and leaves it with a ban.
    #[must_use]
    pub fn after_connection(self, connection: Connection, banned: bool) -> Stage {
        match (self, connection) {
            (Stage::Retired | Stage::Banned, _) => self,
            (_, _) if banned => Stage::Banned,
            (Stage::Provisioning, Connection::Linking) => Stage::Activating,
            (Stage::Provisioning | Stage::Activating, Connection::Connected) => Stage::Active,
            (stage, _) => stage,
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A pause by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why, in the operator's words.
    pub reason: String,
    /// Who asked for it.
    pub author: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself, if it does.
    pub until: Option<Timestamp>,
}

impl Hold {
    /// Whether the hold is in force at `now`.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Checks reason and end.
    pub fn violations(&self, now: Timestamp) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.reason.is_empty() || self.reason.chars().count() > NOTE_CHARS_MAX {
            found.push(Violation::new("reason", format!("must have 1 to {NOTE_CHARS_MAX} characters")));
        }
        if self.until.is_some_and(|until| until <= now) {
            found.push(Violation::new("until", "must lie in the future"));
        }
        found
    }
}

/// What an operator declares about a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotSpec {
    /// Its id.
    pub id: BotId,
    /// The gateway that it is reached through, which also says on which node.
    pub gateway: GatewayId,
    /// Its own address on the network, once known; a link fills it in where the operator left it out.
    pub address: Option<Address>,
    /// A name for people.
    pub display_name: String,
    /// Free labels for filters.
    pub labels: BTreeMap<String, String>,
    /// What is done about it while its node is absent.
    pub absence: AbsencePolicy,
    /// When it may send; at any time if it has none.
    pub sending_window: Option<SendingWindow>,
}

/// Checks names and labels, which nodes, gateways and bots share.
pub fn check_names(display_name: &str, labels: &BTreeMap<String, String>) -> Vec<Violation> {
    let mut found = Vec::new();
    if display_name.chars().count() > NOTE_CHARS_MAX || display_name.chars().any(char::is_control) {
        found.push(Violation::new(
            "display_name",
            format!("must have at most {NOTE_CHARS_MAX} characters, none of them a control character"),
        ));
    }
    if labels.len() > LABELS_MAX {
        found.push(Violation::new("labels", format!("must have at most {LABELS_MAX} entries, has {}", labels.len())));
    }
    for (key, value) in labels {
        let legal =
            |s: &str| s.len() <= LABEL_CHARS_MAX && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if key.is_empty() || !legal(key) || !legal(value) {
            let rule = format!(
                "keys and values must have at most {LABEL_CHARS_MAX} characters from a-z, A-Z, 0-9, '-', '_', '.'"
            );
            found.push(Violation::new("labels", rule));
            break;
        }
    }
    found
}

/// A bot with everything that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    /// What was declared.
    pub spec: BotSpec,
    /// The node of its gateway.
    pub node: NodeId,
    /// The network of its gateway.
    pub network: Network,
    /// Grows with every change of the declaration, the hold or the stage. A write that carries an older one is refused.
    pub generation: u64,
    /// How far it may send.
    pub stage: Stage,
    /// Why it is in this stage: the rule that moved it there.
    pub stage_rule: String,
    /// A pause by an operator, if there is one.
    pub hold: Option<Hold>,
    /// Its sending window around the time at which this was read.
    pub window: Option<Span>,
    /// Set once its policy moved it to its standby gateway, until somebody moves it again.
    pub fail_over: Option<FailOver>,
    /// Its login, as observed.
    pub connection: Connection,
    /// Why the connection is what it is, in the gateway's terms.
    pub connection_detail: String,
    /// Since when the connection is what it is.
    pub connection_time: Option<Timestamp>,
    /// What the agent said when it could not apply the declaration; empty when it could.
    pub apply_error: String,
    /// The back-off that holds it back longest, its own or its gateway's, until an attempt is sent again.
    pub backoff: Option<Backoff>,
    /// When it was declared.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
}

/// How many messages of a bot are in each state; kept as they move, never counted over rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts {
    counts: [u64; crate::message::MessageState::ALL.len()],
}

impl StateCounts {
    /// How many are in `state`.
    pub fn get(&self, state: crate::message::MessageState) -> u64 {
        self.counts[state as usize]
    }

    /// Sets how many are in `state`.
    pub fn set(&mut self, state: crate::message::MessageState, count: u64) {
        self.counts[state as usize] = count;
    }

    /// Adds another bot's counts.
    pub fn add(&mut self, other: &StateCounts) {
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
            *sum += more;
        }
    }

    /// All messages.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_link_puts_a_bot_into_service() {
        assert_eq!(Stage::Provisioning.after_connection(Connection::Linking, false), Stage::Activating);
        assert_eq!(Stage::Provisioning.after_connection(Connection::Connected, false), Stage::Active);
        assert_eq!(Stage::Activating.after_connection(Connection::Connected, false), Stage::Active);
        assert_eq!(Stage::Active.after_connection(Connection::LoggedOut, true), Stage::Banned);
    }

    #[test]
    fn no_link_lifts_a_restriction_or_a_ban() {
        for stage in [Stage::Restricted, Stage::Banned, Stage::Retired, Stage::Cooling] {
            assert_eq!(stage.after_connection(Connection::Connected, false), stage);
        }
    }

    #[test]
    fn a_hold_ends_at_its_time() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let hold = |until| Hold { reason: "r".into(), author: "a".into(), since: now, until };
        assert!(hold(None).in_force(now));
        assert!(!hold(Some(now)).in_force(now));
        assert!(hold(Some(now + std::time::Duration::from_micros(1))).in_force(now));
        assert_eq!(hold(Some(now)).violations(now)[0].field, "until");
    }
}
