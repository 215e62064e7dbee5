//! Gateways.

use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::backoff::BackoffView;
use super::{ago, id, labels, labels_text, time, when, word};
use crate::screen::{Columns, Field, Look, Pairs, Tone};

/// A gateway as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Gateway")]
pub struct GatewayView {
    pub name: String,
    pub kind: String,
    pub node: String,
    pub display_name: String,
    pub labels: BTreeMap<String, String>,
    pub apply_error: String,
    /// Why all its bots wait, until an attempt gets through again.
    pub backoff: Option<BackoffView>,
    pub create_time: Option<Timestamp>,
    pub update_time: Option<Timestamp>,
    pub etag: String,
}

impl From<v1::Gateway> for GatewayView {
    fn from(gateway: v1::Gateway) -> Self {
        let kind = v1::GatewayKind::try_from(gateway.kind).ok().map(|kind| kind.as_str_name());
        GatewayView {
            name: gateway.name,
            kind: word(kind, "GATEWAY_KIND_", gateway.kind),
            node: gateway.node,
            display_name: gateway.display_name,
            labels: labels(gateway.labels),
            apply_error: gateway.apply_error,
            backoff: gateway.backoff.map(BackoffView::from),
            create_time: time(gateway.create_time),
            update_time: time(gateway.update_time),
            etag: gateway.etag,
        }
    }
}

impl GatewayView {
    /// What an operator should know about it.
    fn problem(&self, look: &Look) -> String {
        match &self.backoff {
            Some(backoff) if self.apply_error.is_empty() => backoff.remark(look),
            _ => self.apply_error.clone(),
        }
    }
}

/// Gateways as a table.
pub fn table(gateways: &[GatewayView], look: &Look) -> String {
    let headings = ["GATEWAY", "KIND", "NODE", "CHANGED", "LABELS", "PROBLEM"];
    let mut columns = Columns::new(&headings, look).optional(&["CHANGED", "LABELS"]);
    for gateway in gateways {
        columns.row([
            id(&gateway.name).into(),
            gateway.kind.to_lowercase().into(),
            id(&gateway.node).into(),
            ago(gateway.update_time, look).into(),
            labels_text(&gateway.labels).into(),
            Field::toned(gateway.problem(look), Tone::Bad),
        ]);
    }
    columns.render()
}

/// One gateway in full.
pub fn page(gateway: &GatewayView, look: &Look) -> String {
    let mut pairs = Pairs::default();
    pairs
        .add("gateway", id(&gateway.name))
        .add("kind", gateway.kind.to_lowercase())
        .add("node", id(&gateway.node))
        .add("display name", &*gateway.display_name)
        .add("labels", labels_text(&gateway.labels))
        .add("problem", Tone::Bad.paint(&gateway.apply_error, look));
    if let Some(backoff) = &gateway.backoff {
        backoff.add_to(&mut pairs, look);
    }
    pairs.add("declared", when(gateway.create_time, look)).add("changed", when(gateway.update_time, look));
    pairs.render()
}
