//! What the admin calls say and answer, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::evolution::ConnectionState;
use crate::faults::GatewayFaults;

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayAddress {
    /// Its name.
    pub name: String,
    /// Its address, ending in `/`.
    pub url: Url,
}

/// The faults of all gateways, by name.
pub type FaultOverview = BTreeMap<String, GatewayFaults>;

/// An instance as the simulator knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceOverview {
    /// Its gateway.
    pub gateway: String,
    /// Its name.
    pub instance: String,
    /// The gateway's id of it.
    pub id: String,
    /// Its state, as the gateway reports it.
    pub state: ConnectionState,
    /// Whether it holds valid credentials.
    pub linked: bool,
    /// The number it was linked with, in digits.
    pub number: Option<String>,
    /// What its QR code says, while a link runs.
    pub code: Option<String>,
    /// How many codes the running link has shown.
    pub code_count: u32,
    /// Messages it knows.
    pub messages: u64,
}

/// Scans the code of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanRequest {
    /// The number that links, in digits. Default: the instance's own.
    pub number: Option<String>,
}

/// Closes the connection of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    /// The reason, as the network gives it: 401, 402, 403 and 406 are final, after any other one the gateway reconnects.
    pub code: u16,
}

/// Writes to an instance as somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundRequest {
    /// Who writes: a number or a JID.
    pub from: String,
    /// What.
    pub text: String,
}

/// The message that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundSent {
    /// The network's id of it.
    pub network_id: String,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, and what to do.
    pub error: String,
}
