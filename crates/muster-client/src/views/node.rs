//! Nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::{ago, id, labels, labels_text, time, when};
use crate::screen::{Columns, Field, Look, Pairs, Tone};

/// A node as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Node")]
pub struct NodeView {
    pub name: String,
    pub display_name: String,
    pub labels: BTreeMap<String, String>,
    pub online: bool,
    pub online_time: Option<Timestamp>,
    pub epoch: u64,
    pub agent_version: String,
    pub desired_version: u64,
    pub applied_version: u64,
    pub create_time: Option<Timestamp>,
    pub update_time: Option<Timestamp>,
    pub etag: String,
}

impl From<v1::Node> for NodeView {
    fn from(node: v1::Node) -> Self {
        NodeView {
            name: node.name,
            display_name: node.display_name,
            labels: labels(node.labels),
            online: node.online,
            online_time: time(node.online_time),
            epoch: node.epoch,
            agent_version: node.agent_version,
            desired_version: node.desired_version,
            applied_version: node.applied_version,
            create_time: time(node.create_time),
            update_time: time(node.update_time),
            etag: node.etag,
        }
    }
}

impl NodeView {
    fn agent(&self) -> (&'static str, Tone) {
        match (self.online, self.epoch) {
            (true, _) => ("online", Tone::Good),
            (false, 0) => ("never seen", Tone::Busy),
            (false, _) => ("offline", Tone::Bad),
        }
    }

    fn configuration(&self) -> String {
        if self.applied_version == self.desired_version {
            "applied".to_owned()
        } else if self.online {
            format!("catching up: {} of {}", self.applied_version, self.desired_version)
        } else {
            format!("behind: {} of {}", self.applied_version, self.desired_version)
        }
    }
}

/// Nodes as a table.
pub fn table(nodes: &[NodeView], look: &Look) -> String {
    let headings = ["NODE", "AGENT", "SINCE", "SESSION", "VERSION", "CONFIGURATION", "LABELS"];
    let mut columns = Columns::new(&headings, look).optional(&["VERSION", "SESSION", "CONFIGURATION"]);
    for node in nodes {
        let (agent, tone) = node.agent();
        columns.row([
            id(&node.name).into(),
            Field::toned(agent, tone),
            ago(node.online_time, look).into(),
            Field::right(node.epoch.to_string()),
            node.agent_version.as_str().into(),
            node.configuration().into(),
            labels_text(&node.labels).into(),
        ]);
    }
    columns.render()
}

/// One node in full.
pub fn page(node: &NodeView, look: &Look) -> String {
    let (agent, tone) = node.agent();
    let mut pairs = Pairs::default();
    pairs
        .add("node", id(&node.name))
        .add("display name", &*node.display_name)
        .add("labels", labels_text(&node.labels))
        .add("agent", tone.paint(agent, look))
        .add("since", when(node.online_time, look))
        .add("session", if node.epoch == 0 { String::new() } else { node.epoch.to_string() })
        .add("version", &*node.agent_version)
        .add("configuration", node.configuration())
        .add("declared", when(node.create_time, look))
        .add("changed", when(node.update_time, look));
    pairs.render()
}
