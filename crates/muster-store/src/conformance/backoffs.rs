//! Refusals that speak of a whole bot or gateway: who waits, who tries, and what ends it.

use std::time::Duration;

use muster_domain::MessageId;
use muster_domain::bot::Connection;
use muster_domain::failure::{Failure, FailureReason, Scope};
use muster_domain::limits::ATTEMPTS_MAX;
use muster_domain::message::{HandbackReason, Outcome};

use super::fixture::{Fixture, bot, claim_all, connected, connection, outcome, sent, text};
use crate::{AttemptRef, SessionRef};

const HOUR: Duration = Duration::from_secs(3_600);

/// A refusal that asks to wait.
fn refused_for(reason: FailureReason, wait: Duration) -> Outcome {
    Outcome::Failed(Failure { retry_after: Some(wait), ..Failure::new(reason, "no") })
}

/// Two messages of the bot `a` and one of `b`, to recipients of their own.
async fn three(fixture: &Fixture) -> Vec<MessageId> {
    let texts = [("a", "+5511900000001"), ("a", "+5511900000002"), ("b", "+5511900000003")];
    fixture.accept(texts.map(|(bot, to)| text(bot, to, "hello")).into()).await
}

async fn claim_of(fixture: &Fixture, session: &SessionRef, bot_id: &str) -> Vec<AttemptRef> {
    let claim = crate::Claim { bots: vec![(bot(bot_id), 1)], attempts_max: 1, ..claim_all() };
    fixture.store.dispatch_claim(session, claim).await.unwrap().attempts.iter().map(|claimed| claimed.attempt).collect()
}

/// A refusal of a bot holds back all of its messages and nobody else's, costs the others no try, and is told with the bot.
pub async fn a_refused_bot_waits_as_a_whole(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let ids = three(&fixture).await;
    let first = claim_of(&fixture, &session, "a").await[0];
    fixture.tell(&session, vec![outcome(first, refused_for(FailureReason::RateLimited, HOUR))]).await;
    assert_eq!(fixture.claim_ids(&session).await, [ids[2]]);
    let [a, b] = [fixture.bot("a").await, fixture.bot("b").await];
    let backoff = a.backoff.unwrap();
    assert_eq!((backoff.scope, backoff.failure.reason, backoff.refusals), (Scope::Bot, FailureReason::RateLimited, 1));
    assert_eq!(backoff.until, backoff.refused + HOUR);
    assert_eq!(b.backoff, None);
    assert_eq!([fixture.message(ids[0]).await.attempt_no, fixture.message(ids[1]).await.attempt_no], [1, 0]);
    assert_eq!(fixture.message(ids[0]).await.parked, None);
    assert_eq!(fixture.message(ids[0]).await.failure.unwrap().reason, FailureReason::RateLimited);
    let next = fixture.wake_due(100).await.next.unwrap();
    assert!(next <= HOUR && next > HOUR - Duration::from_secs(60), "{next:?}");
}

/// A refusal of a gateway holds back all of its bots.
pub async fn a_refused_gateway_holds_back_all_its_bots(fixture: Fixture) {
    let session = fixture.open_connected().await;
    three(&fixture).await;
    let first = claim_of(&fixture, &session, "a").await[0];
    fixture.tell(&session, vec![outcome(first, refused_for(FailureReason::GatewayUnavailable, HOUR))]).await;
    assert_eq!(fixture.claim_ids(&session).await, []);
    assert_eq!(fixture.bot("b").await.backoff.unwrap().scope, Scope::Gateway);
    let gateway = fixture.bot("b").await.spec.gateway;
    let gateway = fixture.store.gateway_get(&fixture.tenant, &gateway).await.unwrap().unwrap();
    assert_eq!(gateway.backoff, fixture.bot("a").await.backoff);
}

/// After the wait one message tries, of all bots of the gateway; when it gets through, all go on, and are woken for it.
pub async fn one_message_tries_for_all(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let ids = three(&fixture).await;
    let first = claim_of(&fixture, &session, "a").await[0];
    fixture.tell(&session, vec![outcome(first, refused_for(FailureReason::GatewayUnavailable, Duration::ZERO))]).await;
    let woken = fixture.wake_due(100).await;
    assert_eq!(woken.wake.len(), 2, "both bots have work");
    assert_eq!(fixture.wake_due(100).await.wake, [], "they are told once");
    let trial = fixture.claim_attempts(&session).await;
    assert_eq!(trial, [AttemptRef { message_id: ids[0], attempt_no: 2 }]);
    assert_eq!(fixture.claim_ids(&session).await, [], "the others wait for what becomes of it");
    let applied = fixture.tell(&session, vec![outcome(trial[0], sent("X"))]).await;
    assert_eq!(applied.wake, [bot("a"), bot("b")]);
    assert_eq!(fixture.bot("a").await.backoff, None);
    assert_eq!(fixture.claim_ids(&session).await, ids[1..]);
}

