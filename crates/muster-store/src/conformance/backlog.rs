//! Backlogs that take no more.

use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::backlog::{Bound, Full};
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{Idempotency, NewMessage, Outcome, Priority};

use super::fixture::{Fixture, bot, claim_all, outcome, refused, sent, text};
use crate::{AcceptResult, AttemptRef, Claim, ReportBody, SessionRef};

const RECIPIENT: &str = "+5511900000001";

/// A text of the bot `a` that is valid for so many seconds.
fn valid_for(seconds: u64) -> NewMessage {
    NewMessage { expire_time: Timestamp::now() + Duration::from_secs(seconds), ..text("a", RECIPIENT, "hello") }
}

/// A text of the bot `a` for later.
fn scheduled() -> NewMessage {
    NewMessage { not_before: Some(Timestamp::now() + Duration::from_secs(600)), ..valid_for(3_600) }
}

/// The report that an attempt was at its gateway for ten seconds.
fn slow(attempt: AttemptRef, what: Outcome) -> ReportBody {
    match outcome(attempt, what) {
        ReportBody::Outcome { attempt, outcome, queued, .. } => {
            ReportBody::Outcome { attempt, outcome, queued, gateway: Duration::from_secs(10) }
        }
        other => other,
    }
}

/// Lets the bot `a` send a message, for which it takes ten seconds.
async fn slow_down(fixture: &Fixture, session: &SessionRef) {
    let attempt = fixture.dispatched(session).await;
    fixture.tell(session, vec![slow(attempt, sent("S"))]).await;
}

async fn offer(fixture: &Fixture, message: NewMessage) -> AcceptResult {
    fixture.store.message_accept(&fixture.tenant, vec![message]).await.unwrap().remove(0)
}

/// How many messages a text of the bot `a` finds ahead of it.
async fn ahead(fixture: &Fixture, priority: Priority) -> u64 {
    // One that is not valid any more can wait for nobody.
    match offer(fixture, NewMessage { priority, ..valid_for(0) }).await {
        AcceptResult::BacklogFull(Full { bound: Bound::Validity, waiting, .. }) => waiting,
        AcceptResult::Accepted(_) => 0,
        other => panic!("{other:?}"),
    }
}

/// What would not leave within its validity is refused, by itself, and can be accepted once there is room.
pub async fn what_would_not_leave_in_time_is_refused(fixture: Fixture) {
    let session = fixture.open_connected().await;
    slow_down(&fixture, &session).await;
    let waiting = fixture.accept((0..6).map(|_| valid_for(3_600)).collect()).await;
    let other = text("b", RECIPIENT, "another bot");
    // The sixth is ahead of the seventh of the same call: 60 s for the first of these, and 70 s for the second.
    let results =
        fixture.store.message_accept(&fixture.tenant, vec![valid_for(65), valid_for(65), other]).await.unwrap();
    assert!(matches!(
        results[..],
        [AcceptResult::Accepted(_), AcceptResult::BacklogFull(_), AcceptResult::Accepted(_)]
    ));
    let AcceptResult::BacklogFull(full) = results[1] else { panic!("{results:?}") };
    assert_eq!((full.bound, full.waiting, full.wait), (Bound::Validity, 7, Duration::from_secs(70)));
    assert!(
        full.retry_after >= Duration::from_secs(5) && full.valid_for.unwrap() <= Duration::from_secs(65),
        "{full:?}"
    );
    assert!(matches!(offer(&fixture, valid_for(75)).await, AcceptResult::Accepted(_)));
    for id in &waiting[..2] {
        fixture.store.message_cancel(&fixture.tenant, *id).await.unwrap();
    }
    assert!(matches!(offer(&fixture, valid_for(65)).await, AcceptResult::Accepted(_)));
}

