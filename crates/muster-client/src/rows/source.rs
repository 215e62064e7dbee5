//! Where rows come from: a file or standard input, with a count of the bytes read so far.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Bytes read ahead.
const BUFFER_BYTES: usize = 64 * 1024;

/// How many bytes of an input were read; shared with whoever draws the progress.
#[derive(Debug, Clone, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// Bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An input of rows.
pub struct Input {
    /// Its name, for messages.
    pub name: String,
    /// Its size in bytes, where it has one.
    pub size: Option<u64>,
    /// How much of it was read.
    pub bytes_read: BytesRead,
    reader: BufReader<Counted>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Input {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.as_os_str() == "-" {
            return Ok(Input::new("standard input", None, io::stdin()));
        }
        let file = File::open(path).map_err(|error| Error::read(path, error))?;
        let metadata = file.metadata().map_err(|error| Error::read(path, error))?;
        if metadata.is_dir() {
            return Err(Error::read(path, io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // A named pipe has no size.
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Input::new(path.display().to_string(), size, file))
    }

    /// An input of bytes from anywhere.
    pub fn new(name: impl Into<String>, size: Option<u64>, reader: impl Read + Send + 'static) -> Self {
        let bytes_read = BytesRead::default();
        let counted = Counted { inner: Box::new(reader), bytes_read: bytes_read.clone() };
        Input { name: name.into(), size, bytes_read, reader: BufReader::with_capacity(BUFFER_BYTES, counted) }
    }

    /// The bytes, without a byte order mark. An input in UTF-16 is refused here, because not one row of it could be read.
    pub(super) fn into_reader(mut self) -> Result<impl BufRead + Send, Error> {
        let name = &self.name;
        let begin = self.reader.fill_buf().map_err(|error| Error::read(Path::new(name), error))?;
        if begin.starts_with(&[0xFF, 0xFE]) || begin.starts_with(&[0xFE, 0xFF]) {
            return Err(Error::Content(format!("{name} is in UTF-16; save it as UTF-8")));
        }
        if begin.starts_with(&[0xEF, 0xBB, 0xBF]) {
            self.reader.consume(3);
        }
        Ok(self.reader)
    }
}

struct Counted {
    inner: Box<dyn Read + Send>,
    bytes_read: BytesRead,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes_read.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