/// A trial that is refused makes the wait longer; one that came to nothing lets the next one try.
pub async fn a_trial_decides_what_follows(fixture: Fixture) {
    let session = fixture.open_connected().await;
    three(&fixture).await;
    let refused = |wait| refused_for(FailureReason::NotConnected, wait);
    let first = claim_of(&fixture, &session, "a").await[0];
    fixture.tell(&session, vec![outcome(first, refused(Duration::ZERO))]).await;
    let trial = claim_of(&fixture, &session, "a").await[0];
    fixture.tell(&session, vec![outcome(trial, Outcome::HandedBack(HandbackReason::Draining))]).await;
    let again = claim_of(&fixture, &session, "a").await[0];
    assert_eq!((again.message_id, again.attempt_no), (first.message_id, 3));
    fixture.tell(&session, vec![outcome(again, refused(HOUR))]).await;
    assert_eq!(fixture.bot("a").await.backoff.unwrap().refusals, 2);
    assert_eq!(claim_of(&fixture, &session, "a").await, []);
}

/// What was under way when the refusal came tells nothing new: it neither lengthens the wait nor ends it.
pub async fn what_was_under_way_tells_nothing_new(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let ids = three(&fixture).await;
    let attempts = fixture.claim_attempts(&session).await;
    let refused = refused_for(FailureReason::RateLimited, HOUR);
    fixture.tell(&session, vec![outcome(attempts[0], refused.clone()), outcome(attempts[1], sent("X"))]).await;
    assert_eq!(fixture.bot("a").await.backoff.unwrap().refusals, 1);
    assert_eq!(fixture.state(ids[1]).await, "SENT");
    assert_eq!(fixture.claim_ids(&session).await, []);
}

/// A message that alone is refused lets others try, and fails in the end; the others are sent.
pub async fn a_message_that_alone_is_refused_fails(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let bad = fixture.accept(vec![text("a", "+5511900000001", "bad")]).await[0];
    for round in 0.. {
        assert!(round < 100, "it is tried for ever");
        if fixture.state(bad).await == "FAILED" {
            break;
        }
        fixture.accept(vec![text("a", "+5511900000002", "good")]).await;
        fixture.wake_due(100).await;
        for attempt in fixture.claim_attempts(&session).await {
            let what = if attempt.message_id == bad {
                refused_for(FailureReason::NotConnected, Duration::ZERO)
            } else {
                sent(&format!("X{round}"))
            };
            fixture.tell(&session, vec![outcome(attempt, what)]).await;
        }
    }
    assert_eq!(fixture.message(bad).await.attempt_no, ATTEMPTS_MAX);
}

/// While nothing of a bot gets through, no message fails for it.
pub async fn an_outage_is_held_against_no_message(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let ids = three(&fixture).await;
    let refused = refused_for(FailureReason::NotConnected, Duration::ZERO);
    for _ in 0..3 * ATTEMPTS_MAX {
        fixture.wake_due(100).await;
        for attempt in claim_of(&fixture, &session, "a").await {
            fixture.tell(&session, vec![outcome(attempt, refused.clone())]).await;
        }
    }
    assert_eq!([fixture.state(ids[0]).await, fixture.state(ids[1]).await], ["WAITING", "WAITING"]);
}

/// A login that comes up ends a wait for it, and no other.
pub async fn a_new_login_ends_only_the_wait_for_one(fixture: Fixture) {
    let session = fixture.open_connected().await;
    three(&fixture).await;
    let attempts = fixture.claim_attempts(&session).await;
    let refusals = vec![
        outcome(attempts[0], refused_for(FailureReason::NotConnected, HOUR)),
        outcome(attempts[2], refused_for(FailureReason::SenderRestricted, HOUR)),
        connected("a"),
    ];
    fixture.tell(&session, refusals).await;
    assert!(fixture.bot("a").await.backoff.is_some(), "it was connected before");
    let down = ["a", "b"].map(|bot| connection(bot, Connection::Disconnected));
    fixture.tell(&session, down.into()).await;
    fixture.tell(&session, vec![connected("a"), connected("b")]).await;
    assert_eq!(fixture.bot("a").await.backoff, None);
    assert!(fixture.bot("b").await.backoff.is_some());
}
