//! What is declared for this node, and how a state from the server changes it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::gateway::GatewayKind;
use muster_domain::{Address, BotId, GatewayId};
use muster_proto::agent_v1 as wire;
use muster_proto::convert::agent_v1::address;

/// A bot as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeclaredBot {
    pub(super) gateway: GatewayId,
    pub(super) may_send: bool,
    pub(super) connect: bool,
    pub(super) address: Option<Address>,
    pub(super) window_generation: u32,
}

/// Everything that is declared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Declared {
    pub(super) gateways: BTreeMap<GatewayId, GatewayKind>,
    pub(super) bots: BTreeMap<BotId, DeclaredBot>,
    /// What is not started is handed back.
    pub(super) draining: bool,
}

/// What is different after a state was taken.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Change {
    /// Gateways that are new, changed or gone.
    pub(super) gateways: BTreeSet<GatewayId>,
    /// Bots that are new, changed or gone, or whose gateway is.
    pub(super) bots: BTreeSet<BotId>,
}

/// Puts two frames of one state together.
pub(super) fn joined(mut begun: wire::DesiredState, next: wire::DesiredState) -> wire::DesiredState {
    begun.gateways.extend(next.gateways);
    begun.bots.extend(next.bots);
    begun.removed_gateways.extend(next.removed_gateways);
    begun.removed_bots.extend(next.removed_bots);
    begun.draining = next.draining;
    begun
}

/// How many resources a state names.
pub(super) fn resources(state: &wire::DesiredState) -> usize {
    state.gateways.len() + state.bots.len() + state.removed_gateways.len() + state.removed_bots.len()
}

impl Declared {
    /// Takes a complete state. What cannot be read is left out, and told.
    pub(super) fn replace(&mut self, state: wire::DesiredState) -> (Change, Vec<wire::ResourceError>) {
        let before = std::mem::take(self);
        let errors = self.read(state);
        (self.change_from(&before), errors)
    }

    /// Takes the difference to a later state. What cannot be read is as if it were gone, and told.
    pub(super) fn amend(&mut self, state: wire::DesiredState) -> (Change, Vec<wire::ResourceError>) {
        let before = self.clone();
        let errors = self.read(state);
        (self.change_from(&before), errors)
    }

    fn read(&mut self, state: wire::DesiredState) -> Vec<wire::ResourceError> {
        self.draining = state.draining;
        let mut errors = Vec::new();
        let mut unreadable = |collection: &str, id: &str, message: String| {
            errors.push(wire::ResourceError { name: format!("{collection}/{id}"), message });
        };
        self.gateways.retain(|id, _| !state.removed_gateways.iter().any(|removed| removed == id.as_str()));
        if !state.removed_bots.is_empty() {
            let removed: BTreeSet<&str> = state.removed_bots.iter().map(String::as_str).collect();
            self.bots.retain(|id, _| !removed.contains(id.as_str()));
        }
        for gateway in state.gateways {
            let Ok(id) = GatewayId::new(&gateway.id) else {
                unreadable(GatewayId::COLLECTION, &gateway.id, "the id cannot be read".to_owned());
                continue;
            };
            match GatewayKind::parse(&gateway.kind) {
                Some(kind) => {
                    self.gateways.insert(id, kind);
                }
                None => {
                    let message =
                        format!("this agent has no adapter for the kind \"{}\": update the agent", gateway.kind);
                    unreadable(GatewayId::COLLECTION, &gateway.id, message);
                    self.gateways.remove(&id);
                }
            }
        }
        for bot in state.bots {
            match read_bot(&bot) {
                Ok((id, declared)) => {
                    self.bots.insert(id, declared);
                }
                Err(message) => {
                    if let Ok(id) = BotId::new(&bot.id) {
                        self.bots.remove(&id);
                    }
                    unreadable(BotId::COLLECTION, &bot.id, message);
                }
            }
        }
        errors
    }

    fn change_from(&self, before: &Declared) -> Change {
        let gateways: BTreeSet<_> = self
            .gateways
            .keys()
            .chain(before.gateways.keys())
            .filter(|id| self.gateways.get(*id) != before.gateways.get(*id))
            .cloned()
            .collect();
        let bots = self
            .bots
            .iter()
            .filter(|(id, bot)| before.bots.get(*id) != Some(bot) || gateways.contains(&bot.gateway))
            .map(|(id, _)| id)
            .chain(before.bots.keys().filter(|id| !self.bots.contains_key(*id)))
            .cloned()
            .collect();
        Change { gateways, bots }
    }

