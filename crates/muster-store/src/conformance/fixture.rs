//! A small fleet and the few steps that most cases begin with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_domain::absence::AbsencePolicy;
use muster_domain::bot::{Bot, BotSpec, Connection};
use muster_domain::content::{Content, Courtesy};
use muster_domain::desired::DesiredVersion;
use muster_domain::failure::{Failure, FailureReason, Scope};
use muster_domain::gateway::{GatewayKind, GatewaySpec};
use muster_domain::limits::{PRIORITY_STEP, SILENCE_MAX, UNCERTAIN_WAIT_DEFAULT};
use muster_domain::message::{Message, NewMessage, Outcome, Priority, ReceiptKind};
use muster_domain::node::NodeSpec;
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::{Address, BotId, GatewayId, MessageId, NodeId, TenantId, Timestamp};

use crate::{
    AcceptResult, AttemptRecord, AttemptRef, Claim, Claimed, Clock, Expect, FleetWrite, Note, Report, ReportBatch,
    ReportBody, ReportsApplied, Result, SessionOpen, SessionOpened, SessionRef, Store, WakeResult,
};

/// A store with the tenant `default`, the node `n`, its gateway `g`, and the bots `a` and `b`.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The tenant.
    pub tenant: TenantId,
    /// The clock that the store reads, where a case can move it.
    time: Option<MovedClock>,
}

/// A clock that goes with the machine's, ahead of it by as much as a case says. A case moves it where it would have to wait, and
/// gives times that are so long that no machine is too slow for them.
#[derive(Clone, Default)]
pub struct MovedClock {
    ahead_micros: Arc<AtomicU64>,
}

impl MovedClock {
    /// The clock for a store.
    pub fn clock(&self) -> Clock {
        let ahead_micros = Arc::clone(&self.ahead_micros);
        Clock::new(move || Timestamp::now() + Duration::from_micros(ahead_micros.load(Ordering::Relaxed)))
    }

    /// Sets it so far ahead.
    pub fn set_ahead(&self, ahead: Duration) {
        self.ahead_micros.store(ahead.as_micros() as u64, Ordering::Relaxed);
    }

    /// Moves it forward.
    pub fn pass(&self, time: Duration) {
        self.ahead_micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }
}

/// The journal that sessions of the fixture use unless a case names another.
pub const JOURNAL: [u8; 16] = [7; 16];
/// The process that sessions of the fixture come from unless a case names another.
pub const PROCESS: [u8; 16] = [8; 16];

/// The node `n`.
pub fn node() -> NodeId {
    NodeId::new("n").unwrap()
}

/// A bot by its id.
pub fn bot(id: &str) -> BotId {
    BotId::new(id).unwrap()
}

/// A node as operators declare it.
pub fn node_spec(id: &str) -> NodeSpec {
    NodeSpec { id: NodeId::new(id).unwrap(), display_name: String::new(), labels: BTreeMap::new() }
}

/// A gateway as operators declare it.
pub fn gateway_spec(id: &str, node: &str) -> GatewaySpec {
    GatewaySpec {
        id: GatewayId::new(id).unwrap(),
        kind: GatewayKind::Evolution,
        node: NodeId::new(node).unwrap(),
        display_name: String::new(),
        labels: BTreeMap::new(),
    }
}

/// A bot as operators declare it.
pub fn bot_spec(id: &str, gateway: &str) -> BotSpec {
    BotSpec {
        id: bot(id),
        gateway: GatewayId::new(gateway).unwrap(),
        address: None,
        display_name: String::new(),
        labels: BTreeMap::new(),
        absence: AbsencePolicy::default(),
        sending_window: None,
    }
}

/// A text to a recipient.
pub fn text(bot_id: &str, recipient: &str, body: &str) -> NewMessage {
    NewMessage {
        bot: bot(bot_id),
        recipient: Address::from_stored(recipient),
        content: Content::Text { body: body.to_owned() },
        priority: Priority::Campaign,
        not_before: None,
        expire_time: Timestamp::now() + Duration::from_secs(3_600),
        idempotency: None,
        reply_to: None,
        courtesy: Courtesy::default(),
        on_uncertain: OnUncertain::Hold,
    }
}

impl Fixture {
    /// Declares the fleet in a fresh store that goes by `time`.
    pub async fn on(time: MovedClock, store: Arc<dyn Store>) -> Self {
        Fixture { time: Some(time), ..Self::new(store).await }
    }

