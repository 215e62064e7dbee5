//! How the process ends when something went wrong: one message, one exit code.

use std::fmt;

use crate::config::ConfigError;

/// Everything was done.
pub(crate) const DONE: i32 = 0;

/// It failed, or a part of it was refused.
pub(crate) const FAILED: i32 = 1;

/// The arguments are wrong. clap ends with the same.
const USAGE: i32 = 2;

/// The configuration is wrong: `EX_CONFIG` of sysexits.
const CONFIG: i32 = 78;

/// Why the process ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A client command failed.
    Client(muster_client::Error),
    /// The configuration is wrong.
    Config(ConfigError),
    /// A role could not start, or ended.
    Role(anyhow::Error),
}

impl Failure {
    /// The runtime could not be started.
    pub(crate) fn runtime(error: std::io::Error) -> Self {
        Failure::Role(anyhow::Error::new(error).context("start the runtime"))
    }

    /// Whether there is nobody left to tell, or nothing to say.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Failure::Client(error) if error.is_closed_pipe())
    }

    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Failure::Client(error) if error.is_closed_pipe() => DONE,
            Failure::Client(muster_client::Error::Usage(_)) => USAGE,
            Failure::Client(_) | Failure::Role(_) => FAILED,
            Failure::Config(_) => CONFIG,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Client(error) => error.fmt(f),
            Failure::Config(error) => error.fmt(f),
            Failure::Role(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<muster_client::Error> for Failure {
    fn from(error: muster_client::Error) -> Self {
        Failure::Client(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Config(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Role(error)
    }
}
