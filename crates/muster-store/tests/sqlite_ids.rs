//! Ids over the openings of a file and its copies.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_domain::{IdStart, MessageId, TenantId, Timestamp};
use muster_store::conformance::fixture::{Fixture, text};
use muster_store::sqlite::SqliteStore;
use muster_store::{Clock, Store as _};

/// Opens a file by a clock that shows so many milliseconds more than `beginning`, accepts at each of `times`, and closes it.
async fn issued(path: &Path, start: u32, beginning: Timestamp, times: &[u64]) -> BTreeSet<MessageId> {
    let ahead = Arc::new(AtomicU64::new(times[0]));
    let shown = Arc::clone(&ahead);
    let clock = Clock::new(move || beginning + Duration::from_millis(shown.load(Ordering::Relaxed)));
    let is_new = !path.exists();
    let store = Arc::new(SqliteStore::open_by(path, clock, IdStart::from_entropy(start)).await.unwrap());
    let fixture = if is_new {
        Fixture::new(Arc::clone(&store) as _).await
    } else {
        Fixture::again(Arc::clone(&store) as _, TenantId::default_tenant())
    };
    let mut ids = BTreeSet::new();
    for time in times {
        ahead.store(*time, Ordering::Relaxed);
        ids.extend(fixture.accept(vec![text("b", "r", "one"), text("b", "r", "two")]).await);
    }
    store.close().await;
    assert_eq!(ids.len(), 2 * times.len());
    ids
}

#[tokio::test]
async fn a_database_that_is_restored_under_a_clock_that_is_behind_issues_no_id_again() {
    let dir = tempfile::tempdir().unwrap();
    let (lost, restored) = (dir.path().join("lost.db"), dir.path().join("restored.db"));
    let beginning = Timestamp::now();
    let before = issued(&lost, 1_000, beginning, &[60_000]).await;
    std::fs::copy(&lost, &restored).unwrap();
    // The lost database went on twice: with a clock that was set back, and with one in order.
    let mut lost_ids = issued(&lost, 2_000, beginning, &[50_000, 50_001, 60_001]).await;
    lost_ids.extend(issued(&lost, 3_000, beginning, &[60_002, 60_003]).await);
    // The restored one begins before its latest id, and comes through the time of those that it does not know.
    let again = issued(&restored, 4_000, beginning, &[40_000, 59_999, 60_000, 60_001, 60_002, 60_003]).await;
    assert!(again.is_disjoint(&lost_ids), "{again:?} and {lost_ids:?}");
    assert!(before.last() < again.first(), "what is accepted later has a greater id");
}

#[tokio::test]
async fn each_opening_draws_where_its_ids_begin() {
    let dir = tempfile::tempdir().unwrap();
    let mut places = BTreeSet::new();
    for name in ["one.db", "two.db", "three.db"] {
        let store = Arc::new(SqliteStore::open(&dir.path().join(name)).await.unwrap());
        let fixture = Fixture::new(Arc::clone(&store) as _).await;
        let id = fixture.accept(vec![text("b", "r", "one")]).await[0];
        places.insert(id.raw() - MessageId::floor(id.accept_time()).raw());
        store.close().await;
    }
    assert!(places.len() > 1, "{places:?}");
}
