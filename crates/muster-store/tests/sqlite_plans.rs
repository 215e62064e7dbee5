//! The cost of a call follows what is due, not what exists: no statement of the hot paths scans a table that grows, nor builds
//! an index for itself. The statements are the ones that the store runs, taken from its log of statements.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::absence::AbsencePolicy;
use muster_domain::bot::BotSpec;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::limits::{PRIORITY_STEP, SILENCE_MAX};
use muster_domain::message::{Idempotency, MessageState, NewMessage, Outcome, Priority, ReceiptKind};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::replay::Cause;
use muster_domain::resolution::Resolution;
use muster_store::conformance::contacts::address;
use muster_store::conformance::fixture::{
    Fixture, bot, bot_spec, claim_all, gateway_spec, node_spec, outcome, receipt, refused, sent, text, unknown,
};
use muster_store::sqlite::SqliteStore;
use muster_store::{
    AcceptResult, Claim, ContactFilter, Expect, FailedBy, FailedFilter, FleetWrite, MessageFilter, OptIn, Replay,
    SessionOpen, SessionRef,
};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Tables that grow with what was ever sent or with what waits, by the names that the statements give them.
const GROWING: [&str; 21] = [
    "bot",
    "m",
    "message",
    "s",
    "settled",
    "change",
    "p",
    "parked",
    "ready",
    "r",
    "a",
    "x",
    "attempt",
    "idempotency",
    "inbound",
    "c",
    "contact",
    "contact_address",
    "opt_record",
    "d",
    "resolution",
];

/// Keeps the text of every statement.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        // The readers' driver tells short statements in their summary only; the writer has a log of its own.
        if ["sqlx::query", "muster_store::statement"].contains(&event.metadata().target()) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let statement = if fields.statement.trim().is_empty() { fields.summary } else { fields.statement };
            self.0.lock().unwrap().insert(statement.trim().to_owned());
        }
    }
}

#[derive(Default)]
struct Fields {
    summary: String,
    statement: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "sql" {
            self.statement = format!("{value:?}");
        }
    }
}

