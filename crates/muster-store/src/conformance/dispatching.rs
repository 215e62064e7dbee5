//! Claims, outcomes and receipts.

use std::time::Duration;

use muster_domain::bot::{Connection, Hold, Stage};
use muster_domain::content::Content;
use muster_domain::gate::WaitReason;
use muster_domain::limits::PRIORITY_STEP;
use muster_domain::message::{HandbackReason, NewMessage, Outcome, Priority, ReceiptKind};
use muster_domain::{MessageId, Timestamp};

use super::fixture::{
    Fixture, bot, bot_spec, claim_all, connection, gateway_spec, node_spec, note, outcome, refused, sent, text, unknown,
};
use crate::{Claim, Claimed, Expect, FleetWrite, ReportBody, SessionOpen, credit_bytes};

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
    fixture.report(&session, 3, vec![outcome(attempt, refused(Duration::ZERO))]).await;
    let second = fixture.accept(vec![text("a", "+5511900000001", "second")]).await[0];
    let other = fixture.accept(vec![text("a", "+5511900000002", "another chain")]).await[0];
    let claimed = fixture.claim(&session).await;
    assert_eq!(claimed.attempts.iter().map(|attempt| attempt.attempt.message_id).collect::<Vec<_>>(), [other]);
    let mut order = Vec::new();
    while order.len() < 2 {
        fixture.wake_due(100).await;
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
    let applied = fixture.report(&opened.session, 3, vec![ReportBody::Empty]).await;
    assert_eq!(applied.wake, [bot("a")]);
    let order: Vec<_> = fixture.claim(&opened.session).await.attempts.iter().map(|a| a.attempt.message_id).collect();
    assert_eq!(order, [first, second]);
}

fn with_priority(mut message: NewMessage, priority: Priority) -> NewMessage {
    message.priority = priority;
    message
}

fn ids(claimed: &Claimed) -> Vec<MessageId> {
    claimed.attempts.iter().map(|claimed| claimed.attempt.message_id).collect()
}

/// Of one bot, the more urgent leave first, and the earlier ones among equals; the agent gets all that it needs.
pub async fn priority_goes_before_acceptance(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let kinds = [Priority::Automation, Priority::Campaign, Priority::Conversation, Priority::Campaign];
    let messages = kinds.map(|priority| with_priority(text("a", "+5511900000001", "hello"), priority)).to_vec();
    let accepted = fixture.accept(messages).await;
    let ahead = fixture.store.message_queue_ahead(&fixture.tenant, accepted[0], PRIORITY_STEP).await.unwrap();
    assert_eq!(ahead, 3);
    let claimed = fixture.claim(&session).await;
    assert_eq!(ids(&claimed), [accepted[2], accepted[1], accepted[3], accepted[0]]);
    let first = &claimed.attempts[0];
    assert_eq!((&first.bot, first.recipient.as_str()), (&bot("a"), "+5511900000001"));
    assert_eq!(first.content, Content::Text { body: "hello".into() });
    assert!(first.start_within > Duration::from_secs(3_500) && first.start_within <= Duration::from_secs(3_600));
    // One chain per bot, recipient and priority.
    let chains: Vec<_> = claimed.attempts.iter().map(|claimed| claimed.chain).collect();
    assert!(chains[1] == chains[2] && chains[0] != chains[1] && chains[3] != chains[1]);
}

/// What has waited for long takes turns with the more urgent, claim by claim, and each queue keeps its order.
pub async fn what_waited_for_long_takes_turns(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let accept = async |priority, count| {
        let message = with_priority(text("a", "+5511900000001", "hello"), priority);
        fixture.accept(vec![message; count]).await
    };
    let automation = accept(Priority::Automation, 3).await;
    let campaign = accept(Priority::Campaign, 3).await;
    let conversation = accept(Priority::Conversation, 3).await;
    let ahead = async |id, step| fixture.store.message_queue_ahead(&fixture.tenant, id, step).await.unwrap();
    assert_eq!(ahead(automation[1], PRIORITY_STEP).await, 7);
    assert_eq!(ahead(automation[1], Duration::ZERO).await, 5);
    assert_eq!(ahead(conversation[0], PRIORITY_STEP).await, 0);
    assert_eq!(ahead(conversation[0], Duration::ZERO).await, 2);
    let mut order = Vec::new();
    // Nothing has waited for a step yet, then everything has. The windows are smaller than what waits, as in a busy lane.
    for (step, window) in
        [(PRIORITY_STEP, 1), (Duration::ZERO, 1), (Duration::ZERO, 1), (Duration::ZERO, 4), (Duration::ZERO, 9)]
    {
        let claim = Claim { bots: vec![(bot("a"), window)], priority_step: step, ..claim_all() };
        order.extend(ids(&fixture.store.dispatch_claim(&session, claim).await.unwrap()));
    }
    let expected = [
        &conversation[..1],
        &[conversation[1], campaign[0]],
        &[automation[0], conversation[2], campaign[1], automation[1]],
        &[campaign[2], automation[2]],
    ];
    assert_eq!(order, expected.concat());
}

