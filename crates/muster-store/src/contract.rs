//! The contract between the server and a database.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_domain::backlog::Full;
use muster_domain::bot::{Bot, BotSpec, Connection, Hold, Stage, StateCounts};
use muster_domain::contact::{Contact, ContactAddress, ContactId};
use muster_domain::content::MediaDigest;
use muster_domain::drain::Drain;
use muster_domain::fleet::Fleet;
use muster_domain::gateway::{Gateway, GatewaySpec};
use muster_domain::inbound::{Inbound, InboundId};
use muster_domain::life::AttemptEnd;
use muster_domain::message::{Attempt, Idempotency, Message, MessageState, NewMessage};
use muster_domain::node::{Cordon, Node, NodeSpec};
use muster_domain::resolution::{Resolution, ResolutionRecord};
use muster_domain::tenant::{Tenant, TenantSpec};
use muster_domain::{Address, BotId, GatewayId, MessageId, Network, NodeId, TenantId, Timestamp};

use crate::{
    ApplyError, AttemptRef, Claim, Claimed, ContactFilter, DesiredState, FailedBy, FailedFilter, FailedGroup, OptIn,
    OptInResult, OptOut, OptedOut, Replay, ReplayPart, ReportBatch, ReportsApplied, SessionOpen, SessionOpened,
    SessionRef,
};

