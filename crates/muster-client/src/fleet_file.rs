//! `fleet.toml`: nodes, gateways and bots as an operator declares them.
//!
//! ```toml
//! # What holds for bots that say nothing else.
//! [bot_defaults]
//! time_zone = "America/Sao_Paulo"
//! sending_window = ["mon-fri 08:00-12:00,13:00-18:00", "sat 09:00-13:00"]
//!
//! [[node]]
//! id = "recife"
//!
//! [[gateway]]
//! id = "evolution-recife"
//! kind = "evolution"
//! node = "recife"
//!
//! [[bot]]
//! id = "sales-1"
//! gateway = "evolution-recife"
//! address = "+5511900000001"
//! display_name = "Sales 1"
//! labels = { team = "sales" }
//! # What is done while its node is absent: "wait" (the default), "fail_over" or "fail".
//! on_node_absent = "fail_over"
//! absent_after = "10m"
//! standby_gateway = "evolution-porto"
//! # When it may send; [] for at any time, whatever the defaults say.
//! time_zone = "Europe/Lisbon"
//! sending_window = ["08:00-20:00"]
//! ```
//!
//! Everything is checked by the rules of the domain before anything is sent, and every problem is told with its line.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Range;

use muster_domain::absence::{AbsencePolicy, OnNodeAbsent};
use muster_domain::bot::BotSpec;
use muster_domain::fleet::Fleet;
use muster_domain::gateway::{GatewayKind, GatewaySpec};
use muster_domain::node::NodeSpec;
use muster_domain::window::SendingWindow;
use muster_domain::{Address, BotId, GatewayId, NodeId, Violation};
use muster_proto::convert::v1::absence::write as write_absence;
use muster_proto::convert::v1::window::write as write_window;
use muster_proto::v1;
use serde::Deserialize;
use toml::Spanned;

use crate::suggest::{explain_toml, line_and_column, nearest};
use crate::text::parse_duration;

/// A fleet file that cannot be used: every problem, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FleetFileError {
    problems: Vec<String>,
}

impl fmt::Display for FleetFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileShape {
    #[serde(default)]
    bot_defaults: DefaultsShape,
    #[serde(default)]
    node: Vec<Spanned<NodeShape>>,
    #[serde(default)]
    gateway: Vec<Spanned<GatewayShape>>,
    #[serde(default)]
    bot: Vec<Spanned<BotShape>>,
}

/// What holds for bots that say nothing else.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct DefaultsShape {
    time_zone: Option<Spanned<String>>,
    sending_window: Option<Shifts>,
}

