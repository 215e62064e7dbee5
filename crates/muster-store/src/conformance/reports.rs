//! Reports: each is taken once, and outcomes lead where the rules say.

use std::time::Duration;

use muster_domain::bot::Connection;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::WaitReason;
use muster_domain::limits::ATTEMPTS_MAX;
use muster_domain::message::{HandbackReason, Outcome};

use super::fixture::{Fixture, batch, bot, connected, connection, outcome, refused, sent, text, unknown};
use crate::{ReportBody, StoreError};

const HOUR: Duration = Duration::from_secs(3_600);

fn handed_back() -> Outcome {
    Outcome::HandedBack(HandbackReason::ChainBroken)
}

/// Reports that come again are skipped, also where they overlap with new ones; a gap is refused and changes nothing.
pub async fn each_report_is_taken_once(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    assert_eq!(fixture.report(&session, 3, vec![outcome(attempt, handed_back())]).await.committed, 3);
    let again = fixture.claim_attempts(&session).await[0];
    // Offset 3 hands back an attempt that is no longer the latest; it must not be looked at again.
    let overlap = vec![outcome(again, handed_back()), outcome(again, sent("X"))];
    assert_eq!(fixture.report(&session, 3, overlap).await.committed, 4);
    assert_eq!(fixture.state(attempt.message_id).await, "SENT");
    assert_eq!(fixture.report(&session, 1, vec![ReportBody::Empty, ReportBody::Empty]).await.committed, 4);
    let gap = fixture.store.reports_apply(&session, batch(6, vec![ReportBody::Empty])).await;
    assert!(matches!(gap, Err(StoreError::ReportGap { expected: 5, got: 6 })));
    assert_eq!(fixture.report(&session, 5, vec![]).await.committed, 4);
    assert_eq!(fixture.trace(attempt.message_id).await, ["HANDED_BACK", "SENT"]);
}

/// A kind of report that this version does not know takes its offset.
pub async fn an_unknown_report_takes_its_offset(fixture: Fixture) {
    let session = fixture.open_connected().await;
    assert_eq!(fixture.report(&session, 3, vec![ReportBody::Empty, ReportBody::Empty]).await.committed, 4);
    assert_eq!(fixture.claim(&session).await.report_committed, 4);
}

/// Each outcome leads to its state, is counted as a free place, and is told in the trace.
pub async fn outcomes_lead_to_their_states(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let cases: [(Outcome, &str, &str); 6] = [
        (sent("X"), "SENT", "SENT"),
        (Outcome::Failed(Failure::new(FailureReason::RecipientUnreachable, "not there")), "FAILED", "FAILED"),
        (unknown(), "UNCERTAIN", "UNCERTAIN"),
        (Outcome::Failed(Failure::new(FailureReason::OutcomeUnknown, "")), "UNCERTAIN", "UNCERTAIN"),
        (Outcome::Expired, "EXPIRED", "EXPIRED"),
        (Outcome::Cancelled, "CANCELLED", "CANCELLED"),
    ];
    for (came_to, state, traced) in cases {
        let attempt = fixture.dispatched(&session).await;
        let applied = fixture.tell(&session, vec![outcome(attempt, came_to)]).await;
        assert_eq!(applied.finished, [(bot("a"), 1)]);
        assert_eq!(fixture.state(attempt.message_id).await, state);
        assert_eq!(fixture.trace(attempt.message_id).await, [traced]);
        assert_eq!(fixture.message(attempt.message_id).await.parked, None);
    }
    assert_eq!(fixture.claim_ids(&session).await, []);
}

/// An outcome keeps its evidence: the network's id, the reason, and how long it took.
pub async fn outcomes_keep_their_evidence(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let failure = Failure::new(FailureReason::ContentRejected, "not allowed");
    fixture.tell(&session, vec![outcome(attempt, Outcome::Failed(failure.clone()))]).await;
    let message = fixture.message(attempt.message_id).await;
    assert_eq!(message.failure, Some(failure));
    assert!(message.dispatch_time.is_some() && message.outcome_time >= message.dispatch_time);
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, sent("3EB0"))]).await;
    assert_eq!(fixture.message(attempt.message_id).await.network_id.as_deref(), Some("3EB0"));
    let records = fixture.store.message_attempts(&fixture.tenant, attempt.message_id).await.unwrap();
    let [crate::AttemptRecord::Tried(tried)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((tried.queued, tried.gateway), (Some(Duration::from_millis(1)), Some(Duration::from_millis(2))));
    assert_eq!(tried.outcome, Some(sent("3EB0")));
}