/// Each bot gives as much as its lane takes, and the claim says who may have more.
pub async fn a_claim_keeps_to_each_window(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let of_a = fixture.accept((0..3).map(|_| text("a", "+5511900000001", "hello")).collect()).await;
    let of_b = fixture.accept((0..3).map(|_| text("b", "+5511900000001", "hello")).collect()).await;
    let claim = Claim { bots: vec![(bot("a"), 2), (bot("b"), 9)], ..claim_all() };
    let claimed = fixture.store.dispatch_claim(&session, claim).await.unwrap();
    assert_eq!(ids(&claimed), [&of_a[..2], &of_b[..]].concat());
    assert_eq!(claimed.more, [bot("a")]);
}

/// A claim keeps to its number of attempts over all bots.
pub async fn a_claim_keeps_to_its_attempts(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let accepted = fixture.accept(["a", "a", "b", "b"].map(|id| text(id, "+5511900000001", "hello")).to_vec()).await;
    let claimed = fixture.store.dispatch_claim(&session, Claim { attempts_max: 3, ..claim_all() }).await.unwrap();
    assert_eq!(ids(&claimed), accepted[..3]);
    assert_eq!(claimed.more, [bot("b")]);
    let claimed = fixture.store.dispatch_claim(&session, Claim { attempts_max: 0, ..claim_all() }).await.unwrap();
    assert_eq!(claimed.attempts, []);
    assert_eq!(fixture.claim_ids(&session).await, accepted[3..]);
}

/// A claim keeps to its bytes, except that the first attempt leaves whatever its size.
pub async fn a_claim_keeps_to_its_bytes(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let messages: Vec<_> = (0..3).map(|_| text("a", "+5511900000001", &"x".repeat(1_000))).collect();
    let one = credit_bytes(&messages[0].content, &messages[0].recipient);
    let accepted = fixture.accept(messages).await;
    let claim = |bytes_max| Claim { bytes_max, ..claim_all() };
    let claimed = fixture.store.dispatch_claim(&session, claim(1)).await.unwrap();
    assert_eq!((ids(&claimed), claimed.more), (vec![accepted[0]], vec![bot("a")]));
    let claimed = fixture.store.dispatch_claim(&session, claim(2 * one)).await.unwrap();
    assert_eq!(claimed.attempts.iter().map(crate::ClaimedAttempt::credit_bytes).sum::<u64>(), 2 * one);
    assert_eq!(ids(&claimed), accepted[1..]);
}

/// What a bot cannot send stays in its queue, untouched: it is held, in a stage of rest, or not connected.
pub async fn bots_that_cannot_send_are_left_alone(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    let hold = Hold { reason: "check".into(), author: "me".into(), since: Timestamp::now(), until: None };
    fixture.write(vec![FleetWrite::SetHold(bot("a"), Some(hold))]).await.unwrap();
    assert_eq!(fixture.claim_ids(&session).await, []);
    fixture.write(vec![FleetWrite::SetHold(bot("a"), None)]).await.unwrap();
    for stage in [Stage::Cooling, Stage::Restricted] {
        fixture.write(vec![FleetWrite::SetStage(bot("a"), stage, note())]).await.unwrap();
        assert_eq!(fixture.claim_ids(&session).await, [], "{stage}");
    }
    fixture.write(vec![FleetWrite::SetStage(bot("a"), Stage::Active, note())]).await.unwrap();
    fixture.tell(&session, vec![connection("a", Connection::Disconnected)]).await;
    assert_eq!(fixture.claim_ids(&session).await, []);
    let message = fixture.message(id).await;
    assert_eq!((message.state.as_str(), message.parked, message.attempt_no), ("WAITING", None, 0));
    fixture.tell(&session, vec![connection("a", Connection::Silent)]).await;
    assert_eq!(fixture.claim_ids(&session).await, [id]);
}

/// A claim that names bots which do not exist or live elsewhere leaves them out.
pub async fn a_claim_leaves_out_bots_of_others(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let writes = vec![
        FleetWrite::PutNode(node_spec("other"), Expect::Absent),
        FleetWrite::PutGateway(gateway_spec("og", "other"), Expect::Absent),
        FleetWrite::PutBot(bot_spec("o", "og"), Expect::Absent),
    ];
    fixture.write(writes).await.unwrap();
    fixture.write(vec![FleetWrite::SetStage(bot("o"), Stage::Active, note())]).await.unwrap();
    fixture.tell(&session, vec![connection("o", Connection::Connected)]).await;
    fixture.accept(vec![text("o", "+5511900000001", "hello")]).await;
    let claim = Claim { bots: vec![(bot("o"), 9), (bot("nobody"), 9)], ..claim_all() };
    let claimed = fixture.store.dispatch_claim(&session, claim).await.unwrap();
    assert_eq!((claimed.attempts, claimed.more), (vec![], vec![]));
    let found = fixture.store.bot_get(&fixture.tenant, &bot("o")).await.unwrap().unwrap();
    assert_eq!(found.connection, Connection::Unlinked);
}

