//! Claims, outcomes and receipts.

use std::time::Duration;

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{Outcome, ReceiptKind};

use super::fixture::{Fixture, bot, outcome, text};
use crate::{ReportBody, SessionOpen};

/// Accepted, claimed, sent, delivered, read: each step is there when its call has returned, and counted.
pub async fn a_message_goes_its_whole_way(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    assert_eq!(fixture.state(id).await, "WAITING");
    let claimed = fixture.claim(&session).await;
    assert_eq!(claimed.attempts.len(), 1);
    assert_eq!(claimed.report_committed, 2);
    assert_eq!(fixture.state(id).await, "DISPATCHED");
    let sent = Outcome::Sent { network_id: "3EB0".into() };
    let applied = fixture.report(&session, 3, vec![outcome(claimed.attempts[0].attempt, sent)]).await;
    assert_eq!(applied.committed, 3);
    assert_eq!(applied.finished, [(bot("a"), 1)]);
    assert_eq!(fixture.state(id).await, "SENT");
    let receipt = |kind| ReportBody::Receipt { bot: bot("a"), network_id: "3EB0".into(), kind, failure: None };
    fixture.report(&session, 4, vec![receipt(ReceiptKind::Delivered)]).await;
    assert_eq!(fixture.state(id).await, "DELIVERED");
    fixture.report(&session, 5, vec![receipt(ReceiptKind::Read), receipt(ReceiptKind::Delivered)]).await;
    assert_eq!(fixture.state(id).await, "READ");
    let changes = fixture.store.changes_since(&fixture.tenant, 0, None, 100).await.unwrap();
    let states: Vec<_> = changes.changes.iter().map(|change| change.state.as_str()).collect();
    assert_eq!(states, ["WAITING", "DISPATCHED", "SENT", "DELIVERED", "READ"]);
    let counts = fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap();
    assert_eq!(counts[0].total(), 1);
}

/// A message that is due again still goes before the later ones of its chain, even if nobody has woken it yet.
pub async fn what_is_due_again_is_not_overtaken(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let first = fixture.accept(vec![text("a", "+5511900000001", "first")]).await[0];
    let attempt = fixture.claim(&session).await.attempts[0].attempt;
    let mut failure = Failure::new(FailureReason::GatewayUnavailable, "");
    failure.retry_after = Some(Duration::ZERO);
    fixture.report(&session, 3, vec![outcome(attempt, Outcome::Failed(failure))]).await;
    let second = fixture.accept(vec![text("a", "+5511900000001", "second")]).await[0];
    let other = fixture.accept(vec![text("a", "+5511900000002", "another chain")]).await[0];
    let claimed = fixture.claim(&session).await;
    assert_eq!(claimed.attempts.iter().map(|attempt| attempt.attempt.message_id).collect::<Vec<_>>(), [other]);
    let mut order = Vec::new();
    while order.len() < 2 {
        fixture.store.wake_due(100).await.unwrap();
        order.extend(fixture.claim(&session).await.attempts.iter().map(|attempt| attempt.attempt.message_id));
    }
    assert_eq!(order, [first, second]);
}

/// While it is open what became of the attempts of an earlier session, nothing of the node is claimed.
pub async fn nothing_overtakes_an_attempt_that_may_return(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let first = fixture.accept(vec![text("a", "+5511900000001", "first")]).await[0];
    assert_eq!(fixture.claim(&session).await.attempts.len(), 1);
    let second = fixture.accept(vec![text("a", "+5511900000001", "second")]).await[0];
    // The agent does not hold the attempt, but has a report that the server does not know yet.
    let opened = fixture.store.session_open(SessionOpen { report_head: 3, ..fixture.opening() }).await.unwrap();
    assert_eq!(opened.returned, 0);
    assert_eq!(fixture.claim(&opened.session).await.attempts, []);
    let applied = fixture.report(&opened.session, 3, vec![ReportBody::Unknown]).await;
    assert_eq!(applied.wake, [bot("a")]);
    let order: Vec<_> = fixture.claim(&opened.session).await.attempts.iter().map(|a| a.attempt.message_id).collect();
    assert_eq!(order, [first, second]);
}
