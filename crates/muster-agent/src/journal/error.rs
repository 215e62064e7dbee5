//! What can go wrong with a journal, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the journal.
    #[error("the journal in {} is in use by another agent: stop it, or give this one a directory of its own", dir.display())]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// A file of the journal's name is something else.
    #[error("{} is no journal segment: move it away, or name another journal directory", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// The journal was written by a newer agent.
    #[error("{} has format {found}, and this agent reads up to {supported}: run the newer agent that wrote it", path.display())]
    VersionUnsupported {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known here.
        supported: u32,
    },
    /// A record is of a kind that this version does not know.
    #[error("{} holds a record of unknown kind {kind} at byte {offset}: run the newer agent that wrote it", path.display())]
    KindUnknown {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The kind.
        kind: u8,
    },
    /// A record is whole, by its checksum, and cannot be read.
    #[error(
        "{} holds a whole record at byte {offset} that this agent cannot read: run the version of the agent that wrote it",
        path.display()
    )]
    RecordUnreadable {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
    /// What was durable once cannot be read any more.
    #[error(
        "{} is damaged at byte {offset} ({what}): restore the disk, or move the directory away and start with a new journal; \
         the server then holds every attempt of this node as uncertain", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A segment between two others is gone.
    #[error("segment {number} of the journal in {} is missing: restore it, or move the directory away", dir.display())]
    SegmentMissing {
        /// The journal's directory.
        dir: PathBuf,
        /// The segment's number.
        number: u64,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl JournalError {
    /// Wraps what the system said about `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
        let path = path.to_owned();
        move |source| JournalError::Io { action, path, source }
    }
}

/// Why records were not taken by an open journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppendError {
    /// The disk has no room for more work. What is held is kept, and room that comes back is used.
    #[error("the journal's disk is full: make room, the agent goes on by itself")]
    Full,
    /// The journal was closed, or failed for good; the agent stops.
    #[error("the journal is closed")]
    Closed,
}
