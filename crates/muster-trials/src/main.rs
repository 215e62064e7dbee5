//! The trials' command line. `cargo xtask bench`, `chaos` and `soak` build what is needed and call it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use muster_trials::bench::{self, Extent, Part, Plan};
use muster_trials::chaos::{self, Campaign};
use muster_trials::soak;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// Trials of Muster as a whole.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Subcommand)]
enum Trial {
    /// Measures throughput, latency, memory, recovery and start, as ratios against references of the same run.
    Bench {
        /// Fewer messages and shorter runs: under one minute.
        #[arg(long)]
        quick: bool,
        /// Only this part; may be repeated. A ratio needs both of its sides.
        #[arg(long, value_name = "NAME")]
        only: Vec<Part>,
        /// Also BullMQ on Redis and graphile-worker on PostgreSQL: a few minutes. It needs redis-server, PostgreSQL and npm on this
        /// machine, and the npm registry.
        #[arg(long)]
        peers: bool,
        /// How to print the result. Progress goes to standard error.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Kills and freezes real processes while clients send, and then compares the ledgers. Exit code 1 if a promise broke.
    Chaos {
        /// How long things break.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
        /// Decides what is done to whom and when. Default: a random one.
        #[arg(long)]
        seed: Option<u32>,
        /// Keep logs, database and ledger even if every promise holds.
        #[arg(long)]
        keep: bool,
        /// How to print the result. Progress goes to standard error.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Sends many messages in waves, and looks whether memory and files stay flat. Exit code 1 if something grows.
    Soak {
        /// How many messages. The agent remembers the latest 100,000 outcomes, so more than twice that show whether it stays flat.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
        messages: u64,
        /// How to print the result. Progress goes to standard error.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One object on one line.
    Json,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> Result<ExitCode> {
    let interrupted = interrupted()?;
    tokio::select! {
        ended = run_trial(arguments.trial) => ended,
        code = interrupted => Ok(code),
    }
}

/// Ends with the exit code of a program that was stopped by a signal, once one came. What is under way is dropped then: it
/// stops its processes and removes its folders.
fn interrupted() -> Result<impl Future<Output = ExitCode>> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        let kind = tokio::select! {
            _ = int.recv() => SignalKind::interrupt(),
            _ = term.recv() => SignalKind::terminate(),
        };
        ExitCode::from(SIGNALLED + kind.as_raw_value().unsigned_abs() as u8)
    })
}

async fn run_trial(trial: Trial) -> Result<ExitCode> {
    match trial {
        Trial::Bench { quick, only, peers, output } => {
            let extent = if quick { Extent::Quick } else { Extent::Full };
            let report = bench::run(&Plan { extent, only, peers }, progress).await?;
            print(&report, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Trial::Chaos { seconds, seed, keep, output } => {
            let seed = seed.unwrap_or_else(rand::random).into();
            let campaign = Campaign { seed, length: Duration::from_secs(seconds), keep };
            let report = chaos::run(campaign, progress).await?;
            print(&report, output)?;
            Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Trial::Soak { messages, output } => {
            let report = soak::run(messages, progress).await?;
            print(&report, output)?;
            Ok(if report.flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Shells give this plus the number of the signal as the exit code.
const SIGNALLED: u8 = 128;

fn progress(line: &str) {
    eprintln!("{line}");
}

fn print(report: &(impl Display + Serialize), output: Output) -> Result<()> {
    match output {
        Output::Text => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string(report)?),
    }
    Ok(())
}
