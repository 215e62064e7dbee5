//! The simulator's configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use confique::{Config, Layer};
use muster_simulator::{Behaviour, Faults, GatewayConfig, Preprovisioned};
use serde::{Deserialize, Serialize, Serializer};

use super::{ConfigError, load};

/// Key of a gateway that only a flag names. The simulator stands in for a network; it guards nothing.
const FLAG_GATEWAY_KEY: &str = "sim-key";

/// Configuration of the Muster simulator: HTTP servers that behave like messaging gateways.
#[derive(Debug, Clone, Config, Serialize)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct SimFile {
    /// What the simulated network took, in JSON Lines. It is continued where it exists; state lies beside it.
    #[config(default = "muster-sim.jsonl")]
    pub(crate) ledger: PathBuf,

    /// Where faults are set and the ledger is served. Without authentication: keep it to this machine.
    #[config(default = "127.0.0.1:8079")]
    pub(crate) admin: SocketAddr,

    /// The gateways. Each has a name, an address to listen on, a key, a seed of everything that is left to chance; how it
    /// behaves while nothing is wrong (behaviour), what goes wrong (faults, instance_faults), and instances that are linked
    /// from the start.
    #[config(default = [
        { "name": "evolution-a", "listen": "127.0.0.1:8080", "api_key": "sim-key-a" },
        { "name": "evolution-b", "listen": "127.0.0.1:8081", "api_key": "sim-key-b" },
    ])]
    pub(crate) gateways: Vec<SimGateway>,
}

/// One simulated gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimGateway {
    name: String,
    listen: SocketAddr,
    #[serde(serialize_with = "masked")]
    api_key: String,
    #[serde(default)]
    seed: u32,
    #[serde(default)]
    behaviour: Behaviour,
    #[serde(default)]
    faults: Faults,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    instance_faults: BTreeMap<String, Faults>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    instances: Vec<SimInstance>,
}

/// An instance that is linked from the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SimInstance {
    name: String,
    number: String,
    #[serde(default, serialize_with = "masked_option", skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

fn masked<S: Serializer>(_: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("***")
}

fn masked_option<S: Serializer>(_: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("***")
}

/// The keys that have a flag.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SimFlags {
    /// The ledger file [default: muster-sim.jsonl]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,

    /// Where faults are set and the ledger is served [default: 127.0.0.1:8079]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,

    /// Where a gateway listens; one that the file does not name is added. May be given more than once
    #[arg(long = "gateway", value_name = "NAME=ADDRESS", value_parser = named_address)]
    gateways: Vec<(String, SocketAddr)>,

    /// What goes wrong at every gateway, such as send.server_error_500=0.05, webhooks.drop=0.1, latency.fixed_ms=200 or
    /// restricted=true; may be given more than once
    #[arg(long = "fault", value_name = "KEY=VALUE", value_parser = setting)]
    faults: Vec<toml::Table>,

    /// How every gateway behaves while nothing is wrong, such as auto_scan_after_ms=1500, delivery.fixed_ms=100 or
    /// read_share=0.5; may be given more than once
    #[arg(long = "behaviour", value_name = "KEY=VALUE", value_parser = setting)]
    behaviours: Vec<toml::Table>,
}

fn named_address(text: &str) -> Result<(String, SocketAddr), String> {
    let expected = || "expected a name and an address, such as evolution-a=127.0.0.1:8080".to_owned();
    let (name, address) = text.split_once('=').ok_or_else(expected)?;
    Ok((name.to_owned(), address.parse().map_err(|_| expected())?))
}

/// Reads `key.below=value` as the line of TOML that it is.
fn setting(text: &str) -> Result<toml::Table, String> {
    toml::from_str(text).map_err(|_| "expected a key and a value, such as send.hang_after=0.02".to_owned())
}

/// Flags as the layer above all others.
type FlagLayer = <SimFile as Config>::Layer;

