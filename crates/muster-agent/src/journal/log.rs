//! The segmented log: open and replay, append and sync, rotate and clean. Synchronous; the writer thread drives it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::record::Record;
use super::segment::{self, HEADER_BYTES, Header};
use super::state::{Home, State, StateCell};
use crate::clock::{BootId, Stamp};
use crate::disk::DiskFile;
use crate::machine::Machine;

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
    machine: Machine,
    dir: PathBuf,
    _lock: Box<dyn Send>,
    identity: Identity,
    boot: BootId,
    place: [u8; 16],
    segment_bytes: u64,
    closed: VecDeque<Filed>,
    active: Filed,
    file: Box<dyn DiskFile>,
    batch: Vec<u8>,
    homes: Vec<Home>,
}

impl Log {
    /// Opens the journal in `dir`, or creates it there, and replays it. `fresh_id` becomes the id of a new journal.
    pub(crate) fn open(
        machine: &Machine,
        dir: &Path,
        segment_bytes: u64,
        fresh_id: [u8; 16],
    ) -> Result<(Log, StateCell), JournalError> {
        let disk = &*machine.disk;
        disk.create_dir(dir).map_err(JournalError::io("create", dir))?;
        let lock = lock(machine, dir)?;
        let now = machine.now();
        let boot = BootId(machine.clock.boot());
        let place = disk.place(dir).map_err(JournalError::io("look at", dir))?;
        let numbers = segment::list(disk, dir)?;
        let mut state = State::starting_at(0);
        let mut closed = VecDeque::new();
        let mut last: Option<Header> = None;
        for number in &numbers {
            let is_last = Some(number) == numbers.last();
            let replayed = segment::read(disk, dir, *number, is_last)?;
            let path = segment::path_of(dir, *number);
            if last.is_some_and(|last| last.journal_id != replayed.header.journal_id) {
                return Err(JournalError::Corrupt { path, offset: 0, what: "the segment is another journal's" });
            }
            if replayed.is_torn {
                tracing::warn!(path = %path.display(), end = replayed.end, "the journal ends in a torn record; it is cut off");
                disk.cut(&path, replayed.end).map_err(JournalError::io("truncate", &path))?;
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
        let file = segment::create(disk, dir, &header)?;
        let mut log = Log {
            machine: machine.clone(),
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

    /// Writes records and makes them durable. Reports must have their offsets.
    pub(crate) fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> Result<(), WriteError> {
        self.batch.clear();
        self.homes.clear();
        Record::Batch { at: self.active.bytes }.encode(&mut self.batch);
        for record in records {
            let bytes = record.encode(&mut self.batch);
            self.homes.push(Home { segment: self.active.number, bytes });
        }
        if let Err(error) = self.file.append(&self.batch) {
            return Err(self.take_back(error));
        }
        // After a failed sync the system may have dropped the pages: what the file holds is unknown, and trying again would
        // only hide that.
        if let Err(source) = self.file.sync() {
            return Err(WriteError::Failed(self.io("sync", source)));
        }
        self.active.bytes += self.batch.len() as u64;
        Ok(())
    }

    /// Where each record of the latest batch stands.
    pub(crate) fn homes(&self) -> &[Home] {
        &self.homes
    }

    /// Removes a batch that was written in part.
    fn take_back(&mut self, error: io::Error) -> WriteError {
        if let Err(source) = self.file.take_back(self.active.bytes) {
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
        self.file = match segment::create(&*self.machine.disk, &self.dir, &header) {
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
            let removed = self.machine.disk.remove(&path);
            removed.map_err(|source| WriteError::Failed(JournalError::io("delete", &path)(source)))?;
            self.closed.pop_front();
        }
        let synced = self.machine.disk.sync_dir(&self.dir);
        synced.map_err(|source| WriteError::Failed(JournalError::io("sync", &self.dir)(source)))
    }

    fn copy_forward(&mut self, number: u64, state: &StateCell) -> Result<(), WriteError> {
        let records = state.lock().living_in(number);
        self.append(&records)?;
        let now = self.machine.now();
        let mut state = state.lock();
        for (record, home) in records.into_iter().zip(self.homes()) {
            state.apply(record, *home, now);
        }
        Ok(())
    }

    /// Now, by the clocks that the journal's stamps read.
    pub(crate) fn now(&self) -> Stamp {
        self.machine.now()
    }

    /// Bytes that are free on the journal's disk.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        self.machine.disk.free_bytes(&self.dir)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn lock(machine: &Machine, dir: &Path) -> Result<Box<dyn Send>, JournalError> {
    let path = dir.join("lock");
    machine.disk.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => JournalError::Locked { dir: dir.to_owned() },
        _ => JournalError::io("lock", &path)(source),
    })
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
