//! Retention: what goes, and what stays however old it is.

use std::time::Duration;

use bytes::Bytes;
use muster_domain::Timestamp;
use muster_domain::content::{Content, Media, MediaDigest, MediaSource};
use muster_domain::inbound::NewInbound;
use muster_domain::message::{Idempotency, NewMessage};

use super::fixture::{Fixture, PATIENCE, bot, outcome, refused, sent, text};
use crate::{AcceptResult, ReportBody, RetentionPolicy};

/// Keeps nothing that is final.
const NOTHING: RetentionPolicy = RetentionPolicy {
    messages: Duration::ZERO,
    inbound: Duration::ZERO,
    changes: Duration::ZERO,
    media: Duration::ZERO,
};

/// Runs retention, `limit` rows at a time, until it has removed `rows`: it counts from before now, to the millisecond.
async fn remove(fixture: &Fixture, rows: u64, limit: u32) {
    let policy = RetentionPolicy { changes: Duration::from_secs(3_600), ..NOTHING };
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut removed = 0;
    while removed < rows {
        assert!(tokio::time::Instant::now() < end, "{removed} of {rows} rows were removed");
        removed += fixture.store.retention_run(&policy, limit).await.unwrap();
    }
    assert_eq!(fixture.store.retention_run(&policy, limit).await.unwrap(), 0);
    assert_eq!(removed, rows);
}

/// Final messages go with their attempts; what waits, is parked or is under way stays, and can still be sent.
pub async fn what_is_not_over_stays(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let over = fixture.dispatched(&session).await;
    let under_way = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(over, refused(Duration::ZERO))]).await;
    let over = fixture.claim_when_due(&session, 1).await[0];
    fixture.tell(&session, vec![outcome(over, sent("X"))]).await;
    let parked = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(parked, refused(Duration::ZERO))]).await;
    let waiting = fixture.accept(vec![text("b", "+5511900000001", "waits")]).await[0];
    remove(&fixture, 1, 100).await;
    assert_eq!(fixture.store.message_get(&fixture.tenant, over.message_id).await.unwrap(), None);
    assert_eq!(fixture.store.message_attempts(&fixture.tenant, over.message_id).await.unwrap(), []);
    assert_eq!(fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap()[0].total(), 3);
    let claimed = fixture.claim_when_due(&session, 2).await;
    let mut ids: Vec<_> = claimed.iter().map(|attempt| attempt.message_id).collect();
    ids.sort();
    assert_eq!(ids, [parked.message_id, waiting]);
    fixture.tell(&session, vec![outcome(under_way, sent("Y"))]).await;
    assert_eq!(fixture.state(under_way.message_id).await, "SENT");
}

/// A run removes no more than it is asked to, and its callers come again while it removes something.
pub async fn a_run_keeps_to_its_limit(fixture: Fixture) {
    let ids = fixture.accept((0..10).map(|_| text("a", "+5511900000001", "hello")).collect()).await;
    for id in ids {
        fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
    }
    remove(&fixture, 10, 3).await;
    assert_eq!(fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap()[0].total(), 0);
}

/// Rows that are younger than the policy stay.
pub async fn what_is_young_stays(fixture: Fixture) {
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
    fixture.pass(Duration::from_secs(3_600));
    assert_eq!(fixture.store.retention_run(&RetentionPolicy::default(), 100).await.unwrap(), 0);
    assert_eq!(fixture.state(id).await, "CANCELLED");
}

/// A key returns its first answer for its promised time, even if the message itself is gone.
pub async fn keys_outlive_their_messages(fixture: Fixture) {
    let idempotency = Some(Idempotency { key: "k".into(), fingerprint: [1; 16] });
    let message = NewMessage { idempotency, ..text("a", "+5511900000001", "hello") };
    let id = fixture.accept(vec![message.clone()]).await[0];
    fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
    remove(&fixture, 1, 100).await;
    let again = fixture.store.message_accept(&fixture.tenant, vec![message]).await.unwrap();
    assert_eq!(again, [AcceptResult::Replayed(id)]);
}

/// A medium stays as long as a message names it, and goes with the last one; inbound messages go by their own age.
pub async fn media_go_with_their_last_message(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let bytes = Bytes::from_static(b"picture");
    let digest = MediaDigest::of(&bytes);
    fixture.store.media_put(&fixture.tenant, digest, bytes).await.unwrap();
    let media = Media { source: MediaSource::Stored(digest), mime_type: "image/png".into() };
    let content = Content::Image { media, caption: String::new() };
    let id = fixture.accept(vec![NewMessage { content, ..text("a", "+5511900000001", "") }]).await[0];
    let received = NewInbound {
        bot: bot("a"),
        network_id: "X".into(),
        sender: text("a", "+5511900000001", "").recipient,
        participant: None,
        sender_name: String::new(),
        content: Content::Text { body: "hello".into() },
        reply_to: None,
        receive_time: Timestamp::now(),
    };
    fixture.tell(&session, vec![ReportBody::Inbound(received)]).await;
    remove(&fixture, 1, 100).await;
    assert_eq!(fixture.store.inbound_since(&fixture.tenant, None, None, 9).await.unwrap(), []);
    assert!(fixture.store.media_get(&digest).await.unwrap().is_some());
    fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
    remove(&fixture, 2, 100).await;
    assert_eq!(fixture.store.media_get(&digest).await.unwrap(), None);
    assert!(!fixture.store.media_exists(&fixture.tenant, &digest).await.unwrap());
}