/// A refusal before the gateway acted parks the message for as long as the gateway asked, with its attempts kept.
pub async fn a_retriable_failure_parks(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, refused(HOUR))]).await;
    let message = fixture.message(attempt.message_id).await;
    assert_eq!((message.state.as_str(), message.attempt_no), ("WAITING", 1));
    let parked = message.parked.unwrap();
    assert_eq!(parked.reason, WaitReason::RetryBackoff);
    assert!((parked.until - HOUR).duration_since(parked.since).abs() < Duration::from_secs(1).try_into().unwrap());
    assert_eq!(fixture.trace(attempt.message_id).await, ["FAILED"]);
    assert_eq!(fixture.claim_ids(&session).await, []);
}

/// What the agent gives back unstarted is ready at once, wakes its bot, and does not use up its tries.
pub async fn handing_back_costs_no_try(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let mut attempt = fixture.dispatched(&session).await;
    for _ in 0..ATTEMPTS_MAX + 1 {
        let applied = fixture.tell(&session, vec![outcome(attempt, handed_back())]).await;
        assert_eq!(applied.wake, [bot("a")]);
        assert_eq!(fixture.message(attempt.message_id).await.parked, None);
        attempt = fixture.claim_attempts(&session).await[0];
    }
    fixture.tell(&session, vec![outcome(attempt, refused(HOUR))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "WAITING");
}

/// After the last try the message fails with the reason of that try.
pub async fn tries_end(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let mut attempt = fixture.dispatched(&session).await;
    for _ in 1..ATTEMPTS_MAX {
        fixture.tell(&session, vec![outcome(attempt, refused(Duration::ZERO))]).await;
        assert_eq!(fixture.state(attempt.message_id).await, "WAITING");
        attempt = fixture.claim_when_due(&session, 1).await[0];
    }
    fixture.tell(&session, vec![outcome(attempt, refused(Duration::ZERO))]).await;
    let message = fixture.message(attempt.message_id).await;
    assert_eq!((message.state.as_str(), message.attempt_no, message.parked), ("FAILED", ATTEMPTS_MAX, None));
    assert_eq!(message.failure.unwrap().reason, FailureReason::RateLimited);
    assert_eq!(fixture.trace(attempt.message_id).await.len(), ATTEMPTS_MAX as usize);
}

/// A message that was sent although the client wanted it back is sent.
pub async fn a_sent_message_is_sent_whatever_was_asked(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
    fixture.tell(&session, vec![outcome(attempt, sent("X"))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "SENT");
}

/// An outcome of an earlier attempt changes nothing while a later one is under way, and takes its offset.
pub async fn an_outcome_of_an_earlier_attempt_changes_nothing(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let first = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(first, handed_back())]).await;
    let second = fixture.claim_attempts(&session).await[0];
    let head = fixture.store.changes_head(&fixture.tenant).await.unwrap();
    for stale in [refused(Duration::ZERO), handed_back(), Outcome::Expired, Outcome::Cancelled] {
        fixture.tell(&session, vec![outcome(first, stale)]).await;
    }
    assert_eq!(fixture.store.changes_head(&fixture.tenant).await.unwrap(), head);
    assert_eq!(fixture.state(second.message_id).await, "DISPATCHED");
    assert_eq!(fixture.claim(&session).await.report_committed, 7);
    fixture.tell(&session, vec![outcome(second, sent("X"))]).await;
    assert_eq!(fixture.trace(second.message_id).await, ["HANDED_BACK", "SENT"]);
}

