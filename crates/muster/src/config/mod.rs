//! Configuration: a file per role, then the environment, then flags. Later ones win.
//!
//! Each role's file is a struct here with a default for every key; its comments are what `muster config print` prints.
//! Unknown keys are errors. Nothing listens before the whole configuration is accepted.

pub(crate) mod agent;
mod length;
mod print;
pub(crate) mod server;
pub(crate) mod sim;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use confique::{Config, Layer};
use muster_client::Done;
use muster_client::suggest::explain_toml;

use crate::failure::Failure;

/// A configuration that cannot be used, with the place and what is expected.
#[derive(Debug)]
pub(crate) struct ConfigError(String);

impl ConfigError {
    /// Something is wrong with a key, wherever its value came from.
    pub(crate) fn key(role: &str, key: impl fmt::Display, expectation: impl fmt::Display) -> Self {
        ConfigError(format!("configuration of the {role}: {key}: {expectation}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Reads a file as a layer of `C`; without a file, an empty one.
fn read_layer<C: Config>(file: Option<&Path>) -> Result<C::Layer, ConfigError> {
    let Some(path) = file else { return Ok(C::Layer::empty()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("read {name}: {error}")))?;
    toml::from_str(&text).map_err(|error| ConfigError(explain_toml(&name, &text, &error)))
}

/// Puts flags over the environment over the file over the defaults.
fn load<C: Config>(role: &str, file: Option<&Path>, flags: C::Layer) -> Result<C, ConfigError> {
    let file = read_layer::<C>(file)?;
    C::builder().preloaded(flags).env().preloaded(file).load().map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        ConfigError(format!("configuration of the {role}: {error}{source}"))
    })
}

/// Prints the configuration of a role.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with its comment and its value in effect; keys of gateways are masked
    Print {
        #[command(subcommand)]
        role: PrintRole,
    },
}

#[derive(Debug, Subcommand)]
enum PrintRole {
    /// The server's
    Server(PrintArgs),
    /// An agent's
    Agent(PrintArgs),
    /// The simulator's
    Sim(PrintArgs),
}

#[derive(Debug, Args)]
struct PrintArgs {
    /// Configuration file; without one, the defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs `muster config`.
pub(crate) fn run(args: ConfigArgs) -> Result<Done, Failure> {
    let ConfigCommand::Print { role } = args.command;
    let text = match role {
        PrintRole::Server(args) => print::text(&server::ServerFile::load(args.config.as_deref(), Default::default())?),
        PrintRole::Agent(args) => print::text(&agent::AgentFile::load(args.config.as_deref(), Default::default())?),
        PrintRole::Sim(args) => print::text(&sim::SimFile::load(args.config.as_deref(), Default::default())?),
    };
    let out = muster_client::screen::Screen::new(Default::default(), false);
    out.print(&text).map_err(muster_client::Error::from)?;
    Ok(Done::All)
}
