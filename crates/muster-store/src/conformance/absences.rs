//! Bots whose nodes are absent, by what is declared for them.

use std::time::Duration;

use muster_domain::absence::AbsencePolicy;
use muster_domain::bot::{BotSpec, Hold};
use muster_domain::failure::FailureReason;
use muster_domain::message::{HandbackReason, NewMessage, Outcome};
use muster_domain::{GatewayId, NodeId, Timestamp};

use super::fixture::{Fixture, bot, bot_spec, connected, gateway_spec, node_spec, outcome, sent, text};
use crate::{AbsencesActed, AttemptRef, Expect, FleetWrite, Held, SessionOpen, SessionRef, StoreError};

fn standby() -> GatewayId {
    GatewayId::new("standby").unwrap()
}

/// Declares a policy for the bot `a`, and a second node `other` with a standby gateway.
async fn declare(fixture: &Fixture, absence: AbsencePolicy) {
    let writes = vec![
        FleetWrite::PutNode(node_spec("other"), Expect::Any),
        FleetWrite::PutGateway(gateway_spec("standby", "other"), Expect::Any),
        FleetWrite::PutBot(BotSpec { absence, ..bot_spec("a", "g") }, Expect::Present),
    ];
    fixture.write(writes).await.unwrap();
}

async fn act(fixture: &Fixture) -> AbsencesActed {
    fixture.store.absences_act(Timestamp::UNIX_EPOCH, 100).await.unwrap()
}

async fn open_other(fixture: &Fixture) -> SessionRef {
    let node = NodeId::new("other").unwrap();
    let open = SessionOpen { node, journal_id: [9; 16], ..fixture.opening() };
    fixture.store.session_open(open).await.unwrap().session
}

const NOW: Duration = Duration::ZERO;

/// Without a policy, messages wait; with one, they wait for its time.
pub async fn a_bot_waits_unless_told_otherwise(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let id = fixture.accept(vec![text("a", "+5511900000001", "x")]).await[0];
    fixture.store.session_close(&session).await.unwrap();
    assert_eq!(act(&fixture).await, AbsencesActed::default());
    declare(&fixture, AbsencePolicy::Fail { after: Duration::from_secs(600) }).await;
    let acted = act(&fixture).await;
    assert!(acted.next.is_some_and(|next| next > Duration::from_secs(500) && next <= Duration::from_secs(600)));
    assert_eq!((acted.failed, fixture.state(id).await), (0, "WAITING"));
}

/// What could have left fails and says why. What is under way, held, or has a time of its own ahead does not; nor does anything
/// once the node is back.
pub async fn what_could_have_left_fails(fixture: Fixture) {
    let session = fixture.open_connected().await;
    declare(&fixture, AbsencePolicy::Fail { after: NOW }).await;
    let held = fixture.dispatched(&session).await;
    let later = NewMessage {
        not_before: Some(Timestamp::now() + Duration::from_secs(600)),
        ..text("a", "+5511900000003", "later")
    };
    let ids = fixture.accept(vec![text("a", "+5511900000002", "x"), later, text("b", "+5511900000002", "y")]).await;
    assert_eq!(act(&fixture).await, AbsencesActed::default(), "the node is there");
    fixture.store.session_close(&session).await.unwrap();
    let hold = Hold { reason: "check".into(), author: String::new(), since: Timestamp::now(), until: None };
    fixture.write(vec![FleetWrite::SetHold(bot("a"), Some(hold))]).await.unwrap();
    assert_eq!(act(&fixture).await.failed, 0);
    fixture.write(vec![FleetWrite::SetHold(bot("a"), None)]).await.unwrap();
    let acted = act(&fixture).await;
    assert!(acted.failed == 1 && acted.next.is_some());
    let failed = fixture.message(ids[0]).await;
    assert_eq!(failed.state.as_str(), "FAILED");
    let failure = failed.failure.unwrap();
    assert!(failure.reason == FailureReason::NodeAbsent && failure.detail.contains("node was away"), "{failure:?}");
    assert_eq!([fixture.state(ids[1]).await, fixture.state(ids[2]).await], ["WAITING", "WAITING"]);
    assert_eq!(fixture.state(held.message_id).await, "DISPATCHED");
}

/// A bot moves to its standby gateway as soon as that one's node is there, with what waits; what is under way at the lost node
/// keeps its chain waiting.
pub async fn a_bot_fails_over_once_there_is_somewhere(fixture: Fixture) {
    let session = fixture.open_connected().await;
    declare(&fixture, AbsencePolicy::FailOver { after: NOW, standby_gateway: standby() }).await;
    let held = fixture.dispatched(&session).await;
    let ids = fixture.accept(vec![text("a", "+5511900000001", "behind"), text("a", "+5511900000002", "free")]).await;
    fixture.store.session_close(&session).await.unwrap();
    let acted = act(&fixture).await;
    assert!(acted.moved.is_empty() && acted.next.is_some(), "there is nowhere to go yet");
    let other = open_other(&fixture).await;
    let moved = act(&fixture).await.moved;
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].bot.as_str(), moved[0].from.as_str(), moved[0].to.as_str()), ("a", "n", "other"));
    assert_eq!(act(&fixture).await.moved, []);
    let declared = fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap();
    assert_eq!((declared.spec.gateway.as_str(), declared.node.as_str()), ("standby", "other"));
    assert_eq!(declared.spec.absence, AbsencePolicy::FailOver { after: NOW, standby_gateway: standby() });
    let told = declared.fail_over.unwrap();
    assert!(told.from_gateway.as_str() == "g" && told.absent_since <= told.time, "{told:?}");
    fixture.tell(&other, vec![connected("a")]).await;
    assert_eq!(fixture.claim_ids(&other).await, [ids[1]]);
    assert_eq!(fixture.state(held.message_id).await, "DISPATCHED");
    assert_eq!(fixture.state(ids[0]).await, "WAITING");
    // It stays when its node is back, and is no longer called failed over once somebody moves it.
    let back = SessionOpen { report_head: 2, report_acknowledged: 2, ..fixture.opening() };
    fixture.store.session_open(back).await.unwrap();
    assert_eq!(act(&fixture).await, AbsencesActed::default());
    declare(&fixture, AbsencePolicy::Wait).await;
    let back = fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap();
    assert_eq!((back.node.as_str(), back.fail_over), ("n", None));
}

