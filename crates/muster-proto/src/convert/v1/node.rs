//! Nodes.

use std::collections::BTreeMap;

use muster_domain::bot::check_names;
use muster_domain::drain::{Drain, DrainState};
use muster_domain::life::AttemptEnd;
use muster_domain::node::{Cordon, Node, NodeSpec, NodeState};
use muster_domain::{NodeId, Timestamp, Violation};
use prost_types::FieldMask;

use super::mask::Fields;
use super::time::write_timestamp;
use super::{below, etag, keep, labels};
use crate::v1 as wire;

const FIELDS: Fields = Fields {
    changeable: &["display_name", "labels"],
    fixed: &[
        "name",
        "etag",
        "online",
        "online_time",
        "epoch",
        "agent_version",
        "desired_version",
        "applied_version",
        "state",
        "state_time",
        "cordon",
        "under_way",
        "drain",
        "create_time",
        "update_time",
    ],
};

/// Reads a declared node; output-only fields are ignored. Paths are those of the resource below `parent`;
/// what is wrong with the id comes with its own path.
pub fn declared(id: Result<NodeId, Violation>, node: wire::Node, parent: &str) -> Result<NodeSpec, Vec<Violation>> {
    let labels = labels(node.labels);
    let found = check_names(&node.display_name, &labels);
    let mut found = below(found, parent);
    match id.map_err(|violation| found.push(violation)) {
        Ok(id) if found.is_empty() => Ok(NodeSpec { id, display_name: node.display_name, labels }),
        _ => Err(found),
    }
}

/// What an update changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which node.
    pub id: NodeId,
    /// The generation that the caller has seen, if it named one.
    pub generation: Option<u64>,
    display_name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// Reads an update. Paths are those of the request.
pub fn update(node: Option<wire::Node>, mask: Option<FieldMask>) -> Result<Update, Vec<Violation>> {
    let node = node.unwrap_or_default();
    let mut found = Vec::new();
    let id = keep(&mut found, "node.name", NodeId::from_resource_name(&node.name));
    let generation = keep(&mut found, "node", etag::read(&node.etag));
    let labels = labels(node.labels);
    found.extend(below(check_names(&node.display_name, &labels), "node"));
    let selected = FIELDS.selected(mask).map_err(|more| found.extend(more)).unwrap_or_default();
    match (id, generation) {
        (Some(id), Some(generation)) if found.is_empty() => Ok(Update {
            id,
            generation,
            display_name: selected.contains(&"display_name").then_some(node.display_name),
            labels: selected.contains(&"labels").then_some(labels),
        }),
        _ => Err(found),
    }
}

impl Update {
    /// The declaration after the update.
    #[must_use]
    pub fn apply(&self, present: &NodeSpec) -> NodeSpec {
        NodeSpec {
            id: present.id.clone(),
            display_name: self.display_name.as_ref().unwrap_or(&present.display_name).clone(),
            labels: self.labels.as_ref().unwrap_or(&present.labels).clone(),
        }
    }
}

/// Writes a state.
pub fn write_state(state: NodeState) -> wire::NodeState {
    match state {
        NodeState::Online => wire::NodeState::Online,
        NodeState::Suspect => wire::NodeState::Suspect,
        NodeState::Offline => wire::NodeState::Offline,
        NodeState::Lost => wire::NodeState::Lost,
    }
}

/// Writes a node with its state, and since when it is in that, as of `now`.
pub fn write(node: &Node, (state, state_time): (NodeState, Option<Timestamp>), now: Timestamp) -> wire::Node {
    let Node {
        spec: NodeSpec { id, display_name, labels },
        generation,
        epoch,
        online,
        online_time,
        agent_version,
        desired_version,
        applied_version,
        cordon,
        drain,
        under_way,
        create_time,
        update_time,
    } = node;
    wire::Node {
        name: id.resource_name(),
        display_name: display_name.clone(),
        labels: labels.clone().into_iter().collect(),
        etag: etag::write(*generation),
        online: *online,
        online_time: online_time.map(write_timestamp),
        epoch: epoch.0,
        agent_version: agent_version.clone(),
        desired_version: *desired_version,
        applied_version: *applied_version,
        create_time: Some(write_timestamp(*create_time)),
        update_time: Some(write_timestamp(*update_time)),
        state: write_state(state).into(),
        state_time: state_time.map(write_timestamp),
        cordon: cordon.as_ref().map(write_cordon),
        under_way: *under_way,
        drain: drain.as_ref().map(|drain| write_drain(drain, drain.state(*under_way, now))),
    }
}

fn write_drain(drain: &Drain, state: DrainState) -> wire::Drain {
    let Drain { since, until } = drain;
    wire::Drain {
        state: write_drain_state(state).into(),
        since: Some(write_timestamp(*since)),
        until: Some(write_timestamp(*until)),
    }
}

fn write_drain_state(state: DrainState) -> wire::drain::State {
    match state {
        DrainState::Draining => wire::drain::State::Draining,
        DrainState::Overdue => wire::drain::State::Overdue,
        DrainState::Drained => wire::drain::State::Drained,
    }
}

/// Writes what an attempt came to; `None` is one that is under way.
pub fn write_end(end: Option<AttemptEnd>) -> wire::AttemptOutcome {
    match end {
        None => wire::AttemptOutcome::Unspecified,
        Some(AttemptEnd::Sent) => wire::AttemptOutcome::Sent,
        Some(AttemptEnd::Failed) => wire::AttemptOutcome::Failed,
        Some(AttemptEnd::Uncertain) => wire::AttemptOutcome::Uncertain,
        Some(AttemptEnd::Expired) => wire::AttemptOutcome::Expired,
        Some(AttemptEnd::Cancelled) => wire::AttemptOutcome::Cancelled,
        Some(AttemptEnd::NotReceived) => wire::AttemptOutcome::NotReceived,
        Some(
            AttemptEnd::Draining | AttemptEnd::ChainBroken | AttemptEnd::BotUnavailable | AttemptEnd::WindowClosed,
        ) => wire::AttemptOutcome::HandedBack,
    }
}

fn write_cordon(cordon: &Cordon) -> wire::Cordon {
    let Cordon { reason, author, since } = cordon;
    wire::Cordon { reason: reason.clone(), author: author.clone(), since: Some(write_timestamp(*since)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_name() {
        for state in NodeState::ALL {
            assert_eq!(write_state(state).as_str_name(), format!("NODE_STATE_{state}"));
        }
        for state in DrainState::ALL {
            assert_eq!(write_drain_state(state).as_str_name(), format!("STATE_{state}"));
        }
    }
}
