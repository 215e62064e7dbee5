//! Drains: what was under way at a node, and what became of it.

use std::time::Duration;

use muster_domain::drain::Drain;
use muster_domain::life::AttemptEnd;
use muster_domain::message::{HandbackReason, Outcome};
use muster_domain::node::{Cordon, Node};
use muster_domain::{MessageId, NodeId, Timestamp};

use super::fixture::{Fixture, bot, bot_spec, gateway_spec, node, node_spec, outcome, sent, text, unknown};
use crate::{Expect, FleetWrite, SessionOpen, UnderWayFilter};

fn drain(until: Timestamp) -> FleetWrite {
    let since = Timestamp::UNIX_EPOCH;
    let cordon = Cordon { reason: "upgrade".into(), author: "test".into(), since };
    FleetWrite::BeginDrain(node(), cordon, Drain { since, until })
}

async fn the_node(fixture: &Fixture) -> Node {
    fixture.store.node_get(&fixture.tenant, &node()).await.unwrap().unwrap()
}

/// The drained attempts of the node `n`, page by page.
async fn drained(fixture: &Fixture) -> Vec<(MessageId, Option<AttemptEnd>)> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.store.drain_list(&fixture.tenant, &node(), after, 2).await.unwrap();
        let Some(last) = page.last() else { return rows };
        after = Some(last.attempt.message_id);
        rows.extend(page.into_iter().map(|row| (row.attempt.message_id, row.end)));
    }
}

async fn three_dispatched(fixture: &Fixture, session: &crate::SessionRef) -> Vec<crate::AttemptRef> {
    let texts = (1..=3).map(|i| text("a", &format!("+551190000000{i}"), "x")).collect();
    fixture.accept(texts).await;
    fixture.claim_attempts(session).await
}

/// Whatever becomes of an attempt, the list of the drain tells it, also after it was tried again elsewhere in its life.
pub async fn a_drain_tells_what_became_of_each(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempts = three_dispatched(&fixture, &session).await;
    let until = Timestamp::UNIX_EPOCH + Duration::from_secs(60);
    fixture.write(vec![drain(until)]).await.unwrap();
    assert!(fixture.store.desired_state(&session, 0).await.unwrap().draining);
    let ids: Vec<_> = attempts.iter().map(|attempt| attempt.message_id).collect();
    assert_eq!(drained(&fixture).await, [(ids[0], None), (ids[1], None), (ids[2], None)]);
    assert_eq!(the_node(&fixture).await.under_way, 3);
    let back = Outcome::HandedBack(HandbackReason::Draining);
    let reports = vec![outcome(attempts[0], sent("w")), outcome(attempts[1], back), outcome(attempts[2], unknown())];
    fixture.tell(&session, reports).await;
    let ended =
        [(ids[0], Some(AttemptEnd::Sent)), (ids[1], Some(AttemptEnd::Draining)), (ids[2], Some(AttemptEnd::Uncertain))];
    assert_eq!(drained(&fixture).await, ended);
    assert_eq!(fixture.claim_ids(&session).await, []);
    let node = the_node(&fixture).await;
    assert_eq!((node.under_way, node.cordon.unwrap().reason.as_str()), (0, "upgrade"));
    assert_eq!(node.drain, Some(Drain { since: Timestamp::UNIX_EPOCH, until }));
    // The late truth about one of them is told as well.
    fixture.tell(&session, vec![outcome(attempts[2], sent("v"))]).await;
    assert_eq!(drained(&fixture).await[2], (ids[2], Some(AttemptEnd::Sent)));
}

/// A drain that is asked for again keeps its begin and what it noted, and gets the new deadline.
pub async fn a_drain_may_begin_again(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let held = fixture.dispatched(&session).await;
    let version = async || fixture.store.desired_state(&session, 0).await.unwrap().version;
    for seconds in [60, 120] {
        let (before, until) = (version().await, Timestamp::UNIX_EPOCH + Duration::from_secs(seconds));
        fixture.write(vec![drain(until)]).await.unwrap();
        assert_eq!(the_node(&fixture).await.drain.unwrap().until, until);
        assert!(version().await > before);
        fixture.tell(&session, vec![outcome(held, sent("w"))]).await;
        assert_eq!(drained(&fixture).await, [(held.message_id, Some(AttemptEnd::Sent))]);
    }
}

