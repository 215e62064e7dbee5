//! Rows that the policy no longer keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use muster_domain::Timestamp;
use muster_store::{RetentionPolicy, Store, StoreError};

use super::Task;

/// Rows of each table in a turn: removing must never be what others wait for.
const BATCH: u32 = 1_000;

/// Rows of each table in a turn that comes after many others and still has not caught up. As many as one transaction accepts:
/// what comes at full speed is removed as fast.
const BATCH_MAX: u32 = 4_096;

/// Looks within the shortest time that rows are kept: nothing stays for much longer than was asked for.
const LOOKS: u32 = 10;

/// Removes old rows, a few at a time. Others have the writer in between: a turn waits for its own behind them.
pub(crate) struct Retention {
    store: Arc<dyn Store>,
    policy: RetentionPolicy,
    batch: AtomicU32,
}

impl Retention {
    /// Removes what `policy` does not keep.
    pub(crate) fn new(store: Arc<dyn Store>, policy: RetentionPolicy) -> Self {
        Retention { store, policy, batch: BATCH.into() }
    }
}

impl Task for Retention {
    const NAME: &'static str = "retention";
    const INTERVAL: Duration = Duration::from_secs(600);

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn turn(&self) -> Result<Option<Duration>, StoreError> {
        let batch = self.batch.load(Ordering::Relaxed);
        let removed = self.store.retention_run(&self.policy, batch).await?;
        let next = next_batch(batch, removed);
        self.batch.store(next.unwrap_or(BATCH), Ordering::Relaxed);
        Ok(Some(next.map_or(self.policy.shortest() / LOOKS, |_| Duration::ZERO)))
    }
}

/// Rows of the next turn, after one that removed so many; `None` once that was all.
fn next_batch(batch: u32, removed: u64) -> Option<u32> {
    (removed >= u64::from(batch)).then(|| (batch + batch / 8).min(BATCH_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_grow_until_they_have_caught_up() {
        assert_eq!(next_batch(BATCH, 0), None);
        assert_eq!(next_batch(BATCH, 999), None);
        assert_eq!(next_batch(BATCH, 1_000), Some(1_125));
        // A dozen turns on.
        assert_eq!((0..13).try_fold(BATCH, |batch, _| next_batch(batch, batch.into())), Some(BATCH_MAX));
        assert_eq!(next_batch(BATCH_MAX, 9_999), Some(BATCH_MAX));
    }
}