/// Only what leaves before a message counts: what is under way, and what waits with its priority or a higher one. What waits for
/// its client's time counts from then on.
pub async fn what_is_ahead_is_what_leaves_before(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let of = |priority| NewMessage { priority, ..valid_for(3_600) };
    fixture.accept(vec![of(Priority::Campaign), of(Priority::Campaign), of(Priority::Automation)]).await;
    let for_later = fixture.accept(vec![scheduled(), scheduled()]).await;
    let seen = |a, b, c| vec![(Priority::Conversation, a), (Priority::Campaign, b), (Priority::Automation, c)];
    let check = async |expected: Vec<(Priority, u64)>| {
        for (priority, count) in expected {
            assert_eq!(ahead(&fixture, priority).await, count, "{priority:?}");
        }
    };
    // Nothing is ahead of the first question, so that it is accepted, and expires by itself.
    fixture.wake_due(100).await;
    check(seen(0, 2, 3)[1..].to_vec()).await;
    let one = Claim { attempts_max: 1, ..claim_all() };
    let attempt = fixture.store.dispatch_claim(&session, one).await.unwrap().attempts[0].attempt;
    check(seen(1, 2, 3)).await;
    fixture.tell(&session, vec![outcome(attempt, refused(Duration::from_secs(60)))]).await;
    check(seen(0, 2, 3)[1..].to_vec()).await;
    fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
    fixture.store.message_cancel(&fixture.tenant, for_later[0]).await.unwrap();
    check(seen(0, 1, 2)[1..].to_vec()).await;
    let soon = NewMessage { not_before: Some(Timestamp::now()), ..valid_for(3_600) };
    fixture.accept(vec![soon]).await;
    fixture.wake_due(100).await;
    check(seen(0, 2, 3)[1..].to_vec()).await;
}

/// A repeat was accepted when it came first, and a refused message leaves its key free.
pub async fn a_repeat_is_not_refused(fixture: Fixture) {
    let session = fixture.open_connected().await;
    slow_down(&fixture, &session).await;
    let keyed = |key: &str, seconds| NewMessage {
        idempotency: Some(Idempotency { key: key.into(), fingerprint: [1; 16] }),
        ..valid_for(seconds)
    };
    let first = fixture.accept(vec![keyed("first", 3_600)]).await[0];
    fixture.accept(vec![valid_for(3_600)]).await;
    assert_eq!(offer(&fixture, keyed("first", 5)).await, AcceptResult::Replayed(first));
    assert!(matches!(offer(&fixture, keyed("second", 5)).await, AcceptResult::BacklogFull(_)));
    assert!(matches!(offer(&fixture, keyed("second", 3_600)).await, AcceptResult::Accepted(_)));
}

/// What its client wants to leave later is not refused for what is ahead now.
pub async fn what_is_for_later_is_taken(fixture: Fixture) {
    let session = fixture.open_connected().await;
    slow_down(&fixture, &session).await;
    fixture.accept(vec![valid_for(3_600), valid_for(3_600)]).await;
    let later = NewMessage { not_before: Some(Timestamp::now() + Duration::from_secs(5)), ..valid_for(6) };
    assert!(matches!(offer(&fixture, later).await, AcceptResult::Accepted(_)));
}

/// A limit of the network is part of the pace; a gateway that is away is not.
pub async fn a_limit_slows_its_bot_down(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let waits_after = async |id: &str, reason| {
        let of_bot = |message| NewMessage { bot: bot(id), ..message };
        fixture.accept(vec![of_bot(valid_for(3_600))]).await;
        let attempt = fixture.claim_attempts(&session).await[0];
        let failure = Failure { retry_after: Some(Duration::from_secs(30)), ..Failure::new(reason, "") };
        fixture.tell(&session, vec![outcome(attempt, Outcome::Failed(failure))]).await;
        match offer(&fixture, of_bot(valid_for(0))).await {
            AcceptResult::BacklogFull(full) => full.wait,
            other => panic!("{other:?}"),
        }
    };
    let limited = waits_after("a", FailureReason::RateLimited).await;
    assert!((Duration::from_secs(25)..Duration::from_secs(31)).contains(&limited), "{limited:?}");
    let away = waits_after("b", FailureReason::GatewayUnavailable).await;
    assert!(away < Duration::from_secs(1), "{away:?}");
}
