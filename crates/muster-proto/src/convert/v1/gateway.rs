//! Gateways.

use std::collections::BTreeMap;

use muster_domain::bot::check_names;
use muster_domain::gateway::{Gateway, GatewayKind, GatewaySpec};
use muster_domain::{GatewayId, NodeId, Violation};
use prost_types::FieldMask;

use super::mask::Fields;
use super::time::write_timestamp;
use super::{below, etag, keep, labels};
use crate::v1 as wire;

const FIELDS: Fields = Fields {
    changeable: &["node", "display_name", "labels"],
    fixed: &["name", "kind", "etag", "apply_error", "backoff", "create_time", "update_time"],
};

/// Reads a declared gateway; output-only fields are ignored. Paths are those of the resource below `parent`;
/// what is wrong with the id comes with its own path.
pub fn declared(
    id: Result<GatewayId, Violation>,
    gateway: wire::Gateway,
    parent: &str,
) -> Result<GatewaySpec, Vec<Violation>> {
    let labels = labels(gateway.labels);
    let mut found = check_names(&gateway.display_name, &labels);
    let kind = keep(&mut found, "kind", kind(gateway.kind));
    let node = keep(&mut found, "node", NodeId::from_resource_name(&gateway.node));
    let mut found = below(found, parent);
    let id = id.map_err(|violation| found.push(violation)).ok();
    match (id, kind, node) {
        (Some(id), Some(kind), Some(node)) if found.is_empty() => {
            Ok(GatewaySpec { id, kind, node, display_name: gateway.display_name, labels })
        }
        _ => Err(found),
    }
}

fn kind(value: i32) -> Result<GatewayKind, Violation> {
    match wire::GatewayKind::try_from(value) {
        Ok(wire::GatewayKind::Evolution) => Ok(GatewayKind::Evolution),
        Ok(wire::GatewayKind::Null) => Ok(GatewayKind::Null),
        Ok(wire::GatewayKind::Unspecified) | Err(_) => Err(Violation::new("", "must be EVOLUTION or NULL")),
    }
}

/// What an update changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which gateway.
    pub id: GatewayId,
    /// The generation that the caller has seen, if it named one.
    pub generation: Option<u64>,
    node: Option<NodeId>,
    display_name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// Reads an update. Paths are those of the request.
pub fn update(gateway: Option<wire::Gateway>, mask: Option<FieldMask>) -> Result<Update, Vec<Violation>> {
    let gateway = gateway.unwrap_or_default();
    let mut found = Vec::new();
    let id = keep(&mut found, "gateway.name", GatewayId::from_resource_name(&gateway.name));
    let generation = keep(&mut found, "gateway", etag::read(&gateway.etag));
    let labels = labels(gateway.labels);
    found.extend(below(check_names(&gateway.display_name, &labels), "gateway"));
    let selected = FIELDS.selected(mask).map_err(|more| found.extend(more)).unwrap_or_default();
    let node = selected
        .contains(&"node")
        .then(|| keep(&mut found, "gateway.node", NodeId::from_resource_name(&gateway.node)))
        .flatten();
    match (id, generation) {
        (Some(id), Some(generation)) if found.is_empty() => Ok(Update {
            id,
            generation,
            node,
            display_name: selected.contains(&"display_name").then_some(gateway.display_name),
            labels: selected.contains(&"labels").then_some(labels),
        }),
        _ => Err(found),
    }
}

impl Update {
    /// The declaration after the update.
    #[must_use]
    pub fn apply(&self, present: &GatewaySpec) -> GatewaySpec {
        GatewaySpec {
            id: present.id.clone(),
            kind: present.kind,
            node: self.node.as_ref().unwrap_or(&present.node).clone(),
            display_name: self.display_name.as_ref().unwrap_or(&present.display_name).clone(),
            labels: self.labels.as_ref().unwrap_or(&present.labels).clone(),
        }
    }
}

/// Writes a gateway.
pub fn write(gateway: &Gateway) -> wire::Gateway {
    let Gateway {
        spec: GatewaySpec { id, kind, node, display_name, labels },
        generation,
        apply_error,
        backoff,
        create_time,
        update_time,
    } = gateway;
    let kind = match kind {
        GatewayKind::Evolution => wire::GatewayKind::Evolution,
        GatewayKind::Null => wire::GatewayKind::Null,
    };
    wire::Gateway {
        name: id.resource_name(),
        kind: kind.into(),
        node: node.resource_name(),
        display_name: display_name.clone(),
        labels: labels.clone().into_iter().collect(),
        etag: etag::write(*generation),
        apply_error: apply_error.clone(),
        create_time: Some(write_timestamp(*create_time)),
        update_time: Some(write_timestamp(*update_time)),
        backoff: backoff.as_ref().map(super::backoff),
    }
}
