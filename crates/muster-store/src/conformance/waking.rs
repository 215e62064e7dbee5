//! What becomes due: earliest times, ends of validity, ends of holds.

use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::bot::Hold;
use muster_domain::limits::SILENCE_MAX;
use muster_domain::message::MessageState;

use super::fixture::{Fixture, PATIENCE, bot, node, outcome, sent, text};
use crate::{FleetWrite, WakeResult};

/// Comes in a case, and before that for any machine.
const SOON: Duration = Duration::from_secs(60);

fn places(result: &WakeResult) -> Vec<&str> {
    result.wake.iter().map(|(_, _, bot)| bot.as_str()).collect()
}

/// A parked message wakes its bot when its time has come, not before, and takes its place in the order of acceptance.
pub async fn what_is_due_wakes_its_bot(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let time = Timestamp::now() + SOON;
    let mut later = text("a", "+5511900000001", "later");
    later.not_before = Some(time);
    let ids = fixture.accept(vec![later, text("a", "+5511900000001", "now")]).await;
    let early = fixture.wake_due(100).await;
    assert_eq!(places(&early), Vec::<&str>::new());
    fixture.pass(early.next.expect("something is due next"));
    assert!(fixture.store.now() >= time);
    let woken = fixture.wake_due(100).await;
    assert_eq!(woken.wake, [(fixture.tenant.clone(), node(), bot("a"))]);
    assert_eq!(fixture.message(ids[0]).await.parked, None);
    assert_eq!(fixture.claim_ids(&session).await, ids);
    // What woke once is not woken again.
    assert_eq!(places(&fixture.wake_due(100).await), Vec::<&str>::new());
}

/// The next wait is that of the earliest of all times, or a moment longer for an end of validity; at once while more is due than was asked for, and none at the end.
pub async fn the_next_wait_is_the_earliest(fixture: Fixture) {
    assert_eq!(fixture.wake_due(100).await.next, None);
    let at = |seconds| {
        let mut message = text("a", "+5511900000001", "later");
        message.not_before = Some(Timestamp::now() + Duration::from_secs(seconds));
        message
    };
    fixture.accept(vec![at(500), at(300)]).await;
    let wait = fixture.wake_due(100).await.next.unwrap();
    assert!(wait > Duration::from_secs(290) && wait <= Duration::from_secs(300), "{wait:?}");
    let mut short = text("a", "+5511900000001", "short");
    short.expire_time = Timestamp::now() + Duration::from_secs(100);
    let ids = fixture.accept(vec![short]).await;
    let wait = fixture.wake_due(100).await.next.unwrap();
    assert!(wait > Duration::from_secs(90) && wait <= Duration::from_secs(101), "{wait:?}");
    fixture.store.message_cancel(&fixture.tenant, ids[0]).await.unwrap();
    // Too early does no harm: there may be nothing left to do by then.
    assert!(fixture.wake_due(100).await.next.unwrap() <= Duration::from_secs(300));
    let past = || {
        let mut message = text("b", "+5511900000001", "now");
        message.not_before = Some(Timestamp::now());
        message
    };
    fixture.accept(vec![past(), past()]).await;
    assert_eq!(fixture.wake_due(1).await.next, Some(Duration::ZERO));
}

/// A waiting message expires when its validity ends, also while it waits for a later time; one under way does not.
pub async fn validity_ends(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let short = |bot_id: &str| {
        let mut message = text(bot_id, "+5511900000001", "short");
        message.expire_time = Timestamp::now() + SOON;
        message
    };
    let under_way = fixture.accept(vec![short("a")]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, [under_way]);
    let mut parked = short("b");
    parked.not_before = Some(Timestamp::now() + Duration::from_secs(600));
    let ids = fixture.accept(vec![short("b"), parked]).await;
    fixture.wake_due(100).await;
    assert_eq!([fixture.state(ids[0]).await, fixture.state(ids[1]).await], ["WAITING", "WAITING"]);
    fixture.pass(SOON + Duration::from_secs(1));
    fixture.wake_due(100).await;
    let states = [fixture.state(ids[0]).await, fixture.state(ids[1]).await, fixture.state(under_way).await];
    assert_eq!(states, ["EXPIRED", "EXPIRED", "DISPATCHED"]);
    assert_eq!(fixture.message(ids[1]).await.parked, None);
    let next = fixture.wake_due(100).await.next.unwrap();
    assert!(next > SILENCE_MAX - PATIENCE && next <= SILENCE_MAX, "{next:?}");
    assert_eq!(fixture.claim_ids(&session).await, []);
}