type Shifts = Spanned<Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeShape {
    id: Spanned<String>,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayShape {
    id: Spanned<String>,
    kind: Spanned<String>,
    node: Spanned<String>,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BotShape {
    id: Spanned<String>,
    gateway: Spanned<String>,
    address: Option<Spanned<String>>,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    on_node_absent: Option<Spanned<String>>,
    absent_after: Option<Spanned<String>>,
    standby_gateway: Option<Spanned<String>>,
    time_zone: Option<Spanned<String>>,
    sending_window: Option<Shifts>,
}

/// Reads a fleet file. `file` is its name for messages.
pub fn parse(file: &str, text: &str) -> Result<Fleet, FleetFileError> {
    let shape: FileShape =
        toml::from_str(text).map_err(|error| FleetFileError { problems: vec![explain_toml(file, text, &error)] })?;
    let mut reader = Reader {
        file,
        text,
        defaults: shape.bot_defaults,
        fleet: Fleet::default(),
        places: BTreeMap::new(),
        problems: Vec::new(),
    };
    for node in shape.node {
        reader.node(node);
    }
    for gateway in shape.gateway {
        reader.gateway(gateway);
    }
    for bot in shape.bot {
        reader.bot(bot);
    }
    reader.finish()
}

/// Takes the declarations one by one and collects what is wrong with them.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    defaults: DefaultsShape,
    fleet: Fleet,
    /// Where each resource is declared, by its name in the API.
    places: BTreeMap<String, Range<usize>>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn problem(&mut self, place: &Range<usize>, told: impl fmt::Display) {
        let (line, column) = line_and_column(self.text, place.start);
        let told = format!("{}:{line}:{column}: {told}", self.file);
        // What is wrong with the defaults is found at each bot.
        if !self.problems.contains(&told) {
            self.problems.push(told);
        }
    }

    /// A checked value, or a problem at its place.
    fn check<T>(
        &mut self,
        key: &str,
        value: &Spanned<String>,
        check: impl FnOnce(&str) -> Result<T, Violation>,
    ) -> Option<T> {
        match check(value.get_ref()) {
            Ok(value) => Some(value),
            Err(violation) => {
                self.problem(&value.span(), violation.below(key));
                None
            }
        }
    }

    fn node(&mut self, declared: Spanned<NodeShape>) {
        let NodeShape { id, display_name, labels } = declared.into_inner();
        let Some(node) = self.check("id", &id, NodeId::new) else { return };
        self.places.entry(node.resource_name()).or_insert(id.span());
        match self.fleet.nodes.entry(node) {
            Entry::Vacant(entry) => {
                let id = entry.key().clone();
                entry.insert(NodeSpec { id, display_name, labels });
            }
            Entry::Occupied(_) => self.problem(&id.span(), format!("node \"{}\" is declared twice", id.get_ref())),
        }
    }

    fn gateway(&mut self, declared: Spanned<GatewayShape>) {
        let GatewayShape { id, kind, node, display_name, labels } = declared.into_inner();
        let gateway = self.check("id", &id, GatewayId::new);
        let parsed_kind = self.check("kind", &kind, gateway_kind);
        let parsed_node = self.check("node", &node, NodeId::from_resource_name);
        let (Some(gateway), Some(kind), Some(node)) = (gateway, parsed_kind, parsed_node) else { return };
        self.places.entry(gateway.resource_name()).or_insert(id.span());
        match self.fleet.gateways.entry(gateway) {
            Entry::Vacant(entry) => {
                let id = entry.key().clone();
                entry.insert(GatewaySpec { id, kind, node, display_name, labels });
            }
            Entry::Occupied(_) => self.problem(&id.span(), format!("gateway \"{}\" is declared twice", id.get_ref())),
        }
    }

    fn bot(&mut self, declared: Spanned<BotShape>) {
        let place = declared.span();
        let BotShape {
            id,
            gateway,
            address,
            display_name,
            labels,
            on_node_absent,
            absent_after,
            standby_gateway,
            time_zone,
            sending_window,
        } = declared.into_inner();
        let sending_window = self.sending_window(time_zone, sending_window);
        let absence = self.absence(&place, on_node_absent.as_ref(), absent_after.as_ref(), standby_gateway.as_ref());
        let bot = self.check("id", &id, BotId::new);
        let parsed_gateway = self.check("gateway", &gateway, GatewayId::from_resource_name);
        let (Some(bot), Some(gateway)) = (bot, parsed_gateway) else { return };
        // The network is the gateway's; a gateway that is not declared is told by the fleet's own check.
        let network = self.fleet.gateways.get(&gateway).map(|gateway| gateway.kind.network());
        let address = match (&address, network) {
            (Some(text), Some(network)) => self.check("address", text, |text| Address::parse(network, text)),
            _ => None,
        };
        self.places.entry(bot.resource_name()).or_insert(id.span());
        match self.fleet.bots.entry(bot) {
            Entry::Vacant(entry) => {
                let id = entry.key().clone();
                entry.insert(BotSpec { id, gateway, address, display_name, labels, absence, sending_window });
            }
            Entry::Occupied(_) => self.problem(&id.span(), format!("bot \"{}\" is declared twice", id.get_ref())),
        }
    }

    /// What is done about a bot while its node is absent. Parts that do not fit together are told at the bot.
    fn absence(
        &mut self,
        place: &Range<usize>,
        word: Option<&Spanned<String>>,
        after: Option<&Spanned<String>>,
        standby: Option<&Spanned<String>>,
    ) -> AbsencePolicy {
        let before = self.problems.len();
        let word = word.map_or(Some(OnNodeAbsent::Wait), |word| self.check("on_node_absent", word, on_node_absent));
        let after = after.and_then(|after| {
            self.check("absent_after", after, |text| parse_duration(text).map_err(|why| Violation::new("", why)))
        });
        let standby = standby.and_then(|standby| self.check("standby_gateway", standby, GatewayId::from_resource_name));
        let Some(word) = word.filter(|_| self.problems.len() == before) else { return AbsencePolicy::default() };
        AbsencePolicy::new(word, after, standby).unwrap_or_else(|violations| {
            violations.iter().for_each(|violation| self.problem(place, violation));
            AbsencePolicy::default()
        })
    }

    /// When a bot may send: what it says itself, and what the defaults say where it does not.
    fn sending_window(&mut self, zone: Option<Spanned<String>>, shifts: Option<Shifts>) -> Option<SendingWindow> {
        let shifts =
            shifts.or_else(|| self.defaults.sending_window.clone()).filter(|shifts| !shifts.get_ref().is_empty());
        let Some(shifts) = shifts else {
            if let Some(zone) = zone {
                self.problem(&zone.span(), "time_zone: says nothing without a sending_window");
            }
            return None;
        };
        let Some(zone) = zone.or_else(|| self.defaults.time_zone.clone()) else {
            self.problem(&shifts.span(), "sending_window: needs a time_zone beside it, such as \"America/Sao_Paulo\"");
            return None;
        };
        let texts: Vec<&str> = shifts.get_ref().iter().map(|shift| shift.get_ref().as_str()).collect();
        match SendingWindow::new(zone.get_ref(), &texts) {
            Ok(window) => Some(window),
            Err(violations) => {
                for Violation { field, description } in violations {
                    let nth =
                        field.strip_prefix("shifts[").and_then(|rest| rest.strip_suffix(']')?.parse::<usize>().ok());
                    let shift = nth.and_then(|nth| shifts.get_ref().get(nth));
                    match (field.as_str(), shift) {
                        ("time_zone", _) => self.problem(&zone.span(), format!("time_zone: {description}")),
                        (_, Some(shift)) => self.problem(&shift.span(), format!("sending_window: {description}")),
                        (_, None) => self.problem(&shifts.span(), format!("sending_window: {description}")),
                    }
                }
                None
            }
        }
    }

    fn finish(mut self) -> Result<Fleet, FleetFileError> {
        // References can only be judged when every declaration could be read.
        if self.problems.is_empty() {
            for violation in self.fleet.violations() {
                let resource = violation.field.split('.').next().unwrap_or_default();
                match self.places.get(resource).cloned() {
                    Some(place) => self.problem(&place, &violation),
                    None => self.problems.push(format!("{}: {violation}", self.file)),
                }
            }
        }
        if self.problems.is_empty() { Ok(self.fleet) } else { Err(FleetFileError { problems: self.problems }) }
    }
}

fn on_node_absent(text: &str) -> Result<OnNodeAbsent, Violation> {
    OnNodeAbsent::ALL.into_iter().find(|word| word.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let known = OnNodeAbsent::ALL.map(|word| word.as_str().to_lowercase());
        Violation::new("", format!("must be one of \"{}\"", known.join("\", \"")))
    })
}