/// Everything that happens to messages, and the pages that people look at.
async fn exercise(fixture: &Fixture) {
    let session = fixture.open_connected().await;
    let mut later = text("a", "+5511900000001", "later");
    later.not_before = Some(Timestamp::now() + Duration::from_secs(60));
    let keyed = NewMessage {
        idempotency: Some(Idempotency { key: "k".into(), fingerprint: [1; 16] }),
        ..text("a", "+5511900000002", "keyed")
    };
    let mut short = text("b", "+5511900000003", "short");
    short.expire_time = Timestamp::now();
    fixture.accept(vec![later, keyed, short]).await;
    let lost = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(lost, unknown())]).await;
    fixture.store.message_resolve(&fixture.tenant, lost.message_id, Resolution::Drop, String::new()).await.unwrap();
    fixture.tell(&session, vec![outcome(lost, sent("Z"))]).await;
    fixture.store.message_resolutions(&fixture.tenant, lost.message_id).await.unwrap();
    fixture
        .accept(vec![NewMessage { on_uncertain: OnUncertain::Resend, ..text("a", "+5511900000006", "again") }])
        .await;
    let again = fixture.claim_attempts(&session).await[0];
    fixture.tell(&session, vec![outcome(again, unknown())]).await;
    fixture.store.wake_due(9, SILENCE_MAX, Duration::ZERO).await.unwrap();
    let again = fixture.claim_attempts(&session).await[0];
    fixture.tell(&session, vec![outcome(again, sent("W"))]).await;
    for what in [sent("X"), unknown(), refused(Duration::ZERO)] {
        let attempt = fixture.dispatched(&session).await;
        fixture.tell(&session, vec![outcome(attempt, what)]).await;
    }
    let again = fixture.claim_when_due(&session, 1).await[0];
    fixture.tell(&session, vec![outcome(again, refused(Duration::from_secs(60)))]).await;
    fixture.accept(vec![text("a", "+5511900000001", "behind")]).await;
    // A window that is full, and what has waited for long behind it.
    let narrow = Claim { bots: vec![(bot("a"), 1)], priority_step: Duration::ZERO, ..claim_all() };
    fixture
        .accept(vec![NewMessage { priority: Priority::Conversation, ..text("a", "+5511900000005", "urgent") }])
        .await;
    fixture.store.dispatch_claim(&session, narrow).await.unwrap();
    fixture.claim(&session).await;
    fixture.tell(&session, vec![receipt("X", ReceiptKind::Read), receipt("Y", ReceiptKind::Read)]).await;
    refuse_a_gateway(fixture, &session).await;
    let under_way = fixture.accept(vec![text("b", "+5511900000004", "hello")]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, [under_way]);
    fixture.store.message_cancel(&fixture.tenant, under_way).await.unwrap();
    let waiting = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    fixture.store.message_queue_ahead(&fixture.tenant, waiting, PRIORITY_STEP).await.unwrap();
    fixture.store.message_cancel(&fixture.tenant, waiting).await.unwrap();
    opt_out_and_in(fixture, &session).await;
    fixture.wake_due(100).await;
    let filters = [
        MessageFilter { bot: Some(bot("a")), ..MessageFilter::default() },
        MessageFilter { recipients: vec![text("a", "+5511900000001", "").recipient], ..MessageFilter::default() },
        MessageFilter { states: vec![MessageState::Failed, MessageState::Uncertain], ..MessageFilter::default() },
        MessageFilter { states: vec![MessageState::Dispatched], ..MessageFilter::default() },
    ];
    for filter in &filters {
        fixture.store.message_list(&fixture.tenant, filter, Some(waiting), 9).await.unwrap();
    }
    fixture.trace(waiting).await;
    fixture.message(waiting).await;
    replay_failures(fixture).await;
    fixture.store.changes_since(&fixture.tenant, 3, None, 9).await.unwrap();
    let open = SessionOpen { report_head: 100, ..fixture.opening() };
    let session = fixture.store.session_open(open).await.unwrap().session;
    wait_for_no_node(fixture, &session).await;
    let owner = BotSpec { address: Some(text("a", "+5511900000009", "").recipient), ..bot_spec("a", "g") };
    fixture.write(vec![FleetWrite::PutBot(owner, Expect::Any)]).await.unwrap();
}

/// Somebody opts out with a message that waits and one that is under way, and in again.
async fn opt_out_and_in(fixture: &Fixture, session: &SessionRef) {
    let recipient = "+5511900000008";
    fixture.accept(vec![text("b", recipient, "hello")]).await;
    fixture.claim(session).await;
    fixture.accept(vec![text("b", recipient, "hello")]).await;
    let done = fixture.opt_out(recipient).await;
    assert_eq!((done.failed, done.cancel.len()), (1, 1));
    let refused = fixture.store.message_accept(&fixture.tenant, vec![text("b", recipient, "hello")]).await.unwrap();
    assert_eq!(refused, [AcceptResult::RecipientOptedOut]);
    fixture.store.contact_get(&fixture.tenant, &address(recipient)).await.unwrap();
    for opted_out in [true, false] {
        fixture.store.contact_list(&fixture.tenant, ContactFilter { opted_out }, None, 9).await.unwrap();
    }
    let asked = OptIn { text: String::new(), proof: "inboundMessages/1".into(), author: String::new() };
    fixture.store.contact_opt_in(&fixture.tenant, &address(recipient), asked).await.unwrap();
}

