//! Messages: acceptance, idempotency, taking back, lists.

use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::bot::Stage;
use muster_domain::content::ReplyTarget;
use muster_domain::failure::FailureReason;
use muster_domain::gate::WaitReason;
use muster_domain::message::{HandbackReason, Idempotency, MessageState, NewMessage, Outcome};

use super::fixture::{Fixture, bot, claim_all, node, note, outcome, refused, sent, text};
use crate::{AcceptResult, CancelResult, FleetWrite, MessageFilter, StoreError};

fn keyed(key: &str, body: &str, fingerprint: u8) -> NewMessage {
    let idempotency = Some(Idempotency { key: key.into(), fingerprint: [fingerprint; 16] });
    NewMessage { idempotency, ..text("a", "+5511900000001", body) }
}

/// What was accepted is kept as it was given.
pub async fn an_accepted_message_is_kept_as_given(fixture: Fixture) {
    let mut given = keyed("key", "hello", 1);
    let answered = "inboundMessages/0000000000002".to_owned();
    given.reply_to = Some(ReplyTarget { network_id: "3EB0".into(), resource: Some(answered) });
    given.courtesy.mark_read = true;
    given.courtesy.typing = Duration::from_millis(1_500);
    let id = fixture.accept(vec![given.clone()]).await[0];
    let kept = fixture.message(id).await;
    assert_eq!((kept.id, kept.bot, kept.recipient, kept.content), (id, given.bot, given.recipient, given.content));
    assert_eq!((kept.priority, kept.not_before), (given.priority, None));
    assert_eq!(kept.expire_time.as_microsecond(), given.expire_time.as_microsecond());
    assert_eq!((kept.reply_to, kept.courtesy), (given.reply_to, given.courtesy));
    assert_eq!(kept.idempotency_key.as_deref(), Some("key"));
    assert_eq!((kept.state, kept.attempt_no, kept.cancel_requested), (MessageState::Waiting, 0, false));
}

/// A key returns its first answer for the same message, also within a batch, and is refused for another one.
pub async fn a_key_returns_its_first_answer(fixture: Fixture) {
    let first = vec![keyed("k", "hello", 1), keyed("k", "hello", 1), keyed("k", "other", 2), keyed("l", "hello", 1)];
    let results = fixture.store.message_accept(&fixture.tenant, first).await.unwrap();
    let AcceptResult::Accepted(id) = results[0] else { panic!("{results:?}") };
    assert_eq!(results[1..3], [AcceptResult::Replayed(id), AcceptResult::KeyReused(id)]);
    assert!(matches!(results[3], AcceptResult::Accepted(_)));
    let again = vec![keyed("k", "hello", 1), keyed("k", "other", 2)];
    let results = fixture.store.message_accept(&fixture.tenant, again).await.unwrap();
    assert_eq!(results, [AcceptResult::Replayed(id), AcceptResult::KeyReused(id)]);
    // It is the same answer when the message is over, and when its bot is.
    fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
    fixture.write(vec![FleetWrite::SetStage(bot("a"), Stage::Retired, note())]).await.unwrap();
    let results = fixture.store.message_accept(&fixture.tenant, vec![keyed("k", "hello", 1)]).await.unwrap();
    assert_eq!(results, [AcceptResult::Replayed(id)]);
    assert_eq!(fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap()[0].total(), 2);
}

/// A key can be asked for without accepting anything: the answer is the one that a repeat gets.
pub async fn a_key_tells_what_it_was_used_for(fixture: Fixture) {
    let asked = |key: &str, fingerprint| keyed(key, "hello", fingerprint).idempotency.unwrap();
    let id = fixture.accept(vec![keyed("k", "hello", 1)]).await[0];
    let keys = [asked("l", 1), asked("k", 2), asked("k", 1)];
    let answers = fixture.store.message_repeats(&fixture.tenant, &keys).await.unwrap();
    assert_eq!(answers, [None, Some(AcceptResult::KeyReused(id)), Some(AcceptResult::Replayed(id))]);
    assert_eq!(fixture.store.message_repeats(&fixture.tenant, &[]).await.unwrap(), []);
    assert_eq!(fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap()[0].total(), 1);
}