fn gateway_kind(text: &str) -> Result<GatewayKind, Violation> {
    GatewayKind::parse(text).ok_or_else(|| {
        let known = GatewayKind::ALL.map(GatewayKind::as_str);
        let meant = nearest(text, known).map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
        Violation::new("", format!("must be one of \"{}\"{meant}", known.join("\", \"")))
    })
}

/// The fleet as the API takes it.
pub fn request(fleet: &Fleet, prune: bool, validate_only: bool) -> v1::ApplyFleetRequest {
    let wire_labels = |labels: &BTreeMap<String, String>| labels.clone().into_iter().collect();
    let nodes = fleet.nodes.values().map(|NodeSpec { id, display_name, labels }| v1::Node {
        name: id.resource_name(),
        display_name: display_name.clone(),
        labels: wire_labels(labels),
        ..Default::default()
    });
    let gateways = fleet.gateways.values().map(|GatewaySpec { id, kind, node, display_name, labels }| v1::Gateway {
        name: id.resource_name(),
        kind: match kind {
            GatewayKind::Evolution => v1::GatewayKind::Evolution,
            GatewayKind::Null => v1::GatewayKind::Null,
        } as i32,
        node: node.resource_name(),
        display_name: display_name.clone(),
        labels: wire_labels(labels),
        ..Default::default()
    });
    let bots = fleet.bots.values().map(|bot| {
        let BotSpec { id, gateway, address, display_name, labels, absence, sending_window } = bot;
        v1::Bot {
            absence: Some(write_absence(absence)),
            name: id.resource_name(),
            gateway: gateway.resource_name(),
            address: address.as_ref().map(|address| address.as_str().to_owned()).unwrap_or_default(),
            display_name: display_name.clone(),
            labels: wire_labels(labels),
            sending_window: sending_window.as_ref().map(write_window),
            ..Default::default()
        }
    });
    v1::ApplyFleetRequest {
        nodes: nodes.collect(),
        gateways: gateways.collect(),
        bots: bots.collect(),
        prune,
        validate_only,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
[[node]]
id = "recife"
labels = { region = "north-east" }

[[gateway]]
id = "evo"
kind = "evolution"
node = "recife"

[[bot]]
id = "sales-1"
gateway = "gateways/evo"
address = "+55 11 90000-0001"
display_name = "Vendas 1"
"#;

    fn problems(text: &str) -> Vec<String> {
        parse("fleet.toml", text).unwrap_err().problems
    }

    #[test]
    fn a_fleet_is_read_and_its_addresses_normalised() {
        let fleet = parse("fleet.toml", GOOD).unwrap();
        let bot = fleet.bots.values().next().unwrap();
        assert_eq!(bot.address.as_ref().unwrap().as_str(), "+5511900000001");
        let request = request(&fleet, true, false);
        assert_eq!(request.bots[0].name, "bots/sales-1");
        assert_eq!(request.gateways[0].kind(), v1::GatewayKind::Evolution);
        assert!(request.prune && !request.validate_only);
    }

    #[test]
    fn problems_are_told_with_their_places_all_at_once() {
        let text = GOOD.replace("\"sales-1\"", "\"Sales 1\"").replace("\"evolution\"", "\"evoluton\"");
        let told = problems(&text);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("fleet.toml:8:8: kind: must be one of"), "{told:?}");
        assert!(told[0].ends_with("did you mean \"evolution\"?"), "{told:?}");
        assert!(told[1].starts_with("fleet.toml:12:6: id: must consist of"), "{told:?}");
    }

    #[test]
    fn references_doubles_and_unknown_keys_are_found() {
        assert!(
            problems(&GOOD.replace("node = \"recife\"", "node = \"olinda\""))[0]
                .contains("gateways/evo.node: names nodes/olinda")
        );
        let doubled = format!("{GOOD}\n[[bot]]\nid = \"sales-1\"\ngateway = \"evo\"\n");
        assert_eq!(problems(&doubled), ["fleet.toml:18:6: bot \"sales-1\" is declared twice"]);
        let told = problems(&GOOD.replace("display_name", "display_nam"));
        assert!(told[0].starts_with("fleet.toml:15:1: unknown field `display_nam`"), "{told:?}");
        assert!(told[0].ends_with("did you mean `display_name`?"), "{told:?}");
        assert!(problems("[[bot]]\nid = 5\ngateway = \"g\"")[0].starts_with("fleet.toml:2:6: invalid type"));
    }

    #[test]
    fn what_is_done_while_a_node_is_absent_is_read_and_judged() {
        let with = |lines: &str| format!("{GOOD}{lines}");
        let read = |lines: &str| parse("fleet.toml", &with(lines)).unwrap().bots.into_values().next().unwrap().absence;
        assert_eq!(read(""), AbsencePolicy::Wait);
        let after = std::time::Duration::from_secs(120);
        assert_eq!(read("on_node_absent = \"fail\"\nabsent_after = \"2m\"\n"), AbsencePolicy::Fail { after });
        let wrong = |lines: &str| problems(&with(lines)).join("\n");
        assert!(wrong("on_node_absent = \"panic\"\n").contains(":16:18: on_node_absent: must be one of \"wait\""));
        assert!(wrong("on_node_absent = \"fail_over\"\n").contains("standby_gateway: must be set with FAIL_OVER"));
        assert!(wrong("absent_after = \"2m\"\n").contains("absent_after: must be unset with WAIT"));
        let nowhere = wrong("on_node_absent = \"fail_over\"\nstandby_gateway = \"x\"\n");
        assert!(nowhere.contains("bots/sales-1.standby_gateway: names gateways/x, which is not declared"), "{nowhere}");
    }

    #[test]
    fn a_window_is_the_bots_own_or_that_of_the_defaults() {
        let read = |defaults: &str, own: &str| {
            let text = format!("{defaults}{GOOD}{own}");
            let bot = parse("fleet.toml", &text).unwrap().bots.into_values().next().unwrap();
            bot.sending_window.map(|window| window.to_text()).unwrap_or_default()
        };
        let defaults = "[bot_defaults]\ntime_zone = \"Europe/Lisbon\"\nsending_window = [\"08:00-20:00\"]\n";
        assert_eq!(read("", ""), "");
        assert_eq!(read(defaults, ""), "Europe/Lisbon; 08:00-20:00");
        assert_eq!(read(defaults, "sending_window = []\n"), "");
        assert_eq!(read(defaults, "time_zone = \"America/Recife\"\n"), "America/Recife; 08:00-20:00");
        assert_eq!(
            read(defaults, "sending_window = [\"mon 9:00-10:00\", \"tue 9:00-10:00\"]\n"),
            "Europe/Lisbon; mon 09:00-10:00; tue 09:00-10:00"
        );
    }

    #[test]
    fn a_bad_window_is_told_with_its_place() {
        let wrong = |lines: &str| problems(&format!("{GOOD}{lines}"));
        let lisbon = "time_zone = \"Europe/Lisbon\"\n";
        assert_eq!(wrong(lisbon), ["fleet.toml:16:13: time_zone: says nothing without a sending_window"]);
        let found = wrong("sending_window = [\"08:00-20:00\"]\n");
        assert_eq!(
            found,
            ["fleet.toml:16:18: sending_window: needs a time_zone beside it, such as \"America/Sao_Paulo\""]
        );
        let found = wrong("time_zone = \"Mars\"\nsending_window = [\"08:00-20:00\", \"8-9\"]\n");
        assert!(found[0].starts_with("fleet.toml:16:13: time_zone: \"Mars\" must be a time zone"), "{found:?}");
        assert!(found[1].starts_with("fleet.toml:17:34: sending_window: \"8-9\" must be an interval"), "{found:?}");
        let found = wrong(&format!("{lisbon}sending_window = [\"08:00-20:00\", \"mon 19:00-21:00\"]\n"));
        assert!(found[0].starts_with("fleet.toml:17:34: sending_window: \"mon 19:00-21:00\" overlaps"), "{found:?}");
        let second = "[[bot]]\nid = \"sales-2\"\ngateway = \"evo\"\n";
        let text = format!("[bot_defaults]\ntime_zone = \"Mars\"\nsending_window = [\"08:00-20:00\"]\n{GOOD}{second}");
        assert_eq!(problems(&text).len(), 1, "the defaults are wrong once");
    }

    #[test]
    fn a_wrong_address_is_not_repeated() {
        let told = problems(&GOOD.replace("+55 11 90000-0001", "not-a-number"));
        assert!(told[0].starts_with("fleet.toml:14:11: address: must be a WhatsApp address"), "{told:?}");
        assert!(!told[0].contains("not-a-number"), "{told:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse("f", &text);
        }

        #[test]
        fn any_values_are_read_or_refused(id in "\\PC{0,70}", kind in "\\PC{0,20}", address in "\\PC{0,40}") {
            let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
            let text = format!(
                "[[node]]\nid = {0}\n[[gateway]]\nid = \"g\"\nkind = {1}\nnode = {0}\n[[bot]]\nid = {0}\ngateway = \"g\"\naddress = {2}\n",
                quoted(&id), quoted(&kind), quoted(&address),
            );
            if let Err(error) = parse("f", &text) {
                prop_assert!(!error.problems.is_empty());
            }
        }
    }
}
