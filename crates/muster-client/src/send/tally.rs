//! What became of the rows of a file.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::rows::Problem;
use crate::screen::{Look, Tone};
use crate::text;

/// Counts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Rows of the file, as far as it was read.
    pub rows: u64,
    /// Messages that the server accepted in this run.
    pub accepted: u64,
    /// Messages that the server had accepted before, by their keys.
    pub replayed: u64,
    /// Rows that were not sent, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// How often a message had to come again later, because its bot took no more at the time.
    pub postponed: u64,
    /// For how long nothing was accepted for that reason, in milliseconds.
    pub waited_ms: u64,
    /// Messages that wait to come again at present.
    #[serde(skip)]
    pub waiting: u64,
    /// Whether the run ended before the end of the file: by `--strict`, or by the operator.
    pub stopped: bool,
    /// The line of the last row that was read.
    pub last_line: u64,
}

impl Tally {
    /// Counts a row that was not sent.
    pub fn refuse(&mut self, problem: &Problem) {
        *self.refused.entry(problem.reason.clone()).or_default() += 1;
    }

    /// Rows that were not sent.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The counts on one line, for a progress bar.
    pub fn line(&self) -> String {
        let mut parts = vec![format!("{} accepted", text::count(self.accepted))];
        if self.replayed > 0 {
            parts.push(format!("{} already accepted", text::count(self.replayed)));
        }
        if self.waiting > 0 {
            parts.push(format!("{} waiting for room", text::count(self.waiting)));
        }
        if self.refused_total() > 0 {
            parts.push(format!("{} refused", text::count(self.refused_total())));
        }
        parts.join(", ")
    }
}

/// The end of a run in words.
pub fn summary(tally: &Tally, look: &Look) -> String {
    let mut lines = vec![format!("{}: {}", text::plural(tally.rows, "row"), tally.line())];
    if tally.waited_ms > 0 {
        let waited = text::duration(Duration::from_millis(tally.waited_ms));
        lines.push(format!("  waited {waited} for bots that took no more at the time"));
    }
    for (reason, count) in &tally.refused {
        lines.push(Tone::Bad.paint(&format!("  {reason}: {}", text::count(*count)), look));
    }
    if tally.stopped {
        lines.push(format!("stopped at line {}; rows after it were not sent", tally.last_line));
    }
    lines.join("\n")
}
