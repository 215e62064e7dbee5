//! The result of a soak.

use std::fmt;

use serde::Serialize;

use super::Wave;
use super::flat::{Finding, findings};

/// Lines of the table: the last wave of each.
const LINES: usize = 10;

/// What a soak found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether everything stayed within its bound.
    pub flat: bool,
    /// Messages that were accepted; each was sent once.
    pub messages: u64,
    /// Messages a second, over the whole run.
    pub per_second: f64,
    /// What was held against a bound.
    pub findings: Vec<Finding>,
    /// What was in use, wave by wave.
    pub waves: Vec<Wave>,
    /// Whether the programs were built to be fast. The rate says nothing without that.
    pub release_build: bool,
}

impl Report {
    pub(super) fn new(waves: Vec<Wave>) -> Self {
        let findings = findings(&waves);
        let last = waves.last().copied().unwrap_or_default();
        Self {
            flat: findings.iter().all(|finding| finding.flat),
            messages: last.messages,
            per_second: last.messages as f64 / last.seconds.max(f64::EPSILON),
            findings,
            waves,
            release_build: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["messages", "after", "server", "agent", "database", "journal"];
        let [messages, after, server, agent, database, journal] = head;
        writeln!(f, "{messages:>10} {after:>9} {server:>11} {agent:>11} {database:>11} {journal:>11}")?;
        let step = self.waves.len().div_ceil(LINES).max(1);
        for wave in self.waves.iter().skip(step - 1).step_by(step) {
            let sizes = [wave.server_bytes, wave.agent_bytes, wave.database_bytes, wave.journal_bytes];
            let [server, agent, database, journal] = sizes.map(|bytes| mib(bytes as f64));
            let (messages, after) = (wave.messages, format!("{:.1} s", wave.seconds));
            writeln!(f, "{messages:>10} {after:>9} {server:>11} {agent:>11} {database:>11} {journal:>11}")?;
        }
        let build = if self.release_build { "" } else { " (a dev build: the rate says nothing)" };
        writeln!(f, "\n{} messages accepted, each sent once, {:.0} a second{build}\n", self.messages, self.per_second)?;
        for Finding { what, bytes, bytes_max, flat, rule } in &self.findings {
            let verdict = if *flat { "flat" } else { "GROWS" };
            writeln!(f, "{verdict:<6} {what:<21} {:>11} of {:>11} {rule}", mib(*bytes), mib(*bytes_max))?;
        }
        Ok(())
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / (1024.0 * 1024.0))
}
