//! The suite of the contract on SQLite.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use muster_store::Store;
use muster_store::sqlite::SqliteStore;

async fn open() -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("muster.db")).await.unwrap();
    (Arc::new(store), dir)
}

muster_store::conformance_tests!(open);
