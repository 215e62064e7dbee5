//! Sessions: who may write for a node, and what becomes of the attempts of earlier sessions.

use std::time::Duration;

use muster_domain::message::HandbackReason;
use muster_domain::message::Outcome;
use muster_domain::resolution::Resolution;
use muster_domain::{Epoch, NodeId, Timestamp};

use super::fixture::{Fixture, PROCESS, batch, claim_all, connected, node, outcome, refused, sent, text, unknown};
use crate::{
    AttemptRecord, AttemptRef, CancelResult, Claim, Expect, FleetWrite, Forgotten, Held, ReportBody, ResolveResult,
    SessionOpen, StoreError,
};

fn held(attempt: AttemptRef) -> Held {
    Held { attempt, started: false, reported_at: None }
}

/// Each session has a larger number than the one before it, and the node shows the latest.
pub async fn epochs_grow(fixture: Fixture) {
    let first = fixture.open().await.session.epoch;
    let second = fixture.open().await.session.epoch;
    assert!(Epoch(0) < first && first < second);
    let shown = fixture.store.node_get(&fixture.tenant, &node()).await.unwrap().unwrap();
    assert_eq!((shown.epoch, shown.online, shown.agent_version.as_str()), (second, true, "test"));
}

/// A node that nobody declared has no sessions.
pub async fn an_unknown_node_has_no_session(fixture: Fixture) {
    let open = SessionOpen { node: NodeId::new("nobody").unwrap(), ..fixture.opening() };
    assert!(matches!(fixture.store.session_open(open).await, Err(StoreError::NotFound(_))));
}

/// A session that another one followed changes nothing by any call.
pub async fn a_fenced_session_changes_nothing(fixture: Fixture) {
    let old = fixture.open_connected().await;
    let attempt = fixture.dispatched(&old).await;
    let waiting = fixture.accept(vec![text("b", "+5511900000002", "waits")]).await[0];
    let opened = SessionOpen { report_head: 2, held: vec![held(attempt)], ..fixture.opening() };
    let new = fixture.store.session_open(opened).await.unwrap().session;
    let head = fixture.store.changes_head(&fixture.tenant).await.unwrap();
    let shown = fixture.store.node_get(&fixture.tenant, &node()).await.unwrap();

    let reports = batch(3, vec![outcome(attempt, sent("X"))]);
    assert!(matches!(fixture.store.reports_apply(&old, reports).await, Err(StoreError::Fenced)));
    assert!(matches!(fixture.store.dispatch_claim(&old, claim_all()).await, Err(StoreError::Fenced)));
    assert!(matches!(fixture.store.dispatch_claim(&old, Claim::default()).await, Err(StoreError::Fenced)));
    assert!(matches!(fixture.store.desired_state(&old, 0).await, Err(StoreError::Fenced)));
    assert!(matches!(fixture.store.desired_applied(&old, 1, Vec::new()).await, Err(StoreError::Fenced)));
    fixture.store.session_close(&old).await.unwrap();

    assert_eq!(fixture.store.changes_head(&fixture.tenant).await.unwrap(), head);
    assert_eq!(fixture.store.node_get(&fixture.tenant, &node()).await.unwrap(), shown);
    assert_eq!([fixture.state(attempt.message_id).await, fixture.state(waiting).await], ["DISPATCHED", "WAITING"]);
    // The report that the old session brought was not taken: the new one brings it again.
    assert_eq!(fixture.report(&new, 3, vec![outcome(attempt, sent("X"))]).await.committed, 3);
}

/// A session that nobody opened yet is as powerless as an old one.
pub async fn a_session_of_the_future_is_fenced(fixture: Fixture) {
    let mut session = fixture.open_connected().await;
    session.epoch = Epoch(session.epoch.0 + 1);
    fixture.accept(vec![text("a", "+5511900000001", "waits")]).await;
    assert!(matches!(fixture.store.dispatch_claim(&session, claim_all()).await, Err(StoreError::Fenced)));
    let reports = batch(3, vec![ReportBody::Empty]);
    assert!(matches!(fixture.store.reports_apply(&session, reports).await, Err(StoreError::Fenced)));
}

