//! What an operator writes down about a simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::behaviour::Behaviour;
use crate::faults::Faults;

/// The configuration of a simulator. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The ledger, in JSON Lines. It is continued if it exists; the simulator's state lies beside it, in a file of the same
    /// name with `.state.json`. Default `muster-sim.jsonl` in the working directory.
    #[serde(default = "default_ledger")]
    pub ledger: PathBuf,
    /// Where faults are set and the ledger is served, without authentication. Default `127.0.0.1:0`: loopback, a free port.
    #[serde(default = "loopback")]
    pub admin: SocketAddr,
    /// The gateways; at least one.
    pub gateways: Vec<GatewayConfig>,
}

/// One simulated gateway.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// How the ledger and the admin calls name it; unique.
    pub name: String,
    /// Where it listens. Default `127.0.0.1:0`: loopback, a free port.
    #[serde(default = "loopback")]
    pub listen: SocketAddr,
    /// Its global key.
    pub api_key: String,
    /// Seed of everything that is left to chance. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// How it behaves while nothing is wrong.
    #[serde(default)]
    pub behaviour: Behaviour,
    /// What goes wrong at instances without faults of their own. Default: nothing.
    #[serde(default)]
    pub faults: Faults,
    /// What goes wrong at these instances. Default: none.
    #[serde(default)]
    pub instance_faults: BTreeMap<String, Faults>,
    /// Instances that exist, linked and open, from the first start. Default: none.
    #[serde(default)]
    pub instances: Vec<Preprovisioned>,
}

/// An instance that exists from the first start.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprovisioned {
    /// Its name; unique in its gateway.
    pub name: String,
    /// Its number, in digits.
    pub number: String,
    /// Its token. Default: a random one.
    #[serde(default)]
    pub token: Option<String>,
}

fn default_ledger() -> PathBuf {
    "muster-sim.jsonl".into()
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl GatewayConfig {
    /// A gateway with this name and key, everything else at its default.
    pub fn new(name: impl Into<String>, api_key: impl Into<String>) -> Self {
        GatewayConfig {
            name: name.into(),
            listen: loopback(),
            api_key: api_key.into(),
            seed: 0,
            behaviour: Behaviour::default(),
            faults: Faults::default(),
            instance_faults: BTreeMap::new(),
            instances: Vec::new(),
        }
    }
}

impl Config {
    /// A simulator of `gateways` that keeps its ledger at `ledger`, with the admin calls on a free loopback port.
    pub fn new(ledger: impl Into<PathBuf>, gateways: Vec<GatewayConfig>) -> Self {
        Config { ledger: ledger.into(), admin: loopback(), gateways }
    }

    /// What is wrong with the configuration, if anything, beginning with the key.
    pub fn check(&self) -> Result<(), String> {
        if self.gateways.is_empty() {
            return Err("gateways: must name at least one gateway".to_owned());
        }
        let mut names = BTreeSet::new();
        for (at, gateway) in self.gateways.iter().enumerate() {
            let key = format!("gateways[{at}]");
            let nameable = |name: &str| !name.is_empty() && !name.contains(['/', '?', '#', '%']);
            if !nameable(&gateway.name) {
                return Err(format!("{key}.name: must be a name that an address can hold, such as \"evo-1\""));
            }
            if !names.insert(&gateway.name) {
                return Err(format!("{key}.name: \"{}\" is taken by another gateway", gateway.name));
            }
            if gateway.api_key.is_empty() {
                return Err(format!("{key}.api_key: must not be empty"));
            }
            gateway.behaviour.check().map_err(|what| format!("{key}.behaviour.{what}"))?;
            gateway.faults.check().map_err(|what| format!("{key}.faults.{what}"))?;
            for (name, faults) in &gateway.instance_faults {
                faults.check().map_err(|what| format!("{key}.instance_faults.{name}.{what}"))?;
            }
            for (at, known) in gateway.instances.iter().enumerate() {
                let digits = known.number.bytes().all(|b| b.is_ascii_digit());
                if !nameable(&known.name) || !digits || known.number.is_empty() {
                    return Err(format!("{key}.instances[{at}]: must have a name, and a number in digits"));
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayConfig").field("name", &self.name).field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl fmt::Debug for Preprovisioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preprovisioned").field("name", &self.name).finish_non_exhaustive()
    }
}
