//! What a session of an agent gives to the store, and what it gets.

use std::time::Duration;

use muster_domain::bot::Connection;
use muster_domain::content::{Content, Courtesy};
use muster_domain::desired::DesiredVersion;
use muster_domain::failure::Failure;
use muster_domain::gateway::GatewaySpec;
use muster_domain::inbound::NewInbound;
use muster_domain::message::{Outcome, ReceiptKind};
use muster_domain::{Address, BotId, Epoch, GatewayId, NodeId, TenantId, Timestamp};

pub use muster_domain::message::{AttemptRef, credit_bytes};

/// A session, as every write of it names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionRef {
    /// The tenant of the node.
    pub tenant: TenantId,
    /// The node.
    pub node: NodeId,
    /// The session's number.
    pub epoch: Epoch,
}

/// What an agent says when it opens a session.
#[derive(Debug, Clone)]
pub struct SessionOpen {
    /// The tenant of the node.
    pub tenant: TenantId,
    /// The node.
    pub node: NodeId,
    /// The agent's build.
    pub agent_version: String,
    /// Id of its journal.
    pub journal_id: [u8; 16],
    /// How often the journal was opened.
    pub journal_opening: u64,
    /// Id of its process.
    pub process_id: [u8; 16],
    /// Latest report in its journal.
    pub report_head: u64,
    /// Reports up to here were acknowledged to it.
    pub report_acknowledged: u64,
    /// What it reported and does not remember any more.
    pub forgotten: Option<Forgotten>,
    /// Attempts that it accepted and that have no outcome in its journal yet.
    pub held: Vec<Held>,
    /// The desired state that it has applied.
    pub desired: DesiredVersion,
}

/// The latest of the outcomes that an agent does not remember any more: it cannot tell them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Offset of its report.
    pub through: u64,
    /// How long ago it was reported.
    pub age: Duration,
}

/// An attempt that an agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub attempt: AttemptRef,
    /// The gateway may have been called.
    pub started: bool,
    /// Where its outcome stands in the journal, if it has one.
    pub reported_at: Option<u64>,
}

/// A session that was opened.
#[derive(Debug, Clone)]
pub struct SessionOpened {
    /// The session, for its writes.
    pub session: SessionRef,
    /// Reports up to here are durable.
    pub report_committed: u64,
    /// Held attempts that are no longer the agent's: it forgets those that it has not started.
    pub drop: Vec<AttemptRef>,
    /// Held attempts that a client wants to take back, or whose recipients opted out: the agent is asked to cancel them.
    pub cancel: Vec<AttemptRef>,
    /// How many held attempts go on in the session, by bot: they take up places in the lanes.
    pub held: Vec<(BotId, u32)>,
    /// Attempts that were believed dispatched and had never arrived: they wait again.
    pub returned: u64,
    /// Messages that are uncertain now: attempts of a lost journal, and what a restored database believes unsent although
    /// the agent may have sent it and forgotten.
    pub uncertain: u64,
    /// The agent was told of more durable reports than there are: the database was restored from a backup.
    pub restored: bool,
    /// Bots of the node that have waiting messages.
    pub bots_waiting: Vec<BotId>,
    /// Bots that have left the node and have work where they are now: a message of theirs never arrived here.
    pub elsewhere: Vec<(NodeId, BotId)>,
    /// Version of the desired state.
    pub desired_version: u64,
    /// The version that a difference for the agent can build upon: the same if it has everything, zero if it needs the whole.
    pub desired_base: u64,
}

/// What a node should look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredState {
    /// The version that it leads to.
    pub version: u64,
    /// The lineage of that version.
    pub lineage: u32,
    /// The version that it builds upon; zero for a complete state.
    pub base_version: u64,
    /// New or changed gateways.
    pub gateways: Vec<GatewaySpec>,
    /// New or changed bots.
    pub bots: Vec<DesiredBot>,
    /// Gateways that left the node.
    pub removed_gateways: Vec<GatewayId>,
    /// Bots that left the node.
    pub removed_bots: Vec<BotId>,
    /// The node is drained: it gives back what it has not started.
    pub draining: bool,
}

/// What an agent needs to know of a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredBot {
    /// The bot.
    pub id: BotId,
    /// Its gateway.
    pub gateway: GatewayId,
    /// It may send: neither held nor out of service.
    pub may_send: bool,
    /// It should be logged in: neither retired nor banned.
    pub connect: bool,
    /// Its own address, if known.
    pub address: Option<Address>,
    /// How often its sending window was changed.
    pub window_generation: u32,
}

