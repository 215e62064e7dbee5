//! An agent's configuration. The keys of the gateways are here and nowhere else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use confique::{Config, Layer};
use muster_domain::{GatewayId, NodeId, TenantId};
use muster_gateway::{GatewaySettings, KeySource, Secret};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::length::Length;
use super::{ConfigError, load};

/// Configuration of a Muster agent. It holds the keys of the gateways: let nobody else read it (mode 0600).
#[derive(Debug, Clone, Config, Serialize)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct AgentFile {
    /// The node that this agent is, as declared at the server. Environment: MUSTER_NODE.
    #[config(env = "MUSTER_NODE")]
    pub(crate) node: Option<String>,

    /// The tenant that the node belongs to, as declared at the server. Environment: MUSTER_TENANT.
    #[config(default = "default", env = "MUSTER_TENANT")]
    pub(crate) tenant: String,

    /// Where the server listens. Environment: MUSTER_SERVER.
    #[config(default = "http://127.0.0.1:7400", env = "MUSTER_SERVER")]
    pub(crate) server: Url,

    /// Directory of the journal, on a local disk that syncs. It belongs to this agent alone: do not copy it and do not
    /// restore it from a backup. Environment: MUSTER_JOURNAL.
    #[config(default = "muster-journal", env = "MUSTER_JOURNAL")]
    pub(crate) journal: PathBuf,

    /// Where the gateways' webhooks are received; port 0 takes a free one.
    #[config(default = "127.0.0.1:7702")]
    pub(crate) webhook_listen: SocketAddr,

    /// How gateways reach the webhook receiver, where that differs from the address that it listens on.
    pub(crate) webhook_url: Option<Url>,

    /// How long a gateway may take for one send. After it the outcome is uncertain.
    #[config(default = "60s")]
    pub(crate) send_timeout: Length,

    /// How long sends that were started may take to end when the agent stops. After it their outcome is uncertain.
    #[config(default = "20s")]
    pub(crate) drain_deadline: Length,

    /// Messages that the agent takes before it has worked them off. Longer queues stay in the database, where they can be
    /// cancelled and explained.
    #[config(default = 4096)]
    pub(crate) attempts_max: u32,

    /// Bytes of messages that the agent takes before it has worked them off.
    #[config(default = 33_554_432)]
    pub(crate) bytes_max: u64,

    /// Messages of one bot that the agent takes before it has worked them off. Fewer where the bots of the node have less each of
    /// `attempts_max`, so that bots whose gateway hangs leave room to the others.
    #[config(default = 64)]
    pub(crate) attempts_per_bot_max: u32,

    /// Free bytes on the journal's disk below which no more work is taken.
    #[config(default = 67_108_864)]
    pub(crate) journal_free_bytes_min: u64,

    /// The gateways that this node reaches, a section each, by the ids under which they are declared at the server: url,
    /// and the key as one of api_key, api_key_file, api_key_env; call_timeout, connect_timeout.
    #[config(default = {})]
    pub(crate) gateways: BTreeMap<String, GatewaySection>,
}

/// How one gateway is reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewaySection {
    /// Where the product listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Url>,
    /// The product's global key.
    #[serde(serialize_with = "masked", skip_serializing_if = "Option::is_none")]
    api_key: Option<Secret>,
    /// A file that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_file: Option<PathBuf>,
    /// An environment variable that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_env: Option<String>,
    /// Longest call apart from sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_timeout: Option<Length>,
    /// Longest wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_timeout: Option<Length>,
}

fn masked<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("***")
}

/// The keys that have a flag.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AgentFlags {
    /// The node that this agent is
    #[arg(long)]
    node: Option<String>,

    /// The tenant that the node belongs to [default: default]
    #[arg(long)]
    tenant: Option<String>,

    /// Where the server listens [default: http://127.0.0.1:7400]
    #[arg(long, value_name = "URL")]
    server: Option<Url>,

    /// Directory of the journal [default: muster-journal]
    #[arg(long, value_name = "DIRECTORY")]
    journal: Option<PathBuf>,

    /// Where the gateways' webhooks are received; port 0 takes a free one [default: 127.0.0.1:7702]
    #[arg(long, value_name = "ADDRESS")]
    webhook_listen: Option<SocketAddr>,

    /// Where a gateway listens, in place of what the file says; may be given more than once
    #[arg(long = "gateway", value_name = "NAME=URL", value_parser = named_url)]
    gateways: Vec<(String, Url)>,
}

fn named_url(text: &str) -> Result<(String, Url), String> {
    let expected = || "expected a gateway and its address, such as evolution-a=http://127.0.0.1:8080".to_owned();
    let (name, url) = text.split_once('=').ok_or_else(expected)?;
    Ok((name.to_owned(), url.parse().map_err(|_| expected())?))
}

/// Flags as the layer above all others.
type FlagLayer = <AgentFile as Config>::Layer;

impl AgentFile {
    /// The configuration in effect.
    pub(crate) fn load(file: Option<&Path>, flags: AgentFlags) -> Result<Self, ConfigError> {
        let AgentFlags { node, tenant, server, journal, webhook_listen, gateways } = flags;
        let layer = FlagLayer { node, tenant, server, journal, webhook_listen, ..Layer::empty() };
        let mut loaded: AgentFile = load("agent", file, layer)?;
        for (name, url) in gateways {
            loaded.gateways.entry(name).or_default().url = Some(url);
        }
        Ok(loaded)
    }

