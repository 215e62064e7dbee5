//! Rows that the policy no longer keeps.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::Timestamp;
use muster_store::{RetentionPolicy, Store, StoreError};

use super::Task;

/// Rows of each table in one turn: removing must never be what others wait for.
const BATCH: u32 = 1_000;

/// Pause between two turns while there is more to remove.
const BREATH: Duration = Duration::from_millis(200);

/// Removes old rows, a few at a time.
pub(crate) struct Retention {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) policy: RetentionPolicy,
}

impl Task for Retention {
    const NAME: &'static str = "retention";
    const INTERVAL: Duration = Duration::from_secs(600);

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn turn(&self) -> Result<Option<Duration>, StoreError> {
        let removed = self.store.retention_run(&self.policy, BATCH).await?;
        Ok((removed > 0).then_some(BREATH))
    }
}