    /// A store in which the fleet is declared.
    pub fn again(store: Arc<dyn Store>, tenant: TenantId) -> Self {
        Fixture { store, tenant, time: None }
    }

    /// Lets time pass for the store.
    pub fn pass(&self, time: Duration) {
        self.time.as_ref().expect("a store whose clock can be moved").pass(time);
    }

    /// Declares the fleet in a fresh store.
    pub async fn new(store: Arc<dyn Store>) -> Self {
        let tenant = TenantId::default_tenant();
        let writes = vec![
            FleetWrite::PutNode(node_spec("n"), Expect::Absent),
            FleetWrite::PutGateway(gateway_spec("g", "n"), Expect::Absent),
            FleetWrite::PutBot(bot_spec("a", "g"), Expect::Absent),
            FleetWrite::PutBot(bot_spec("b", "g"), Expect::Absent),
        ];
        store.fleet_write(&tenant, writes, None).await.unwrap();
        Self::again(store, tenant)
    }

    /// Opens a session of the node `n`.
    pub async fn open(&self) -> SessionOpened {
        self.store.session_open(self.opening()).await.unwrap()
    }

    /// What the agent of the node `n` says when it opens a session with nothing to tell.
    pub fn opening(&self) -> SessionOpen {
        SessionOpen {
            tenant: self.tenant.clone(),
            node: node(),
            agent_version: "test".into(),
            journal_id: JOURNAL,
            journal_opening: 1,
            process_id: PROCESS,
            report_head: 0,
            report_acknowledged: 0,
            forgotten: None,
            held: Vec::new(),
            desired: DesiredVersion::default(),
        }
    }

    /// Opens the first session and reports both bots as connected: reports 1 and 2.
    pub async fn open_connected(&self) -> SessionRef {
        let session = self.open().await.session;
        self.report(&session, 1, vec![connected("a"), connected("b")]).await;
        session
    }

    /// Reports from the offset `first` on.
    pub async fn report(&self, session: &SessionRef, first: u64, bodies: Vec<ReportBody>) -> ReportsApplied {
        self.store.reports_apply(session, batch(first, bodies)).await.unwrap()
    }

    /// Reports behind the ones that were taken before.
    pub async fn tell(&self, session: &SessionRef, bodies: Vec<ReportBody>) -> ReportsApplied {
        let taken = self.store.dispatch_claim(session, Claim::default()).await.unwrap().report_committed;
        self.report(session, taken + 1, bodies).await
    }

    /// Changes the fleet.
    pub async fn write(&self, writes: Vec<FleetWrite>) -> Result<()> {
        self.store.fleet_write(&self.tenant, writes, None).await
    }

    /// Accepts messages that nothing speaks against.
    pub async fn accept(&self, messages: Vec<NewMessage>) -> Vec<MessageId> {
        let results = self.store.message_accept(&self.tenant, messages).await.unwrap();
        results
            .into_iter()
            .map(|result| match result {
                AcceptResult::Accepted(id) => id,
                other => panic!("not accepted: {other:?}"),
            })
            .collect()
    }

    /// Claims whatever may leave of the bots `a` and `b`.
    pub async fn claim(&self, session: &SessionRef) -> Claimed {
        self.store.dispatch_claim(session, claim_all()).await.unwrap()
    }

    /// Claims like [`Fixture::claim`]: the attempts, in order.
    pub async fn claim_attempts(&self, session: &SessionRef) -> Vec<AttemptRef> {
        self.claim(session).await.attempts.iter().map(|claimed| claimed.attempt).collect()
    }

    /// Claims like [`Fixture::claim`]: the messages, in order.
    pub async fn claim_ids(&self, session: &SessionRef) -> Vec<MessageId> {
        self.claim_attempts(session).await.iter().map(|attempt| attempt.message_id).collect()
    }

    /// Accepts a text of the bot `a` to a recipient of its own, and claims it.
    pub async fn dispatched(&self, session: &SessionRef) -> AttemptRef {
        let id = self.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
        let attempts = self.claim_attempts(session).await;
        attempts.into_iter().find(|attempt| attempt.message_id == id).expect("claimed")
    }