/// Result of a call to the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Everything that the server asks of a database.
///
/// A write returns once it is durable. Writes of many callers may share one transaction; each is still all or nothing by
/// itself. Reads see every write that returned before they began. `now` of the rules is the database's clock.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What the database's clock shows, as far as it can be told without asking the database.
    fn now(&self) -> Timestamp;

    // ---- tenants ---------------------------------------------------------------------------------------------------

    /// One tenant. Cheap: answered from memory where the store can.
    async fn tenant_get(&self, id: &TenantId) -> Result<Option<Tenant>>;

    /// Tenants by id, after `after`.
    async fn tenant_list(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>>;

    /// Declares a tenant, or changes it. One that was removed is there again, with whatever it had.
    async fn tenant_put(&self, spec: TenantSpec) -> Result<Tenant>;

    /// Removes a tenant; [`StoreError::InUse`] while it has a node, a gateway, or a bot that is not retired, and for the default
    /// one.
    async fn tenant_delete(&self, id: TenantId) -> Result<()>;

    // ---- fleet -----------------------------------------------------------------------------------------------------

    /// What is declared at present: all nodes, all gateways, and all bots that are not retired.
    async fn fleet(&self, tenant: &TenantId) -> Result<Fleet>;

    /// Makes changes to the fleet, all or none. Bumps the desired version of every node that is touched.
    async fn fleet_write(&self, tenant: &TenantId, writes: Vec<FleetWrite>, request: Option<RequestKey>) -> Result<()>;

    /// One node.
    async fn node_get(&self, tenant: &TenantId, id: &NodeId) -> Result<Option<Node>>;

    /// Nodes by id, after `after`.
    async fn node_list(&self, tenant: &TenantId, after: Option<&NodeId>, limit: u32) -> Result<Vec<Node>>;

    /// Bots of a node that have messages in their queues.
    async fn bots_waiting(&self, tenant: &TenantId, node: &NodeId) -> Result<Vec<BotId>>;

    /// Attempts that were under way at a node when its drain began, and what they came to since; by message, after `after`.
    /// None for a node that is not drained.
    async fn drain_list(
        &self,
        tenant: &TenantId,
        node: &NodeId,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<AttemptAtNode>>;

    /// Attempts under way; by message, after `after`.
    async fn under_way(
        &self,
        tenant: &TenantId,
        filter: &UnderWayFilter,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<AttemptAtNode>>;

    /// One gateway.
    async fn gateway_get(&self, tenant: &TenantId, id: &GatewayId) -> Result<Option<Gateway>>;

    /// Gateways by id, after `after`.
    async fn gateway_list(
        &self,
        tenant: &TenantId,
        node: Option<&NodeId>,
        after: Option<&GatewayId>,
        limit: u32,
    ) -> Result<Vec<Gateway>>;

    /// One bot.
    async fn bot_get(&self, tenant: &TenantId, id: &BotId) -> Result<Option<Bot>>;

    /// Bots by id, after `after`.
    async fn bot_list(
        &self,
        tenant: &TenantId,
        filter: &BotFilter,
        after: Option<&BotId>,
        limit: u32,
    ) -> Result<Vec<Bot>>;

    /// How many messages of each bot are in each state, in the order of `bots`; an empty list means the whole tenant's sum.
    async fn message_counts(&self, tenant: &TenantId, bots: &[BotId]) -> Result<Vec<StateCounts>>;

    /// Where a bot is, for requests that name it. Cheap: answered from memory where the store can.
    async fn bot_route(&self, tenant: &TenantId, id: &BotId) -> Result<Option<BotRoute>>;

    // ---- sessions of agents ----------------------------------------------------------------------------------------

    /// Opens a session: issues its epoch, fences every earlier one, and settles what the agent holds against what the
    /// database believes. Attempts that the agent does not hold are proven not received and wait again; those of a lost
    /// journal become uncertain.
    ///
    /// A database that was restored from a backup hears the agent's reports again from where it stands. Where the agent has
    /// forgotten outcomes behind that, the reports begin behind the forgotten ones, and every message of the node that may be
    /// among them becomes uncertain: those that were accepted before the latest of them was reported.
    async fn session_open(&self, open: SessionOpen) -> Result<SessionOpened>;

    /// Marks the node as offline, unless a newer session has taken over.
    async fn session_close(&self, session: &SessionRef) -> Result<()>;

    /// What the node should look like, as the difference from `since`; complete when that is zero or
    /// later than it. Earlier versions must be of this history: see [`SessionOpened::desired_base`].
    async fn desired_state(&self, session: &SessionRef, since: u64) -> Result<DesiredState>;

    /// Notes what the agent made of a desired state.
    async fn desired_applied(&self, session: &SessionRef, version: u64, errors: Vec<ApplyError>) -> Result<()>;

    /// Asks the gate about waiting messages of the session's bots, and commits an attempt for each that it admits, in the
    /// order of priority and acceptance per bot. Messages that the gate refuses reach their final state in the same commit.
    async fn dispatch_claim(&self, session: &SessionRef, claim: Claim) -> Result<Claimed>;

    /// Takes reports of the session's agent: all become durable, or none. Reports that were taken before are skipped.
    async fn reports_apply(&self, session: &SessionRef, batch: ReportBatch) -> Result<ReportsApplied>;

    // ---- messages --------------------------------------------------------------------------------------------------

    /// Accepts messages. Each is accepted, found again by its idempotency key, or refused, by itself.
    async fn message_accept(&self, tenant: &TenantId, messages: Vec<NewMessage>) -> Result<Vec<AcceptResult>>;

    /// What was answered to earlier messages with these keys, in the order of `asked`: [`AcceptResult::Replayed`] or
    /// [`AcceptResult::KeyReused`], as [`Store::message_accept`] would answer again; `None` for a key that is free.
    async fn message_repeats(&self, tenant: &TenantId, asked: &[Idempotency]) -> Result<Vec<Option<AcceptResult>>>;

    /// One message.
    async fn message_get(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>>;

    /// Messages, the newest first, before `before`.
    async fn message_list(
        &self,
        tenant: &TenantId,
        filter: &MessageFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Message>>;

    /// How many messages were not sent, by what they have in common. The cost follows the failures in the time that is asked
    /// for, not what was sent.
    async fn failed_count(&self, tenant: &TenantId, filter: &FailedFilter, by: FailedBy) -> Result<Vec<FailedGroup>>;

    /// Messages that were not sent, the newest first, before `before`.
    async fn failed_list(
        &self,
        tenant: &TenantId,
        filter: &FailedFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Message>>;

    /// Sends messages once more that were provably not sent, each as a new message, and each once, however often it is asked.
    async fn failed_replay(&self, tenant: &TenantId, replay: Replay) -> Result<ReplayPart>;

    /// The message that this one repeats, and the one that repeats it.
    async fn message_replays(&self, tenant: &TenantId, id: MessageId)
    -> Result<(Option<MessageId>, Option<MessageId>)>;

    /// The attempts of a message, in order.
    async fn message_attempts(&self, tenant: &TenantId, id: MessageId) -> Result<Vec<AttemptRecord>>;

    /// How many waiting messages of the bot leave before this one, at the most. `priority_step` as in [`Claim`].
    async fn message_queue_ahead(&self, tenant: &TenantId, id: MessageId, priority_step: Duration) -> Result<u64>;

    /// Takes a message back, or asks for it.
    async fn message_cancel(&self, tenant: &TenantId, id: MessageId) -> Result<CancelResult>;

    /// Carries out what an operator decided about an uncertain message, and keeps the decision with its `reason`. What a late
    /// report or receipt says against it is kept there too, and goes before it: a message that was dropped, or that waits
    /// again, is sent after all.
    async fn message_resolve(
        &self,
        tenant: &TenantId,
        id: MessageId,
        resolution: Resolution,
        reason: String,
    ) -> Result<ResolveResult>;

    /// What operators and its policy decided about a message, in order.
    async fn message_resolutions(&self, tenant: &TenantId, id: MessageId) -> Result<Vec<ResolutionRecord>>;

    /// Changes of state after `cursor`, in the order of their commits. [`StoreError::CursorTooOld`] if some of them are gone.
    async fn changes_since(&self, tenant: &TenantId, cursor: u64, bot: Option<&BotId>, limit: u32) -> Result<Changes>;

    /// The cursor behind the latest change.
    async fn changes_head(&self, tenant: &TenantId) -> Result<u64>;

    /// Wakes a watcher after each commit that changed the state of a message. Carries no data: a hint to look.
    fn committed(&self) -> tokio::sync::watch::Receiver<u64>;

    // ---- inbound messages and media --------------------------------------------------------------------------------

    /// One inbound message.
    async fn inbound_get(&self, tenant: &TenantId, id: InboundId) -> Result<Option<Inbound>>;

    /// Inbound messages, the newest first, before `before`.
    async fn inbound_list(
        &self,
        tenant: &TenantId,
        filter: &InboundFilter,
        before: Option<InboundId>,
        limit: u32,
    ) -> Result<Vec<Inbound>>;

    /// Inbound messages after `after`, the oldest first; `None` begins with the oldest that is kept.
    async fn inbound_since(
        &self,
        tenant: &TenantId,
        after: Option<InboundId>,
        bot: Option<&BotId>,
        limit: u32,
    ) -> Result<Vec<Inbound>>;

    /// Keeps a medium. The same bytes again change nothing.
    async fn media_put(&self, tenant: &TenantId, digest: MediaDigest, bytes: Bytes) -> Result<()>;

    /// The bytes of a medium, for any tenant whose node asks: the digest is the secret.
    async fn media_get(&self, digest: &MediaDigest) -> Result<Option<Bytes>>;

    /// Whether a medium of the tenant is kept.
    async fn media_exists(&self, tenant: &TenantId, digest: &MediaDigest) -> Result<bool>;

    // ---- contacts --------------------------------------------------------------------------------------------------

    /// Notes that nothing may be sent to the contact of an address any more, to any of its addresses. In the same commit, what
    /// waits for it fails, and what is under way to it is marked for its agents to drop. From then on nothing is accepted for it,
    /// and nothing of it claimed. What was said from the same source since its latest opt-in is not kept again.
    async fn contact_opt_out(&self, tenant: &TenantId, address: &ContactAddress, said: OptOut) -> Result<OptedOut>;

    /// Notes that the contact of an address may be written to again, where [`muster_domain::opt_out::may_opt_in`] allows it.
    async fn contact_opt_in(&self, tenant: &TenantId, address: &ContactAddress, asked: OptIn) -> Result<OptInResult>;

    /// The contact of an address, with its records.
    async fn contact_get(&self, tenant: &TenantId, address: &ContactAddress) -> Result<Option<Contact>>;

    /// Contacts by id, after `after`; without their records.
    async fn contact_list(
        &self,
        tenant: &TenantId,
        filter: ContactFilter,
        after: Option<ContactId>,
        limit: u32,
    ) -> Result<Vec<Contact>>;

    // ---- background ------------------------------------------------------------------------------------------------

    /// Moves parked messages whose time has come back into their queues, and expires waiting messages whose validity ended;
    /// at most `limit` of each. An attempt that nobody reported `silence` after the end of its message's validity is believed
    /// lost: the message is uncertain. What has been uncertain for `uncertain_wait` leaves again if its policy says so. Tells
    /// whose bots have work now and when something may be due next.
    async fn wake_due(&self, limit: u32, silence: Duration, uncertain_wait: Duration) -> Result<WakeResult>;

    /// Ends holds whose time has come, and tells whose bots have work now.
    async fn holds_end(&self) -> Result<WakeResult>;

    /// Does what is declared for bots whose nodes are absent: moves them to their standby gateways, or fails what could have left
    /// and waits in no back-off of its own; at most `limit` bots and messages. A node has been without a session since its latest
    /// one ended, but not since before `serving_since`: while the server was down, its agent could not come back.
    async fn absences_act(&self, serving_since: Timestamp, limit: u32) -> Result<AbsencesActed>;

    /// Removes what the policy no longer keeps, at most `limit` rows of each table. Call again while it removes something.
    async fn retention_run(&self, policy: &RetentionPolicy, limit: u32) -> Result<u64>;

    /// Finishes what is under way and closes the database. Further calls fail with [`StoreError::Closed`].
    async fn close(&self);
}

/// Why a call to the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The resource does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The resource exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// Somebody else changed the resource since it was read.
    #[error("{0} was changed meanwhile; read it again")]
    Stale(String),
    /// The resource is in use.
    #[error("{resource} is used by {user}")]
    InUse {
        /// What is used.
        resource: String,
        /// Who uses it.
        user: String,
    },
    /// The address belongs to another bot.
    #[error("the address of {0} belongs to {1} already")]
    AddressTaken(String, String),
    /// What was declared once and stays as it is.
    #[error("the {field} of {resource} stays as it is; declare another one instead")]
    Fixed {
        /// The resource.
        resource: String,
        /// Its field.
        field: &'static str,
    },
    /// A request id was used for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
    /// A newer session of the node has taken over: this one changes nothing any more.
    #[error("a newer session of the node has taken over")]
    Fenced,
    /// Another agent goes on with this journal, or went on with it: it is a copy.
    #[error("the journal of {0} is a copy, or was restored: another process went on with it")]
    JournalForked(String),
    /// Reports do not follow the ones that were taken before.
    #[error("reports begin at {got}, the next one is {expected}")]
    ReportGap {
        /// The offset that should come next.
        expected: u64,
        /// The offset that came.
        got: u64,
    },
    /// The changes after this cursor are no longer all there.
    #[error("changes before {oldest} are no longer kept")]
    CursorTooOld {
        /// The oldest cursor that still works.
        oldest: u64,
    },
    /// The database does not take writes: full disk, read-only file, no permission.
    #[error("the database takes no writes: {0}")]
    NotWritable(String),
    /// The database is damaged.
    #[error("the database is damaged: {0}. Stop the server and restore a backup")]
    Corrupt(String),
    /// The database was written by a newer version.
    #[error("the database was written by a newer version ({found}) than this one knows ({known}): upgrade the server")]
    TooNew {
        /// Version of the schema in the database.
        found: i64,
        /// Latest version known here.
        known: i64,
    },
    /// Another process has the database.
    #[error("the database is in use by another process: {0}")]
    Locked(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Anything else that the database says.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// A message that is not where the facts of a step say: the step and its facts come from different transactions.
    pub(crate) fn misplaced() -> Self {
        StoreError::Failed("a message was not where it should be".into())
    }
}

/// A change to the fleet.
#[derive(Debug, Clone)]
pub enum FleetWrite {
    /// Declares or changes a node.
    PutNode(NodeSpec, Expect),
    /// Declares or changes a gateway. A new node takes all its bots along.
    PutGateway(GatewaySpec, Expect),
    /// Declares or changes a bot. A retired bot's id is not used again.
    PutBot(BotSpec, Expect),
    /// Cordons a node, or ends that: while it is, nothing new goes there. A cordon that is set again keeps its `since`.
    /// Its end ends the node's drain too.
    SetCordon(NodeId, Option<Cordon>),
    /// Cordons a node and has it give back what it has not started. A drain that stands keeps its `since` and gets the new
    /// `until`.
    BeginDrain(NodeId, Cordon, Drain),
    /// Sets or ends a bot's hold. The hold itself says why, and who asked for it.
    SetHold(BotId, Option<Hold>),
    /// Moves a bot to another stage. Into RETIRED fails what waits for it.
    SetStage(BotId, Stage, Note),
    /// Removes a node; [`StoreError::InUse`] while a gateway is on it.
    DeleteNode(NodeId, Expect),
    /// Removes a gateway; [`StoreError::InUse`] while a bot that is not retired uses it.
    DeleteGateway(GatewayId, Expect),
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there.
    Any,
    /// Nothing: [`StoreError::Exists`] otherwise.
    Absent,
    /// Something: [`StoreError::NotFound`] otherwise.
    Present,
    /// This generation: [`StoreError::Stale`] otherwise.
    Generation(u64),
}

/// Why a stage changed: kept with the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The rule or call that changed it.
    pub rule: String,
    /// Who asked for it.
    pub author: String,
    /// What it rests on, for people.
    pub facts: String,
}

/// Makes a call safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The client's id.
    pub request_id: String,
    /// Hash of method and body. The same id with another hash is [`StoreError::RequestIdReused`]; with the same one the
    /// writes are skipped.
    pub fingerprint: [u8; 16],
}

/// Which attempts under way a list shows. All set fields must hold.
#[derive(Debug, Clone, Default)]
pub struct UnderWayFilter {
    /// At this node.
    pub node: Option<NodeId>,
    /// Of this bot.
    pub bot: Option<BotId>,
}

/// An attempt that was given to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptAtNode {
    /// Which.
    pub attempt: AttemptRef,
    /// The bot that sends it.
    pub bot: BotId,
    /// The node that it was given to. The bot may be at another one by now.
    pub node: NodeId,
    /// When.
    pub dispatch_time: Timestamp,
    /// What it came to; `None` while it is under way.
    pub end: Option<AttemptEnd>,
}

/// Which bots a list shows. All set fields must hold.
#[derive(Debug, Clone, Default)]
pub struct BotFilter {
    /// On this node.
    pub node: Option<NodeId>,
    /// At this gateway.
    pub gateway: Option<GatewayId>,
    /// In one of these stages; empty for all.
    pub stages: Vec<Stage>,
    /// With one of these connections; empty for all.
    pub connections: Vec<Connection>,
    /// With all these labels.
    pub labels: Vec<(String, String)>,
    /// Held.
    pub held: bool,
}

/// A bot's place, for requests that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotRoute {
    /// The node of its gateway.
    pub node: NodeId,
    /// Its network, which says what an address is.
    pub network: Network,
    /// How far it may send.
    pub stage: Stage,
}

/// What became of a message that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptResult {
    /// It is durable.
    Accepted(MessageId),
    /// Its idempotency key was used for this message before.
    Replayed(MessageId),
    /// Its idempotency key was used for a message with another body.
    KeyReused(MessageId),
    /// The bot does not exist.
    BotUnknown,
    /// The bot is out of service for good.
    BotRetired,
    /// The recipient opted out.
    RecipientOptedOut,
    /// Too much waits already.
    BacklogFull(Full),
}

