//! A declared fleet, and what it takes to get there from the present one.

use std::collections::{BTreeMap, BTreeSet};

use crate::absence::AbsencePolicy;
use crate::bot::{BotSpec, check_names};
use crate::gateway::GatewaySpec;
use crate::limits::FLEET_RESOURCES_MAX;
use crate::node::NodeSpec;
use crate::window::SendingWindow;
use crate::{BotId, GatewayId, NodeId, Violation};

/// Nodes, gateways and bots as an operator declares them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
    /// By id.
    pub nodes: BTreeMap<NodeId, NodeSpec>,
    /// By id.
    pub gateways: BTreeMap<GatewayId, GatewaySpec>,
    /// By id.
    pub bots: BTreeMap<BotId, BotSpec>,
}

/// One step from the present fleet to the declared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Declares a node, or changes it.
    PutNode(NodeSpec),
    /// Declares a gateway, or changes it.
    PutGateway(GatewaySpec),
    /// Declares a bot, or changes it.
    PutBot(BotSpec),
    /// Takes a bot out of service.
    RetireBot(BotId),
    /// Removes a gateway that no bot uses any more.
    DeleteGateway(GatewayId),
    /// Removes a node that no gateway uses any more.
    DeleteNode(NodeId),
}

/// A difference between a declared and a present resource, for people: `+` new, `~` changed, `-` removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The resource's name in the API.
    pub resource: String,
    /// What happens to it.
    pub verb: Verb,
    /// For a change: which fields, from what to what.
    pub fields: Vec<FieldDifference>,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes; a bot is retired, never forgotten.
    Remove,
}

/// One field that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// Its name.
    pub field: &'static str,
    /// What it is now.
    pub from: String,
    /// What it will be.
    pub to: String,
}

impl Fleet {
    /// What is wrong with the declaration in itself: names, references, doubled addresses.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let count = self.nodes.len() + self.gateways.len() + self.bots.len();
        if count > FLEET_RESOURCES_MAX {
            found.push(Violation::new(
                "",
                format!("must declare at most {FLEET_RESOURCES_MAX} resources, declares {count}"),
            ));
        }
        for (id, node) in &self.nodes {
            found.extend(
                check_names(&node.display_name, &node.labels).into_iter().map(|v| v.below(&id.resource_name())),
            );
        }
        for (id, gateway) in &self.gateways {
            found.extend(
                check_names(&gateway.display_name, &gateway.labels).into_iter().map(|v| v.below(&id.resource_name())),
            );
            if !self.nodes.contains_key(&gateway.node) {
                let text = format!("names {}, which is not declared", gateway.node.resource_name());
                found.push(Violation::new("node", text).below(&id.resource_name()));
            }
        }
        let mut owners = BTreeMap::new();
        for (id, bot) in &self.bots {
            found.extend(check_names(&bot.display_name, &bot.labels).into_iter().map(|v| v.below(&id.resource_name())));
            let Some(gateway) = self.gateways.get(&bot.gateway) else {
                let text = format!("names {}, which is not declared", bot.gateway.resource_name());
                found.push(Violation::new("gateway", text).below(&id.resource_name()));
                continue;
            };
            if let Some(standby) = bot.absence.standby_gateway() {
                let wrong = match self.gateways.get(standby) {
                    None => Some("which is not declared"),
                    Some(other) if other.kind.network() != gateway.kind.network() => {
                        Some("which speaks to another network")
                    }
                    Some(other) if standby != &bot.gateway && other.node == gateway.node => {
                        Some("which is on the same node, and away with it")
                    }
                    Some(_) => None,
                };
                if let Some(wrong) = wrong {
                    let text = format!("names {}, {wrong}", standby.resource_name());
                    found.push(Violation::new("standby_gateway", text).below(&id.resource_name()));
                }
            }
            if let Some(address) = &bot.address
                && let Some(other) = owners.insert((gateway.kind.network(), address), id)
            {
                let text = format!("is the address of {} already", other.resource_name());
                found.push(Violation::new("address", text).below(&id.resource_name()));
            }
        }
        found
    }

    /// The steps from `present` to `self`, in an order that never breaks a reference. Without `prune`, what is not declared
    /// is left alone. An address that a link filled in is kept where the declaration names none.
    pub fn changes_from(&self, present: &Fleet, prune: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(differing(&self.nodes, &present.nodes).cloned().map(Change::PutNode));
        changes.extend(differing(&self.gateways, &present.gateways).cloned().map(Change::PutGateway));
        for (id, bot) in &self.bots {
            let before = present.bots.get(id);
            let mut wanted = bot.clone();
            if wanted.address.is_none() {
                wanted.address = before.and_then(|before| before.address.clone());
            }
            if before != Some(&wanted) {
                changes.push(Change::PutBot(wanted));
            }
        }
        if prune {
            changes.extend(removed(&self.bots, &present.bots).map(Change::RetireBot));
            changes.extend(removed(&self.gateways, &present.gateways).map(Change::DeleteGateway));
            changes.extend(removed(&self.nodes, &present.nodes).map(Change::DeleteNode));
        }
        changes
    }
}

