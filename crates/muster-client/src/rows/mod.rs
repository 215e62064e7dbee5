//! Files of recipients: CSV and JSON Lines, read row by row in constant memory.
//!
//! A row that cannot be read does not end the file: [`Rows`] yields its [`Problem`] with line and column, and goes on with
//! the next one. Only what makes every further row doubtful ends it, such as a header without recipients.
//! What a row means is decided in [`crate::send::draft`].

mod csv;
mod jsonl;
mod source;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use source::{BytesRead, Input};

use crate::error::Error;

/// Longest row in bytes. A message takes a few kilobytes; what is longer is most often a quote that is never closed.
pub const ROW_BYTES_MAX: usize = 1024 * 1024;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RowFormat {
    /// Comma, semicolon or tab separated, with a header row.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl RowFormat {
    /// The format that a file's name suggests; CSV unless it says otherwise.
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => RowFormat::Jsonl,
            _ => RowFormat::Csv,
        }
    }
}

/// The columns that rows have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    /// Whether the rows name their values themselves, so that a column has no number.
    keyed: bool,
}

impl Columns {
    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The first of `names` that is a column, to be told with what is wrong there.
    pub fn find(&self, names: &[&str]) -> Option<Column> {
        let index = self.names.iter().position(|column| names.contains(&column.as_str()))?;
        Some(self.column(index))
    }

    fn column(&self, index: usize) -> Column {
        match self.names.get(index) {
            Some(name) if self.keyed => Column::Key(name.clone()),
            Some(name) => Column::Field { number: index + 1, name: name.clone() },
            None => Column::Number(index + 1),
        }
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|column| column == name)
    }
}

/// One row: its place in the file, and its values by the names of the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The columns that it has.
    pub columns: Arc<Columns>,
    values: Vec<String>,
}

impl Row {
    fn new(line: u64, columns: Arc<Columns>, values: Vec<String>) -> Self {
        debug_assert_eq!(columns.names.len(), values.len());
        Row { line, columns, values }
    }

    /// The value of a column; `None` where the row has no such column.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.columns.index(name).map(|index| self.values[index].as_str())
    }

    /// The value of a column unless it is empty or blank, without the blanks around it.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty())
    }
}

/// Where in a row something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// A column of a table, from 1, with its name.
    Field {
        /// From 1.
        number: usize,
        /// From the header.
        name: String,
    },
    /// A key of an object.
    Key(String),
    /// A column without a name, or a character of a line, from 1.
    Number(usize),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Field { number, name } => write!(f, "column {number} ({name})"),
            Column::Key(name) => write!(f, "key \"{name}\""),
            Column::Number(number) => write!(f, "column {number}"),
        }
    }
}

/// Why a row was not sent, in words that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// Bytes that are not UTF-8.
    Encoding,
    /// Not a row of the format: fields missing or too many, broken JSON, too long.
    Malformed,
    /// A value that cannot be what its column says, or a value that is missing.
    Value,
    /// The template names a column that the row does not have.
    Placeholder,
    /// A local file that cannot be read or sent.
    Media,
}

impl ProblemKind {
    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemKind::Encoding => "ENCODING",
            ProblemKind::Malformed => "MALFORMED_ROW",
            ProblemKind::Value => "INVALID_VALUE",
            ProblemKind::Placeholder => "UNKNOWN_PLACEHOLDER",
            ProblemKind::Media => "MEDIA_UNREADABLE",
        }
    }
}

/// What is wrong with a row, and where. Never carries the value of an address or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line on which the row begins, from 1.
    pub line: u64,
    /// The column, where one is to blame.
    pub column: Option<Column>,
    /// Why, in a stable word.
    pub reason: String,
    /// What is expected.
    pub told: String,
}

impl Problem {
    /// A problem that was found before anything was sent.
    pub fn new(line: u64, column: Option<Column>, kind: ProblemKind, told: impl Into<String>) -> Self {
        Problem { line, column, reason: kind.as_str().to_owned(), told: told.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", {column}")?;
        }
        write!(f, ": {} ({})", self.told, self.reason)
    }
}

/// What comes out of a file: a row, or what is wrong with one.
pub type RowResult = Result<Row, Problem>;

/// The rows of a file, in its order. `Err` of an item ends the file.
pub type Rows = Box<dyn Iterator<Item = Result<RowResult, Error>> + Send>;

/// Opens the rows of an input. `delimiter` overrides the separator that the header of a CSV file suggests.
pub fn open(input: Input, format: RowFormat, delimiter: Option<u8>) -> Result<Rows, Error> {
    match format {
        RowFormat::Csv => Ok(Box::new(csv::CsvRows::open(input, delimiter)?)),
        RowFormat::Jsonl => Ok(Box::new(jsonl::JsonRows::open(input)?)),
    }
}

/// Reads bytes as UTF-8, or says which byte is not.
fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = error.valid_up_to();
        let characters = String::from_utf8_lossy(&bytes[..valid]).chars().count();
        format!(
            "byte 0x{:02X} after {characters} characters is not UTF-8; save the file as UTF-8 (it may be Latin-1 or Windows-1252)",
            bytes[valid]
        )
    })
}

/// Checks the names of the columns: the recipient's must be there, and none twice.
fn check_columns(columns: &[String]) -> Result<(), String> {
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].contains(column) {
            return Err(format!("column {} has the name of an earlier one: \"{column}\"", index + 1));
        }
    }
    let has = |name: &str| columns.iter().any(|column| column == name);
    if has("to") && has("recipient") {
        return Err("the columns \"to\" and \"recipient\" mean the same: keep one of them".to_owned());
    }
    if !has("to") && !has("recipient") {
        return Err(format!("no column is named \"to\"; found: {}", columns.join(", ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