/// Which messages a list shows. All set fields must hold.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Of this bot.
    pub bot: Option<BotId>,
    /// In one of these states; empty for all.
    pub states: Vec<MessageState>,
    /// To one of these addresses (the spellings that a text may stand for); empty for all.
    pub recipients: Vec<Address>,
    /// Accepted at or after this time.
    pub accepted_from: Option<Timestamp>,
    /// Accepted before this time.
    pub accepted_until: Option<Timestamp>,
}

/// Which inbound messages a list shows. All set fields must hold.
#[derive(Debug, Clone, Default)]
pub struct InboundFilter {
    /// To this bot.
    pub bot: Option<BotId>,
    /// From one of these addresses; empty for all.
    pub senders: Vec<Address>,
    /// Received at or after this time.
    pub received_from: Option<Timestamp>,
}

/// What was done about bots whose nodes are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbsencesActed {
    /// Bots that moved to their standby gateways.
    pub moved: Vec<MovedBot>,
    /// Messages that failed.
    pub failed: u64,
    /// How long until something may have to be done again; `None` while no bot with a policy has a node without a session.
    pub next: Option<Duration>,
}

/// A bot that moved to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedBot {
    /// Its tenant.
    pub tenant: TenantId,
    /// Which.
    pub bot: BotId,
    /// The node that it left.
    pub from: NodeId,
    /// The node that it came to.
    pub to: NodeId,
}

