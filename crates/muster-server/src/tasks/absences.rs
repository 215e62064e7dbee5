//! Bots whose nodes are absent.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::Timestamp;
use muster_store::{AbsencesActed, MovedBot, Store, StoreError};

use super::Task;
use crate::session::Sessions;

/// Bots that move and messages that fail in one turn at the most: few enough to keep its transaction short.
const TURN_MAX: u32 = 500;

/// Does what is declared for bots whose nodes are absent, and tells the sessions of bots that moved.
pub(crate) struct Absences {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sessions: Arc<Sessions>,
    /// Since when agents could come to this server.
    pub(crate) serving_since: Timestamp,
}

impl Task for Absences {
    const NAME: &'static str = "absences";
    const INTERVAL: Duration = Duration::from_secs(30);

    fn now(&self) -> Timestamp {
        self.store.now()
    }

    async fn turn(&self) -> Result<Option<Duration>, StoreError> {
        let AbsencesActed { moved, failed, next } = self.store.absences_act(self.serving_since, TURN_MAX).await?;
        for MovedBot { tenant, bot, from, to } in moved {
            tracing::warn!(bot.id = %bot, node.from = %from, node.to = %to, "a bot failed over: its node is absent");
            self.sessions.desired_changed(&tenant, [&from, &to]);
            self.sessions.wake(&tenant, &to, [bot]);
        }
        if failed > 0 {
            tracing::warn!(failed, "messages failed: the nodes of their bots are absent");
        }
        Ok(next)
    }
}