/// The second outcome of a message in one batch sees what the first one did.
pub async fn outcomes_of_one_batch_follow_each_other(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let other = fixture.dispatched(&session).await;
    let bodies = vec![
        outcome(attempt, unknown()),
        outcome(other, handed_back()),
        outcome(attempt, sent("X")),
        outcome(attempt, refused(HOUR)),
        outcome(other, sent("Y")),
    ];
    assert_eq!(fixture.tell(&session, bodies).await.committed, 7);
    assert_eq!([fixture.state(attempt.message_id).await, fixture.state(other.message_id).await], ["SENT", "SENT"]);
    assert_eq!(fixture.claim_ids(&session).await, []);
    let changes = fixture.store.changes_since(&fixture.tenant, 0, None, 100).await.unwrap().changes;
    let of = |id| changes.iter().filter(|c| c.message_id == id).map(|c| c.state.as_str()).collect::<Vec<_>>();
    assert_eq!(of(attempt.message_id), ["WAITING", "DISPATCHED", "UNCERTAIN", "SENT"]);
    assert_eq!(of(other.message_id), ["WAITING", "DISPATCHED", "WAITING", "SENT"]);
}

/// Outcomes of messages and reports of bots that nobody knows take their offsets.
pub async fn reports_about_unknown_things_take_their_offsets(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let message_id = muster_domain::MessageId::from_raw(77).unwrap();
    let nothing = crate::AttemptRef { message_id, attempt_no: 1 };
    let bodies = vec![outcome(nothing, sent("X")), connected("nobody"), connected("a")];
    assert_eq!(fixture.report(&session, 3, bodies).await.committed, 5);
}

/// A bot enters service with its first link, wakes when it is connected, and is left alone while it is not.
pub async fn connections_decide_who_is_claimed(fixture: Fixture) {
    let session = fixture.open().await.session;
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, []);
    fixture.tell(&session, vec![connection("a", Connection::Linking)]).await;
    assert_eq!(fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap().stage.as_str(), "ACTIVATING");
    // Only the latest connection of a batch counts.
    let applied = fixture.tell(&session, vec![connected("a"), connection("a", Connection::Disconnected)]).await;
    assert_eq!(applied.wake, []);
    assert_eq!(fixture.claim_ids(&session).await, []);
    assert_eq!(fixture.tell(&session, vec![connected("a")]).await.wake, [bot("a")]);
    assert_eq!(fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap().stage.as_str(), "ACTIVE");
    assert_eq!(fixture.claim_ids(&session).await, [id]);
}

/// A ban fails what waits for the bot, and nothing brings the bot back.
pub async fn a_ban_fails_what_waits(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let ids = fixture.accept(vec![text("a", "+5511900000001", "one"), text("b", "+5511900000001", "two")]).await;
    let banned = ReportBody::Connection {
        bot: bot("a"),
        connection: Connection::LoggedOut,
        detail: "banned".into(),
        address: None,
        banned: true,
    };
    fixture.tell(&session, vec![banned]).await;
    assert_eq!([fixture.state(ids[0]).await, fixture.state(ids[1]).await], ["FAILED", "WAITING"]);
    assert_eq!(fixture.message(ids[0]).await.failure.unwrap().reason, FailureReason::SenderBanned);
    fixture.tell(&session, vec![connected("a")]).await;
    assert_eq!(fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap().stage.as_str(), "BANNED");
}

/// A refusal of a message that the client wants back cancels it; the trace still tells that the attempt failed.
pub async fn a_refused_message_is_cancelled_if_asked(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
    fixture.tell(&session, vec![outcome(attempt, refused(HOUR))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "CANCELLED");
    assert_eq!(fixture.trace(attempt.message_id).await, ["FAILED"]);
}

/// An uncertain attempt that turns out refused is tried again, and its trace tells of both attempts.
pub async fn a_refusal_resolves_an_uncertain_attempt(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, unknown())]).await;
    fixture.tell(&session, vec![outcome(attempt, refused(Duration::ZERO))]).await;
    let second = fixture.claim_when_due(&session, 1).await[0];
    fixture.tell(&session, vec![outcome(second, sent("X"))]).await;
    assert_eq!(fixture.trace(attempt.message_id).await, ["FAILED", "SENT"]);
}
