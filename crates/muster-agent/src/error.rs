//! Why an agent ends.

use std::net::SocketAddr;
use std::path::PathBuf;

use muster_domain::NodeId;

use crate::journal::JournalError;

/// Why an agent cannot start, or cannot go on. What passes by itself (a server that is away, a gateway that is down, a full
/// disk) is no error, and neither is a node that is not declared yet: the agent waits and tries again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal could not be written any more. Starting again goes on from what is durable.
    #[error(
        "the journal could not be written any more: see the log for the reason, mend the disk, and start the agent again"
    )]
    JournalFailed,
    /// A file beside the journal cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address of the server cannot be used.
    #[error("server {url}: {expectation}")]
    Server {
        /// The address as configured.
        url: String,
        /// What it must be.
        expectation: String,
    },
    /// The webhook receiver cannot listen.
    #[error("cannot listen for webhooks on {address}: {source}; free the port or set another webhook_listen")]
    WebhookListen {
        /// The address as configured.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server refuses this agent until somebody acts.
    #[error("the server refuses {}: {reason}: {message}", node.resource_name())]
    Refused {
        /// The node that this agent says it is.
        node: NodeId,
        /// Why, in the words of the protocol.
        reason: Refusal,
        /// What to do, in the server's words.
        message: String,
    },
    /// The server has more reports of this journal than the journal itself.
    #[error(
        "the server has report {committed} of this journal, which ends at {head}: the journal was restored from a copy; \
         move its directory away and start with a new one"
    )]
    JournalBehind {
        /// Reports up to here are at the server.
        committed: u64,
        /// The latest report of the journal.
        head: u64,
    },
}

/// Why a server refuses an agent for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another agent with another journal holds a session of this node.
    DuplicateIdentity,
    /// The journal is a copy: another process went on with it.
    JournalForked,
    /// Server and agent have no revision of the protocol in common.
    ProtocolUnsupported,
    /// Something else.
    Other,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refusal::DuplicateIdentity => "DUPLICATE_IDENTITY",
            Refusal::JournalForked => "JOURNAL_FORKED",
            Refusal::ProtocolUnsupported => "PROTOCOL_UNSUPPORTED",
            Refusal::Other => "REFUSED",
        })
    }
}
