//! The log of changes: what watchers see, and what they are told when they come too late.

use std::time::Duration;

use muster_domain::MessageId;

use super::fixture::{Fixture, bot, outcome, sent, text};
use crate::{Changes, RetentionPolicy, StoreError};

/// A policy that keeps everything but the log.
fn without_log() -> RetentionPolicy {
    RetentionPolicy { changes: Duration::ZERO, ..RetentionPolicy::default() }
}

async fn since(fixture: &Fixture, cursor: u64, limit: u32) -> Changes {
    fixture.store.changes_since(&fixture.tenant, cursor, None, limit).await.unwrap()
}

/// A watcher that goes on from its cursor sees every change once, in order, whatever the size of its pages.
pub async fn a_cursor_goes_on_without_gap_or_repeat(fixture: Fixture) {
    let session = fixture.open_connected().await;
    assert_eq!(fixture.store.changes_head(&fixture.tenant).await.unwrap(), 0);
    for i in 0..4 {
        let attempt = fixture.dispatched(&session).await;
        fixture.tell(&session, vec![outcome(attempt, sent(&i.to_string()))]).await;
    }
    let all = since(&fixture, 0, 100).await;
    assert_eq!(all.changes.len(), 12);
    assert_eq!(all.cursor, fixture.store.changes_head(&fixture.tenant).await.unwrap());
    for limit in [1, 5, 12] {
        let (mut cursor, mut seen) = (0, Vec::new());
        while seen.len() < 12 {
            let page = since(&fixture, cursor, limit).await;
            assert!(!page.changes.is_empty() && page.changes.len() <= limit as usize && page.cursor > cursor);
            seen.extend(page.changes);
            cursor = page.cursor;
        }
        assert_eq!(seen, all.changes);
        let rest = since(&fixture, cursor, limit).await;
        assert_eq!((rest.changes.len(), rest.cursor), (0, cursor));
    }
}

/// A filter hides the changes of other bots, and still moves the cursor past them.
pub async fn a_filter_moves_the_cursor(fixture: Fixture) {
    fixture.accept((0..60).map(|_| text("b", "+5511900000001", "hello")).collect()).await;
    let wanted = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await;
    fixture.accept((0..60).map(|_| text("b", "+5511900000001", "hello")).collect()).await;
    let (mut cursor, mut seen): (u64, Vec<MessageId>) = (0, Vec::new());
    while cursor < fixture.store.changes_head(&fixture.tenant).await.unwrap() {
        let page = fixture.store.changes_since(&fixture.tenant, cursor, Some(&bot("a")), 1).await.unwrap();
        assert!(page.cursor > cursor);
        seen.extend(page.changes.iter().map(|change| change.message_id));
        cursor = page.cursor;
    }
    assert_eq!(seen, wanted);
    let nobody = fixture.store.changes_since(&fixture.tenant, 0, Some(&bot("nobody")), 1).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
}

/// A watcher whose changes are gone is told so, and from where it can go on; numbers go on after the log was emptied.
pub async fn a_late_watcher_is_told_so(fixture: Fixture) {
    for _ in 0..5 {
        fixture.accept(vec![text("a", "+5511900000001", "hello")]).await;
    }
    let head = fixture.store.changes_head(&fixture.tenant).await.unwrap();
    // Retention counts from before now: it runs until the clock has moved on.
    while fixture.store.retention_run(&without_log(), 100).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    let Err(StoreError::CursorTooOld { oldest }) = fixture.store.changes_since(&fixture.tenant, 1, None, 9).await
    else {
        panic!("changes that are gone were not missed")
    };
    assert!(oldest > 1 && oldest <= head);
    assert!(fixture.store.changes_since(&fixture.tenant, oldest, None, 9).await.is_ok());
    // Zero asks for whatever is left.
    assert_eq!(since(&fixture, 0, 9).await.cursor, head);
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    let next = since(&fixture, head, 9).await;
    assert_eq!((next.changes[0].message_id, next.cursor), (id, head + 1));
}

/// Watchers are woken by a commit that changed a state, after it can be read, and by no other.
pub async fn commits_wake_watchers(fixture: Fixture) {
    let mut committed = fixture.store.committed();
    committed.borrow_and_update();
    let session = fixture.open_connected().await;
    assert!(!committed.has_changed().unwrap());
    fixture.dispatched(&session).await;
    assert!(committed.has_changed().unwrap());
    let head = *committed.borrow_and_update();
    assert_eq!(since(&fixture, 0, 9).await.cursor, head);
}
