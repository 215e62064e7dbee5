//! The fleet as a whole.

use std::collections::BTreeSet;

use muster_domain::fleet::{Difference, FieldDifference, Verb};
use muster_domain::gateway::GatewaySpec;
use muster_domain::node::NodeSpec;
use muster_domain::{BotId, GatewayId, NodeId, Violation};

use super::{bot, gateway, node};
use crate::v1 as wire;

/// A declared fleet whose bots' addresses were not read yet.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// Declared nodes.
    pub nodes: Vec<NodeSpec>,
    /// Declared gateways.
    pub gateways: Vec<GatewaySpec>,
    /// Declared bots.
    pub bots: Vec<bot::Draft>,
}

/// Reads a declared fleet. No resource may be declared twice.
pub fn declared(
    nodes: Vec<wire::Node>,
    gateways: Vec<wire::Gateway>,
    bots: Vec<wire::Bot>,
) -> Result<Draft, Vec<Violation>> {
    let mut found = Vec::new();
    let mut draft = Draft::default();
    for (i, declared) in nodes.into_iter().enumerate() {
        let parent = format!("nodes[{i}]");
        let id = NodeId::from_resource_name(&declared.name).map_err(|violation| name(violation, &parent));
        collect(&mut found, &mut draft.nodes, node::declared(id, declared, &parent));
    }
    for (i, declared) in gateways.into_iter().enumerate() {
        let parent = format!("gateways[{i}]");
        let id = GatewayId::from_resource_name(&declared.name).map_err(|violation| name(violation, &parent));
        collect(&mut found, &mut draft.gateways, gateway::declared(id, declared, &parent));
    }
    for (i, declared) in bots.into_iter().enumerate() {
        let parent = format!("bots[{i}]");
        let id = BotId::from_resource_name(&declared.name).map_err(|violation| name(violation, &parent));
        collect(&mut found, &mut draft.bots, bot::declared(id, declared, &parent));
    }
    doubled(&mut found, draft.nodes.iter().map(|spec| spec.id.resource_name()));
    doubled(&mut found, draft.gateways.iter().map(|spec| spec.id.resource_name()));
    doubled(&mut found, draft.bots.iter().map(|spec| spec.id.resource_name()));
    if found.is_empty() { Ok(draft) } else { Err(found) }
}

fn name(violation: Violation, parent: &str) -> Violation {
    violation.below("name").below(parent)
}

fn collect<T>(found: &mut Vec<Violation>, read: &mut Vec<T>, declared: Result<T, Vec<Violation>>) {
    match declared {
        Ok(value) => read.push(value),
        Err(more) => found.extend(more),
    }
}

fn doubled(found: &mut Vec<Violation>, names: impl Iterator<Item = String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            found.push(Violation::new(name, "is declared more than once"));
        }
    }
}

/// Writes what changes.
pub fn write_difference(difference: Difference) -> wire::Difference {
    let Difference { resource, verb, fields } = difference;
    let verb = match verb {
        Verb::Create => wire::difference::Verb::Create,
        Verb::Update => wire::difference::Verb::Update,
        Verb::Remove => wire::difference::Verb::Remove,
    };
    let fields = fields
        .into_iter()
        .map(|FieldDifference { field, from, to }| wire::FieldDifference { field: field.to_owned(), from, to })
        .collect();
    wire::Difference { resource, verb: verb.into(), fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_is_declared_once_and_each_fault_has_its_place() {
        let node = |name: &str| wire::Node { name: name.into(), ..Default::default() };
        let found = declared(vec![node("nodes/a"), node("a")], vec![], vec![]).err().unwrap();
        assert_eq!(found[0].field, "nodes/a");
        let found = declared(vec![node("a")], vec![wire::Gateway::default()], vec![]).err().unwrap();
        let fields: Vec<_> = found.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["gateways[0].kind", "gateways[0].node", "gateways[0].name"]);
    }
}