/// A node that is absent, whose bots do not wait for it.
async fn wait_for_no_node(fixture: &Fixture, session: &SessionRef) {
    fixture.accept(vec![text("a", "+5511900000006", "hello"), text("b", "+5511900000006", "hello")]).await;
    let after = Duration::ZERO;
    let standby_gateway = gateway_spec("s", "m").id;
    let policies = [AbsencePolicy::Fail { after }, AbsencePolicy::FailOver { after, standby_gateway }];
    let mut writes = vec![
        FleetWrite::PutNode(node_spec("m"), Expect::Any),
        FleetWrite::PutGateway(gateway_spec("s", "m"), Expect::Any),
    ];
    for (id, absence) in ["a", "b"].into_iter().zip(policies) {
        writes.push(FleetWrite::PutBot(BotSpec { absence, ..bot_spec(id, "g") }, Expect::Any));
    }
    fixture.write(writes).await.unwrap();
    let standby = SessionOpen { node: node_spec("m").id, journal_id: [9; 16], ..fixture.opening() };
    fixture.store.session_open(standby).await.unwrap();
    fixture.store.session_close(session).await.unwrap();
    let acted = fixture.store.absences_act(Timestamp::UNIX_EPOCH, 100).await.unwrap();
    assert!(acted.failed > 0 && acted.moved.len() == 1, "{acted:?}");
}

/// The pages about what was not sent, and a replay.
async fn replay_failures(fixture: &Fixture) {
    let since = Some(Timestamp::now() - Duration::from_secs(60));
    let filter = FailedFilter { causes: vec![Cause::Expired], accepted_from: since, ..FailedFilter::default() };
    for by in [FailedBy::Cause, FailedBy::Bot, FailedBy::Node, FailedBy::Day] {
        fixture.store.failed_count(&fixture.tenant, &filter, by).await.unwrap();
    }
    fixture.store.failed_list(&fixture.tenant, &filter, None, 9).await.unwrap();
    let replay = Replay {
        filter,
        after: None,
        limit: 9,
        replays_max: 9,
        force: false,
        dry_run: false,
        validity: Duration::from_secs(60),
    };
    let part = fixture.store.failed_replay(&fixture.tenant, replay).await.unwrap();
    assert!(!part.replayed.is_empty());
    fixture.store.message_replays(&fixture.tenant, part.replayed[0].0).await.unwrap();
}

/// A gateway that is refused, and that works again with the next message.
async fn refuse_a_gateway(fixture: &Fixture, session: &SessionRef) {
    let refusal = Failure { retry_after: Some(Duration::ZERO), ..Failure::new(FailureReason::GatewayUnavailable, "") };
    fixture.accept(vec![text("b", "+5511900000005", "hello")]).await;
    let attempt = fixture.claim_attempts(session).await[0];
    fixture.tell(session, vec![outcome(attempt, Outcome::Failed(refusal))]).await;
    let trial = fixture.claim_when_due(session, 1).await[0];
    fixture.tell(session, vec![outcome(trial, sent("T"))]).await;
    fixture.bot("a").await;
}

#[tokio::test]
async fn no_hot_statement_scans_what_grows() {
    let statements = Statements::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(statements.clone())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let fixture = Fixture::new(Arc::new(SqliteStore::open(&path).await.unwrap())).await;
    statements.0.lock().unwrap().clear();
    exercise(&fixture).await;
    let seen = statements.0.lock().unwrap().clone();
    assert!(seen.len() > 50, "only {} statements were seen", seen.len());
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let mut faults = String::new();
    let planned = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    for sql in seen.iter().filter(|sql| planned.iter().any(|verb| sql.starts_with(verb))) {
        let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        for row in plan.fetch_all(&mut connection).await.unwrap() {
            let detail: String = row.get("detail");
            let scanned = detail.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            // What an index tells of the tenant alone is everything that the tenant has.
            let whole_tenant = detail.ends_with("(tenant_key=?)");
            if scanned.is_some_and(|table| GROWING.contains(&table)) || whole_tenant || detail.contains("AUTOMATIC") {
                let _ = writeln!(faults, "{detail}\n    {sql}");
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}