/// A message whose validity ended is refused in the claim and reaches its final state there.
pub async fn a_claim_refuses_what_expired(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let mut late = text("a", "+5511900000001", "late");
    late.expire_time = Timestamp::now();
    let accepted = fixture.accept(vec![late, text("a", "+5511900000001", "in time")]).await;
    assert_eq!(fixture.claim_ids(&session).await, accepted[1..]);
    assert_eq!(fixture.state(accepted[0]).await, "EXPIRED");
    assert_eq!(fixture.trace(accepted[0]).await, Vec::<&str>::new());
}

/// While a refused message waits for its next try, its chain waits with it and says so; other chains go on.
pub async fn a_refused_message_blocks_its_chain_only(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, refused(Duration::from_secs(3_600)))]).await;
    let urgent = with_priority(text("a", "+5511900000001", "another queue"), Priority::Conversation);
    let messages = vec![
        text("a", "+5511900000001", "same chain"),
        text("a", "+5511900000002", "another recipient"),
        text("b", "+5511900000001", "another bot"),
        urgent,
    ];
    let accepted = fixture.accept(messages).await;
    let mut claimed = fixture.claim_ids(&session).await;
    claimed.sort();
    assert_eq!(claimed, accepted[1..]);
    let behind = fixture.message(accepted[0]).await;
    let (before, after) = (fixture.message(attempt.message_id).await.parked.unwrap(), behind.parked.unwrap());
    assert_eq!((behind.state.as_str(), after.reason), ("WAITING", WaitReason::ChainBlocked));
    assert!(after.until >= before.until);
    // The client takes the first one back: what waited behind it is not lost.
    fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
    assert_eq!(fixture.state(accepted[0]).await, "WAITING");
}

/// What waits behind a message goes on as soon as that one ends, not at the time that it would have been tried again.
pub async fn a_chain_goes_on_when_its_first_message_ends(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let block = async || {
        let attempt = fixture.dispatched(&session).await;
        fixture.tell(&session, vec![outcome(attempt, refused(Duration::from_secs(3_600)))]).await;
        let behind = fixture.accept(vec![text("a", "+5511900000001", "behind")]).await[0];
        assert_eq!(fixture.claim_ids(&session).await, []);
        (attempt, behind)
    };
    let (attempt, behind) = block().await;
    fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
    assert_eq!(fixture.wake_due(100).await.wake.len(), 1);
    assert_eq!(fixture.claim_ids(&session).await, [behind]);
    // The agent told of a refusal, and later that it was sent after all.
    let (attempt, behind) = block().await;
    let applied = fixture.tell(&session, vec![outcome(attempt, sent("late"))]).await;
    assert!(applied.something_due);
    assert_eq!(fixture.wake_due(100).await.wake.len(), 1);
    assert_eq!(fixture.claim_ids(&session).await, [behind]);
    // Another one of the chain still blocks.
    let (first, second) = block().await;
    fixture.store.message_cancel(&fixture.tenant, second).await.unwrap();
    let third = fixture.accept(vec![text("a", "+5511900000001", "third")]).await[0];
    fixture.wake_due(100).await;
    assert_eq!(fixture.claim_ids(&session).await, []);
    assert_eq!(fixture.message(third).await.parked.unwrap().reason, WaitReason::ChainBlocked);
    fixture.store.message_cancel(&fixture.tenant, first.message_id).await.unwrap();
    fixture.wake_due(100).await;
    assert_eq!(fixture.claim_ids(&session).await, [third]);
}

/// Uncertain messages are held for a decision and block nobody.
pub async fn an_uncertain_message_blocks_nobody(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, unknown())]).await;
    let next = fixture.accept(vec![text("a", "+5511900000001", "next")]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, [next]);
}

/// What a chain's agent gives back leaves again in the order of acceptance, before later messages.
pub async fn a_chain_that_was_given_back_keeps_its_order(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let mut expected = fixture.accept((0..3).map(|i| text("a", "+5511900000001", &i.to_string())).collect()).await;
    let attempts = fixture.claim_attempts(&session).await;
    let back = |attempt| outcome(attempt, Outcome::HandedBack(HandbackReason::ChainBroken));
    let mut bodies = vec![outcome(attempts[0], refused(Duration::ZERO))];
    bodies.extend(attempts[1..].iter().rev().copied().map(back));
    fixture.tell(&session, bodies).await;
    expected.extend(fixture.accept(vec![text("a", "+5511900000001", "later")]).await);
    let order: Vec<_> = fixture.claim_when_due(&session, 4).await.iter().map(|attempt| attempt.message_id).collect();
    assert_eq!(order, expected);
}
