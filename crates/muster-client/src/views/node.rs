//! Nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::{ago, id, labels, labels_text, time, when, word};
use crate::screen::{Columns, Field, Look, Pairs, Tone};
use crate::text;

/// A node as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Node")]
pub struct NodeView {
    pub name: String,
    pub display_name: String,
    pub labels: BTreeMap<String, String>,
    pub state: String,
    pub state_time: Option<Timestamp>,
    pub online: bool,
    pub online_time: Option<Timestamp>,
    pub epoch: u64,
    pub agent_version: String,
    pub desired_version: u64,
    pub applied_version: u64,
    pub cordon: Option<CordonView>,
    pub drain: Option<DrainView>,
    pub under_way: u64,
    pub create_time: Option<Timestamp>,
    pub update_time: Option<Timestamp>,
    pub etag: String,
}

/// A drain as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Drain")]
pub struct DrainView {
    pub state: String,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl From<v1::Drain> for DrainView {
    fn from(drain: v1::Drain) -> Self {
        let state = v1::drain::State::try_from(drain.state).ok().map(|state| state.as_str_name());
        DrainView { state: word(state, "STATE_", drain.state), since: time(drain.since), until: time(drain.until) }
    }
}

/// A cordon as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Cordon")]
pub struct CordonView {
    pub reason: String,
    pub author: String,
    pub since: Option<Timestamp>,
}

impl From<v1::Node> for NodeView {
    fn from(node: v1::Node) -> Self {
        let state = v1::NodeState::try_from(node.state).ok().map(|state| state.as_str_name());
        NodeView {
            state: word(state, "NODE_STATE_", node.state),
            state_time: time(node.state_time),
            cordon: node.cordon.map(|cordon| CordonView {
                reason: cordon.reason,
                author: cordon.author,
                since: time(cordon.since),
            }),
            drain: node.drain.map(DrainView::from),
            under_way: node.under_way,
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
    fn state(&self) -> (&str, Tone) {
        match (self.state.as_str(), self.epoch) {
            ("OFFLINE", 0) => ("never seen", Tone::Busy),
            (state @ "ONLINE", _) => (state, Tone::Good),
            (state @ "SUSPECT", _) => (state, Tone::Busy),
            (state, _) => (state, Tone::Bad),
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

/// How many attempts, in words.
fn attempts(count: u64) -> String {
    match count {
        1 => "1 attempt".to_owned(),
        count => format!("{} attempts", text::count(count)),
    }
}

/// Nodes as a table.
pub fn table(nodes: &[NodeView], look: &Look) -> String {
    let headings = ["NODE", "STATE", "SINCE", "UNDER WAY", "VERSION", "CONFIGURATION", "LABELS", "REMARK"];
    let mut columns = Columns::new(&headings, look).optional(&["LABELS", "VERSION", "CONFIGURATION"]);
    for node in nodes {
        let (state, tone) = node.state();
        let cordon = node.cordon.as_ref().map(|cordon| {
            let what = node.drain.as_ref().map_or("cordoned".to_owned(), |drain| drain.state.to_lowercase());
            format!("{what}: {}", cordon.reason)
        });
        columns.row([
            id(&node.name).into(),
            Field::toned(state, tone),
            ago(node.state_time, look).into(),
            Field::right(text::count(node.under_way)),
            node.agent_version.as_str().into(),
            node.configuration().into(),
            labels_text(&node.labels).into(),
            Field::toned(cordon.unwrap_or_default(), Tone::Busy),
        ]);
    }
    columns.render()
}

/// One node in full.
pub fn page(node: &NodeView, look: &Look) -> String {
    let (state, tone) = node.state();
    let cordon = node.cordon.as_ref().map(|cordon| {
        let by = if cordon.author.is_empty() { String::new() } else { format!(", by {}", cordon.author) };
        Tone::Busy.paint(&format!("{} (since {}{by})", cordon.reason, when(cordon.since, look)), look)
    });
    let drain = node.drain.as_ref().map(|drain| {
        let tone = if drain.state == "DRAINED" { Tone::Good } else { Tone::Busy };
        format!(
            "{} (since {}, until {})",
            tone.paint(&drain.state, look),
            when(drain.since, look),
            when(drain.until, look)
        )
    });
    let mut pairs = Pairs::default();
    pairs
        .add("node", id(&node.name))
        .add("display name", &*node.display_name)
        .add("labels", labels_text(&node.labels))
        .add("state", tone.paint(state, look))
        .add("since", when(node.state_time, look))
        .add("cordon", cordon.unwrap_or_default())
        .add("drain", drain.unwrap_or_default())
        .add("under way", attempts(node.under_way))
        .add("session", if node.epoch == 0 { String::new() } else { node.epoch.to_string() })
        .add("version", &*node.agent_version)
        .add("configuration", node.configuration())
        .add("declared", when(node.create_time, look))
        .add("changed", when(node.update_time, look));
    pairs.render()
}
