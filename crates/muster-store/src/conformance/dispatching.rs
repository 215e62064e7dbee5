//! Claims, outcomes and receipts.

use muster_domain::message::{Outcome, ReceiptKind};

use super::fixture::{Fixture, bot, outcome, text};
use crate::ReportBody;

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
