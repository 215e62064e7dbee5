//! What was not sent: counted, listed, and sent once more.

use std::time::Duration;

use muster_domain::replay::{Cause, Refusal};
use muster_domain::{BotId, MessageId, NodeId, Timestamp};

/// Which messages that FAILED or EXPIRED are meant. All set fields must hold.
#[derive(Debug, Clone, Default)]
pub struct FailedFilter {
    /// For one of these causes; empty for all.
    pub causes: Vec<Cause>,
    /// Of this bot.
    pub bot: Option<BotId>,
    /// Whose latest attempt was at this node.
    pub node: Option<NodeId>,
    /// Accepted at or after this time.
    pub accepted_from: Option<Timestamp>,
    /// Accepted before this time.
    pub accepted_until: Option<Timestamp>,
}

/// What failures are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedBy {
    /// Why they were not sent.
    Cause,
    /// Their bot.
    Bot,
    /// The node of their latest attempt.
    Node,
    /// The day of acceptance, in UTC.
    Day,
}

/// What a group of failures has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedKey {
    /// Why they were not sent.
    Cause(Cause),
    /// Their bot.
    Bot(BotId),
    /// The node of their latest attempt; none for those that never left.
    Node(Option<NodeId>),
    /// The beginning of the day of acceptance, in UTC.
    Day(Timestamp),
}

/// Failures that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedGroup {
    /// What.
    pub key: FailedKey,
    /// How many.
    pub count: u64,
    /// How many of them were replayed.
    pub replayed: u64,
    /// The oldest one.
    pub oldest: MessageId,
    /// The newest one.
    pub newest: MessageId,
}

/// Asks to send messages once more that were not sent, the oldest first.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Which.
    pub filter: FailedFilter,
    /// Goes on behind this one.
    pub after: Option<MessageId>,
    /// Messages that are looked at, at the most.
    pub limit: u32,
    /// Messages that are sent once more, at the most.
    pub replays_max: u32,
    /// Also what would be refused again as it is.
    pub force: bool,
    /// Only tells what would be done.
    pub dry_run: bool,
    /// How long the new messages may leave.
    pub validity: Duration,
}

/// What became of a part of a replay.
#[derive(Debug, Clone, Default)]
pub struct ReplayPart {
    /// The old and the new message, in the order of acceptance. Empty for a dry run.
    pub replayed: Vec<(MessageId, MessageId)>,
    /// How many of each bot and cause were taken (`Ok`) or not, and why.
    pub counts: Vec<(BotId, Cause, Result<(), Refusal>, u64)>,
    /// Where to go on; none at the end.
    pub next: Option<MessageId>,
}
