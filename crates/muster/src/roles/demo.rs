//! `muster demo`

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use muster_client::Done;
use muster_client::screen::Format;
use muster_demo::{Options, Outcome};

use crate::failure::Failure;
use crate::shutdown;

const EXAMPLES: &str = "\
Examples:
  muster demo                          stays up for you to look around; Ctrl-C stops all of it
  muster demo --exit                   ends by itself; succeeds only if the simulator's ledger agrees
  muster demo --exit -o json           one JSON object
  muster demo --messages 5000 --keep ./demo";

/// Shows everything at work on this machine: a server, two agents and simulated gateways as processes of their own, 12 bots,
/// 500 messages, and a comparison of the server's messages with the simulated network's own ledger.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// End by itself; the exit code is 0 only if the ledger agrees one to one with the server
    #[arg(long)]
    exit: bool,

    /// How the summary is printed: table, json or jsonl
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    output: Format,

    /// Send so many messages instead of 500
    #[arg(long, value_name = "NUMBER", value_parser = message_count)]
    messages: Option<NonZeroUsize>,

    /// Keep database, ledger, journals and logs in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,

    /// Wait for the end of the demo and clean up after it
    #[arg(long, value_name = "FOLDER", hide = true, exclusive = true)]
    janitor: Option<PathBuf>,
}

fn message_count(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "expected a whole number, at least 1")
}

pub(crate) async fn run(args: DemoArgs) -> Result<Done, Failure> {
    if let Some(folder) = args.janitor {
        muster_demo::sweep_after_parent(&folder).with_context(|| format!("remove {}", folder.display()))?;
        return Ok(Done::All);
    }
    let shutdown = shutdown::token(false).context("listen to signals")?;
    let options = Options {
        exit: args.exit,
        format: args.output,
        messages: args.messages.map(NonZeroUsize::get),
        keep: args.keep,
    };
    match muster_demo::run(options, shutdown).await? {
        Outcome::Agrees => Ok(Done::All),
        Outcome::Disagrees | Outcome::Interrupted => Ok(Done::Partly),
    }
}
