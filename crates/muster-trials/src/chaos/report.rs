//! The result of a campaign.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Campaign;
use super::timeline::{Moment, Violation};

/// What a campaign did, what it checked, and what it found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// How long things broke, in seconds.
    pub seconds: u64,
    /// Whether every promise held.
    pub holds: bool,
    /// Everything that broke a promise.
    pub violations: Vec<Violation>,
    /// What was looked at.
    pub checked: Checked,
    /// Messages of the server per state, at the end.
    pub states: BTreeMap<&'static str, usize>,
    /// What was done, in order.
    pub timeline: Vec<Moment>,
    /// The command that runs the campaign again.
    pub run_again: String,
    /// Where logs, database and ledger are, of a campaign with violations or one that keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
}

/// What was looked at: a campaign in which little happened proves little.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Checked {
    /// Messages that a client was told to be accepted.
    pub acknowledged: u64,
    /// Keys that were used again after that.
    pub repeated: u64,
    /// Messages that the simulated network took.
    pub taken: u64,
    /// Attempts, over all messages.
    pub attempts: u64,
    /// Waiting messages that told why they wait.
    pub explained: u64,
    /// Sessions of agents that were seen.
    pub sessions: u64,
}

impl Report {
    pub(super) fn new(
        campaign: Campaign,
        timeline: Vec<Moment>,
        states: BTreeMap<&'static str, usize>,
        checked: Checked,
        violations: Vec<Violation>,
        kept: Option<PathBuf>,
    ) -> Self {
        let (seed, seconds) = (campaign.seed, campaign.length.as_secs());
        Self {
            seed,
            seconds,
            holds: violations.is_empty(),
            violations,
            checked,
            states,
            timeline,
            run_again: format!("cargo xtask chaos --seconds {seconds} --seed {seed}"),
            kept,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Moment { at_ms, what } in &self.timeline {
            writeln!(f, "{:>8.2} s  {what}", *at_ms as f64 / 1_000.0)?;
        }
        let Checked { acknowledged, repeated, taken, attempts, explained, sessions } = self.checked;
        writeln!(f, "\n{acknowledged} messages acknowledged, {repeated} keys used again, {attempts} attempts")?;
        writeln!(f, "{taken} taken by the network, {explained} waiting messages explained, {sessions} sessions seen")?;
        let states: Vec<_> = self.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(f, "{}", states.join(", "))?;
        if let Some(kept) = &self.kept {
            writeln!(f, "\nLogs, database and ledger: {}", kept.display())?;
        }
        if self.holds {
            return writeln!(f, "\nEvery promise held (P1, P2, P3, P6, P7).");
        }
        writeln!(f, "\n{} violations:", self.violations.len())?;
        for Violation { promise, facts } in &self.violations {
            writeln!(f, "  {promise}: {facts}")?;
        }
        writeln!(f, "Run it again: {}", self.run_again)
    }
}