    /// The complete state, as a file keeps it.
    pub(super) fn to_wire(&self) -> wire::DesiredState {
        let gateways = self.gateways.iter();
        let bots = self.bots.iter();
        wire::DesiredState {
            gateways: gateways
                .map(|(id, kind)| wire::DesiredGateway { id: id.to_string(), kind: kind.as_str().to_owned() })
                .collect(),
            bots: bots
                .map(|(id, bot)| wire::DesiredBot {
                    id: id.to_string(),
                    gateway: bot.gateway.to_string(),
                    may_send: bot.may_send,
                    connect: bot.connect,
                    address: bot.address.as_ref().map(|address| address.as_str().to_owned()).unwrap_or_default(),
                    window_generation: bot.window_generation,
                })
                .collect(),
            draining: self.draining,
            ..wire::DesiredState::default()
        }
    }
}

fn read_bot(bot: &wire::DesiredBot) -> Result<(BotId, DeclaredBot), String> {
    let id = BotId::new(&bot.id).map_err(|violation| format!("the id {}", violation.description))?;
    let gateway = GatewayId::new(&bot.gateway).map_err(|violation| format!("gateway {}", violation.description))?;
    let address = match bot.address.as_str() {
        "" => None,
        text => Some(address("address", text).map_err(|violation| violation.to_string())?),
    };
    let window_generation = bot.window_generation;
    Ok((id, DeclaredBot { gateway, may_send: bot.may_send, connect: bot.connect, address, window_generation }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(id: &str, kind: &str) -> wire::DesiredGateway {
        wire::DesiredGateway { id: id.into(), kind: kind.into() }
    }

    fn bot(id: &str, gateway: &str, may_send: bool) -> wire::DesiredBot {
        wire::DesiredBot { id: id.into(), gateway: gateway.into(), may_send, connect: true, ..Default::default() }
    }

    fn names<T: ToString>(set: &BTreeSet<T>) -> Vec<String> {
        set.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_complete_state_replaces_and_a_difference_amends() {
        let mut declared = Declared::default();
        let first = wire::DesiredState {
            gateways: vec![gateway("g", "null")],
            bots: vec![bot("a", "g", true), bot("b", "g", true)],
            ..wire::DesiredState::default()
        };
        let (change, errors) = declared.replace(first.clone());
        assert_eq!((names(&change.gateways), names(&change.bots)), (vec!["g".into()], vec!["a".into(), "b".into()]));
        assert_eq!(errors, []);
        assert_eq!(declared.replace(first).0, Change::default());
        let (change, _) = declared.amend(wire::DesiredState {
            bots: vec![bot("a", "g", false)],
            removed_bots: vec!["b".into()],
            draining: true,
            ..wire::DesiredState::default()
        });
        assert!(declared.draining);
        assert_eq!(names(&change.bots), ["a", "b"]);
        assert_eq!(declared.bots.len(), 1);
        let (change, _) = declared
            .amend(wire::DesiredState { gateways: vec![gateway("g", "evolution")], ..wire::DesiredState::default() });
        assert_eq!((names(&change.gateways), names(&change.bots)), (vec!["g".into()], vec!["a".into()]));
        let mut again = Declared::default();
        again.replace(declared.to_wire());
        assert_eq!(again, declared);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_is_taken() {
        let mut declared = Declared::default();
        let (_, errors) = declared.replace(wire::DesiredState {
            gateways: vec![gateway("g", "null"), gateway("h", "pigeon"), gateway("G!", "null")],
            bots: vec![bot("a", "g", true), bot("b", "", true), bot("", "g", true)],
            ..wire::DesiredState::default()
        });
        let named: Vec<_> = errors.iter().map(|error| error.name.as_str()).collect();
        assert_eq!(named, ["gateways/h", "gateways/G!", "bots/b", "bots/"]);
        assert_eq!((declared.gateways.len(), declared.bots.len()), (1, 1));
    }
}
