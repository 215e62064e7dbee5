//! What an agent is told at its start.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use muster_domain::{GatewayId, NodeId, TenantId};
use muster_gateway::GatewaySettings;
use url::Url;

use crate::journal::FREE_BYTES_MIN;

/// Port of the webhook receiver, if the configuration names none.
pub const WEBHOOK_PORT_DEFAULT: u16 = 7702;

/// Attempts that the agent takes beyond what it holds, if the configuration names no number. Enough to keep the gateways
/// busy while a round of accept, outcome and acknowledgement takes 50 ms at 60,000 messages a second; long queues stay in
/// the database, where they can be cancelled and explained.
pub const ATTEMPTS_MAX_DEFAULT: u32 = 4_096;

/// Bytes of attempts that the agent takes, if the configuration names no number: 4,096 of the longest texts in letters of two bytes,
/// so that long texts of bots that hang leave room to the others as well.
pub const BYTES_MAX_DEFAULT: u64 = 32 * 1024 * 1024;

/// Attempts of one bot that the agent takes, if the configuration names no number. A real bot sends a few per second at most.
pub const ATTEMPTS_PER_BOT_MAX_DEFAULT: u32 = 64;

/// How long a gateway may take for one send, if the configuration names no time. Gateways upload media meanwhile.
pub const SEND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How long sends that were started may take to end when the agent stops, if the configuration names no time. Below the
/// 30 s after which container platforms kill.
pub const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(20);

/// An agent's configuration. Everything but node, server and journal has a default: see [`Config::new`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The node that this agent is. Declared at the server.
    pub node: NodeId,
    /// The tenant that the node belongs to. Declared at the server.
    pub tenant: TenantId,
    /// Where the server listens, such as `http://127.0.0.1:7400`.
    pub server: Url,
    /// Directory of the journal. Belongs to this agent alone, on a local disk; created if it is missing.
    pub journal: PathBuf,
    /// Where the webhook receiver listens. Loopback unless gateways run elsewhere. Port 0 takes a free one.
    pub webhook_listen: SocketAddr,
    /// How gateways reach the webhook receiver, if not under the address that it listens on.
    pub webhook_url: Option<Url>,
    /// The gateways that this node reaches, by the ids under which they are declared at the server.
    pub gateways: BTreeMap<GatewayId, GatewaySettings>,
    /// Attempts that the agent takes beyond what it holds.
    pub attempts_max: u32,
    /// Bytes of attempts that the agent takes beyond what it holds.
    pub bytes_max: u64,
    /// Attempts of one bot that the agent takes; fewer where the bots of the node have less each of `attempts_max`.
    pub attempts_per_bot_max: u32,
    /// How long a gateway may take for one send, typing aside. After it the outcome is uncertain.
    pub send_timeout: Duration,
    /// How long sends that were started may take to end when the agent stops. After it their outcome is uncertain.
    pub drain_deadline: Duration,
    /// Free bytes on the journal's disk below which no more work is taken.
    pub journal_free_bytes_min: u64,
}

impl Config {
    /// A configuration with the defaults, and without gateways.
    pub fn new(node: NodeId, server: Url, journal: PathBuf) -> Self {
        Config {
            node,
            tenant: TenantId::default_tenant(),
            server,
            journal,
            webhook_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, WEBHOOK_PORT_DEFAULT)),
            webhook_url: None,
            gateways: BTreeMap::new(),
            attempts_max: ATTEMPTS_MAX_DEFAULT,
            bytes_max: BYTES_MAX_DEFAULT,
            attempts_per_bot_max: ATTEMPTS_PER_BOT_MAX_DEFAULT,
            send_timeout: SEND_TIMEOUT_DEFAULT,
            drain_deadline: DRAIN_DEADLINE_DEFAULT,
            journal_free_bytes_min: FREE_BYTES_MIN,
        }
    }
}
