//! `muster`: arguments, configuration, start-up of a role, and exit codes. What a role does lies in its own crate.

mod args;
mod completions;
mod config;
mod failure;
mod log;
mod roles;
mod shutdown;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use muster_client::Done;

use crate::args::{Cli, Command};
use crate::failure::Failure;

/// Server and agent allocate on one thread what they free on another, all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let serves = matches!(cli.command, Command::Server(_) | Command::Agent(_) | Command::Sim(_));
    log::init(&cli.log, serves);
    let code = match run(cli.command) {
        Ok(Done::All) => failure::DONE,
        Ok(Done::Partly) => failure::FAILED,
        Err(failure) => {
            if !failure.is_silent() {
                let _ = writeln!(std::io::stderr().lock(), "muster: {failure}");
            }
            failure.exit_code()
        }
    };
    // Not by returning: a thread that waits for standard input would be waited for.
    std::process::exit(code)
}

fn run(command: Command) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(async {
        match command {
            Command::Server(args) => roles::server::run(args).await,
            Command::Agent(args) => roles::agent::run(args).await,
            Command::Sim(args) => roles::sim::run(args).await,
            Command::Demo(args) => roles::demo::run(args).await,
            Command::Config(args) => config::run(args),
            Command::Completions(args) => completions::run(&args),
            Command::Client(command) => Ok(muster_client::run(command).await?),
        }
    })
}