/// What is done in one turn is bounded, and the rest is done in the next.
pub async fn a_turn_is_bounded(fixture: Fixture) {
    let session = fixture.open_connected().await;
    declare(&fixture, AbsencePolicy::Fail { after: NOW }).await;
    let texts = (1..=5).map(|i| text("a", &format!("+551190000000{i}"), "x")).collect();
    let ids = fixture.accept(texts).await;
    fixture.store.session_close(&session).await.unwrap();
    for failed in [2, 2, 1, 0] {
        let acted = fixture.store.absences_act(Timestamp::UNIX_EPOCH, 2).await.unwrap();
        assert_eq!((acted.failed, acted.next == Some(Duration::ZERO)), (failed, failed == 2));
    }
    for id in ids {
        assert_eq!(fixture.state(id).await, "FAILED");
    }
}

/// A node that was lost, and whose bot has moved, is heard when it is back: what it sent is sent, what it did not start leaves
/// from the new node, in order.
pub async fn a_lost_node_is_heard_when_it_is_back(fixture: Fixture) {
    let session = fixture.open_connected().await;
    declare(&fixture, AbsencePolicy::FailOver { after: NOW, standby_gateway: standby() }).await;
    let texts = (1..=3).map(|i| text("a", "+5511900000001", &i.to_string())).collect();
    let ids = fixture.accept(texts).await;
    let attempts: Vec<AttemptRef> = fixture.claim_attempts(&session).await;
    assert_eq!(attempts.len(), 3);
    fixture.store.session_close(&session).await.unwrap();
    let other = open_other(&fixture).await;
    assert_eq!(act(&fixture).await.moved.len(), 1);
    fixture.tell(&other, vec![connected("a")]).await;
    let after = fixture.accept(vec![text("a", "+5511900000001", "4")]).await[0];
    assert_eq!(fixture.claim_ids(&other).await, []);
    let held =
        attempts[..2].iter().map(|attempt| Held { attempt: *attempt, started: true, reported_at: None }).collect();
    let opening = SessionOpen { report_head: 2, report_acknowledged: 2, held, ..fixture.opening() };
    let opened = fixture.store.session_open(opening).await.unwrap();
    assert_eq!((opened.returned, opened.drop.len()), (1, 0), "the third one never arrived");
    let back = Outcome::HandedBack(HandbackReason::BotUnavailable);
    let reports = vec![outcome(attempts[0], sent("late")), outcome(attempts[1], back)];
    fixture.tell(&opened.session, reports).await;
    assert_eq!(fixture.state(ids[0]).await, "SENT");
    let again = fixture.claim_when_due(&other, 3).await;
    assert_eq!(again.iter().map(|attempt| attempt.message_id).collect::<Vec<_>>(), [ids[1], ids[2], after]);
    // And once more, after the others are gone: nothing that a lost node tells is thrown away.
    fixture.tell(&other, again.iter().map(|attempt| outcome(*attempt, sent("new"))).collect()).await;
    assert_eq!(fixture.trace(ids[1]).await, ["HANDED_BACK", "SENT"]);
    assert_eq!(fixture.trace(ids[2]).await, ["NOT_RECEIVED", "SENT"]);
}

/// While the server was down, no agent could come back: that time does not count.
pub async fn the_absence_of_the_server_does_not_count(fixture: Fixture) {
    let session = fixture.open_connected().await;
    declare(&fixture, AbsencePolicy::Fail { after: Duration::from_secs(60) }).await;
    let id = fixture.accept(vec![text("a", "+5511900000001", "x")]).await[0];
    fixture.store.session_close(&session).await.unwrap();
    let ahead = Timestamp::now() + Duration::from_secs(600);
    let acted = fixture.store.absences_act(ahead, 100).await.unwrap();
    assert!(acted.next.is_some_and(|next| next > Duration::from_secs(600)), "{acted:?}");
    assert_eq!(fixture.state(id).await, "WAITING");
}

/// A gateway that a bot would fail over to is not removed, and has to be there.
pub async fn a_standby_gateway_is_in_use(fixture: Fixture) {
    declare(&fixture, AbsencePolicy::FailOver { after: NOW, standby_gateway: standby() }).await;
    let delete = vec![FleetWrite::DeleteGateway(standby(), Expect::Any)];
    assert!(matches!(fixture.write(delete.clone()).await, Err(StoreError::InUse { .. })));
    declare(&fixture, AbsencePolicy::Wait).await;
    fixture.write(delete).await.unwrap();
    let nowhere = AbsencePolicy::FailOver { after: NOW, standby_gateway: standby() };
    let put = FleetWrite::PutBot(BotSpec { absence: nowhere, ..bot_spec("a", "g") }, Expect::Present);
    assert!(matches!(fixture.write(vec![put]).await, Err(StoreError::NotFound(_))));
}
