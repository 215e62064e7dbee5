//! The trials' command line. `cargo xtask bench` and `cargo xtask chaos` build what is needed and call it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use muster_trials::bench::{self, Extent, Part};

/// Trials of Muster as a whole.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Subcommand)]
enum Trial {
    /// Measures throughput, latency, memory and recovery, as ratios against references of the same run.
    Bench {
        /// Fewer messages and shorter runs: under one minute.
        #[arg(long)]
        quick: bool,
        /// Only this part; may be repeated. A ratio needs both of its sides.
        #[arg(long, value_name = "NAME")]
        only: Vec<Part>,
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
    match arguments.trial {
        Trial::Bench { quick, only, output } => {
            let extent = if quick { Extent::Quick } else { Extent::Full };
            let report = bench::run(extent, &only, |line| eprintln!("{line}")).await?;
            match output {
                Output::Text => print!("{report}"),
                Output::Json => println!("{}", serde_json::to_string(&report)?),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