/// The latest session takes its node offline when it closes.
pub async fn a_closed_session_takes_its_node_offline(fixture: Fixture) {
    let session = fixture.open().await.session;
    fixture.store.session_close(&session).await.unwrap();
    assert!(!fixture.store.node_get(&fixture.tenant, &node()).await.unwrap().unwrap().online);
}

/// A journal that was opened less often than the server saw is an old state of itself: refused, and the session stays.
pub async fn an_older_opening_of_a_journal_is_a_fork(fixture: Fixture) {
    let open = SessionOpen { journal_opening: 5, ..fixture.opening() };
    let session = fixture.store.session_open(open.clone()).await.unwrap().session;
    let older = SessionOpen { journal_opening: 4, process_id: [9; 16], ..open };
    assert!(matches!(fixture.store.session_open(older).await, Err(StoreError::JournalForked(_))));
    fixture.report(&session, 1, vec![connected("a")]).await;
}

/// The same opening of a journal by two processes is a copy: refused, and the session stays.
pub async fn a_journal_opened_by_two_processes_is_a_fork(fixture: Fixture) {
    let session = fixture.open().await.session;
    let copy = SessionOpen { process_id: [9; 16], ..fixture.opening() };
    assert!(matches!(fixture.store.session_open(copy).await, Err(StoreError::JournalForked(_))));
    fixture.report(&session, 1, vec![connected("a")]).await;
    // The process itself may come again.
    let again = SessionOpen { process_id: PROCESS, report_head: 1, ..fixture.opening() };
    assert!(fixture.store.session_open(again).await.is_ok());
}

/// A journal that ends before what was taken of it is an old state of itself, however often it was opened: refused, and the
/// session stays.
pub async fn a_journal_that_ends_before_what_was_taken_is_a_fork(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let older = SessionOpen { journal_opening: 9, process_id: [9; 16], report_head: 1, ..fixture.opening() };
    assert!(matches!(fixture.store.session_open(older).await, Err(StoreError::JournalForked(_))));
    fixture.report(&session, 3, vec![connected("a")]).await;
    // Another journal begins anew.
    let fresh = SessionOpen { journal_id: [1; 16], ..fixture.opening() };
    assert_eq!(fixture.store.session_open(fresh).await.unwrap().report_committed, 0);
}

/// The next opening of a journal by another process is a restart: it takes over, and goes on behind the reports taken.
pub async fn a_restart_takes_over(fixture: Fixture) {
    let old = fixture.open_connected().await;
    let restart = SessionOpen { journal_opening: 2, process_id: [9; 16], report_head: 2, ..fixture.opening() };
    let opened = fixture.store.session_open(restart).await.unwrap();
    assert_eq!(opened.report_committed, 2);
    assert!(matches!(fixture.store.dispatch_claim(&old, claim_all()).await, Err(StoreError::Fenced)));
}

/// Another journal means that the one before is lost: what it held is uncertain, and its reports are counted anew.
pub async fn a_lost_journal_leaves_uncertain_attempts(fixture: Fixture) {
    let old = fixture.open_connected().await;
    let attempt = fixture.dispatched(&old).await;
    let waiting = fixture.accept(vec![text("a", "+5511900000002", "waits")]).await[0];
    let fresh = SessionOpen { journal_id: [1; 16], ..fixture.opening() };
    let opened = fixture.store.session_open(fresh).await.unwrap();
    assert_eq!((opened.uncertain, opened.returned, opened.report_committed), (1, 0, 0));
    assert_eq!(fixture.state(attempt.message_id).await, "UNCERTAIN");
    assert!(fixture.message(attempt.message_id).await.failure.is_some());
    assert_eq!(fixture.trace(attempt.message_id).await, ["UNCERTAIN"]);
    assert_eq!(fixture.claim_ids(&opened.session).await, [waiting]);
}

