//! One file of the journal: its name, its header, and how it is read back.

use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::record::{FrameError, Record};
use crate::clock::BootId;
use crate::disk::{Disk, DiskFile};

/// The format that this version writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"MUSTERJL";

/// Bytes of a header: magic, format, ids, cursors, checksum.
pub(crate) const HEADER_BYTES: usize = 8 + 4 + 16 + 8 + 8 + 16 + 16 + 8 + 8 + 4;

const EXTENSION: &str = "segment";

/// What a segment says about itself and about the moment at which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The journal that it belongs to.
    pub(crate) journal_id: [u8; 16],
    /// Its number; segments of a journal count up without gaps.
    pub(crate) number: u64,
    /// How often the journal had been opened.
    pub(crate) opening: u64,
    /// The boot whose clock its stamps read.
    pub(crate) boot: BootId,
    /// Where the journal stood: a copied or restored one stands elsewhere, a restarted one does not.
    pub(crate) place: [u8; 16],
    /// Reports up to here were committed at the server.
    pub(crate) acknowledged: u64,
    /// Offset of the latest report.
    pub(crate) head: u64,
}

/// The file of segment `number`.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}.{EXTENSION}"))
}

/// Numbers of the segments in a directory, in order.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, JournalError> {
    let mut numbers = Vec::new();
    for path in disk.list(dir).map_err(JournalError::io("list", dir))? {
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            numbers.push(number.ok_or_else(|| JournalError::NotAJournal { path: path.clone() })?);
        }
    }
    numbers.sort_unstable();
    for (number, next) in numbers.iter().zip(numbers.iter().skip(1)) {
        if number + 1 != *next {
            return Err(JournalError::SegmentMissing { dir: dir.to_owned(), number: number + 1 });
        }
    }
    Ok(numbers)
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.journal_id);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.opening.to_le_bytes());
        out.extend_from_slice(&self.boot.0);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(&self.acknowledged.to_le_bytes());
        out.extend_from_slice(&self.head.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Header, JournalError> {
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(JournalError::NotAJournal { path: path.to_owned() });
        };
        if *magic != MAGIC {
            return Err(JournalError::NotAJournal { path: path.to_owned() });
        }
        let corrupt = || JournalError::Corrupt { path: path.to_owned(), offset: 0, what: "header" };
        let (format, _) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let format = u32::from_le_bytes(*format);
        if format > FORMAT {
            return Err(JournalError::VersionUnsupported { path: path.to_owned(), found: format, supported: FORMAT });
        }
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or_else(corrupt)?;
        let (content, checksum) = header.split_last_chunk::<4>().ok_or_else(corrupt)?;
        if format == 0 || crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(corrupt());
        }
        let mut at = 12;
        let mut take = |count: usize| {
            at += count;
            &content[at - count..at]
        };
        let id = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).map_err(|_| corrupt());
        let number = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).map(u64::from_le_bytes).map_err(|_| corrupt());
        Ok(Header {
            journal_id: id(take(16))?,
            number: number(take(8))?,
            opening: number(take(8))?,
            boot: BootId(id(take(16))?),
            place: id(take(16))?,
            acknowledged: number(take(8))?,
            head: number(take(8))?,
        })
    }
}

/// Creates a segment that holds its header and nothing else. It is durable, and whole from the moment it has its name.
pub(crate) fn create(disk: &dyn Disk, dir: &Path, header: &Header) -> Result<Box<dyn DiskFile>, JournalError> {
    let path = path_of(dir, header.number);
    let draft = path.with_extension("draft");
    let mut file = disk.create(&draft).map_err(JournalError::io("create", &draft))?;
    file.append(&header.encode()).map_err(JournalError::io("write", &draft))?;
    file.sync().map_err(JournalError::io("sync", &draft))?;
    disk.rename(&draft, &path).map_err(JournalError::io("rename", &draft))?;
    disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
    Ok(file)
}

/// A segment as it was read back.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its header.
    pub(crate) header: Header,
    /// Its records, with the bytes of each one's frame.
    pub(crate) records: Vec<(Record, u64)>,
    /// Where the last whole record ends.
    pub(crate) end: u64,
    /// Something that nobody relied on stands behind the end: the process died while it wrote.
    pub(crate) is_torn: bool,
}

/// Reads a segment. Only the last one of a journal may be torn; the caller decides which that is.
pub(crate) fn read(disk: &dyn Disk, dir: &Path, number: u64, is_last: bool) -> Result<Segment, JournalError> {
    let path = path_of(dir, number);
    let bytes = disk.read(&path).map_err(JournalError::io("read", &path))?;
    let header = Header::decode(&path, &bytes)?;
    if header.number != number {
        return Err(JournalError::Corrupt { path, offset: 0, what: "the header is another segment's" });
    }
    let mut records = Vec::new();
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let problem = match Record::decode(&bytes[at..]) {
            Ok((Record::Batch { at: written }, _)) if written != at as u64 => "a batch begins at the wrong place",
            Ok((record, frame_bytes)) => {
                records.push((record, frame_bytes as u64));
                at += frame_bytes;
                continue;
            }
            // What a right checksum stands for was written whole, so it is never torn: somebody may rely on it.
            Err(FrameError::KindUnknown(kind)) => {
                return Err(JournalError::KindUnknown { path, offset: at as u64, kind });
            }
            Err(FrameError::Malformed) => return Err(JournalError::RecordUnreadable { path, offset: at as u64 }),
            Err(FrameError::Incomplete) => "a record is cut off",
            Err(FrameError::Damaged) => "a checksum does not match",
        };
        if is_last && !is_followed_by_a_batch(&bytes, at) {
            return Ok(Segment { header, records, end: at as u64, is_torn: true });
        }
        return Err(JournalError::Corrupt { path, offset: at as u64, what: problem });
    }
    Ok(Segment { header, records, end: at as u64, is_torn: false })
}

/// Whether a batch was written behind `at`: then everything before that batch was durable once.
fn is_followed_by_a_batch(bytes: &[u8], at: usize) -> bool {
    (at + 1..bytes.len()).any(|later| {
        Record::may_be_batch(&bytes[later..])
            && matches!(Record::decode(&bytes[later..]), Ok((Record::Batch { at: written }, _)) if written == later as u64)
    })
}