/// An attempt in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptRecord {
    /// The agent received it.
    Tried(Attempt),
    /// The agent never received it: the connection or one of the two ends broke first.
    NotReceived(Attempt),
}

/// What became of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelResult {
    /// It was waiting, and is cancelled.
    Cancelled,
    /// An attempt is under way at this node: the agent has to be asked.
    Requested(NodeId, AttemptRef),
    /// It is final already.
    Final(MessageState),
    /// It does not exist.
    NotFound,
}

/// What became of an operator's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveResult {
    /// It was carried out. A message that leaves again is in its bot's queue.
    Resolved,
    /// The message is not uncertain but in this state. Nothing changed.
    NotUncertain(MessageState),
    /// The message cannot leave again: its validity ended. Nothing changed.
    Expired,
    /// The message cannot leave again: a client asked to take it back. Nothing changed.
    CancelRequested,
    /// It does not exist.
    NotFound,
}

/// Changes of state.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// In the order of their commits.
    pub changes: Vec<MessageChange>,
    /// Where to go on. Moves even when the filter hid every change.
    pub cursor: u64,
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageChange {
    /// The message.
    pub message_id: MessageId,
    /// Its bot.
    pub bot: BotId,
    /// The state after the change.
    pub state: MessageState,
    /// When it was committed.
    pub time: Timestamp,
}

