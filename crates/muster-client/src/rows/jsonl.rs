//! JSON Lines: one object a line, with the names of the columns as keys.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Column, Columns, Input, Problem, ProblemKind, ROW_BYTES_MAX, Row, RowResult, check_columns, utf8};
use crate::error::Error;

/// The rows of a JSON Lines input.
pub(super) struct JsonRows {
    name: String,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl JsonRows {
    /// Takes the input; nothing is read yet.
    pub(super) fn open(input: Input) -> Result<Self, Error> {
        let name = input.name.clone();
        Ok(JsonRows { name, reader: Box::new(input.into_reader()?), line: 0, buffer: Vec::new(), ended: false })
    }

    /// Reads the next line into the buffer. A line over the limit is skipped and told by `Some(false)`.
    fn read_line(&mut self) -> std::io::Result<Option<bool>> {
        self.buffer.clear();
        let mut fits = true;
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                let nothing = self.buffer.is_empty() && fits;
                return Ok((!nothing).then_some(fits));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            fits = fits && self.buffer.len() + taken <= ROW_BYTES_MAX;
            if fits {
                self.buffer.extend_from_slice(&available[..taken]);
            }
            self.reader.consume(taken);
            if end.is_some() {
                return Ok(Some(fits));
            }
        }
    }

    fn row(&self) -> RowResult {
        let problem =
            |column: Option<Column>, kind: ProblemKind, told: String| Problem::new(self.line, column, kind, told);
        let text = utf8(&self.buffer).map_err(|told| problem(None, ProblemKind::Encoding, told))?;
        let object: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let column = Column::Number(error.column().max(1));
            let told = match error.classify() {
                serde_json::error::Category::Data => "expected a JSON object such as {\"to\": \"+5511900000001\"}",
                serde_json::error::Category::Eof => "the JSON object is not closed",
                _ => "is not JSON",
            };
            problem(Some(column), ProblemKind::Malformed, told.to_owned())
        })?;
        let mut names = Vec::with_capacity(object.len());
        let mut values = Vec::with_capacity(object.len());
        for (name, value) in object {
            let value = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    let told = "must be a text, a number or a truth value".to_owned();
                    return Err(problem(Some(Column::Key(name)), ProblemKind::Value, told));
                }
            };
            names.push(name);
            values.push(value);
        }
        check_columns(&names).map_err(|told| problem(None, ProblemKind::Value, told))?;
        Ok(Row::new(self.line, Arc::new(Columns { names, keyed: true }), values))
    }
}

impl Iterator for JsonRows {
    type Item = Result<RowResult, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.line += 1;
            match self.read_line() {
                Ok(None) => self.ended = true,
                Ok(Some(true)) if self.buffer.trim_ascii().is_empty() => {}
                Ok(Some(true)) => return Some(Ok(self.row())),
                Ok(Some(false)) => {
                    let told = format!("the line has more than {ROW_BYTES_MAX} bytes");
                    return Some(Ok(Err(Problem::new(self.line, None, ProblemKind::Malformed, told))));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(Error::read(Path::new(&self.name), error)));
                }
            }
        }
        None
    }
}