/// A drain ends with its cordon; the agent is told, work goes there again, and a new drain begins with a new list.
pub async fn a_drain_ends_with_its_cordon(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let held = fixture.dispatched(&session).await;
    fixture.write(vec![drain(Timestamp::now())]).await.unwrap();
    fixture.tell(&session, vec![outcome(held, Outcome::HandedBack(HandbackReason::Draining))]).await;
    let before = fixture.store.desired_state(&session, 0).await.unwrap();
    fixture.write(vec![FleetWrite::SetCordon(node(), None)]).await.unwrap();
    let after = fixture.store.desired_state(&session, before.version).await.unwrap();
    assert!(before.draining && !after.draining && after.version > before.version);
    assert_eq!((the_node(&fixture).await.drain, drained(&fixture).await.len()), (None, 0));
    assert_eq!(fixture.claim_ids(&session).await, [held.message_id]);
    fixture.write(vec![drain(Timestamp::now())]).await.unwrap();
    assert_eq!(drained(&fixture).await, [(held.message_id, None)]);
    let nowhere = NodeId::new("nowhere").unwrap();
    assert_eq!(fixture.store.drain_list(&fixture.tenant, &nowhere, None, 9).await.unwrap(), []);
}

/// Attempts under way are listed by node and by bot, page by page.
pub async fn what_is_under_way_is_listed(fixture: Fixture) {
    let session = fixture.open_connected().await;
    fixture.accept(vec![text("a", "+5511900000001", "x"), text("b", "+5511900000001", "y")]).await;
    let attempts = fixture.claim_attempts(&session).await;
    let list = async |filter: UnderWayFilter, after| {
        fixture.store.under_way(&fixture.tenant, &filter, after, 9).await.unwrap()
    };
    let all = list(UnderWayFilter::default(), None).await;
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|row| row.node == node() && row.end.is_none()));
    let behind = list(UnderWayFilter { node: Some(node()), bot: None }, Some(all[0].attempt.message_id)).await;
    assert_eq!(behind, [all[1].clone()]);
    let of_a = list(UnderWayFilter { bot: Some(bot("a")), node: None }, None).await;
    assert_eq!(of_a.iter().map(|row| row.attempt).collect::<Vec<_>>(), [attempts[0]]);
    let elsewhere = UnderWayFilter { node: Some(NodeId::new("nowhere").unwrap()), bot: None };
    assert_eq!(list(elsewhere, None).await, []);
}

/// What comes back from a node that the bot has left, or never arrived there, wakes the bot where it is.
pub async fn what_comes_back_wakes_its_bot_where_it_is(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempts = three_dispatched(&fixture, &session).await;
    fixture
        .write(vec![
            FleetWrite::PutNode(node_spec("other"), Expect::Absent),
            FleetWrite::PutGateway(gateway_spec("og", "other"), Expect::Absent),
            FleetWrite::PutBot(bot_spec("a", "og"), Expect::Present),
        ])
        .await
        .unwrap();
    let there = (NodeId::new("other").unwrap(), bot("a"));
    let back = Outcome::HandedBack(HandbackReason::BotUnavailable);
    let applied = fixture.report(&session, 3, vec![outcome(attempts[0], back)]).await;
    assert_eq!((applied.wake, applied.elsewhere), (vec![], vec![there.clone()]));
    let opening = SessionOpen { report_head: 3, report_acknowledged: 3, ..fixture.opening() };
    let opened = fixture.store.session_open(opening).await.unwrap();
    assert_eq!((opened.returned, opened.elsewhere), (2, vec![there]));
}