    /// What the role takes, with the keys of the gateways read from where they are.
    pub(crate) fn role(self) -> Result<muster_agent::Config, ConfigError> {
        let wrong = |key: &str, expectation: String| ConfigError::key("agent", key, expectation);
        let node = self.node.ok_or_else(|| {
            wrong(
                "node",
                "is missing; name the node that this agent is, in the file, as --node or as MUSTER_NODE".to_owned(),
            )
        })?;
        let node = NodeId::from_resource_name(&node).map_err(|violation| wrong("node", violation.description))?;
        let tenant = TenantId::new(&self.tenant).map_err(|violation| wrong("tenant", violation.description))?;
        let mut gateways = BTreeMap::new();
        for (name, section) in self.gateways {
            let key = format!("gateways.{name}");
            let id = GatewayId::new(&name).map_err(|violation| wrong(&key, violation.description))?;
            gateways.insert(id, section.settings(&key)?);
        }
        Ok(muster_agent::Config {
            tenant,
            webhook_listen: self.webhook_listen,
            webhook_url: self.webhook_url,
            gateways,
            attempts_max: self.attempts_max,
            bytes_max: self.bytes_max,
            attempts_per_bot_max: self.attempts_per_bot_max,
            send_timeout: self.send_timeout.0,
            drain_deadline: self.drain_deadline.0,
            journal_free_bytes_min: self.journal_free_bytes_min,
            ..muster_agent::Config::new(node, self.server, self.journal)
        })
    }
}

impl GatewaySection {
    fn settings(self, key: &str) -> Result<GatewaySettings, ConfigError> {
        let defaults = GatewaySettings::default();
        let millis = |length: Option<Length>, default: u64| {
            length.map_or(default, |length| u64::try_from(length.0.as_millis()).unwrap_or(u64::MAX))
        };
        let settings = GatewaySettings {
            url: self.url,
            api_key: self.api_key,
            api_key_file: self.api_key_file,
            api_key_env: self.api_key_env,
            call_timeout_ms: millis(self.call_timeout, defaults.call_timeout_ms),
            connect_timeout_ms: millis(self.connect_timeout, defaults.connect_timeout_ms),
        };
        let wrong = |below: &str, told: String| ConfigError::key("agent", format_args!("{key}.{below}"), told);
        let source = settings.key_source().map_err(|error| wrong(error.key, error.expectation.clone()))?;
        let secret = match source {
            KeySource::Settings => return Ok(settings),
            KeySource::File(path) => std::fs::read_to_string(path)
                .map_err(|error| wrong("api_key_file", format!("read {}: {error}", path.display())))?,
            KeySource::Env(name) => std::env::var(name)
                .map_err(|_| wrong("api_key_env", format!("the environment variable {name} is not set")))?,
        };
        Ok(settings.with_key(Secret::new(&secret)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<AgentFile, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        AgentFile::load(Some(file.path()), AgentFlags::default())
    }

    #[test]
    fn the_defaults_are_those_of_the_role() {
        let role = loaded("node = \"node-a\"").unwrap().role().unwrap();
        let expected = muster_agent::Config::new(role.node.clone(), role.server.clone(), role.journal.clone());
        assert_eq!(format!("{role:?}"), format!("{expected:?}"));
    }

    #[test]
    fn keys_come_from_where_they_are_and_are_never_printed() {
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), "from-file\n").unwrap();
        let text = format!(
            "node = \"node-a\"\n[gateways.a]\nurl = \"http://127.0.0.1:1\"\napi_key = \"secret\"\n\
             [gateways.b]\napi_key_file = {:?}\n[gateways.c]\napi_key_env = \"MUSTER_NO_SUCH_VARIABLE\"\n",
            key.path()
        );
        let file = loaded(&text).unwrap();
        assert!(!super::super::print::text(&file).contains("secret"));
        let told = file.role().unwrap_err().to_string();
        assert!(
            told.contains("gateways.c.api_key_env: the environment variable MUSTER_NO_SUCH_VARIABLE is not set"),
            "{told}"
        );
        let file = loaded(text.split("[gateways.c]").next().unwrap()).unwrap().role().unwrap();
        let keys: Vec<_> = file.gateways.values().map(|gateway| gateway.api_key.clone().unwrap()).collect();
        assert_eq!(keys.iter().map(Secret::expose).collect::<Vec<_>>(), ["secret", "from-file"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let told = |text: &str| match loaded(text) {
            Ok(file) => file.role().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(told("").contains("node: is missing"));
        assert!(told("node = \"Node A\"").contains("node: must consist of"));
        assert!(told("nod = \"a\"").contains("did you mean `node`?"), "{}", told("nod = \"a\""));
        assert!(told("node = \"a\"\n[gateways.x]\nurll = \"u\"").contains(":3:1: unknown field `urll`"));
        assert!(told("node = \"a\"\n[gateways.x]\napi_key = \"k\"\napi_key_env = \"K\"").contains("only one of"));
        assert!(told("node = \"a\"\nsend_timeout = \"soon\"").contains("expected a length of time"));
    }
}