    /// Claims until `count` messages were claimed, waking what is due in between.
    pub async fn claim_when_due(&self, session: &SessionRef, count: usize) -> Vec<AttemptRef> {
        let mut attempts = Vec::new();
        let end = tokio::time::Instant::now() + PATIENCE;
        while attempts.len() < count {
            assert!(tokio::time::Instant::now() < end, "{} of {count} attempts were claimed", attempts.len());
            self.wake_due(100).await;
            attempts.extend(self.claim_attempts(session).await);
        }
        attempts
    }

    /// Moves on what is due. Nothing that is under way is given up.
    pub async fn wake_due(&self, limit: u32) -> WakeResult {
        self.store.wake_due(limit, SILENCE_MAX, UNCERTAIN_WAIT_DEFAULT).await.unwrap()
    }

    /// A message.
    pub async fn message(&self, id: MessageId) -> Message {
        self.store.message_get(&self.tenant, id).await.unwrap().unwrap()
    }

    /// A bot.
    pub async fn bot(&self, id: &str) -> Bot {
        self.store.bot_get(&self.tenant, &bot(id)).await.unwrap().unwrap()
    }

    /// What the attempts of a message came to, in order; `NOT_RECEIVED` for those that never arrived.
    pub async fn trace(&self, id: MessageId) -> Vec<&'static str> {
        let records = self.store.message_attempts(&self.tenant, id).await.unwrap();
        let name = |record: &AttemptRecord| match record {
            AttemptRecord::NotReceived(_) => "NOT_RECEIVED",
            AttemptRecord::Tried(attempt) => match &attempt.outcome {
                None => "OPEN",
                Some(Outcome::Sent { .. }) => "SENT",
                Some(Outcome::Failed(_)) => "FAILED",
                Some(Outcome::Uncertain(_)) => "UNCERTAIN",
                Some(Outcome::HandedBack(_)) => "HANDED_BACK",
                Some(Outcome::Expired) => "EXPIRED",
                Some(Outcome::Cancelled) => "CANCELLED",
            },
        };
        records.iter().map(name).collect()
    }

    /// The state of a message, by name: shorter to compare.
    pub async fn state(&self, id: MessageId) -> &'static str {
        self.store.message_get(&self.tenant, id).await.unwrap().unwrap().state.as_str()
    }
}

/// Reports without gaps from the offset `first` on, that happened now.
pub fn batch(first_offset: u64, bodies: Vec<ReportBody>) -> ReportBatch {
    let reports = bodies.into_iter().map(|body| Report { time: Timestamp::now(), body }).collect();
    ReportBatch { first_offset, reports }
}

/// A claim without limits that matter, for the bots `a` and `b`.
pub fn claim_all() -> Claim {
    let bots = vec![(bot("a"), 100), (bot("b"), 100)];
    Claim { bots, attempts_max: 1_000, bytes_max: 1 << 20, priority_step: PRIORITY_STEP }
}

/// How long a case waits for something that becomes due within moments.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The report that a bot is connected.
pub fn connected(id: &str) -> ReportBody {
    connection(id, Connection::Connected)
}

/// The report of a bot's connection.
pub fn connection(id: &str, connection: Connection) -> ReportBody {
    ReportBody::Connection { bot: bot(id), connection, detail: String::new(), address: None, banned: false }
}

/// The report of a receipt for a message of the bot `a`.
pub fn receipt(network_id: &str, kind: ReceiptKind) -> ReportBody {
    ReportBody::Receipt { bot: bot("a"), network_id: network_id.into(), kind, failure: None }
}

/// The outcome of a message that the gateway took.
pub fn sent(network_id: &str) -> Outcome {
    Outcome::Sent { network_id: network_id.into() }
}

/// A refusal for this recipient alone, which is tried again after `wait`.
pub fn refused(wait: Duration) -> Outcome {
    let mut failure = Failure::new(FailureReason::RateLimited, "slow down").of(Scope::Recipient);
    failure.retry_after = Some(wait);
    Outcome::Failed(failure)
}

/// An outcome that nobody knows.
pub fn unknown() -> Outcome {
    Outcome::Uncertain(Failure::new(FailureReason::OutcomeUnknown, "no answer"))
}

/// The note of a change by an operator.
pub fn note() -> Note {
    Note { rule: "OPERATOR".into(), author: "test".into(), facts: String::new() }
}

/// The report of an outcome.
pub fn outcome(attempt: AttemptRef, outcome: Outcome) -> ReportBody {
    ReportBody::Outcome { attempt, outcome, queued: Duration::from_millis(1), gateway: Duration::from_millis(2) }
}