/// A store that was restored from a backup hears the agent's reports again from where it stands, and nothing is claimed before:
/// what it believes under way, and what it believes waiting, may have been sent.
pub async fn a_restored_store_hears_again_what_is_remembered(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let under_way = fixture.dispatched(&session).await;
    let ids = fixture.accept((2..=3).map(|i| text("a", &format!("+551190000000{i}"), "waits")).collect()).await;
    let open = SessionOpen { report_head: 5, report_acknowledged: 5, ..fixture.opening() };
    let opened = fixture.store.session_open(open).await.unwrap();
    assert!(opened.restored);
    assert_eq!((opened.report_committed, opened.returned, opened.uncertain), (2, 0, 0));
    assert_eq!(fixture.claim_ids(&opened.session).await, []);
    let waiting = AttemptRef { message_id: ids[0], attempt_no: 1 };
    let told = vec![outcome(under_way, sent("X")), outcome(waiting, sent("Y")), ReportBody::Empty];
    fixture.report(&opened.session, 3, told).await;
    assert_eq!([fixture.state(under_way.message_id).await, fixture.state(ids[0]).await], ["SENT", "SENT"]);
    assert_eq!(fixture.claim_ids(&opened.session).await, ids[1..]);
    let again = SessionOpen { report_head: 5, report_acknowledged: 5, ..fixture.opening() };
    assert!(!fixture.store.session_open(again).await.unwrap().restored);
}

/// A restored store may give up what was sent meanwhile, before its agent is there to tell.
pub async fn what_a_restored_store_gave_up_may_turn_out_sent(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let under_way = fixture.dispatched(&session).await;
    let texts = (2..=3).map(|i| text("a", &format!("+551190000000{i}"), "waits"));
    let [sent_one, unknown_one] = fixture.accept(texts.collect()).await[..] else { panic!() };
    for id in [sent_one, unknown_one] {
        fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
    }
    let open = SessionOpen { report_head: 5, report_acknowledged: 5, ..fixture.opening() };
    let opened = fixture.store.session_open(open).await.unwrap();
    let later = AttemptRef { attempt_no: 2, ..under_way };
    let attempt = |message_id| AttemptRef { message_id, attempt_no: 1 };
    let told = vec![
        outcome(attempt(sent_one), sent("X")),
        outcome(attempt(unknown_one), unknown()),
        outcome(later, sent("Y")),
    ];
    fixture.report(&opened.session, 3, told).await;
    assert_eq!(fixture.state(under_way.message_id).await, "SENT");
    assert_eq!([fixture.state(sent_one).await, fixture.state(unknown_one).await], ["SENT", "UNCERTAIN"]);
    let attempts = fixture.store.message_attempts(&fixture.tenant, sent_one).await.unwrap();
    assert!(attempts.len() <= 1, "{attempts:?}");
}

/// A message that a restored store ended before it heard of its attempt is what the attempt came to. Who took it back still wants
/// that: it is not sent again.
pub async fn what_a_restored_store_ended_is_what_it_came_to(fixture: Fixture) {
    fixture.open_connected().await;
    let ids = fixture.accept((1..=4).map(|i| text("a", &format!("+551190000000{i}"), "waits")).collect()).await;
    let open = SessionOpen { report_head: 6, report_acknowledged: 6, ..fixture.opening() };
    let opened = fixture.store.session_open(open).await.unwrap();
    for id in &ids[..3] {
        fixture.store.message_cancel(&fixture.tenant, *id).await.unwrap();
    }
    let outcomes = [sent("X"), unknown(), refused(Duration::from_secs(60)), sent("Y")];
    let told = ids.iter().zip(outcomes).map(|(id, came)| outcome(AttemptRef { message_id: *id, attempt_no: 1 }, came));
    fixture.report(&opened.session, 3, told.collect()).await;
    let mut states = Vec::new();
    for id in &ids {
        states.push(fixture.state(*id).await);
    }
    assert_eq!(states, ["SENT", "UNCERTAIN", "CANCELLED", "SENT"]);
    let again = fixture.store.message_resolve(&fixture.tenant, ids[1], Resolution::Resend, String::new()).await;
    assert_eq!(again.unwrap(), ResolveResult::CancelRequested);
    let attempts = fixture.store.message_attempts(&fixture.tenant, ids[0]).await.unwrap();
    assert!(attempts.len() <= 1, "{attempts:?}");
}