impl SimFile {
    /// The configuration in effect.
    pub(crate) fn load(file: Option<&Path>, flags: SimFlags) -> Result<Self, ConfigError> {
        let SimFlags { ledger, admin, gateways, faults, behaviours } = flags;
        let layer = FlagLayer { ledger, admin, ..Layer::empty() };
        let mut loaded: SimFile = load("sim", file, layer)?;
        if file.is_none() && !gateways.is_empty() {
            // Whoever names gateways wants these, not those of the defaults.
            loaded.gateways.clear();
        }
        for (name, listen) in gateways {
            match loaded.gateways.iter_mut().find(|gateway| gateway.name == name) {
                Some(gateway) => gateway.listen = listen,
                None => loaded.gateways.push(SimGateway::named(name, listen)),
            }
        }
        for gateway in &mut loaded.gateways {
            gateway.faults =
                changed(&gateway.faults, &faults).map_err(|told| ConfigError::key("sim", "--fault", told))?;
            gateway.behaviour = changed(&gateway.behaviour, &behaviours)
                .map_err(|told| ConfigError::key("sim", "--behaviour", told))?;
        }
        Ok(loaded)
    }

    /// What the role takes.
    pub(crate) fn role(self) -> muster_simulator::Config {
        let gateways = self.gateways.into_iter().map(SimGateway::role).collect();
        muster_simulator::Config { ledger: self.ledger, admin: self.admin, gateways }
    }
}

impl SimGateway {
    fn named(name: String, listen: SocketAddr) -> Self {
        SimGateway {
            name,
            listen,
            api_key: FLAG_GATEWAY_KEY.to_owned(),
            seed: 0,
            behaviour: Behaviour::default(),
            faults: Faults::default(),
            instance_faults: BTreeMap::new(),
            instances: Vec::new(),
        }
    }

    fn role(self) -> GatewayConfig {
        let SimGateway { name, listen, api_key, seed, behaviour, faults, instance_faults, instances } = self;
        let instances =
            instances.into_iter().map(|SimInstance { name, number, token }| Preprovisioned { name, number, token });
        GatewayConfig {
            name,
            listen,
            api_key,
            seed: u64::from(seed),
            behaviour,
            faults,
            instance_faults,
            instances: instances.collect(),
        }
    }
}

/// `settings` with each change put in.
fn changed<T: Serialize + for<'de> Deserialize<'de>>(settings: &T, changes: &[toml::Table]) -> Result<T, String> {
    let told = |error: toml::de::Error| error.message().to_owned();
    let mut table = toml::Table::try_from(settings).map_err(|error| error.to_string())?;
    for change in changes {
        merge(&mut table, change);
    }
    table.try_into().map_err(told)
}

fn merge(into: &mut toml::Table, change: &toml::Table) {
    for (key, value) in change {
        match (into.get_mut(key), value) {
            // A distribution has one key that says which it is: another one replaces it.
            (Some(toml::Value::Table(below)), toml::Value::Table(change)) if !is_delay(change) => merge(below, change),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

fn is_delay(table: &toml::Table) -> bool {
    table.keys().any(|key| matches!(key.as_str(), "fixed_ms" | "uniform_ms" | "log_normal_ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(faults: &[&str]) -> SimFlags {
        let faults = faults.iter().map(|text| setting(text).unwrap()).collect();
        SimFlags { faults, ..SimFlags::default() }
    }

    #[test]
    fn flags_change_every_gateway() {
        let set =
            flags(&["send.server_error_500=0.05", "webhooks.drop=0.1", "latency.fixed_ms=200", "restricted=true"]);
        let loaded = SimFile::load(None, set).unwrap();
        assert_eq!(loaded.gateways.len(), 2);
        for gateway in &loaded.gateways {
            assert_eq!(gateway.faults.send.server_error_500, 0.05);
            assert_eq!(gateway.faults.webhooks.drop, 0.1);
            assert!(gateway.faults.restricted && gateway.faults.latency.is_some());
        }
        let told = SimFile::load(None, flags(&["send.unknown=1.0"])).unwrap_err().to_string();
        assert!(told.contains("--fault: unknown field `unknown`"), "{told}");
    }

    #[test]
    fn named_gateways_replace_the_defaults() {
        let flags = SimFlags { gateways: vec![named_address("x=127.0.0.1:0").unwrap()], ..SimFlags::default() };
        let loaded = SimFile::load(None, flags).unwrap();
        assert_eq!(loaded.gateways.iter().map(|gateway| gateway.name.as_str()).collect::<Vec<_>>(), ["x"]);
        assert!(named_address("x").is_err() && named_address("x=y").is_err());
    }

    #[test]
    fn a_delay_of_another_kind_replaces_the_one_before() {
        let set = flags(&["latency.fixed_ms=200", "latency.uniform_ms=[1, 5]"]);
        let loaded = SimFile::load(None, set).unwrap();
        assert_eq!(loaded.gateways[0].faults.latency, Some(muster_simulator::Delay::UniformMs(1, 5)));
    }
}
