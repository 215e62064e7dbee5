//! Bots.

use std::collections::BTreeMap;

use muster_domain::absence::AbsencePolicy;
use muster_domain::bot::{Bot, BotSpec, Connection, Hold, Stage, StateCounts, check_names};
use muster_domain::message::MessageState;
use muster_domain::window::SendingWindow;
use muster_domain::{Address, BotId, GatewayId, Network, Violation};
use prost_types::FieldMask;

use super::mask::Fields;
use super::message::write_state;
use super::time::write_timestamp;
use super::{Found, absence, below, etag, keep, labels, window};
use crate::v1 as wire;

const FIELDS: Fields = Fields {
    changeable: &["gateway", "address", "display_name", "labels", "absence", "sending_window"],
    fixed: &[
        "name",
        "etag",
        "node",
        "stage",
        "stage_rule",
        "hold",
        "fail_over",
        "connection",
        "connection_detail",
        "connection_time",
        "apply_error",
        "backoff",
        "create_time",
        "update_time",
        "window_state",
        "message_counts",
    ],
};

/// A declared bot whose address was not read yet: what an address is depends on the network of its gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its id.
    pub id: BotId,
    /// The gateway that it is reached through.
    pub gateway: GatewayId,
    address: String,
    display_name: String,
    labels: BTreeMap<String, String>,
    absence: AbsencePolicy,
    sending_window: Option<SendingWindow>,
}

/// Reads a declared bot; output-only fields are ignored. Paths are those of the resource below `parent`;
/// what is wrong with the id comes with its own path.
pub fn declared(id: Result<BotId, Violation>, bot: wire::Bot, parent: &str) -> Result<Draft, Vec<Violation>> {
    let labels = labels(bot.labels);
    let mut found = check_names(&bot.display_name, &labels);
    let gateway = keep(&mut found, "gateway", GatewayId::from_resource_name(&bot.gateway));
    let absence = absence(&mut found, bot.absence);
    let sending_window = sending_window(&mut found, bot.sending_window);
    let mut found = below(found, parent);
    let id = id.map_err(|violation| found.push(violation)).ok();
    match (id, gateway) {
        (Some(id), Some(gateway)) if found.is_empty() => Ok(Draft {
            id,
            gateway,
            address: bot.address,
            display_name: bot.display_name,
            labels,
            absence,
            sending_window,
        }),
        _ => Err(found),
    }
}

impl Draft {
    /// Reads the address as one of `network`.
    pub fn resolve(self, network: Network) -> Result<BotSpec, Violation> {
        Ok(BotSpec {
            address: address(&self.address, network)?,
            id: self.id,
            gateway: self.gateway,
            display_name: self.display_name,
            labels: self.labels,
            absence: self.absence,
            sending_window: self.sending_window,
        })
    }
}

/// Reads what is done about a bot while its node is absent.
fn absence(found: &mut Found, policy: Option<wire::AbsencePolicy>) -> AbsencePolicy {
    absence::read(policy).map_err(|more| found.extend(below(more, "absence"))).unwrap_or_default()
}

/// Reads when a bot may send.
fn sending_window(found: &mut Found, declared: Option<wire::SendingWindow>) -> Option<SendingWindow> {
    window::read(declared?).map_err(|more| found.extend(below(more, "sending_window"))).ok()
}

/// Reads a bot's own address; the empty text stands for one that is not known yet.
fn address(text: &str, network: Network) -> Result<Option<Address>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    Address::parse(network, text).map(Some).map_err(|violation| violation.below("address"))
}

/// What an update changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Update {
    /// Which bot.
    pub id: BotId,
    /// The generation that the caller has seen, if it named one.
    pub generation: Option<u64>,
    /// The gateway that it moves to.
    pub gateway: Option<GatewayId>,
    address: Option<String>,
    display_name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    absence: Option<AbsencePolicy>,
    sending_window: Option<Option<SendingWindow>>,
}