/// A restored store gives an attempt the number that another one had before. That its agent has told of the first one, and does
/// not know yet that it was heard, does not make it hold the second one, which never arrived.
pub async fn a_number_that_is_given_again_is_not_held(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let held = Held { attempt, started: true, reported_at: Some(2) };
    let open = SessionOpen { report_head: 2, held: vec![held], ..fixture.opening() };
    let opened = fixture.store.session_open(open).await.unwrap();
    assert_eq!((opened.held.len(), opened.returned), (0, 1));
    let again = fixture.claim_attempts(&opened.session).await;
    let not_yet_told = Held { attempt: again[0], started: true, reported_at: Some(3) };
    let open = SessionOpen { report_head: 3, held: vec![not_yet_told], ..fixture.opening() };
    assert_eq!(fixture.store.session_open(open).await.unwrap().held.len(), 1);
}

/// Where the agent of a restored store has forgotten outcomes, its reports begin behind them, and whatever may have been sent is
/// uncertain until somebody knows. What waits for a later time cannot have left.
pub async fn what_an_agent_forgot_leaves_uncertain_messages(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let (under_way, refusal) = (fixture.dispatched(&session).await, fixture.dispatched(&session).await);
    fixture.tell(&session, vec![outcome(refusal, refused(Duration::from_secs(60)))]).await;
    let waiting = fixture.accept(vec![text("b", "+5511900000002", "waits")]).await[0];
    let mut later = text("a", "+5511900000003", "later");
    later.not_before = Some(Timestamp::now() + Duration::from_secs(600));
    let later = fixture.accept(vec![later]).await[0];
    let forgotten = Some(Forgotten { through: 499, age: Duration::ZERO });
    let open = SessionOpen { report_head: 900, report_acknowledged: 900, forgotten, ..fixture.opening() };
    let opened = fixture.store.session_open(open).await.unwrap();
    assert_eq!((opened.restored, opened.report_committed, opened.uncertain), (true, 499, 3));
    for id in [refusal.message_id, under_way.message_id, waiting] {
        assert_eq!(fixture.state(id).await, "UNCERTAIN");
        assert!(fixture.message(id).await.failure.is_some());
    }
    assert_eq!(fixture.state(later).await, "WAITING");
    let attempt = AttemptRef { message_id: waiting, attempt_no: 1 };
    fixture.report(&opened.session, 500, vec![outcome(under_way, sent("X")), outcome(attempt, sent("Y"))]).await;
    assert_eq!([fixture.state(under_way.message_id).await, fixture.state(waiting).await], ["SENT", "SENT"]);
    let gap = fixture.store.reports_apply(&opened.session, batch(503, vec![connected("a")])).await;
    assert!(matches!(gap, Err(StoreError::ReportGap { expected: 502, .. })));
}

/// What was accepted after the latest outcome that an agent forgot is not among the forgotten.
pub async fn what_was_accepted_since_is_not_forgotten(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let under_way = fixture.dispatched(&session).await;
    let waiting = fixture.accept(vec![text("a", "+5511900000002", "waits")]).await[0];
    let forgotten = Some(Forgotten { through: 499, age: Duration::from_secs(3_600) });
    let open = SessionOpen { report_head: 499, report_acknowledged: 499, forgotten, ..fixture.opening() };
    let opened = fixture.store.session_open(open.clone()).await.unwrap();
    assert_eq!((opened.report_committed, opened.uncertain, opened.returned), (499, 0, 1));
    assert_eq!(fixture.claim_ids(&opened.session).await, [under_way.message_id, waiting]);
    // What was forgotten before what is known here is of no interest.
    let known = SessionOpen { forgotten: Some(Forgotten { through: 9, age: Duration::ZERO }), ..open };
    let opened = fixture.store.session_open(known).await.unwrap();
    assert_eq!((opened.restored, opened.report_committed, opened.uncertain), (false, 499, 0));
}

