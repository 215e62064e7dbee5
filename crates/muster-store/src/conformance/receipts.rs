//! Receipts: in any order and any number, before or after the outcome that names their message.

use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::ReceiptKind;

use super::fixture::{Fixture, bot, outcome, receipt, sent, unknown};
use crate::{Report, ReportBatch, ReportBody};

fn failed_receipt(network_id: &str) -> ReportBody {
    let failure = Some(Failure::new(FailureReason::RecipientUnreachable, "gone"));
    ReportBody::Receipt { bot: bot("a"), network_id: network_id.into(), kind: ReceiptKind::Failed, failure }
}

/// A receipt that overtakes its outcome is kept for it: over batches, and within one.
pub async fn a_receipt_may_overtake_its_outcome(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let (first, second) = (fixture.dispatched(&session).await, fixture.dispatched(&session).await);
    fixture.tell(&session, vec![receipt("X", ReceiptKind::Read)]).await;
    assert_eq!(fixture.state(first.message_id).await, "DISPATCHED");
    fixture.tell(&session, vec![outcome(first, sent("X"))]).await;
    let together = vec![receipt("Y", ReceiptKind::Delivered), outcome(second, sent("Y"))];
    fixture.tell(&session, together).await;
    assert_eq!([fixture.state(first.message_id).await, fixture.state(second.message_id).await], ["READ", "DELIVERED"]);
}

/// Duplicates and late ones move nothing back, and are no changes.
pub async fn receipts_never_move_back(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, sent("X")), receipt("X", ReceiptKind::Read)]).await;
    let head = fixture.store.changes_head(&fixture.tenant).await.unwrap();
    let late = [ReceiptKind::Acknowledged, ReceiptKind::Delivered, ReceiptKind::Read].map(|kind| receipt("X", kind));
    fixture.tell(&session, late.to_vec()).await;
    fixture.tell(&session, vec![failed_receipt("X")]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "READ");
    assert_eq!(fixture.message(attempt.message_id).await.failure, None);
    assert_eq!(fixture.store.changes_head(&fixture.tenant).await.unwrap(), head);
}

/// Each kind keeps the time at which it first happened, whatever the order in which it came.
pub async fn receipts_keep_their_first_times(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let at = |seconds: u64| Timestamp::from_second(1_800_000_000).unwrap() + Duration::from_secs(seconds);
    let report = |seconds, kind| Report { time: at(seconds), body: receipt("X", kind) };
    let reports = vec![
        report(30, ReceiptKind::Read),
        Report { time: at(1), body: outcome(attempt, sent("X")) },
        report(20, ReceiptKind::Delivered),
        report(10, ReceiptKind::Acknowledged),
        report(15, ReceiptKind::Delivered),
        report(40, ReceiptKind::Read),
    ];
    fixture.store.reports_apply(&session, ReportBatch { first_offset: 3, reports }).await.unwrap();
    let times = fixture.message(attempt.message_id).await.receipts;
    assert_eq!(times.acknowledge_time, Some(at(10)));
    assert_eq!(times.deliver_time, Some(at(15)));
    assert_eq!(times.read_time, Some(at(30)));
}

/// The network may refuse later what the gateway took; what it delivers after all is delivered.
pub async fn a_failed_receipt_fails_a_sent_message(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, sent("X"))]).await;
    fixture.tell(&session, vec![failed_receipt("X")]).await;
    let message = fixture.message(attempt.message_id).await;
    assert_eq!(message.state.as_str(), "FAILED");
    assert_eq!(message.failure.unwrap().reason, FailureReason::RecipientUnreachable);
    assert_eq!(fixture.trace(attempt.message_id).await, ["SENT"]);
    fixture.tell(&session, vec![receipt("X", ReceiptKind::Delivered)]).await;
    let message = fixture.message(attempt.message_id).await;
    assert_eq!((message.state.as_str(), message.failure), ("DELIVERED", None));
}

/// A refusal by the network that overtakes the outcome keeps its reason.
pub async fn an_early_failed_receipt_keeps_its_reason(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![failed_receipt("X")]).await;
    fixture.tell(&session, vec![outcome(attempt, sent("X"))]).await;
    let message = fixture.message(attempt.message_id).await;
    assert_eq!(message.state.as_str(), "FAILED");
    assert_eq!(message.failure, Some(Failure::new(FailureReason::RecipientUnreachable, "gone")));
}

/// A message whose outcome was uncertain is delivered once an outcome names it and a receipt tells.
pub async fn receipts_follow_an_uncertain_message(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, unknown())]).await;
    fixture.tell(&session, vec![receipt("X", ReceiptKind::Delivered)]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "UNCERTAIN");
    fixture.tell(&session, vec![outcome(attempt, sent("X"))]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "DELIVERED");
    assert_eq!(fixture.message(attempt.message_id).await.failure, None);
}

/// A receipt names a message of its own bot only: two bots may have the same id of the network.
pub async fn receipts_stay_with_their_bot(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let other = ReportBody::Receipt { bot: bot("b"), network_id: "X".into(), kind: ReceiptKind::Read, failure: None };
    fixture.tell(&session, vec![outcome(attempt, sent("X")), other]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "SENT");
}
