//! The segmented log: open and replay, append and sync, rotate and clean. Synchronous; the writer thread drives it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::record::Record;
use super::segment::{self, HEADER_BYTES, Header};
use super::state::{Home, State, StateCell};
use crate::clock::{BootId, Stamp};

/// Bytes after which a segment is closed and the next one begun.
pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// A segment whose living records take less than one part in this many is written again in short form. Bounds what is
/// copied to a small share of what is written.
const CLEAN_BELOW_ONE_IN: u64 = 4;

/// A segment up to this many bytes is always written again: an agent that is restarted often leaves many of them.
const CLEAN_BELOW_BYTES: u64 = 1024 * 1024;

/// What an opened journal tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Random, from the journal's creation.
    pub(crate) journal_id: [u8; 16],
    /// Counts the openings, this one included.
    pub(crate) opening: u64,
    /// The journal stands where it stood at its last opening, in the same boot: it can be no copy of another one.
    pub(crate) is_at_home: bool,
}

/// Why a batch was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// There is no room. Nothing of the batch is in the file.
    Full,
    /// Nobody knows what is durable any more; the journal must be opened afresh.
    Failed(JournalError),
}

struct Filed {
    number: u64,
    bytes: u64,
}

/// An open journal.
pub(crate) struct Log {
    dir: PathBuf,
    _lock: File,
    identity: Identity,
    boot: BootId,
    place: [u8; 16],
    segment_bytes: u64,
    closed: VecDeque<Filed>,
    active: Filed,
    file: File,
    batch: Vec<u8>,
    homes: Vec<Home>,
}

impl Log {
    /// Opens the journal in `dir`, or creates it there, and replays it. `fresh_id` becomes the id of a new journal.
    pub(crate) fn open(dir: &Path, segment_bytes: u64, fresh_id: [u8; 16]) -> Result<(Log, StateCell), JournalError> {
        create_dir(dir)?;
        let lock = lock(dir)?;
        let now = Stamp::now();
        let (boot, place) = (BootId::current(), segment::place_of(dir)?);
        let numbers = segment::list(dir)?;
        let mut state = State::starting_at(0);
        let mut closed = VecDeque::new();
        let mut last: Option<Header> = None;
        for number in &numbers {
            let is_last = Some(number) == numbers.last();
            let replayed = segment::read(dir, *number, is_last)?;
            let path = segment::path_of(dir, *number);
            if last.is_some_and(|last| last.journal_id != replayed.header.journal_id) {
                return Err(JournalError::Corrupt { path, offset: 0, what: "the segment is another journal's" });
            }
            if replayed.is_torn {
                tracing::warn!(path = %path.display(), end = replayed.end, "the journal ends in a torn record; it is cut off");
                cut(&path, replayed.end)?;
            }
            if last.is_none() {
                state = State::starting_at(replayed.header.acknowledged);
            }
            state.raise_head(replayed.header.head);
            state.raise_acknowledged(replayed.header.acknowledged, now);
            let of_this_boot = replayed.header.boot.is_same(boot);
            for (mut record, bytes) in replayed.records {
                if !of_this_boot {
                    carry_over(&mut record, now);
                }
                state.apply(record, Home { segment: *number, bytes }, now);
            }
            closed.push_back(Filed { number: *number, bytes: replayed.end });
            last = Some(replayed.header);
        }
        if !state.is_complete() {
            let path = segment::path_of(dir, numbers.first().copied().unwrap_or_default());
            return Err(JournalError::Corrupt { path, offset: 0, what: "reports are missing" });
        }
        let identity = Identity {
            journal_id: last.map_or(fresh_id, |last| last.journal_id),
            opening: last.map_or(0, |last| last.opening) + 1,
            is_at_home: last.is_none_or(|last| last.boot.is_same(boot) && last.place == place),
        };
        let header = Header {
            journal_id: identity.journal_id,
            number: last.map_or(0, |last| last.number) + 1,
            opening: identity.opening,
            boot,
            place,
            acknowledged: state.acknowledged(),
            head: state.head(),
        };
        let file = segment::create(dir, &header)?;
        let mut log = Log {
            dir: dir.to_owned(),
            _lock: lock,
            identity,
            boot,
            place,
            segment_bytes,
            closed,
            active: Filed { number: header.number, bytes: HEADER_BYTES as u64 },
            file,
            batch: Vec::new(),
            homes: Vec::new(),
        };
        let state = StateCell::new(state);
        log.begin_segment(&state).map_err(|error| log.as_open_error(error))?;
        Ok((log, state))
    }

    fn as_open_error(&self, error: WriteError) -> JournalError {
        match error {
            WriteError::Failed(error) => error,
            WriteError::Full => JournalError::io("write", &self.dir)(io::ErrorKind::StorageFull.into()),
        }
    }

