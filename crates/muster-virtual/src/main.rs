//! Server, agents, gateways and network in one process, on virtual time and a seed.
//!
//! The code of server, agent and store is the real one; around it, `world` puts hosts that lose their power, `network` lines
//! that break, `disk` a disk that forgets what was not synced, `store` a database that is slow, full or put back from a
//! backup, `gateway` a gateway with a ledger, and `receipts` what its network tells later. `client` and `operator` are the people.
//! `storm` says what a seed does with them, `check` holds the promises against what came of it. `campaign` runs many seeds, each in a process of its own.

mod agent;
mod campaign;
mod chance;
mod check;
mod chronicle;
mod client;
mod clock;
mod disk;
mod entropy;
mod gateway;
mod host;
mod network;
mod operator;
mod outcome;
mod receipts;
mod server;
mod store;
mod storm;
mod time;
mod world;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::outcome::Outcome;

/// Runs the whole system on virtual time, with the faults that a seed decides.
#[derive(Parser)]
#[command(name = "muster-virtual", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds, and tells which of them broke a promise.
    Run {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many at a time; as many as there are cores if it is not given.
        #[arg(long)]
        jobs: Option<NonZeroUsize>,
        /// How to tell the result.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Runs one seed.
    Seed {
        /// The seed.
        seed: u64,
        /// Shows every event, and what the product logs, as it happens.
        #[arg(long)]
        trace: bool,
        /// How to tell the result.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// How results are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One object on standard output.
    Json,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a tool for the terminal")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Run { seeds, from, jobs, output } => campaign::run(from, seeds, jobs, output),
        Command::Seed { seed, trace, output } => {
            let outcome = Outcome::of_seed(seed, trace)?;
            outcome.show(output)?;
            Ok(outcome.violations.is_empty())
        }
    }
}