fn differing<'a, K: Ord, V: PartialEq>(
    wanted: &'a BTreeMap<K, V>,
    present: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a V> {
    wanted.iter().filter(|(id, spec)| present.get(id) != Some(spec)).map(|(_, spec)| spec)
}

fn removed<'a, K: Ord + Clone, V>(wanted: &'a BTreeMap<K, V>, present: &'a BTreeMap<K, V>) -> impl Iterator<Item = K> {
    let gone: BTreeSet<_> = present.keys().filter(|id| !wanted.contains_key(id)).cloned().collect();
    gone.into_iter()
}

impl Change {
    /// The change in words, against the `present` fleet.
    pub fn difference(&self, present: &Fleet) -> Difference {
        let describe =
            |resource: String, before: Option<Vec<(&'static str, String)>>, after: Vec<(&'static str, String)>| {
                let verb = if before.is_some() { Verb::Update } else { Verb::Create };
                let before: BTreeMap<_, _> = before.unwrap_or_default().into_iter().collect();
                let fields = after
                    .into_iter()
                    .filter_map(|(field, to)| {
                        let from = before.get(field).cloned().unwrap_or_default();
                        (from != to).then_some(FieldDifference { field, from, to })
                    })
                    .collect();
                Difference { resource, verb, fields }
            };
        let remove = |resource: String| Difference { resource, verb: Verb::Remove, fields: Vec::new() };
        match self {
            Change::PutNode(spec) => {
                describe(spec.id.resource_name(), present.nodes.get(&spec.id).map(node_fields), node_fields(spec))
            }
            Change::PutGateway(spec) => describe(
                spec.id.resource_name(),
                present.gateways.get(&spec.id).map(gateway_fields),
                gateway_fields(spec),
            ),
            Change::PutBot(spec) => {
                describe(spec.id.resource_name(), present.bots.get(&spec.id).map(bot_fields), bot_fields(spec))
            }
            Change::RetireBot(id) => remove(id.resource_name()),
            Change::DeleteGateway(id) => remove(id.resource_name()),
            Change::DeleteNode(id) => remove(id.resource_name()),
        }
    }
}

fn labels_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

fn node_fields(spec: &NodeSpec) -> Vec<(&'static str, String)> {
    let NodeSpec { id: _, display_name, labels } = spec;
    vec![("display_name", display_name.clone()), ("labels", labels_text(labels))]
}

fn gateway_fields(spec: &GatewaySpec) -> Vec<(&'static str, String)> {
    let GatewaySpec { id: _, kind, node, display_name, labels } = spec;
    vec![
        ("kind", kind.as_str().to_owned()),
        ("node", node.to_string()),
        ("display_name", display_name.clone()),
        ("labels", labels_text(labels)),
    ]
}

fn seconds_text(length: std::time::Duration) -> String {
    format!("{}s", length.as_secs_f64())
}

