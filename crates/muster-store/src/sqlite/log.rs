//! Moving the write-ahead log into the database.
//!
//! The log grows with each commit, and begins anew once all of it is in the database. Copying it takes a write for each page
//! and two syncs, while everything waits for the one thread that writes. So a thread of its own copies, and the writer goes
//! on. What it writes meanwhile is little, and it copies that itself: a log to which something is added all the time would
//! never be at its end.

use std::cell::Cell;
use std::ffi::c_int;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::{Result, StoreError};

/// Pages of the log at which copying begins: 32 MiB, so that pages that are written again and again are copied once.
const BEGIN_AT_PAGES: u64 = 8_192;

/// Pages of the log beyond which the writer waits for what is being copied, so that the log does not outgrow the disk: 128 MiB.
/// Only readers that stay in one snapshot for long make it larger.
const WAIT_AT_PAGES: u64 = 4 * BEGIN_AT_PAGES;

thread_local! {
    /// Pages of the log after the latest commit of this thread. The hook that learns it is a bare function.
    static PAGES: Cell<u64> = const { Cell::new(0) };
}

/// Takes notice of the length of the log, and no longer copies it with a commit.
pub(super) fn watch(connection: &Connection) {
    connection.wal_hook(Some(note));
}

fn note(_: &Wal, pages: c_int) -> rusqlite::Result<()> {
    PAGES.set(u64::try_from(pages).unwrap_or_default());
    Ok(())
}

/// Copies what is in the log as far as no reader needs it, and waits for nobody.
fn copy(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log of the database could not be moved into it; it grows until that succeeds");
    }
}

/// When to begin, and when to go on.
#[derive(Debug, Default)]
struct Plan {
    /// Pages after the latest commit.
    pages: u64,
    /// Pages at which copying begins, if readers kept the latest one from reaching the end.
    postponed_to: Option<u64>,
    is_copying: bool,
}

/// What the writer does after a commit.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    /// Asks the thread to copy.
    Begin,
    /// Looks whether the thread is done, and copies the rest then.
    Look,
    /// Waits until the thread is done, and copies the rest.
    Wait,
}

impl Plan {
    fn after_commit(&mut self, pages: u64) -> Next {
        if pages < std::mem::replace(&mut self.pages, pages) {
            self.postponed_to = None;
        }
        match self.is_copying {
            true if pages >= WAIT_AT_PAGES => Next::Wait,
            true => Next::Look,
            false if pages >= self.postponed_to.unwrap_or(BEGIN_AT_PAGES) => Next::Begin,
            false => Next::Nothing,
        }
    }

    fn begun(&mut self) {
        self.is_copying = true;
    }

    /// All is copied that could be. Unless the log begins anew, it is looked at again when it has grown by a quarter.
    fn done(&mut self) {
        self.is_copying = false;
        self.postponed_to = Some(self.pages + BEGIN_AT_PAGES / 4);
    }
}

/// The writer's side of it.
pub(super) struct Log {
    plan: Plan,
    ask: SyncSender<()>,
    copied: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Log {
    /// Starts the thread, on a connection of its own.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let (ask, asked) = sync_channel(1);
        let (tell, copied) = sync_channel(1);
        let copy_when_asked = move || {
            while asked.recv().is_ok() {
                copy(&connection);
                if tell.send(()).is_err() {
                    break;
                }
            }
        };
        let thread = Builder::new().name("store-log".into()).spawn(copy_when_asked);
        let thread = thread.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Log { plan: Plan::default(), ask, copied, thread })
    }

    /// Looks after the log once the writer has committed, on the writer's thread and with its connection.
    pub(super) fn after_commit(&mut self, connection: &Connection) {
        let is_done = match self.plan.after_commit(PAGES.get()) {
            Next::Nothing => false,
            Next::Begin => {
                self.plan.begun();
                // Without its thread the writer copies everything.
                self.ask.try_send(()).is_err()
            }
            Next::Look => self.copied.try_recv().is_ok(),
            Next::Wait => {
                let _ = self.copied.recv();
                true
            }
        };
        if is_done {
            copy(connection);
            self.plan.done();
        }
    }

    /// Closes the thread's connection.
    pub(super) fn close(self) {
        let Log { plan: _, ask, copied, thread } = self;
        drop((ask, copied));
        if thread.join().is_err() {
            tracing::error!("the thread that copies the log ended in a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_begins_when_the_log_is_long_enough() {
        let mut plan = Plan::default();
        assert_eq!(plan.after_commit(BEGIN_AT_PAGES - 1), Next::Nothing);
        assert_eq!(plan.after_commit(BEGIN_AT_PAGES), Next::Begin);
    }

    #[test]
    fn the_writer_waits_only_where_the_log_is_far_too_long() {
        let mut plan = Plan::default();
        plan.begun();
        assert_eq!(plan.after_commit(WAIT_AT_PAGES - 1), Next::Look);
        assert_eq!(plan.after_commit(WAIT_AT_PAGES), Next::Wait);
    }

    #[test]
    fn a_log_that_begins_anew_is_copied_at_its_usual_length() {
        let mut plan = Plan::default();
        plan.after_commit(BEGIN_AT_PAGES);
        plan.begun();
        plan.done();
        assert_eq!(plan.after_commit(10), Next::Nothing);
        assert_eq!(plan.after_commit(BEGIN_AT_PAGES), Next::Begin);
    }

    #[test]
    fn a_log_that_a_reader_keeps_is_copied_again_when_it_has_grown() {
        let mut plan = Plan::default();
        plan.after_commit(BEGIN_AT_PAGES);
        plan.begun();
        plan.done();
        let grown = BEGIN_AT_PAGES + BEGIN_AT_PAGES / 4;
        assert_eq!(plan.after_commit(grown - 1), Next::Nothing);
        assert_eq!(plan.after_commit(grown), Next::Begin);
    }
}
