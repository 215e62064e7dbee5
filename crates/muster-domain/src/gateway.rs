//! An HTTP product on a node that speaks to a messaging network.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::backoff::Backoff;
use crate::{GatewayId, Network, NodeId};

/// A product that Muster has an adapter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayKind {
    /// Evolution API v2.
    Evolution,
    /// Answers every call at once and sends nothing: for measuring, and for rehearsing a set-up without a network.
    Null,
}

impl GatewayKind {
    /// All kinds.
    pub const ALL: [GatewayKind; 2] = [GatewayKind::Evolution, GatewayKind::Null];

    /// The spelling in files, columns and screens.
    pub fn as_str(self) -> &'static str {
        match self {
            GatewayKind::Evolution => "evolution",
            GatewayKind::Null => "null",
        }
    }

    /// Reads [`GatewayKind::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The network that the product speaks to.
    pub fn network(self) -> Network {
        match self {
            GatewayKind::Evolution => Network::WhatsApp,
            GatewayKind::Null => Network::Null,
        }
    }
}

/// What an operator declares about a gateway. Address and key are not here: they stay in the agent's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySpec {
    /// Its id; the agent's configuration has a section of this name.
    pub id: GatewayId,
    /// The product.
    pub kind: GatewayKind,
    /// The node whose agent reaches it.
    pub node: NodeId,
    /// A name for people.
    pub display_name: String,
    /// Free labels for filters.
    pub labels: BTreeMap<String, String>,
}

/// A gateway with everything that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// What was declared.
    pub spec: GatewaySpec,
    /// Grows with every change of the declaration.
    pub generation: u64,
    /// What the agent said when it could not use the gateway; empty when it could.
    pub apply_error: String,
    /// Why all its bots wait, until one of their attempts gets through again.
    pub backoff: Option<Backoff>,
    /// When it was declared.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
}