/// Reads an update. Paths are those of the request.
pub fn update(bot: Option<wire::Bot>, mask: Option<FieldMask>) -> Result<Update, Vec<Violation>> {
    let bot = bot.unwrap_or_default();
    let mut found = Vec::new();
    let id = keep(&mut found, "bot.name", BotId::from_resource_name(&bot.name));
    let generation = keep(&mut found, "bot", etag::read(&bot.etag));
    let labels = labels(bot.labels);
    found.extend(below(check_names(&bot.display_name, &labels), "bot"));
    let mut wrong = Vec::new();
    let absence = absence(&mut wrong, bot.absence);
    let sending_window = sending_window(&mut wrong, bot.sending_window);
    found.extend(below(wrong, "bot"));
    let selected = FIELDS.selected(mask).map_err(|more| found.extend(more)).unwrap_or_default();
    let gateway = selected
        .contains(&"gateway")
        .then(|| keep(&mut found, "bot.gateway", GatewayId::from_resource_name(&bot.gateway)))
        .flatten();
    match (id, generation) {
        (Some(id), Some(generation)) if found.is_empty() => Ok(Update {
            id,
            generation,
            gateway,
            address: selected.contains(&"address").then_some(bot.address),
            display_name: selected.contains(&"display_name").then_some(bot.display_name),
            labels: selected.contains(&"labels").then_some(labels),
            absence: selected.contains(&"absence").then_some(absence),
            sending_window: selected.contains(&"sending_window").then_some(sending_window),
        }),
        _ => Err(found),
    }
}

impl Update {
    /// The declaration after the update. `network` is the one of the gateway that the bot has then. An address that is left
    /// empty stays what it is: a link may have filled it in.
    pub fn apply(&self, present: &BotSpec, network: Network) -> Result<BotSpec, Violation> {
        let address = match &self.address {
            Some(text) => address(text, network)?,
            None => None,
        };
        Ok(BotSpec {
            id: present.id.clone(),
            gateway: self.gateway.as_ref().unwrap_or(&present.gateway).clone(),
            address: address.or_else(|| present.address.clone()),
            display_name: self.display_name.as_ref().unwrap_or(&present.display_name).clone(),
            labels: self.labels.as_ref().unwrap_or(&present.labels).clone(),
            absence: self.absence.as_ref().unwrap_or(&present.absence).clone(),
            sending_window: self.sending_window.as_ref().unwrap_or(&present.sending_window).clone(),
        })
    }
}

/// Reads a stage of a filter.
pub fn stage(value: i32) -> Result<Stage, Violation> {
    let known = wire::Stage::try_from(value).ok();
    Stage::ALL
        .into_iter()
        .find(|stage| Some(write_stage(*stage)) == known)
        .ok_or_else(|| Violation::new("", format!("has the value {value}, which is no stage")))
}

/// Reads a connection of a filter.
pub fn connection(value: i32) -> Result<Connection, Violation> {
    let known = wire::Connection::try_from(value).ok();
    Connection::ALL
        .into_iter()
        .find(|connection| Some(write_connection(*connection)) == known)
        .ok_or_else(|| Violation::new("", format!("has the value {value}, which is no connection")))
}

/// Writes a stage.
pub fn write_stage(stage: Stage) -> wire::Stage {
    match stage {
        Stage::Provisioning => wire::Stage::Provisioning,
        Stage::Activating => wire::Stage::Activating,
        Stage::Ramping => wire::Stage::Ramping,
        Stage::Ready => wire::Stage::Ready,
        Stage::Active => wire::Stage::Active,
        Stage::Cooling => wire::Stage::Cooling,
        Stage::Restricted => wire::Stage::Restricted,
        Stage::Banned => wire::Stage::Banned,
        Stage::Retired => wire::Stage::Retired,
    }
}

/// Writes a connection.
pub fn write_connection(connection: Connection) -> wire::Connection {
    match connection {
        Connection::Unlinked => wire::Connection::Unlinked,
        Connection::Linking => wire::Connection::Linking,
        Connection::Connected => wire::Connection::Connected,
        Connection::Silent => wire::Connection::Silent,
        Connection::Disconnected => wire::Connection::Disconnected,
        Connection::LoggedOut => wire::Connection::LoggedOut,
    }
}

