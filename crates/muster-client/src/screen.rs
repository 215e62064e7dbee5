//! Where a command writes, and how its tables are laid out.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, presets};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

/// Blanks between two columns.
const GUTTER: u16 = 2;

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: columns that fit the terminal.
    #[default]
    Table,
    /// One JSON document; of a stream, one object a line.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// What a rendering needs to know of the reader and the moment.
#[derive(Debug, Clone)]
pub struct Look {
    /// Whether colours are wanted.
    pub color: bool,
    /// Columns of the terminal; `None` when the output is a file or a pipe, where nothing is cut.
    pub width: Option<u16>,
    /// Whether addresses are shown in full.
    pub show_addresses: bool,
    /// What times are told against.
    pub now: Timestamp,
    /// The reader's time zone.
    pub zone: TimeZone,
}

impl Look {
    /// Without a terminal, at `now`, in UTC.
    pub fn plain(now: Timestamp) -> Self {
        Look { color: false, width: None, show_addresses: false, now, zone: TimeZone::UTC }
    }

    /// An address as it may be shown: its middle hidden unless full addresses were asked for.
    pub fn address(&self, address: &str) -> String {
        if self.show_addresses { address.to_owned() } else { muster_domain::Address::from_stored(address).masked() }
    }
}

/// Standard output for data and standard error for talk.
#[derive(Debug)]
pub struct Screen {
    /// How answers are asked for.
    pub format: Format,
    /// How they look.
    pub look: Look,
}

impl Screen {
    /// The process's own standard output and error.
    pub fn new(format: Format, show_addresses: bool) -> Self {
        let out = console::Term::stdout();
        let width = out.is_term().then(|| out.size().1);
        let color =
            out.is_term() && console::colors_enabled() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let look = Look { color, width, show_addresses, now: Timestamp::now(), zone: TimeZone::system() };
        Screen { format, look }
    }

    /// Whether somebody watches standard error.
    pub fn talk_is_watched(&self) -> bool {
        console::Term::stderr().is_term()
    }

    /// Writes text to standard output.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Writes a line to standard error. Talk that cannot be written is dropped: nobody listens.
    pub fn say(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }

    /// How things look at this moment: a command may have waited.
    fn look_now(&self) -> Look {
        Look { now: Timestamp::now(), ..self.look.clone() }
    }

    /// One thing: as JSON, or as `render` draws it.
    pub fn one<T: Serialize>(&self, value: &T, render: impl FnOnce(&T, &Look) -> String) -> io::Result<()> {
        match self.format {
            Format::Table => self.print(&render(value, &self.look_now())),
            Format::Json => self.print(&json_pretty(value)?),
            Format::Jsonl => self.print(&json_line(value)?),
        }
    }

    /// Many things: as one JSON array, as lines of JSON, or as `render` draws them.
    pub fn many<T: Serialize>(&self, values: &[T], render: impl FnOnce(&[T], &Look) -> String) -> io::Result<()> {
        match self.format {
            Format::Table => self.print(&render(values, &self.look)),
            Format::Json => self.print(&json_pretty(&values)?),
            Format::Jsonl => {
                let mut out = io::BufWriter::new(io::stdout().lock());
                for value in values {
                    writeln!(out, "{}", json_line(value)?)?;
                }
                out.flush()
            }
        }
    }

    /// The next thing of a stream: a line of JSON, or the line that `render` draws.
    pub fn next<T: Serialize>(&self, value: &T, render: impl FnOnce(&T, &Look) -> String) -> io::Result<()> {
        match self.format {
            Format::Table => self.print(&render(value, &self.look_now())),
            Format::Json | Format::Jsonl => self.print(&json_line(value)?),
        }
    }
}

fn json_pretty<T: Serialize>(value: &T) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

fn json_line<T: Serialize>(value: &T) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// Whether a value is good, worth a look, or bad; shown by colour where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// As it should be.
    Good,
    /// In between, or waiting.
    Busy,
    /// Somebody should look.
    Bad,
    /// Of little interest.
    Faint,
}

impl Tone {
    fn color(self) -> Option<Color> {
        match self {
            Tone::Plain => None,
            Tone::Good => Some(Color::Green),
            Tone::Busy => Some(Color::Yellow),
            Tone::Bad => Some(Color::Red),
            Tone::Faint => Some(Color::DarkGrey),
        }
    }

    /// `text` in the tone's colour, if `look` wants colours.
    pub fn paint(self, text: &str, look: &Look) -> String {
        let style = console::Style::new().force_styling(look.color);
        let style = match self {
            Tone::Plain => return text.to_owned(),
            Tone::Good => style.green(),
            Tone::Busy => style.yellow(),
            Tone::Bad => style.red(),
            Tone::Faint => style.dim(),
        };
        style.apply_to(text).to_string()
    }
}

/// Rows under a header, without lines: two spaces between columns, each row on one line of the terminal.
///
/// Where the terminal is too narrow, columns that were named as [`Columns::optional`] are left out, then the last one is cut.
#[derive(Debug)]
pub struct Columns {
    table: comfy_table::Table,
    headings: Vec<String>,
    optional: Vec<usize>,
    look: Look,
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Field {
    text: String,
    tone: Tone,
    right: bool,
}

impl Field {
    /// Text in a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Field { text: text.into(), tone, right: false }
    }

