//! The ledger's file: opened and checked at start, read in pages.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::entry::LedgerLine;
use super::summary::Summary;

/// Every so many lines the index remembers where a line begins.
const INDEX_EVERY: u64 = 256;

/// Most bytes that one page holds; it ends after the line that reaches this.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerOpenError {
    /// The file cannot be opened, read or written.
    #[error("cannot use the ledger {path}: {source}; name a file in a directory that this user may write")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another simulator writes the file.
    #[error("the ledger {0} is in use by another simulator; stop that one or name another file")]
    InUse(PathBuf),
    /// The file holds something else.
    #[error("line {line} of {path} is no line of a ledger: {what}; name another file, or move this one away")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Where lines begin, and the counts over them.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) summary: Summary,
    /// Start of line 1, 257, 513, …
    starts: Vec<u64>,
    /// Size of the part that is written completely.
    pub(super) end: u64,
}

impl Index {
    /// Takes note of the next line.
    pub(super) fn push(&mut self, line: &LedgerLine, bytes: u64) {
        if (line.seq - 1).is_multiple_of(INDEX_EVERY) {
            self.starts.push(self.end);
        }
        self.summary.count(line.seq, &line.entry);
        self.end += bytes;
    }

    /// Where to begin reading to find line `seq`, and which line begins there.
    fn start_before(&self, seq: u64) -> Option<(u64, u64)> {
        let slot = seq.checked_sub(1)? / INDEX_EVERY;
        let start = self.starts.get(usize::try_from(slot).ok()?)?;
        Some((*start, slot * INDEX_EVERY + 1))
    }

    /// What to read for the lines after `after`.
    pub(super) fn span_after(&self, after: u64) -> Option<Span> {
        let first = after.saturating_add(1);
        let (from, seq) = self.start_before(first)?;
        Some(Span { from, until: self.end, skip: first - seq })
    }
}

/// A stretch of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    from: u64,
    until: u64,
    skip: u64,
}

/// Opens the file for one writer, cuts off a line that was not written to its end, and shows every other line to `visit`
/// together with the position it begins at.
pub(super) fn open(path: &Path, mut visit: impl FnMut(LedgerLine, u64)) -> Result<(File, Index), LedgerOpenError> {
    let broken = |source| LedgerOpenError::Io { path: path.to_owned(), source };
    let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(broken)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => LedgerOpenError::InUse(path.to_owned()),
        TryLockError::Error(source) => broken(source),
    })?;

    let mut index = Index::default();
    let mut reader = BufReader::new(&file);
    let mut text = Vec::new();
    loop {
        text.clear();
        let bytes = reader.read_until(b'\n', &mut text).map_err(broken)?;
        if !text.ends_with(b"\n") {
            if bytes > 0 {
                tracing::warn!(
                    bytes,
                    "the last line of the ledger was cut short; nobody was told of it, so it is removed"
                );
            }
            break;
        }
        let number = index.summary.last_seq + 1;
        let malformed = |what: String| LedgerOpenError::Malformed { path: path.to_owned(), line: number, what };
        let line: LedgerLine = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if line.seq != number {
            return Err(malformed(format!("its seq is {}", line.seq)));
        }
        let start = index.end;
        index.push(&line, bytes as u64);
        visit(line, start);
    }
    file.set_len(index.end).map_err(broken)?;
    Ok((file, index))
}

/// Reads up to `limit` lines, as they stand in the file.
pub(super) fn read_span(path: &Path, span: Span, limit: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(span.from))?;
    let mut reader = BufReader::new(io::Read::take(file, span.until - span.from));
    let mut skipped = Vec::new();
    for _ in 0..span.skip {
        skipped.clear();
        reader.read_until(b'\n', &mut skipped)?;
    }
    let mut page = Vec::new();
    for _ in 0..limit {
        if reader.read_until(b'\n', &mut page)? == 0 || page.len() >= PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(page)
}

/// Reads the one line that begins at `start`.
pub(super) fn read_line(path: &Path, start: u64) -> io::Result<LedgerLine> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    BufReader::new(file).read_until(b'\n', &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
