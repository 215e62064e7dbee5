//! The server's configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use confique::{Config, Layer};
use muster_store::RetentionPolicy;
use serde::Serialize;

use super::length::Length;
use super::{ConfigError, load};

/// Configuration of the Muster server.
#[derive(Debug, Clone, Config, Serialize)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct ServerFile {
    /// Where the operators' API and the agents' stream listen. There is no authentication yet: keep it to this machine or
    /// to a network that you trust. Environment: MUSTER_LISTEN.
    #[config(default = "127.0.0.1:7400", env = "MUSTER_LISTEN")]
    pub(crate) listen: SocketAddr,

    /// The database file, created where there is none. Environment: MUSTER_DATABASE.
    #[config(default = "muster.db", env = "MUSTER_DATABASE")]
    pub(crate) database: PathBuf,

    /// How often an agent gives a sign of life; at least 100 ms.
    #[config(default = "10s")]
    pub(crate) heartbeat_interval: Length,

    /// How long an agent may be silent before its session ends; at least two heartbeats.
    #[config(default = "30s")]
    pub(crate) stall_timeout: Length,

    /// How long an agent may be away before its node is shown as LOST; at least `stall_timeout`. Nothing is given up because
    /// of it.
    #[config(default = "5m")]
    pub(crate) lost_after: Length,

    /// How long a message is UNCERTAIN before `on_uncertain = RESEND` has it sent again: time for late reports to settle it.
    #[config(default = "10m")]
    pub(crate) uncertain_wait: Length,

    /// Calls under way at a time, over all callers; more are refused. Open streams do not count.
    #[config(default = 10_000)]
    pub(crate) calls_max: usize,

    /// How long an answer of a stream may lie before its caller makes room for it; then the call ends, and says why to a caller that
    /// reads again. Whoever watches goes on from the latest cursor.
    #[config(default = "5m")]
    pub(crate) unread_timeout: Length,

    /// How long calls and sessions may take to end when the server stops.
    #[config(default = "10s")]
    pub(crate) stop_timeout: Length,

    /// How long rows are kept.
    #[config(nested)]
    pub(crate) retention: RetentionSection,
}

/// How long rows are kept.
#[derive(Debug, Clone, Config, Serialize)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct RetentionSection {
    /// Messages in a final state, with their attempts, counted from acceptance.
    #[config(default = "90d")]
    pub(crate) messages: Length,

    /// Inbound messages, counted from receipt.
    #[config(default = "90d")]
    pub(crate) inbound: Length,

    /// The log of changes, for watchers that come back.
    #[config(default = "7d")]
    pub(crate) changes: Length,

    /// Media that no message names any more, counted from upload.
    #[config(default = "30d")]
    pub(crate) media: Length,
}

/// The keys that have a flag.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerFlags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// The database file [default: muster.db]
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
}

/// Flags as the layer above all others.
type FlagLayer = <ServerFile as Config>::Layer;

impl ServerFile {
    /// The configuration in effect.
    pub(crate) fn load(file: Option<&Path>, flags: ServerFlags) -> Result<Self, ConfigError> {
        let ServerFlags { listen, database } = flags;
        let flags = FlagLayer { listen, database, ..Layer::empty() };
        let loaded: Self = load("server", file, flags)?;
        loaded.role().check().map_err(|(key, expectation)| ConfigError::key("server", key, expectation))?;
        Ok(loaded)
    }

    /// What the role takes.
    pub(crate) fn role(&self) -> muster_server::Config {
        let RetentionSection { messages, inbound, changes, media } = &self.retention;
        muster_server::Config {
            listen: self.listen,
            heartbeat_interval: self.heartbeat_interval.0,
            stall_timeout: self.stall_timeout.0,
            lost_after: self.lost_after.0,
            uncertain_wait: self.uncertain_wait.0,
            calls_max: self.calls_max,
            unread_timeout: self.unread_timeout.0,
            stop_timeout: self.stop_timeout.0,
            retention: RetentionPolicy { messages: messages.0, inbound: inbound.0, changes: changes.0, media: media.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_role() {
        let file = ServerFile::load(None, ServerFlags::default()).unwrap();
        assert_eq!(file.role(), muster_server::Config::default());
    }
}