    /// The same text in a tone.
    #[must_use]
    pub fn with_tone(self, tone: Tone) -> Self {
        Field { tone, ..self }
    }

    /// A number or a duration, which reads best when its end is aligned.
    pub fn right(text: impl Into<String>) -> Self {
        Field { text: text.into(), tone: Tone::Plain, right: true }
    }
}

impl<T: Into<String>> From<T> for Field {
    fn from(text: T) -> Self {
        Field { text: text.into(), tone: Tone::Plain, right: false }
    }
}

impl Columns {
    /// A table with these headings.
    pub fn new(headings: &[&str], look: &Look) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        if look.color {
            table.enforce_styling();
        }
        let cells: Vec<_> = headings.iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold)).collect();
        table.set_header(one_line(cells, look));
        Columns {
            table,
            headings: headings.iter().map(|&text| text.to_owned()).collect(),
            optional: Vec::new(),
            look: look.clone(),
        }
    }

    /// Names the columns that may be left out, the least important first.
    #[must_use]
    pub fn optional(mut self, headings: &[&str]) -> Self {
        let index = |heading: &&str| self.headings.iter().position(|known| known == heading);
        self.optional = headings.iter().filter_map(index).collect();
        self
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, fields: [Field; N]) {
        let cells = fields.into_iter().map(|field| {
            let cell = Cell::new_owned(field.text);
            let cell = if field.right { cell.set_alignment(CellAlignment::Right) } else { cell };
            match field.tone.color().filter(|_| self.look.color) {
                Some(color) => cell.fg(color),
                None => cell,
            }
        });
        let row = one_line(cells.collect(), &self.look);
        self.table.add_row(row);
    }

    /// The table as text.
    pub fn render(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, GUTTER));
        }
        if let Some(width) = self.look.width {
            self.fit(width);
        }
        let lines: Vec<String> = self.table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }

    /// Leaves out optional columns until the rest fits, and lets only the last one be cut.
    fn fit(&mut self, width: u16) {
        let widths = self.table.column_max_content_widths();
        let mut total: u16 = widths.iter().fold(0, |total, width| total.saturating_add(width + GUTTER));
        for index in &self.optional {
            if total <= width {
                break;
            }
            total -= widths[*index] + GUTTER;
            if let Some(column) = self.table.column_mut(*index) {
                column.set_constraint(ColumnConstraint::Hidden);
            }
        }
        let last = widths.len().saturating_sub(1);
        for column in self.table.column_iter_mut().take(last).filter(|column| !column.is_hidden()) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        self.table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width).set_truncation_indicator("…");
    }
}

/// A row that takes one line of a terminal; in a file it takes what it needs.
fn one_line(cells: Vec<Cell>, look: &Look) -> comfy_table::Row {
    let mut row = comfy_table::Row::from(cells);
    if look.width.is_some() {
        row.max_height(1);
    }
    row
}

/// Names and values, one pair a line, the values aligned. Pairs without a value are left out.
#[derive(Debug, Default)]
pub struct Pairs(Vec<(&'static str, String)>);

impl Pairs {
    /// Adds a pair unless the value is empty.
    pub fn add(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name, value));
        }
        self
    }

    /// The pairs as text.
    pub fn render(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let lines: Vec<String> = self.0.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(width: Option<u16>) -> Look {
        Look { width, ..Look::plain(Timestamp::UNIX_EPOCH) }
    }

    fn sample(look: &Look) -> String {
        let mut columns = Columns::new(&["BOT", "SENT", "DETAIL"], look);
        columns.row(["sales-1".into(), Field::right("12"), Field::toned("a detail that is rather long", Tone::Bad)]);
        columns.row(["b".into(), Field::right("1234"), "".into()]);
        columns.render()
    }

    #[test]
    fn columns_align_and_fit() {
        let wide = sample(&look(None));
        assert_eq!(wide, "BOT      SENT  DETAIL\nsales-1    12  a detail that is rather long\nb        1234");
        let narrow = sample(&look(Some(30)));
        assert_eq!(narrow, "BOT      SENT  DETAIL\nsales-1    12  a detail tha…\nb        1234");
    }

    #[test]
    fn what_is_optional_goes_before_anything_is_cut() {
        let look = look(Some(20));
        let mut columns = Columns::new(&["BOT", "NODE", "SINCE", "STATE"], &look).optional(&["SINCE", "NODE"]);
        columns.row(["sales-1".into(), "node-a".into(), "1 h ago".into(), "READY".into()]);
        assert_eq!(columns.render(), "BOT      STATE\nsales-1  READY");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert!(!sample(&look(None)).contains('\u{1b}'));
        assert!(sample(&Look { color: true, ..look(None) }).contains('\u{1b}'));
    }

    #[test]
    fn addresses_are_masked_unless_asked_for() {
        let masked = look(None);
        assert_eq!(masked.address("+5511900000001"), "+55*******0001");
        assert_eq!(Look { show_addresses: true, ..masked }.address("+5511900000001"), "+5511900000001");
    }
}
