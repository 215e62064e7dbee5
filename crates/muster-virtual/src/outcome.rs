//! What one seed came to, as it is told to people and to the process that runs many of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::check::Tally;
use crate::time::Time;
use crate::{Output, entropy, world};

/// Where the databases lie: in memory where there is such a place, since no simulation outlives its process.
const MEMORY: &str = "/dev/shm";

/// What one seed came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// Over every event with its time: the same for every run of a seed.
    pub(crate) hash: String,
    pub(crate) events: u64,
    pub(crate) virtual_seconds: f64,
    pub(crate) messages: Tally,
    /// How often each fault struck.
    pub(crate) faults: BTreeMap<String, u64>,
    /// The promises that broke.
    pub(crate) violations: Vec<String>,
}

struct VirtualTimer(Time);

impl FormatTime for VirtualTimer {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:>12.6}", self.0.now().as_secs_f64())
    }
}

impl Outcome {
    /// Runs a seed in this process, which must not have run another one: counters of the libraries begin anew only with it.
    pub(crate) fn of_seed(seed: u64, shows: bool) -> Result<Outcome> {
        entropy::seed(seed);
        let time = Time::default();
        if shows {
            let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
            subscriber.with_timer(VirtualTimer(time.clone())).init();
        }
        let memory = Path::new(MEMORY);
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.context("make a directory for the database")?;
        let ended = world::run(seed, dir.path(), shows, time)?;
        Ok(Outcome {
            seed,
            hash: format!("{:016x}", ended.told.hash),
            events: ended.told.events,
            virtual_seconds: ended.length.as_secs_f64(),
            messages: ended.check,
            faults: ended.told.faults.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
            violations: ended.told.violations,
        })
    }

    /// Tells it.
    #[expect(clippy::print_stdout, reason = "a tool for the terminal")]
    pub(crate) fn show(&self, output: Output) -> Result<()> {
        if output == Output::Json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let Tally { accepted, taken, uncertain, forgotten } = self.messages;
        println!(
            "seed {}: {:.1} s of virtual time, {} events, hash {}",
            self.seed, self.virtual_seconds, self.events, self.hash
        );
        println!(
            "{accepted} messages accepted, {taken} taken by the network, {uncertain} uncertain, {forgotten} forgotten by a restore"
        );
        for (kind, count) in &self.faults {
            println!("{count:>7}  {kind}");
        }
        for violation in &self.violations {
            println!("BROKEN  {violation}");
        }
        if self.violations.is_empty() {
            println!("Every promise held (P1, P2, P3, P5, P6).");
        }
        Ok(())
    }
}