/// Attempts that never arrived wait again, once, in their order, and their trace says so.
pub async fn unreceived_attempts_return_once_in_order(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let texts = (0..5).map(|i| text("a", "+5511900000001", &i.to_string())).collect();
    let ids = fixture.accept(texts).await;
    assert_eq!(fixture.claim_ids(&session).await, ids);
    let open = SessionOpen { report_head: 2, ..fixture.opening() };
    let opened = fixture.store.session_open(open.clone()).await.unwrap();
    assert_eq!(opened.returned, 5);
    assert_eq!(opened.bots_waiting, [super::fixture::bot("a")]);
    let again = fixture.store.session_open(open).await.unwrap();
    assert_eq!(again.returned, 0);
    let attempts = fixture.claim_attempts(&again.session).await;
    assert_eq!(attempts.iter().map(|attempt| attempt.message_id).collect::<Vec<_>>(), ids);
    assert!(attempts.iter().all(|attempt| attempt.attempt_no == 2));
    assert_eq!(fixture.trace(ids[0]).await, ["NOT_RECEIVED", "OPEN"]);
}

/// An attempt that the agent holds goes on in the new session, and its trace still names the session that dispatched it.
pub async fn held_attempts_go_on(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let open = SessionOpen { report_head: 2, held: vec![held(attempt)], ..fixture.opening() };
    let opened = fixture.store.session_open(open.clone()).await.unwrap();
    assert_eq!((opened.returned, opened.drop.len(), opened.cancel.len()), (0, 0, 0));
    assert_eq!(opened.held, [(super::fixture::bot("a"), 1)]);
    assert_eq!(fixture.claim_ids(&opened.session).await, []);
    let records = fixture.store.message_attempts(&fixture.tenant, attempt.message_id).await.unwrap();
    assert!(
        matches!(&records[..], [AttemptRecord::Tried(tried)] if tried.epoch == session.epoch && tried.outcome.is_none())
    );
    // Held over a second reconnect, and then reported.
    let opened = fixture.store.session_open(open).await.unwrap();
    fixture.report(&opened.session, 3, vec![outcome(attempt, sent("X"))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "SENT");
}

/// The agent is told to forget what is not its own any more: settled, tried again elsewhere, or never dispatched.
pub async fn attempts_that_went_on_without_the_agent_are_dropped(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let ids = fixture.accept((1..=3).map(|i| text("a", &format!("+551190000000{i}"), "hello")).collect()).await;
    let attempts = fixture.claim_attempts(&session).await;
    let handed_back = Outcome::HandedBack(HandbackReason::Draining);
    fixture.tell(&session, vec![outcome(attempts[0], sent("X")), outcome(attempts[1], handed_back)]).await;
    let second = fixture.claim_attempts(&session).await;
    assert_eq!((second[0].message_id, second[0].attempt_no), (ids[1], 2));
    let never = AttemptRef { message_id: ids[2], attempt_no: 7 };
    let all = vec![held(attempts[0]), held(attempts[1]), held(second[0]), held(attempts[2]), held(never)];
    let open = SessionOpen { report_head: 4, held: all, ..fixture.opening() };
    let opened = fixture.store.session_open(open).await.unwrap();
    assert_eq!(opened.drop, [attempts[0], attempts[1], never]);
    assert_eq!(opened.held, [(super::fixture::bot("a"), 2)]);
    assert_eq!(opened.returned, 0);
}

/// Reports that the agent still has decide before its unreceived attempts return: a sent one does not.
pub async fn reports_are_heard_before_attempts_return(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let told = fixture.dispatched(&session).await;
    let untold = fixture.dispatched(&session).await;
    let open = SessionOpen { report_head: 4, ..fixture.opening() };
    let session = fixture.store.session_open(open).await.unwrap().session;
    fixture.report(&session, 3, vec![outcome(told, sent("X"))]).await;
    assert_eq!(fixture.state(untold.message_id).await, "DISPATCHED");
    fixture.report(&session, 4, vec![ReportBody::Empty]).await;
    assert_eq!([fixture.state(told.message_id).await, fixture.state(untold.message_id).await], ["SENT", "WAITING"]);
}

/// What is thought unsent and turns out sent is sent, is never claimed again, and its trace tells what became of it.
pub async fn a_late_sent_beats_what_was_believed(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let session =
        fixture.store.session_open(SessionOpen { report_head: 2, ..fixture.opening() }).await.unwrap().session;
    assert_eq!(fixture.state(attempt.message_id).await, "WAITING");
    fixture.report(&session, 3, vec![outcome(attempt, sent("X"))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "SENT");
    assert_eq!(fixture.claim_ids(&session).await, []);
    assert_eq!(fixture.trace(attempt.message_id).await, ["SENT"]);
}

/// What is thought unsent and turns out uncertain is never claimed again; a late SENT still resolves it.
pub async fn a_late_uncertain_beats_what_was_believed(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let session =
        fixture.store.session_open(SessionOpen { report_head: 2, ..fixture.opening() }).await.unwrap().session;
    fixture.report(&session, 3, vec![outcome(attempt, unknown())]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "UNCERTAIN");
    assert_eq!(fixture.trace(attempt.message_id).await, ["UNCERTAIN"]);
    assert_eq!(fixture.claim_ids(&session).await, []);
    fixture.report(&session, 4, vec![outcome(attempt, sent("X"))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "SENT");
    assert_eq!(fixture.trace(attempt.message_id).await, ["SENT"]);
}

/// A wish to cancel that the agent did not hear is repeated when it comes back.
pub async fn wishes_to_cancel_are_repeated(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let asked = fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
    assert_eq!(asked, CancelResult::Requested(node(), attempt));
    let open = SessionOpen { report_head: 2, held: vec![held(attempt)], ..fixture.opening() };
    assert_eq!(fixture.store.session_open(open.clone()).await.unwrap().cancel, [attempt]);
    // If it turns out that it never arrived, the wish is granted instead of another attempt.
    let opened = fixture.store.session_open(SessionOpen { held: Vec::new(), ..open }).await.unwrap();
    assert_eq!(fixture.state(attempt.message_id).await, "CANCELLED");
    assert_eq!(fixture.claim_ids(&opened.session).await, []);
    assert_eq!(fixture.trace(attempt.message_id).await, ["NOT_RECEIVED"]);
}

/// Another node's session cannot end an attempt that it did not get.
pub async fn attempts_belong_to_their_node(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let other = NodeId::new("other").unwrap();
    fixture.write(vec![FleetWrite::PutNode(super::fixture::node_spec("other"), Expect::Absent)]).await.unwrap();
    let open = SessionOpen { node: other, journal_id: [2; 16], held: vec![held(attempt)], ..fixture.opening() };
    let opened = fixture.store.session_open(open).await.unwrap();
    assert_eq!(opened.drop, [attempt]);
    fixture.report(&opened.session, 1, vec![outcome(attempt, refused(Duration::ZERO))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "DISPATCHED");
    let theirs = fixture.store.dispatch_claim(&opened.session, claim_all()).await.unwrap();
    assert_eq!(theirs.attempts, []);
}

/// A node that is removed takes no attempt with it: those under way become uncertain, because nobody will tell.
pub async fn a_removed_node_leaves_uncertain_attempts(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let moved = FleetWrite::PutGateway(super::fixture::gateway_spec("g", "other"), Expect::Present);
    let writes = vec![
        FleetWrite::PutNode(super::fixture::node_spec("other"), Expect::Absent),
        moved,
        FleetWrite::DeleteNode(node(), Expect::Present),
    ];
    fixture.write(writes).await.unwrap();
    assert_eq!(fixture.state(attempt.message_id).await, "UNCERTAIN");
    let reports = batch(3, vec![outcome(attempt, sent("X"))]);
    assert!(matches!(fixture.store.reports_apply(&session, reports).await, Err(StoreError::Fenced)));
}
