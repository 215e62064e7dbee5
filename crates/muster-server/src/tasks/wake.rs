//! Messages with a time of their own: earliest times, retries, the end of their validity, and what policies decide.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::limits::SILENCE_MAX;
use muster_store::{Store, StoreError, WakeResult};

use super::Task;
use crate::session::Sessions;

/// Messages of one turn: keeps its transaction short enough for accepting and dispatching to get their turns.
const BATCH: u32 = 2_000;

/// Moves messages on whose time has come, and wakes the sessions that have work by it.
pub(crate) struct Wake {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sessions: Arc<Sessions>,
    /// See [`crate::Config::uncertain_wait`].
    pub(crate) uncertain_wait: Duration,
}

impl Task for Wake {
    const NAME: &'static str = "wake";
    const INTERVAL: Duration = Duration::from_secs(5);

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn turn(&self) -> Result<Option<Duration>, StoreError> {
        let WakeResult { wake, next } = self.store.wake_due(BATCH, SILENCE_MAX, self.uncertain_wait).await?;
        for (tenant, node, bot) in wake {
            self.sessions.wake(&tenant, &node, [bot]);
        }
        Ok(next)
    }
}