/// Of many callers with one key, one is accepted and the others get its answer.
pub async fn a_key_has_one_message_among_many_callers(fixture: Fixture) {
    let calls = (0..20).map(|_| fixture.store.message_accept(&fixture.tenant, vec![keyed("k", "hello", 1)]));
    let results: Vec<_> = futures::future::join_all(calls).await.into_iter().flat_map(Result::unwrap).collect();
    let accepted: Vec<_> =
        results.iter().filter_map(|r| if let AcceptResult::Accepted(id) = r { Some(*id) } else { None }).collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(results.iter().filter(|r| **r == AcceptResult::Replayed(accepted[0])).count(), 19);
}

/// Ids grow in the order of acceptance, over callers that run side by side, and none is issued twice.
pub async fn ids_grow_in_the_order_of_acceptance(fixture: Fixture) {
    let batch = || (0..50).map(|_| text("a", "+5511900000001", "hello")).collect::<Vec<_>>();
    let batches = futures::future::join_all((0..8).map(|_| fixture.accept(batch()))).await;
    assert!(batches.iter().all(|ids| ids.is_sorted()));
    let mut all = batches.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 400);
    assert!(fixture.accept(batch()).await[0] > all[399]);
}

/// An unknown bot and a retired one are refused by themselves; their key stays free, and the others are accepted.
pub async fn refusals_stay_with_their_message(fixture: Fixture) {
    fixture.write(vec![FleetWrite::SetStage(bot("b"), Stage::Retired, note())]).await.unwrap();
    let to = |id: &str| NewMessage { bot: bot(id), ..keyed("k", "hello", 1) };
    let messages = vec![to("nobody"), to("b"), to("a")];
    let results = fixture.store.message_accept(&fixture.tenant, messages).await.unwrap();
    assert_eq!(results[..2], [AcceptResult::BotUnknown, AcceptResult::BotRetired]);
    assert!(matches!(results[2], AcceptResult::Accepted(_)));
    assert_eq!(fixture.store.message_accept(&fixture.tenant, vec![]).await.unwrap(), []);
}

/// Retiring a bot fails what waits for it, also what waits for a time; an attempt under way ends where it is.
pub async fn retiring_a_bot_fails_what_waits(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let under_way = fixture.dispatched(&session).await;
    let mut later = text("a", "+5511900000001", "later");
    later.not_before = Some(Timestamp::now() + Duration::from_secs(600));
    let ids = fixture.accept(vec![text("a", "+5511900000001", "now"), later, text("b", "+5511900000001", "b")]).await;
    fixture.write(vec![FleetWrite::SetStage(bot("a"), Stage::Retired, note())]).await.unwrap();
    let states = [fixture.state(ids[0]).await, fixture.state(ids[1]).await, fixture.state(ids[2]).await];
    assert_eq!(states, ["FAILED", "FAILED", "WAITING"]);
    assert_eq!(fixture.message(ids[1]).await.failure.unwrap().reason, FailureReason::SenderRestricted);
    assert_eq!(fixture.message(ids[1]).await.parked, None);
    fixture.tell(&session, vec![outcome(under_way, sent("X"))]).await;
    assert_eq!(fixture.state(under_way.message_id).await, "SENT");
    assert_eq!(fixture.claim_ids(&session).await, ids[2..]);
}

/// A waiting message is cancelled at once, wherever it waits, and never claimed.
pub async fn a_waiting_message_is_cancelled(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let parked = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(parked, refused(Duration::ZERO))]).await;
    let ready = fixture.accept(vec![text("b", "+5511900000001", "hello")]).await[0];
    for id in [parked.message_id, ready] {
        assert_eq!(fixture.store.message_cancel(&fixture.tenant, id).await.unwrap(), CancelResult::Cancelled);
        assert_eq!(fixture.message(id).await.parked, None);
        let again = fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
        assert_eq!(again, CancelResult::Final(MessageState::Cancelled));
    }
    fixture.wake_due(100).await;
    assert_eq!(fixture.claim_ids(&session).await, []);
}

/// A dispatched message is asked for, again and again; the agent decides what becomes of it.
pub async fn a_dispatched_message_is_asked_for(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    for _ in 0..2 {
        let asked = fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
        assert_eq!(asked, CancelResult::Requested(node(), attempt));
    }
    assert!(fixture.message(attempt.message_id).await.cancel_requested);
    fixture.tell(&session, vec![outcome(attempt, Outcome::Cancelled)]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "CANCELLED");
    let unknown = muster_domain::MessageId::from_raw(77).unwrap();
    assert_eq!(fixture.store.message_cancel(&fixture.tenant, unknown).await.unwrap(), CancelResult::NotFound);
}