/// Writes a bot with its messages per state.
pub fn write(bot: &Bot, counts: &StateCounts) -> wire::Bot {
    let Bot {
        spec: BotSpec { id, gateway, address, display_name, labels, absence, sending_window },
        node,
        network: _,
        generation,
        stage,
        stage_rule,
        hold,
        window,
        fail_over,
        connection,
        connection_detail,
        connection_time,
        apply_error,
        backoff,
        create_time,
        update_time,
    } = bot;
    wire::Bot {
        name: id.resource_name(),
        gateway: gateway.resource_name(),
        address: address.as_ref().map(|address| address.as_str().to_owned()).unwrap_or_default(),
        display_name: display_name.clone(),
        labels: labels.clone().into_iter().collect(),
        etag: etag::write(*generation),
        node: node.resource_name(),
        stage: write_stage(*stage).into(),
        stage_rule: stage_rule.clone(),
        hold: hold.as_ref().map(write_hold),
        connection: write_connection(*connection).into(),
        connection_detail: connection_detail.clone(),
        connection_time: connection_time.map(write_timestamp),
        apply_error: apply_error.clone(),
        create_time: Some(write_timestamp(*create_time)),
        update_time: Some(write_timestamp(*update_time)),
        backoff: backoff.as_ref().map(super::backoff),
        message_counts: write_counts(counts),
        absence: Some(absence::write(absence)),
        fail_over: fail_over.as_ref().map(absence::write_fail_over),
        sending_window: sending_window.as_ref().map(super::window::write),
        window_state: window.as_ref().map(super::window::write_state),
    }
}

fn write_hold(hold: &Hold) -> wire::Hold {
    let Hold { reason, author, since, until } = hold;
    wire::Hold {
        reason: reason.clone(),
        author: author.clone(),
        since: Some(write_timestamp(*since)),
        until: until.map(write_timestamp),
    }
}

/// Writes messages per state; states without messages are left out.
pub fn write_counts(counts: &StateCounts) -> Vec<wire::StateCount> {
    MessageState::ALL
        .into_iter()
        .map(|state| wire::StateCount { state: write_state(state).into(), count: counts.get(state) })
        .filter(|row| row.count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_and_connection_has_its_number() {
        for known in Stage::ALL {
            assert_eq!(stage(write_stage(known).into()).unwrap(), known);
            assert!(write_stage(known).as_str_name().ends_with(known.as_str()));
        }
        for known in Connection::ALL {
            assert_eq!(connection(write_connection(known).into()).unwrap(), known);
            assert!(write_connection(known).as_str_name().ends_with(known.as_str()));
        }
        assert!(stage(0).is_err() && stage(99).is_err() && connection(0).is_err());
    }

    #[test]
    fn an_update_leaves_a_linked_address_alone() {
        let present = BotSpec {
            id: BotId::new("a").unwrap(),
            gateway: GatewayId::new("g").unwrap(),
            address: Some(Address::from_stored("+5511900000001")),
            display_name: "A".into(),
            labels: BTreeMap::new(),
            absence: AbsencePolicy::default(),
            sending_window: None,
        };
        let bot = wire::Bot { name: "bots/a".into(), gateway: "gateways/g".into(), ..Default::default() };
        let after = update(Some(bot), None).unwrap().apply(&present, Network::WhatsApp).unwrap();
        assert_eq!(after.address, present.address);
        assert_eq!(after.display_name, "");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let bot = wire::Bot { gateway: "G".into(), display_name: "x".repeat(300), ..Default::default() };
        let fields: Vec<_> = declared(BotId::new("1").map_err(|v| v.below("bot_id")), bot, "bot")
            .err()
            .unwrap()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(fields, ["bot.display_name", "bot.gateway", "bot_id"]);
    }
}
