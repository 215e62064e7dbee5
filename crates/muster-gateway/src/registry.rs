//! From a gateway's kind and its local settings to the adapter that speaks to it.
//!
//! What stands here is all that an agent's configuration says about a gateway. Reading a key from a file or from the
//! environment is left to the caller: this crate opens no file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::gateway::GatewayKind;
use serde::Deserialize;
use url::Url;

use crate::contract::Gateway;
use crate::evolution::{EvolutionConfig, EvolutionGateway};
use crate::null::NullGateway;
use crate::secret::Secret;

/// Longest call that is not about media, in milliseconds, if the settings name none. Gateways answer within a few seconds;
/// creating an instance may block for five.
pub const CALL_TIMEOUT_DEFAULT_MS: u64 = 30_000;

/// Longest wait for a connection to the gateway, in milliseconds, if the settings name none. Gateways stand on the same
/// host or beside it; what takes longer is down.
pub const CONNECT_TIMEOUT_DEFAULT_MS: u64 = 5_000;

/// How one gateway is reached from this node, as the agent's configuration says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Where the product listens, such as `http://127.0.0.1:8080`. A path is kept as a prefix.
    #[serde(default)]
    pub url: Option<Url>,
    /// The product's global key. At most one of the three ways to give a key may be used.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// A file that holds the key, read by the caller: see [`GatewaySettings::key_source`].
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// The environment variable that holds the key, read by the caller: see [`GatewaySettings::key_source`].
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Longest call apart from sends, in milliseconds.
    #[serde(default = "call_timeout_default_ms")]
    pub call_timeout_ms: u64,
    /// Longest wait for a connection, in milliseconds.
    #[serde(default = "connect_timeout_default_ms")]
    pub connect_timeout_ms: u64,
}

/// Where the key of a gateway comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource<'a> {
    /// The settings hold it, or name none.
    Settings,
    /// The caller reads this file and passes its content to [`GatewaySettings::with_key`].
    File(&'a Path),
    /// The caller reads this environment variable and passes its value to [`GatewaySettings::with_key`].
    Env(&'a str),
}

/// Settings with which a gateway cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {expectation}")]
pub struct ConfigError {
    /// The key of the settings, as the file spells it.
    pub key: &'static str,
    /// What it must be.
    pub expectation: String,
}

impl ConfigError {
    pub(crate) fn new(key: &'static str, expectation: impl Into<String>) -> Self {
        ConfigError { key, expectation: expectation.into() }
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        GatewaySettings {
            url: None,
            api_key: None,
            api_key_file: None,
            api_key_env: None,
            call_timeout_ms: CALL_TIMEOUT_DEFAULT_MS,
            connect_timeout_ms: CONNECT_TIMEOUT_DEFAULT_MS,
        }
    }
}

impl GatewaySettings {
    /// What the caller has to read before [`open`].
    pub fn key_source(&self) -> Result<KeySource<'_>, ConfigError> {
        match (&self.api_key, &self.api_key_file, &self.api_key_env) {
            (_, None, None) => Ok(KeySource::Settings),
            (None, Some(path), None) => Ok(KeySource::File(path)),
            (None, None, Some(name)) => Ok(KeySource::Env(name)),
            _ => Err(ConfigError::new("api_key", "give only one of api_key, api_key_file and api_key_env")),
        }
    }

    /// The settings with the key that the caller read.
    #[must_use]
    pub fn with_key(self, key: Secret) -> Self {
        GatewaySettings { api_key: Some(key), api_key_file: None, api_key_env: None, ..self }
    }
}

/// The adapter for `kind`, ready to use. Nothing is called yet: a gateway that is down is found out by its first call.
///
/// The null gateway uses none of the settings, so that a set-up can be rehearsed without changing them.
pub fn open(kind: GatewayKind, settings: GatewaySettings) -> Result<Arc<dyn Gateway>, ConfigError> {
    match kind {
        GatewayKind::Null => Ok(Arc::new(NullGateway)),
        GatewayKind::Evolution => Ok(Arc::new(EvolutionGateway::new(evolution_config(settings)?)?)),
    }
}

fn evolution_config(settings: GatewaySettings) -> Result<EvolutionConfig, ConfigError> {
    let example = "must be the address of the Evolution API, such as \"http://127.0.0.1:8080\"";
    Ok(EvolutionConfig {
        base_url: settings.url.ok_or_else(|| ConfigError::new("url", example))?,
        api_key: settings.api_key.ok_or_else(|| {
            ConfigError::new("api_key", "must be the product's global key, directly, by api_key_file or by api_key_env")
        })?,
        call_timeout: Duration::from_millis(settings.call_timeout_ms),
        connect_timeout: Duration::from_millis(settings.connect_timeout_ms),
    })
}

fn call_timeout_default_ms() -> u64 {
    CALL_TIMEOUT_DEFAULT_MS
}

fn connect_timeout_default_ms() -> u64 {
    CONNECT_TIMEOUT_DEFAULT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Result<GatewaySettings, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_empty_section_means_the_defaults_and_an_unknown_key_is_refused() {
        assert_eq!(settings("{}").unwrap(), GatewaySettings::default());
        let error = settings(r#"{"urll": "http://127.0.0.1:8080"}"#).unwrap_err().to_string();
        assert!(error.contains("urll"), "{error}");
    }

    #[test]
    fn a_key_has_one_source() {
        let file = settings(r#"{"api_key_file": "/run/key"}"#).unwrap();
        assert_eq!(file.key_source().unwrap(), KeySource::File(Path::new("/run/key")));
        let env = settings(r#"{"api_key_env": "EVO_KEY"}"#).unwrap();
        assert_eq!(env.key_source().unwrap(), KeySource::Env("EVO_KEY"));
        let read = env.with_key(Secret::new("k"));
        assert_eq!(read.key_source().unwrap(), KeySource::Settings);
        let both = settings(r#"{"api_key": "k", "api_key_env": "EVO_KEY"}"#).unwrap();
        assert_eq!(both.key_source().unwrap_err().key, "api_key");
        assert!(!format!("{read:?}").contains("\"k\""));
    }

    #[test]
    fn what_the_product_needs_is_asked_for_by_key() {
        for (json, key) in [
            ("{}", "url"),
            (r#"{"url": "http://127.0.0.1:8080"}"#, "api_key"),
            (r#"{"url": "http://127.0.0.1:8080", "api_key": ""}"#, "api_key"),
            (r#"{"url": "unix:/run/evo", "api_key": "k"}"#, "url"),
            (r#"{"url": "http://127.0.0.1:8080", "api_key": "k", "call_timeout_ms": 100}"#, "call_timeout_ms"),
            (r#"{"url": "http://127.0.0.1:8080", "api_key": "k", "connect_timeout_ms": 0}"#, "connect_timeout_ms"),
        ] {
            let refused = open(GatewayKind::Evolution, settings(json).unwrap()).err().unwrap();
            assert_eq!(refused.key, key, "{refused}");
        }
        assert!(
            open(GatewayKind::Evolution, settings(r#"{"url": "http://127.0.0.1:8080", "api_key": "k"}"#).unwrap())
                .is_ok()
        );
    }

    #[test]
    fn the_null_gateway_opens_with_any_settings() {
        assert!(open(GatewayKind::Null, GatewaySettings::default()).is_ok());
    }
}
