//! What an agent has of the machine that it runs on.

use std::pin::Pin;
use std::sync::Arc;

use crate::clock::{Clock, Stamp, SystemClock};
use crate::disk::{Disk, SystemDisk};

/// A machine: its clocks, its disk, and who waits for the disk.
#[derive(Clone)]
pub struct Machine {
    /// What ages and times of the agent are read from.
    pub clock: Arc<dyn Clock>,
    /// Where the journal and what lies beside it are kept.
    pub disk: Arc<dyn Disk>,
    /// Who waits for the disk.
    pub waiting: Waiting,
}

/// Who waits for the disk.
#[derive(Clone)]
pub enum Waiting {
    /// Threads: the journal's writer has one of its own, everything else takes one of the runtime's.
    Threads,
    /// The tasks of the runtime. For a simulation, whose disk never blocks and whose time stands still while a task runs.
    Tasks(Arc<dyn Pace>),
}

/// How long a simulated disk takes.
pub trait Pace: Send + Sync + 'static {
    /// Ends when the journal may write and sync its next batch.
    fn before_write(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Ends when the journal may tell that the batch is durable.
    fn after_write(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Machine {
    /// The machine that this process runs on.
    pub fn system() -> Self {
        Machine { clock: Arc::new(SystemClock), disk: Arc::new(SystemDisk), waiting: Waiting::Threads }
    }

    /// Now.
    pub(crate) fn now(&self) -> Stamp {
        Stamp::read(&*self.clock)
    }

    /// Runs something that waits for the disk.
    pub(crate) async fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.waiting {
            // The task is never cancelled; a panic in it is this task's panic.
            Waiting::Threads => tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())),
            Waiting::Tasks(_) => work(),
        }
    }
}
