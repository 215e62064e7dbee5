//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use muster_client::ClientCommand;

use crate::completions::CompletionsArgs;
use crate::config::ConfigArgs;
use crate::log::LogArgs;
use crate::roles::{agent::AgentArgs, demo::DemoArgs, server::ServerArgs, sim::SimArgs};

const EXAMPLES: &str = "\
See it work:
  muster demo         everything on this machine, with 12 bots and 500 messages

By hand, each of the first three in a terminal of its own:
  muster server
  muster sim --config deploy/samples/sim.toml
  muster agent --config deploy/samples/agent-a.toml
  muster apply -f deploy/samples/fleet.toml
  muster bot link sales-1
  muster send sales-1 +5511900000001 --text 'Olá!'
  muster message watch

Exit codes: 0 done, 1 failed or partly refused, 2 wrong usage, 78 wrong configuration.";

/// The control plane for fleets of messaging bots.
#[derive(Debug, Parser)]
#[command(name = "muster", version, about, after_help = EXAMPLES, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: state, limits and queue of the fleet
    Server(ServerArgs),
    /// Run the agent of a node: hands messages to its gateways
    Agent(AgentArgs),
    /// Run simulated gateways, with faults on demand
    Sim(SimArgs),
    /// Show everything at work on this machine
    Demo(DemoArgs),
    /// Print the configuration of a role
    Config(ConfigArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    #[command(flatten)]
    Client(ClientCommand),
}

/// What every role takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoleArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Write where the role listens to this file, as JSON, once it does
    ///
    /// It listens, and what it needs on its own machine is there. An agent is ready before it has a session with the server:
    /// `muster node get` tells whether it has one.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,

    /// Stop when standard input ends, which it does when the parent process is gone
    #[arg(long, hide = true)]
    pub(crate) exit_with_parent: bool,
}
