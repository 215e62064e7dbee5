//! The journal: the truth of the agent.
//!
//! An append-only log in segments that says what the agent answers for, what it has begun, and what it has to tell the
//! server. Whatever the agent promises (that it has an attempt, that a message was handed to a gateway at most once, that a
//! webhook was taken) is durable here first. [`record`] is the disk's language, [`state`] what it means, [`log`] the files,
//! [`writer`] the one that writes.

mod chains;
pub(crate) mod error;
pub(crate) mod log;
pub(crate) mod record;
mod segment;
pub(crate) mod state;
mod writer;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

use crate::clock::Stamp;
use crate::machine::{Machine, Waiting};
pub(crate) use error::AppendError;
pub use error::JournalError;
use log::{Identity, Log, SEGMENT_BYTES};
use record::Record;
use state::{Home, State};
use writer::{Order, Shared, Wake, Writer};

/// Free bytes on the journal's disk below which no more work is taken: room for the outcomes of what is held, and for the
/// host to stay usable.
pub const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// An open journal. Clones share it; it is closed, and its last records are written, by its [`Closer`].
#[derive(Clone)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    identity: Identity,
    machine: Machine,
}

/// Closes the journal. Dropped, it closes it as well, and does not wait.
pub(crate) struct Closer {
    shared: Arc<Shared>,
    writer: Option<Running>,
}

/// The running writer.
enum Running {
    Thread(thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Journal {
    /// Opens the journal in `dir`, or creates it there.
    pub(crate) fn open(machine: &Machine, dir: &Path, free_bytes_min: u64) -> Result<(Journal, Closer), JournalError> {
        let (log, state) = Log::open(machine, dir, SEGMENT_BYTES, rand::random())?;
        let identity = log.identity();
        let wake = match machine.waiting {
            Waiting::Threads => Wake::Thread(Condvar::new()),
            Waiting::Tasks(_) => Wake::Task(Notify::new()),
        };
        let shared = Shared::new(state, wake);
        let writer = Writer::new(log, Arc::clone(&shared), free_bytes_min);
        let writer = match &machine.waiting {
            Waiting::Threads => {
                let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run());
                Running::Thread(thread.map_err(JournalError::io("start the writer of", dir))?)
            }
            Waiting::Tasks(pace) => Running::Task(tokio::spawn(writer.run_as_task(Arc::clone(pace)))),
        };
        let journal = Journal { shared: Arc::clone(&shared), identity, machine: machine.clone() };
        Ok((journal, Closer { shared, writer: Some(writer) }))
    }

    /// Now, by the clocks that the journal's stamps read.
    pub(crate) fn now(&self) -> Stamp {
        self.machine.now()
    }

    /// The machine that the journal lies on.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Who this journal is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Makes records durable, and returns the offset of the first report among them. While the disk is full they wait for
    /// room: for what has to be kept whatever happens.
    pub(crate) async fn append(&self, records: Vec<Record>) -> Result<u64, AppendError> {
        self.order(records, false).await
    }

    /// Makes records durable, or refuses them while the disk is full: for new work.
    pub(crate) async fn append_if_room(&self, records: Vec<Record>) -> Result<u64, AppendError> {
        self.order(records, true).await
    }

    async fn order(&self, records: Vec<Record>, needs_room: bool) -> Result<u64, AppendError> {
        let (done, answer) = oneshot::channel();
        self.shared.push(Order { records, needs_room, done: Some(done) });
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Notes that the server committed all reports up to `through`. It holds at once, and becomes durable with what is
    /// written next: if it is lost, reports are sent again, and skipped.
    pub(crate) fn acknowledge(&self, through: u64) {
        self.shared.state().apply(Record::Acknowledged(through), Home::default(), self.now());
        self.shared.push_quietly(Record::Acknowledged(through));
    }

    /// Reads the state. The lock is held as long as the closure runs: no waiting, no I/O in it.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.state())
    }

    /// Follows the offset of the latest durable report.
    pub(crate) fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    /// Follows whether the disk is full.
    pub(crate) fn is_full(&self) -> watch::Receiver<bool> {
        self.shared.is_full.subscribe()
    }

    /// Whether nothing can be written any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Acquire)
    }

    /// How long making something durable takes at present; zero before the first time.
    pub(crate) fn sync_time(&self) -> Duration {
        self.shared.sync_time()
    }

    /// Bytes that were free on the disk when it was last looked at.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.shared.free_bytes()
    }
}

impl Closer {
    /// Writes what was ordered so far, takes nothing more, and waits for the writer to end.
    pub(crate) async fn close(mut self) {
        self.shared.close();
        let has_panicked = match self.writer.take() {
            Some(Running::Thread(thread)) => {
                tokio::task::spawn_blocking(|| thread.join().is_err()).await.is_ok_and(|panicked| panicked)
            }
            Some(Running::Task(task)) => task.await.is_err(),
            None => false,
        };
        if has_panicked {
            tracing::error!("the journal's writer ended in a panic");
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod formats;
#[cfg(test)]
mod tests;
