//! CSV: a header row, then a row a record.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use super::{Columns, Input, Problem, ProblemKind, ROW_BYTES_MAX, Row, RowResult, check_columns, utf8};
use crate::error::Error;
use crate::text::plural;

/// Separators that the header may use.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// The rows of a CSV input.
pub(super) struct CsvRows {
    name: String,
    reader: csv::Reader<Bounded<Box<dyn BufRead + Send>>>,
    columns: Arc<Columns>,
    record: csv::ByteRecord,
    ended: bool,
}

impl CsvRows {
    /// Reads the header.
    pub(super) fn open(input: Input, delimiter: Option<u8>) -> Result<Self, Error> {
        let name = input.name.clone();
        let mut source: Box<dyn BufRead + Send> = Box::new(input.into_reader()?);
        let begin = source.fill_buf().map_err(|error| Error::read(Path::new(&name), error))?;
        let delimiter = delimiter.unwrap_or_else(|| guess_delimiter(begin));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            // Only line feeds end a row, so that line numbers are exact; the carriage return before one is cut off below.
            .terminator(csv::Terminator::Any(b'\n'))
            .has_headers(false)
            .from_reader(Bounded::new(source));
        let mut record = csv::ByteRecord::new();
        let wrong = |told: String| Error::Content(format!("{name}, line 1: {told}"));
        if !reader.read_byte_record(&mut record).map_err(|error| failure(&name, 1, error))? {
            return Err(wrong(
                "the file is empty; expected a header row with the names of the columns, among them \"to\"".to_owned(),
            ));
        }
        let names: Vec<String> = record
            .iter()
            .map(|field| utf8(field).map(|text| text.trim().to_owned()))
            .collect::<Result<_, _>>()
            .map_err(&wrong)?;
        check_columns(&names).map_err(&wrong)?;
        let columns = Arc::new(Columns { names, keyed: false });
        Ok(CsvRows { name, reader, columns, record, ended: false })
    }

    /// The row that was read last.
    fn row(&self) -> RowResult {
        let line = self.line();
        let (expected, found) = (self.columns.names.len(), self.record.len());
        if found != expected {
            let told = format!("has {} where the header has {expected}", plural(found as u64, "field"));
            return Err(Problem::new(
                line,
                Some(self.columns.column(expected.min(found))),
                ProblemKind::Malformed,
                told,
            ));
        }
        let values = self.record.iter().enumerate().map(|(index, field)| {
            let field = if index + 1 == expected { field.strip_suffix(b"\r").unwrap_or(field) } else { field };
            match utf8(field) {
                Ok(text) => Ok(text.to_owned()),
                Err(told) => Err(Problem::new(line, Some(self.columns.column(index)), ProblemKind::Encoding, told)),
            }
        });
        Ok(Row::new(line, Arc::clone(&self.columns), values.collect::<Result<_, _>>()?))
    }

    /// The line on which the row that was read last begins. The reader stands behind the line feed that ends it.
    fn line(&self) -> u64 {
        let within: usize = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count();
        self.reader.position().line().saturating_sub(1 + within as u64)
    }

    /// Whether the row that was read last is a blank line.
    fn is_blank(&self) -> bool {
        self.record.len() == 1 && self.record.as_slice().trim_ascii().is_empty()
    }
}

impl Iterator for CsvRows {
    type Item = Result<RowResult, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.reader.get_mut().begin_record();
            let line = self.reader.position().line();
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) if self.is_blank() => {}
                Ok(true) => return Some(Ok(self.row())),
                Ok(false) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(failure(&self.name, line, error)));
                }
            }
        }
        None
    }
}

/// Why a file cannot be read on.
fn failure(name: &str, line: u64, error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => Error::Content(format!(
            "{name}, line {line}: the row has more than {ROW_BYTES_MAX} bytes; is there a quote that is never closed?"
        )),
        csv::ErrorKind::Io(error) => Error::read(Path::new(name), error),
        other => Error::Content(format!("{name}, line {line}: {other:?}")),
    }
}

/// The separator that occurs most often in the first line; a comma if none does.
fn guess_delimiter(begin: &[u8]) -> u8 {
    let line = begin.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let occurrences = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
    let mut best = b',';
    for delimiter in DELIMITERS {
        if occurrences(delimiter) > occurrences(best) {
            best = delimiter;
        }
    }
    best
}

/// Ends the input with [`io::ErrorKind::FileTooLarge`] when one record takes too much of it, and sees to it that the last
/// line ends like the others.
struct Bounded<R> {
    inner: R,
    since_record: usize,
    last: u8,
}

impl<R> Bounded<R> {
    fn new(inner: R) -> Self {
        Bounded { inner, since_record: 0, last: b'\n' }
    }

    fn begin_record(&mut self) {
        self.since_record = 0;
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_record > ROW_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut count = self.inner.read(buffer)?;
        if count == 0 && self.last != b'\n' && !buffer.is_empty() {
            buffer[0] = b'\n';
            count = 1;
        }
        if count > 0 {
            self.last = buffer[count - 1];
            self.since_record += count;
        }
        Ok(count)
    }
}