    /// Who this journal is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The journal's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes records and makes them durable, and returns where each one stands. Reports must have their offsets.
    pub(crate) fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> Result<&[Home], WriteError> {
        self.batch.clear();
        self.homes.clear();
        Record::Batch { at: self.active.bytes }.encode(&mut self.batch);
        for record in records {
            let bytes = record.encode(&mut self.batch);
            self.homes.push(Home { segment: self.active.number, bytes });
        }
        if let Err(error) = self.file.write_all(&self.batch) {
            return Err(self.take_back(error));
        }
        // After a failed sync the system may have dropped the pages: what the file holds is unknown, and trying again would
        // only hide that.
        if let Err(source) = self.file.sync_data() {
            return Err(WriteError::Failed(self.io("sync", source)));
        }
        self.active.bytes += self.batch.len() as u64;
        Ok(&self.homes)
    }

    /// Removes a batch that was written in part.
    fn take_back(&mut self, error: io::Error) -> WriteError {
        let restored =
            self.file.set_len(self.active.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.active.bytes)));
        if let Err(source) = restored {
            return WriteError::Failed(self.io("truncate", source));
        }
        if is_full(&error) { WriteError::Full } else { WriteError::Failed(self.io("write", error)) }
    }

    fn io(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::io(action, &segment::path_of(&self.dir, self.active.number))(source)
    }

    /// Whether the present segment is full.
    pub(crate) fn is_rotation_due(&self) -> bool {
        self.active.bytes >= self.segment_bytes
    }

    /// Begins a new segment, and deletes old ones in which nothing is needed. The state is locked for moments only.
    pub(crate) fn rotate(&mut self, state: &StateCell) -> Result<(), WriteError> {
        let (acknowledged, head) = {
            let state = state.lock();
            (state.acknowledged(), state.head())
        };
        let header = Header {
            journal_id: self.identity.journal_id,
            number: self.active.number + 1,
            opening: self.identity.opening,
            boot: self.boot,
            place: self.place,
            acknowledged,
            head,
        };
        self.file = match segment::create(&self.dir, &header) {
            Ok(file) => file,
            Err(JournalError::Io { source, .. }) if is_full(&source) => return Err(WriteError::Full),
            Err(error) => return Err(WriteError::Failed(error)),
        };
        let active = Filed { number: header.number, bytes: HEADER_BYTES as u64 };
        self.closed.push_back(std::mem::replace(&mut self.active, active));
        self.begin_segment(state)
    }

    /// Carries over what the segments to be deleted may have held, and deletes them.
    fn begin_segment(&mut self, state: &StateCell) -> Result<(), WriteError> {
        let carried = state.lock().carried();
        if !carried.is_empty() {
            self.append(&carried)?;
        }
        while let Some(Filed { number, bytes }) = self.closed.front() {
            let (number, bytes) = (*number, *bytes);
            let living = state.lock().live_bytes(number);
            if living.saturating_mul(CLEAN_BELOW_ONE_IN) > bytes && bytes > CLEAN_BELOW_BYTES {
                break;
            }
            if living > 0 {
                self.copy_forward(number, state)?;
            }
            let path = segment::path_of(&self.dir, number);
            fs::remove_file(&path).map_err(|source| WriteError::Failed(JournalError::io("delete", &path)(source)))?;
            self.closed.pop_front();
        }
        segment::sync_dir(&self.dir).map_err(WriteError::Failed)
    }

    fn copy_forward(&mut self, number: u64, state: &StateCell) -> Result<(), WriteError> {
        let records = state.lock().living_in(number);
        let homes = self.append(&records)?;
        let now = Stamp::now();
        let mut state = state.lock();
        for (record, home) in records.into_iter().zip(homes) {
            state.apply(record, *home, now);
        }
        Ok(())
    }

    /// Bytes that are free on the journal's disk.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the directory, for its owner only: attempts carry addresses and texts.
fn create_dir(dir: &Path) -> Result<(), JournalError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(JournalError::io("create", dir))?;
    match dir.canonicalize().ok().as_deref().and_then(Path::parent) {
        Some(parent) => segment::sync_dir(parent),
        None => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(JournalError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(JournalError::io("lock", &path)(source)),
    }
}

fn cut(path: &Path, end: u64) -> Result<(), JournalError> {
    let file = OpenOptions::new().write(true).open(path).map_err(JournalError::io("open", path))?;
    file.set_len(end).and_then(|()| file.sync_all()).map_err(JournalError::io("truncate", path))
}

fn carry_over(record: &mut Record, now: Stamp) {
    match record {
        Record::Accept(accept) => accept.stamp = accept.stamp.carried_over(now),
        Record::Report(report) => report.stamp = report.stamp.carried_over(now),
        Record::Forgotten(forgotten) => forgotten.stamp = forgotten.stamp.carried_over(now),
        Record::Batch { .. }
        | Record::Intent(_)
        | Record::Acknowledged(_)
        | Record::Forget(_)
        | Record::Chain { .. } => {}
    }
}