fn bot_fields(spec: &BotSpec) -> Vec<(&'static str, String)> {
    let BotSpec { id: _, gateway, address, display_name, labels, absence, sending_window } = spec;
    // What nearly all bots have is not told.
    let on_node_absent = match absence {
        AbsencePolicy::Wait => String::new(),
        _ => absence.on_node_absent().to_string(),
    };
    vec![
        ("gateway", gateway.to_string()),
        ("address", address.as_ref().map(crate::Address::masked).unwrap_or_default()),
        ("display_name", display_name.clone()),
        ("labels", labels_text(labels)),
        ("on_node_absent", on_node_absent),
        ("absent_after", absence.absent_after().map(seconds_text).unwrap_or_default()),
        ("standby_gateway", absence.standby_gateway().map(ToString::to_string).unwrap_or_default()),
        ("sending_window", sending_window.as_ref().map(SendingWindow::to_text).unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::GatewayKind;
    use crate::{Address, Network};

    fn fleet(bots: &[&str]) -> Fleet {
        let node = NodeSpec { id: NodeId::new("n").unwrap(), display_name: String::new(), labels: BTreeMap::new() };
        let gateway = GatewaySpec {
            id: GatewayId::new("g").unwrap(),
            kind: GatewayKind::Evolution,
            node: node.id.clone(),
            display_name: String::new(),
            labels: BTreeMap::new(),
        };
        let bots = bots.iter().map(|id| BotSpec {
            id: BotId::new(id).unwrap(),
            gateway: gateway.id.clone(),
            address: None,
            display_name: String::new(),
            labels: BTreeMap::new(),
            absence: AbsencePolicy::default(),
            sending_window: None,
        });
        Fleet {
            bots: bots.map(|bot| (bot.id.clone(), bot)).collect(),
            nodes: [(node.id.clone(), node)].into(),
            gateways: [(gateway.id.clone(), gateway.clone())].into(),
        }
    }

    #[test]
    fn applying_twice_changes_nothing() {
        assert_eq!(fleet(&["a"]).changes_from(&fleet(&["a"]), true), []);
        assert_eq!(fleet(&["a", "b"]).changes_from(&Fleet::default(), false).len(), 4);
    }

    #[test]
    fn only_prune_removes() {
        assert_eq!(fleet(&["a"]).changes_from(&fleet(&["a", "b"]), false), []);
        assert_eq!(
            fleet(&["a"]).changes_from(&fleet(&["a", "b"]), true),
            [Change::RetireBot(BotId::new("b").unwrap())]
        );
    }

    #[test]
    fn a_window_that_changes_is_shown() {
        let mut declared = fleet(&["a"]);
        for bot in declared.bots.values_mut() {
            bot.sending_window = Some(SendingWindow::new("Europe/Lisbon", &["mon-fri 08:00-18:00"]).unwrap());
        }
        let change = declared.changes_from(&fleet(&["a"]), false).pop().unwrap();
        let fields = change.difference(&fleet(&["a"])).fields;
        let told: Vec<_> = fields.iter().map(|field| (field.field, field.from.as_str(), field.to.as_str())).collect();
        assert_eq!(told, [("sending_window", "", "Europe/Lisbon; mon-fri 08:00-18:00")]);
        assert_eq!(declared.changes_from(&declared, false), []);
    }

    #[test]
    fn an_address_that_a_link_filled_in_stays() {
        let mut present = fleet(&["a"]);
        let address = Address::parse(Network::WhatsApp, "+5511900000001").unwrap();
        present.bots.values_mut().next().unwrap().address = Some(address);
        assert_eq!(fleet(&["a"]).changes_from(&present, true), []);
    }

    #[test]
    fn broken_references_and_doubled_addresses_are_named() {
        let mut declared = fleet(&["a", "b"]);
        for bot in declared.bots.values_mut() {
            bot.address = Some(Address::from_stored("+5511900000001"));
        }
        assert_eq!(declared.violations()[0].field, "bots/b.address");
        declared.nodes.clear();
        assert!(declared.violations().iter().any(|v| v.field == "gateways/g.node"));
    }

    #[test]
    fn a_standby_gateway_has_to_be_there_and_speak_to_the_same_network() {
        let mut declared = fleet(&["a"]);
        let mut standby = declared.gateways.values().next().unwrap().clone();
        standby.id = GatewayId::new("s").unwrap();
        let node = std::mem::replace(&mut standby.node, NodeId::new("m").unwrap());
        let other = NodeSpec { id: standby.node.clone(), display_name: String::new(), labels: BTreeMap::new() };
        declared.nodes.insert(other.id.clone(), other);
        let after = std::time::Duration::from_secs(60);
        for bot in declared.bots.values_mut() {
            bot.absence = AbsencePolicy::FailOver { after, standby_gateway: standby.id.clone() };
        }
        assert_eq!(declared.violations()[0].field, "bots/a.standby_gateway");
        declared.gateways.insert(standby.id.clone(), GatewaySpec { kind: GatewayKind::Null, ..standby.clone() });
        assert_eq!(declared.violations()[0].field, "bots/a.standby_gateway");
        let away_as_well = GatewaySpec { node, ..standby.clone() };
        declared.gateways.insert(standby.id.clone(), away_as_well);
        assert_eq!(declared.violations()[0].field, "bots/a.standby_gateway");
        declared.gateways.insert(standby.id.clone(), standby);
        assert_eq!(declared.violations(), []);
        let change = declared.changes_from(&fleet(&["a"]), false).pop().unwrap();
        let fields = change.difference(&fleet(&["a"])).fields;
        let told: Vec<_> = fields.iter().map(|field| (field.field, field.from.as_str(), field.to.as_str())).collect();
        let wanted = [("on_node_absent", "", "FAIL_OVER"), ("absent_after", "", "60s"), ("standby_gateway", "", "s")];
        assert_eq!(told, wanted);
    }
}