/// Nobody told what became of an attempt, and its message is long past its validity: that is uncertain, and a late report
/// settles it.
pub async fn an_attempt_of_which_nobody_tells_becomes_uncertain(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let mut short = text("a", "+5511900000001", "short");
    short.expire_time = Timestamp::now() + SOON;
    let id = fixture.accept(vec![short]).await[0];
    let attempts = fixture.claim_attempts(&session).await;
    assert_eq!(attempts[0].message_id, id);
    let mut waited = Duration::ZERO;
    loop {
        let next = fixture.wake_due(100).await.next;
        if fixture.state(id).await != "DISPATCHED" {
            break;
        }
        let wait = next.expect("it is given up one day");
        fixture.pass(wait);
        waited += wait;
        assert!(waited <= SOON + SILENCE_MAX + PATIENCE, "nobody gave it up");
    }
    assert!(waited > SILENCE_MAX, "given up after {waited:?}");
    assert_eq!((fixture.state(id).await, fixture.trace(id).await), ("UNCERTAIN", vec!["UNCERTAIN"]));
    assert_eq!(fixture.wake_due(100).await.next, None);
    fixture.tell(&session, vec![outcome(attempts[0], sent("X"))]).await;
    assert_eq!((fixture.state(id).await, fixture.trace(id).await), ("SENT", vec!["SENT"]));
}

/// A turn keeps to its number of messages, and the ones left over are due at once.
pub async fn many_ends_of_validity_take_several_turns(fixture: Fixture) {
    let messages = (0..10).map(|_| {
        let mut message = text("a", "+5511900000001", "short");
        message.expire_time = Timestamp::now() + SOON;
        message
    });
    let ids = fixture.accept(messages.collect()).await;
    fixture.pass(SOON + Duration::from_secs(1));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut ended = 0;
    while ended < ids.len() {
        assert!(tokio::time::Instant::now() < deadline, "{ended} ended");
        let next = fixture.wake_due(3).await.next;
        let counts = fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap();
        let expired = counts[0].get(MessageState::Expired) as usize;
        assert!(expired - ended <= 3);
        assert!(expired == ids.len() || next.is_some());
        ended = expired;
    }
    assert_eq!(fixture.wake_due(3).await.next, None);
}

/// A hold with an end ends then and wakes its bot; one without an end stays.
pub async fn holds_end_by_themselves(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let hold = |until| Some(Hold { reason: "check".into(), author: "me".into(), since: Timestamp::now(), until });
    assert_eq!(fixture.store.holds_end().await.unwrap().next, None);
    let until = Timestamp::now() + SOON;
    fixture.write(vec![FleetWrite::SetHold(bot("a"), hold(Some(until)))]).await.unwrap();
    fixture.write(vec![FleetWrite::SetHold(bot("b"), hold(None))]).await.unwrap();
    let ids = fixture.accept(vec![text("a", "+5511900000001", "a"), text("b", "+5511900000001", "b")]).await;
    let before = fixture.store.desired_state(&session, 0).await.unwrap();
    let early = fixture.store.holds_end().await.unwrap();
    assert_eq!(places(&early), Vec::<&str>::new());
    fixture.pass(early.next.expect("a hold ends"));
    assert!(fixture.store.now() >= until);
    let ended = fixture.store.holds_end().await.unwrap();
    assert_eq!((places(&ended), ended.next), (vec!["a"], None));
    assert_eq!(fixture.claim_ids(&session).await, ids[..1]);
    let delta = fixture.store.desired_state(&session, before.version).await.unwrap();
    assert!(matches!(&delta.bots[..], [changed] if changed.id == bot("a") && changed.may_send));
    let held = fixture.store.bot_get(&fixture.tenant, &bot("b")).await.unwrap().unwrap().hold.unwrap();
    assert_eq!((held.reason.as_str(), held.author.as_str(), held.until), ("check", "me", None));
}
