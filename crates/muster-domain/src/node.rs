//! A machine that hosts gateways and runs one agent.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{Epoch, NodeId};

/// What an operator declares about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its id; the agent's configuration names it.
    pub id: NodeId,
    /// A name for people.
    pub display_name: String,
    /// Free labels for filters.
    pub labels: BTreeMap<String, String>,
}

/// A node with everything that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What was declared.
    pub spec: NodeSpec,
    /// Grows with every change of the declaration.
    pub generation: u64,
    /// Number of its latest session; zero before the first.
    pub epoch: Epoch,
    /// Whether a session is open. Written on connect and on disconnect only.
    pub online: bool,
    /// When `online` last changed.
    pub online_time: Option<Timestamp>,
    /// The agent's build, as it said in its latest session.
    pub agent_version: String,
    /// Version of the desired state that the server holds for it.
    pub desired_version: u64,
    /// Version that the agent says it applied.
    pub applied_version: u64,
    /// When it was declared.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
}