/// What became due.
#[derive(Debug, Clone, Default)]
pub struct WakeResult {
    /// Bots that have work now, with their nodes.
    pub wake: Vec<(TenantId, NodeId, BotId)>,
    /// When something may be due next, as a wait from now: never later than it is. `None` when nothing waits for a time.
    pub next: Option<Duration>,
}

/// How long rows are kept. Zero keeps nothing that is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Messages in a final state, with their attempts, counted from acceptance.
    pub messages: Duration,
    /// Inbound messages, counted from receipt.
    pub inbound: Duration,
    /// The log of changes, for watchers that come back.
    pub changes: Duration,
    /// Media that no message names any more, counted from upload.
    pub media: Duration,
}

impl RetentionPolicy {
    /// The shortest time that rows of a table are kept.
    pub fn shortest(&self) -> Duration {
        self.messages.min(self.inbound).min(self.changes).min(self.media)
    }
}

impl Default for RetentionPolicy {
    /// 90 days of messages, 90 days of inbound messages, 7 days of changes, 30 days of unused media.
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        RetentionPolicy {
            messages: Duration::from_secs(90 * DAY),
            inbound: Duration::from_secs(90 * DAY),
            changes: Duration::from_secs(7 * DAY),
            media: Duration::from_secs(30 * DAY),
        }
    }
}

/// The chain of a message: messages of one chain leave in order.
pub fn chain_of(bot_key: i64, recipient: &Address, priority: muster_domain::message::Priority) -> u64 {
    // FNV-1a: stable across builds and machines, which a hasher of the standard library does not promise.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut feed = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bot_key.to_be_bytes().into_iter().for_each(&mut feed);
    feed(priority as u8);
    recipient.as_str().bytes().for_each(&mut feed);
    hash
}
