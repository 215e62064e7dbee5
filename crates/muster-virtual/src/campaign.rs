//! Many seeds, each in a process of its own, on all cores.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::Output;
use crate::outcome::Outcome;

/// Seeds between two lines that tell how far it has come.
const TELL_EVERY: u64 = 100;

/// Seeds that broke something and are told in full.
const FAILURES_TOLD: usize = 20;

/// What a campaign came to.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seeds: u64,
    from: u64,
    real_seconds: f64,
    virtual_seconds: f64,
    accepted: u64,
    taken: u64,
    uncertain: u64,
    faults: BTreeMap<String, u64>,
    failures: Vec<Failure>,
}

/// A seed that broke something.
#[derive(Debug, Serialize)]
struct Failure {
    seed: u64,
    violations: Vec<String>,
    /// Runs it again.
    command: String,
}

/// Runs `seeds` seeds from `from` on. Returns whether every promise held.
pub(crate) fn run(from: u64, seeds: u64, jobs: Option<NonZeroUsize>, output: Output) -> Result<bool> {
    let program = std::env::current_exe().context("find this program")?;
    let jobs = jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let begun = Instant::now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let summary = Mutex::new(Summary { seeds, from, ..Summary::default() });
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds {
                        return;
                    }
                    let seed = from + number;
                    let outcome = run_one(&program, seed);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    let has_failed = summary.add(seed, outcome);
                    if output == Output::Text && has_failed {
                        tell(&format!("seed {seed} broke something; it is told in full at the end"));
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if output == Output::Text && done.is_multiple_of(TELL_EVERY) {
                        tell(&format!("{done} of {seeds} seeds, {} broke something", summary.failures.len()));
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.real_seconds = begun.elapsed().as_secs_f64();
    summary.failures.sort_by_key(|failure| failure.seed);
    summary.show(output)?;
    Ok(summary.failures.is_empty())
}

fn run_one(program: &PathBuf, seed: u64) -> Result<Outcome> {
    let ran = Command::new(program).args(["seed", &seed.to_string(), "--output", "json"]).output();
    let ran = ran.with_context(|| format!("run {}", program.display()))?;
    let told = String::from_utf8_lossy(&ran.stdout);
    serde_json::from_str(told.trim()).with_context(|| {
        let complaint = String::from_utf8_lossy(&ran.stderr);
        format!("the process ended with {} and told nothing that can be read: {}", ran.status, complaint.trim())
    })
}

#[expect(clippy::print_stdout, reason = "a tool for the terminal")]
fn tell(line: &str) {
    println!("{line}");
}

impl Summary {
    /// Counts what a seed came to. Tells whether it broke something.
    fn add(&mut self, seed: u64, outcome: Result<Outcome>) -> bool {
        let violations = match outcome {
            Ok(outcome) => {
                self.virtual_seconds += outcome.virtual_seconds;
                self.accepted += outcome.messages.accepted;
                self.taken += outcome.messages.taken;
                self.uncertain += outcome.messages.uncertain;
                for (kind, count) in outcome.faults {
                    *self.faults.entry(kind).or_default() += count;
                }
                outcome.violations
            }
            Err(error) => vec![format!("simulation: {error:#}")],
        };
        let has_failed = !violations.is_empty();
        if has_failed {
            let program = std::env::current_exe().ok();
            let program = program.as_deref().unwrap_or(Path::new("muster-virtual")).display().to_string();
            self.failures.push(Failure { seed, violations, command: format!("{program} seed {seed} --trace") });
        }
        has_failed
    }

    #[expect(clippy::print_stdout, reason = "a tool for the terminal")]
    fn show(&self, output: Output) -> Result<()> {
        if output == Output::Json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{} seeds from {}: {:.0} s of virtual time in {:.0} s",
            self.seeds, self.from, self.virtual_seconds, self.real_seconds
        );
        println!(
            "{} messages accepted, {} taken by the network, {} uncertain",
            self.accepted, self.taken, self.uncertain
        );
        for (kind, count) in &self.faults {
            println!("{count:>9}  {kind}");
        }
        for failure in self.failures.iter().take(FAILURES_TOLD) {
            println!("\nseed {} broke something; this runs it again:\n  {}", failure.seed, failure.command);
            for violation in &failure.violations {
                println!("  {violation}");
            }
        }
        match self.failures.len() {
            0 => println!("Every promise held (P1, P2, P3, P5, P6)."),
            failures => println!("\n{failures} of {} seeds broke something.", self.seeds),
        }
        Ok(())
    }
}
