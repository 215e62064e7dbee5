//! Use cases, one file per noun. They know the rules and the store, and nothing of gRPC.
//!
//! A use case records what is wanted and wakes whoever carries it out; it does not act itself. Start at [`messages`], the
//! one that nearly all calls are for.

pub(crate) mod backlog;
pub(crate) mod bots;
pub(crate) mod contacts;
pub(crate) mod error;
pub(crate) mod failures;
pub(crate) mod fleet;
pub(crate) mod gateways;
pub(crate) mod inbound;
pub(crate) mod links;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod nodes;
pub(crate) mod tenancy;
pub(crate) mod tenants;
pub(crate) mod waiting;
pub(crate) mod watch;

use std::sync::Arc;

use muster_domain::node::Patience;
use muster_domain::{BotId, NodeId, TenantId, Timestamp};
use muster_store::Store;
use tokio_util::sync::CancellationToken;

use crate::session::{Command, CommandRefused, Running, Sessions};
use crate::tasks::Nudge;
use error::{Error, Reason, Result};

/// What use cases work with.
pub(crate) struct App {
    /// Where everything is remembered.
    pub(crate) store: Arc<dyn Store>,
    /// The agents that are there.
    pub(crate) sessions: Arc<Sessions>,
    /// Wakes the task that looks after messages with a time of their own.
    pub(crate) wake: Arc<Nudge>,
    /// Wakes the task that ends holds.
    pub(crate) holds: Arc<Nudge>,
    /// Moves whenever inbound messages became durable.
    pub(crate) inbound: tokio::sync::watch::Receiver<u64>,
    /// Uploads that run side by side; each holds its medium in memory.
    pub(crate) uploads: tokio::sync::Semaphore,
    /// Since when agents could come to this server.
    pub(crate) serving_since: Timestamp,
    /// After which times the state of a node changes by itself.
    pub(crate) patience: Patience,
    /// The server stops.
    pub(crate) stopping: CancellationToken,
}

impl App {
    /// Gives the agent of `node` a command for a bot.
    fn command(&self, tenant: &TenantId, node: &NodeId, bot: &BotId, command: Command) -> Result<Running> {
        self.sessions.command(tenant, node, bot.clone(), command).map_err(|refused| command_refused(refused, node))
    }
}

/// What it means that a session does not take a command.
fn command_refused(refused: CommandRefused, node: &NodeId) -> Error {
    match refused {
        CommandRefused::Offline => agent_offline(node),
        CommandRefused::TooMany => {
            let message = format!("too many commands wait for the agent of {}", node.resource_name());
            Error::new(Reason::Overloaded, message).about(node.resource_name())
        }
    }
}

fn agent_offline(node: &NodeId) -> Error {
    let message = format!("the agent of {} has no session; start it, or look at its log", node.resource_name());
    Error::new(Reason::AgentOffline, message).about(node.resource_name())
}