/// A message that names an earliest time is parked until then, and blocks nobody meanwhile.
pub async fn an_earliest_time_parks_and_blocks_nobody(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let mut later = text("a", "+5511900000001", "later");
    let until = Timestamp::now() + Duration::from_secs(600);
    later.not_before = Some(until);
    let ids = fixture.accept(vec![later, text("a", "+5511900000001", "now")]).await;
    let parked = fixture.message(ids[0]).await.parked.unwrap();
    assert_eq!((parked.reason, parked.until.as_microsecond()), (WaitReason::NotBefore, until.as_microsecond()));
    assert_eq!(fixture.claim_ids(&session).await, ids[1..]);
}

/// Lists show the newest first, page without gap or repeat, and every filter leaves out the others.
pub async fn lists_page_and_filter(fixture: Fixture) {
    let mut ids = fixture.accept((0..5).map(|i| text("a", &format!("+551190000000{i}"), "hello")).collect()).await;
    let of_b = fixture.accept(vec![text("b", "+5511900000000", "hello")]).await[0];
    fixture.store.message_cancel(&fixture.tenant, ids[1]).await.unwrap();
    let list = async |filter: MessageFilter, before, limit| {
        let rows = fixture.store.message_list(&fixture.tenant, &filter, before, limit).await.unwrap();
        rows.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    let any = MessageFilter::default;
    let bot_b = MessageFilter { bot: Some(bot("b")), ..any() };
    assert_eq!(list(bot_b, None, 10).await, [of_b]);
    assert_eq!(list(MessageFilter { bot: Some(bot("nobody")), ..any() }, None, 10).await, []);
    let cancelled = MessageFilter { states: vec![MessageState::Cancelled, MessageState::Failed], ..any() };
    assert_eq!(list(cancelled, None, 10).await, [ids[1]]);
    let waiting = MessageFilter { states: vec![MessageState::Waiting], bot: Some(bot("a")), ..any() };
    assert_eq!(list(waiting, None, 10).await, [ids[4], ids[3], ids[2], ids[0]]);
    let recipient = text("a", "+5511900000000", "").recipient;
    assert_eq!(list(MessageFilter { recipients: vec![recipient], ..any() }, None, 10).await, [of_b, ids[0]]);
    let future = Some(Timestamp::now() + Duration::from_secs(60));
    assert_eq!(list(MessageFilter { accepted_from: future, ..any() }, None, 10).await, []);
    assert_eq!(list(MessageFilter { accepted_until: future, ..any() }, None, 10).await.len(), 6);
    ids.push(of_b);
    ids.reverse();
    let mut paged = list(any(), None, 4).await;
    paged.extend(list(any(), paged.last().copied(), 4).await);
    assert_eq!(paged, ids);
}

/// A closed store answers that it is closed, to reads and writes alike.
pub async fn a_closed_store_says_so(fixture: Fixture) {
    let session = fixture.open_connected().await;
    fixture.store.close().await;
    let accept = fixture.store.message_accept(&fixture.tenant, vec![text("a", "+5511900000001", "hello")]).await;
    assert!(matches!(accept, Err(StoreError::Closed)), "{accept:?}");
    assert!(matches!(fixture.store.dispatch_claim(&session, claim_all()).await, Err(StoreError::Closed)));
    assert!(matches!(fixture.store.fleet(&fixture.tenant).await, Err(StoreError::Closed)));
    fixture.store.close().await;
}

/// What an agent gives back after its bot was retired fails as soon as it is asked for: it will never leave.
pub async fn what_returns_to_a_retired_bot_fails(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let (back, refusal) = (fixture.dispatched(&session).await, fixture.dispatched(&session).await);
    fixture.write(vec![FleetWrite::SetStage(bot("a"), Stage::Retired, note())]).await.unwrap();
    let handed_back = Outcome::HandedBack(HandbackReason::BotUnavailable);
    let bodies = vec![outcome(back, handed_back), outcome(refusal, refused(Duration::ZERO))];
    fixture.tell(&session, bodies).await;
    fixture.wake_due(100).await;
    assert_eq!(fixture.claim_ids(&session).await, []);
    assert_eq!([fixture.state(back.message_id).await, fixture.state(refusal.message_id).await], ["FAILED", "FAILED"]);
    assert_eq!(fixture.trace(back.message_id).await, ["HANDED_BACK"]);
}
