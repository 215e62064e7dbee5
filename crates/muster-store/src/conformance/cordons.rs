//! Cordons: what a node that takes no new work gets, and keeps.

use std::time::Duration;

use muster_domain::NodeId;
use muster_domain::Timestamp;
use muster_domain::bot::Stage;
use muster_domain::node::Cordon;

use super::fixture::{Fixture, bot, connected, node, node_spec, note, outcome, sent, text};
use crate::{Expect, FleetWrite, SessionOpen, StoreError};

/// A cordon of the node `n`.
fn cordon(reason: &str, since: Timestamp) -> FleetWrite {
    FleetWrite::SetCordon(node(), Some(Cordon { reason: reason.into(), author: "test".into(), since }))
}

/// A cordoned node gets nothing new, whatever comes; what it has goes on. It gets everything once the cordon ends. What will
/// never leave is refused meanwhile.
pub async fn a_cordoned_node_gets_nothing_new(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let held = fixture.dispatched(&session).await;
    fixture.write(vec![cordon("disk", Timestamp::now())]).await.unwrap();
    let waiting = fixture.accept(vec![text("a", "+5511900000002", "x"), text("b", "+5511900000002", "y")]).await;
    assert_eq!(fixture.claim_ids(&session).await, []);
    let found = fixture.store.node_get(&fixture.tenant, &node()).await.unwrap().unwrap();
    assert_eq!((found.under_way, found.cordon.unwrap().reason.as_str()), (1, "disk"));
    fixture.tell(&session, vec![outcome(held, sent("w"))]).await;
    assert_eq!(fixture.state(held.message_id).await, "SENT");
    // Both bots connected, and the outcome.
    let opening = SessionOpen { report_head: 3, report_acknowledged: 3, ..fixture.opening() };
    let session = fixture.store.session_open(opening).await.unwrap().session;
    fixture.tell(&session, vec![connected("a"), connected("b")]).await;
    assert_eq!(fixture.claim_ids(&session).await, [], "a cordon outlives the session");
    fixture.write(vec![FleetWrite::SetStage(bot("b"), Stage::Retired, note())]).await.unwrap();
    assert_eq!(fixture.state(waiting[1]).await, "FAILED");
    fixture.write(vec![FleetWrite::SetCordon(node(), None)]).await.unwrap();
    assert_eq!(fixture.claim_ids(&session).await, [waiting[0]]);
    assert_eq!(fixture.store.node_get(&fixture.tenant, &node()).await.unwrap().unwrap().cordon, None);
}

/// A cordon that is set again has the new reason and the old time; ending it twice changes nothing.
pub async fn a_cordon_set_again_keeps_its_time(fixture: Fixture) {
    let since = Timestamp::from_microsecond(1_000_000).unwrap();
    fixture.write(vec![cordon("disk", since)]).await.unwrap();
    fixture.write(vec![cordon("move", since + Duration::from_secs(60))]).await.unwrap();
    let found = async || fixture.store.node_get(&fixture.tenant, &node()).await.unwrap().unwrap();
    assert_eq!(found().await.cordon, Some(Cordon { reason: "move".into(), author: "test".into(), since }));
    for _ in 0..2 {
        fixture.write(vec![FleetWrite::SetCordon(node(), None)]).await.unwrap();
        assert_eq!(found().await.cordon, None);
    }
    let nowhere = FleetWrite::SetCordon(NodeId::new("nowhere").unwrap(), None);
    assert!(matches!(fixture.write(vec![nowhere]).await, Err(StoreError::NotFound(_))));
}

/// A node that was removed and is declared again begins without the cordon; one that is declared anew keeps it.
pub async fn a_cordon_goes_with_its_node(fixture: Fixture) {
    let id = NodeId::new("x").unwrap();
    let cordon = Cordon { reason: "disk".into(), author: String::new(), since: Timestamp::now() };
    let put = || FleetWrite::PutNode(node_spec("x"), Expect::Any);
    fixture.write(vec![put(), FleetWrite::SetCordon(id.clone(), Some(cordon)), put()]).await.unwrap();
    let cordoned = async || fixture.store.node_get(&fixture.tenant, &id).await.unwrap().unwrap().cordon.is_some();
    assert!(cordoned().await);
    fixture.write(vec![FleetWrite::DeleteNode(id.clone(), Expect::Any), put()]).await.unwrap();
    assert!(!cordoned().await);
}

/// Whoever ends a cordon finds the bots that have work: those with messages in their queues.
pub async fn what_waits_at_a_node_is_found(fixture: Fixture) {
    let waiting = async || fixture.store.bots_waiting(&fixture.tenant, &node()).await.unwrap();
    assert_eq!(waiting().await, []);
    fixture.accept(vec![text("b", "+5511900000001", "x")]).await;
    assert_eq!(waiting().await, [bot("b")]);
    let nowhere = fixture.store.bots_waiting(&fixture.tenant, &NodeId::new("nowhere").unwrap()).await;
    assert!(matches!(nowhere, Err(StoreError::NotFound(_))));
}