/// A resource that an agent could not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// A gateway, and what is wrong.
    Gateway(GatewayId, String),
    /// A bot, and what is wrong.
    Bot(BotId, String),
}

/// What may be dispatched now.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// Bots that may have work, each with how many attempts its lane takes at the most.
    pub bots: Vec<(BotId, u32)>,
    /// Attempts at the most, over all bots.
    pub attempts_max: u32,
    /// Bytes of attempts at the most. The first attempt is claimed even if it alone is larger.
    pub bytes_max: u64,
    /// How long a message waits until it counts as the next higher priority; see [`muster_domain::aging`]. With zero, the queues
    /// of a bot take turns.
    pub priority_step: Duration,
}

/// What was claimed.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// Attempts that are committed now, in the order in which they must leave per bot.
    pub attempts: Vec<ClaimedAttempt>,
    /// Reports up to here were taken into account.
    pub report_committed: u64,
    /// Bots of the claim that may have more work right away: they hit a limit of the claim.
    pub more: Vec<BotId>,
}

/// An attempt on its way to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedAttempt {
    /// Which.
    pub attempt: AttemptRef,
    /// The sender.
    pub bot: BotId,
    /// The recipient.
    pub recipient: Address,
    /// What it says.
    pub content: Content,
    /// Same bot, same recipient, same priority: leaves in order.
    pub chain: u64,
    /// How long it may still be started.
    pub start_within: Duration,
    /// The network's id of the inbound message that it answers.
    pub reply_to: Option<String>,
    /// What is done around a reply.
    pub courtesy: Courtesy,
    /// An operator wants it sent although the attempts up to this number may have been sent; zero if nobody decided so.
    pub resend_after: u32,
    /// What ends `start_within` is the bot's sending window and not the validity of the message.
    pub window_closes: bool,
    /// How often the bot's sending window had been changed.
    pub window_generation: u32,
}

impl ClaimedAttempt {
    /// What the attempt counts against an agent's credit of bytes: its variable parts plus a fixed share for the rest.
    pub fn credit_bytes(&self) -> u64 {
        credit_bytes(&self.content, &self.recipient)
    }
}

/// Reports of an agent, in the order of its journal.
#[derive(Debug, Clone)]
pub struct ReportBatch {
    /// Offset of the first one.
    pub first_offset: u64,
    /// The reports, without gaps.
    pub reports: Vec<Report>,
}

/// Something that an agent reports, with when it happened by the server's clock.
#[derive(Debug, Clone)]
pub struct Report {
    /// When it happened: the receipt of the frame less the age that the agent told.
    pub time: Timestamp,
    /// What happened.
    pub body: ReportBody,
}

/// What an agent reports.
#[derive(Debug, Clone)]
pub enum ReportBody {
    /// What an attempt came to.
    Outcome {
        /// Which.
        attempt: AttemptRef,
        /// What it came to.
        outcome: Outcome,
        /// How long the agent held it before it called the gateway.
        queued: Duration,
        /// How long the gateway took.
        gateway: Duration,
    },
    /// What the network said about a sent message.
    Receipt {
        /// The bot that sent it.
        bot: BotId,
        /// The network's id of the message.
        network_id: String,
        /// What it said.
        kind: ReceiptKind,
        /// Why it was refused, if it was.
        failure: Option<Failure>,
    },
    /// Somebody wrote to a bot.
    Inbound(NewInbound),
    /// A bot's login changed.
    Connection {
        /// The bot.
        bot: BotId,
        /// Its login now.
        connection: Connection,
        /// Why, in the gateway's terms.
        detail: String,
        /// The bot's own address, where the gateway tells it.
        address: Option<Address>,
        /// The network banned the bot.
        banned: bool,
    },
    /// Nothing: its agent forgot it, or it could not be read. Its offset is taken, and that is all.
    Empty,
}

/// What came of reports.
#[derive(Debug, Clone, Default)]
pub struct ReportsApplied {
    /// Reports up to here are durable.
    pub committed: u64,
    /// Attempts that ended, per bot: their places in the lanes are free.
    pub finished: Vec<(BotId, u32)>,
    /// Bots of the node that have work now: their connection came up, or a message waits again.
    pub wake: Vec<BotId>,
    /// Bots that have left the node and have work where they are now: the node gave a message of theirs back.
    pub elsewhere: Vec<(NodeId, BotId)>,
    /// Attempts under way to somebody who opted out by one of the reports, by their nodes: the agents are asked to cancel them.
    pub cancel: Vec<(NodeId, AttemptRef)>,
    /// Something that is parked has become due: see [`crate::Store::wake_due`].
    pub something_due: bool,
}
