//! The agents' stream: one actor per live session.
//!
//! [`actor`] owns a stream and everything that is known about its session; nobody else writes to it. Others reach a session
//! through its [`registry::Handle`]: they leave a note and wake it. What a session knows can be had again from the store, so
//! a session may end at any moment.

mod actor;
mod commands;
mod credit;
mod desired;
mod ending;
mod handshake;
mod outbox;
mod registry;
mod reports;
mod waiting_bots;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use muster_store::Store;
use tokio_util::sync::CancellationToken;

use crate::tasks::Nudge;

pub(crate) use actor::serve;
pub(crate) use commands::{Command, Event, LinkProgress, RecipientStatus, Running};
pub(crate) use registry::{CommandRefused, Sessions};

/// Why no frame comes from an agent any more.
pub(crate) enum Broken {
    /// What came is no frame: why, for people.
    Unreadable(String),
    /// The stream broke.
    Lost,
}

/// What every session needs of the server.
pub(crate) struct Context {
    /// Where everything is remembered.
    pub(crate) store: Arc<dyn Store>,
    /// The live sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// Wakes the task that looks after messages with a time of their own.
    pub(crate) wake: Arc<Nudge>,
    /// Wakes the task that looks after bots whose nodes are absent.
    pub(crate) absences: Arc<Nudge>,
    /// Moves whenever inbound messages became durable.
    pub(crate) inbound: tokio::sync::watch::Sender<u64>,
    /// How often an agent sends a heartbeat.
    pub(crate) heartbeat_interval: Duration,
    /// How long either side may give no sign.
    pub(crate) stall_timeout: Duration,
    /// The server stops.
    pub(crate) stopping: CancellationToken,
}
