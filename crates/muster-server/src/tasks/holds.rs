//! Holds that end by themselves.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::Timestamp;
use muster_store::{Store, StoreError, WakeResult};

use super::Task;
use crate::session::Sessions;

/// Least time between two looks. The store tells when anything at all is due next, which under load is always soon.
const GAP: Duration = Duration::from_millis(100);

/// Ends holds whose time has come, and tells the sessions: their bots have work, and may send again.
pub(crate) struct Holds {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sessions: Arc<Sessions>,
}

impl Task for Holds {
    const NAME: &'static str = "holds";
    const INTERVAL: Duration = Duration::from_secs(30);

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn turn(&self) -> Result<Option<Duration>, StoreError> {
        let WakeResult { wake, next } = self.store.holds_end().await?;
        for (tenant, node, bot) in wake {
            self.sessions.wake(&tenant, &node, [bot]);
            self.sessions.desired_changed(&tenant, [&node]);
        }
        Ok(next.map(|next| next.max(GAP)))
    }
}
