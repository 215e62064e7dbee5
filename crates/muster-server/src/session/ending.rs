//! Why a session ends, and what the agent is told.

use std::ops::RangeInclusive;
use std::time::Duration;

use muster_domain::revision::Side;
use muster_domain::{NodeId, Violation};
use muster_proto::agent_v1::Close;
use muster_proto::agent_v1::close::Reason;
use muster_store::StoreError;

/// The end of a session, by the server's decision.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    reason: Reason,
    message: String,
    retry_after: Duration,
    permanent: bool,
}

/// When an agent comes back after a moment's trouble; its own back-off adds jitter.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// When an agent comes back while the store is away, or another agent has its node.
const RETRY_LATER: Duration = Duration::from_secs(5);

impl Ending {
    fn new(reason: Reason, message: impl Into<String>, retry_after: Duration) -> Self {
        Ending { reason, message: message.into(), retry_after, permanent: false }
    }

    fn permanent(reason: Reason, message: impl Into<String>) -> Self {
        Ending { permanent: true, ..Ending::new(reason, message, RETRY_LATER) }
    }

    pub(super) fn superseded() -> Self {
        Ending::new(Reason::Superseded, "a newer session of this node took over", RETRY_LATER)
    }

    pub(super) fn node_unknown(node: &NodeId) -> Self {
        let name = node.resource_name();
        let message = format!(
            "{name} is not declared. Declare it (`muster apply` with a fleet that has it), or correct the node in the agent's \
             configuration"
        );
        Ending { retry_after: RETRY_SOON, ..Ending::permanent(Reason::NodeUnknown, message) }
    }

    pub(super) fn duplicate_identity(node: &NodeId) -> Self {
        let name = node.resource_name();
        let message = format!(
            "another agent with another journal holds a live session of {name}. Give this agent a node of its own, or stop the \
             other one first"
        );
        Ending::new(Reason::DuplicateIdentity, message, RETRY_LATER)
    }

    pub(super) fn journal_forked() -> Self {
        let message = "this journal is a copy, or was restored: another process went on with it. Stop the agent that has the other \
                       one, or start this one with an empty journal: what was under way becomes uncertain";
        Ending::permanent(Reason::JournalForked, message)
    }

    pub(super) fn protocol_unsupported(theirs: RangeInclusive<u32>, ours: RangeInclusive<u32>, older: Side) -> Self {
        let upgrade = match older {
            Side::Agent => "Upgrade the agent",
            Side::Server => "Upgrade the server, or go back to the agent of before",
        };
        let (theirs, ours) = (revisions(&theirs), revisions(&ours));
        let message = format!("the agent speaks {theirs} of the protocol, this server {ours}. {upgrade}");
        Ending::permanent(Reason::ProtocolUnsupported, message)
    }

    /// The agent refused a frame that a session cannot do without.
    pub(super) fn frame_unsupported(seq: u64) -> Self {
        let message =
            format!("the agent does not know frame {seq}, which a session cannot do without. Upgrade the agent");
        Ending::new(Reason::ProtocolFault, message, RETRY_LATER)
    }

    /// The agent tells something that this server would have to drop.
    pub(super) fn report_unknown(offset: u64) -> Self {
        let message = format!(
            "report {offset} is of a kind that this server does not know. Upgrade the server: until then the agent keeps it, and \
             everything behind it"
        );
        Ending::new(Reason::ProtocolFault, message, RETRY_LATER)
    }

    pub(super) fn protocol_fault(message: impl Into<String>) -> Self {
        Ending::new(Reason::ProtocolFault, message, RETRY_SOON)
    }

    /// The first frame carries something that no retry mends.
    pub(super) fn bad_hello(violation: &Violation) -> Self {
        Ending::permanent(Reason::ProtocolFault, format!("hello.{violation}"))
    }

    pub(super) fn stalled(message: impl Into<String>) -> Self {
        Ending::new(Reason::Stalled, message, RETRY_SOON)
    }

    pub(super) fn stopping() -> Self {
        Ending::new(Reason::ServerStopping, "the server stops or restarts", RETRY_SOON)
    }

    pub(super) fn busy() -> Self {
        Ending::new(Reason::StoreUnavailable, "too many agents connect at once; come back a little later", RETRY_LATER)
    }

    /// What an error of the store means for the session that met it.
    pub(super) fn of_store(error: &StoreError, node: &NodeId) -> Self {
        match error {
            StoreError::Fenced => Ending::superseded(),
            StoreError::JournalForked(_) => Ending::journal_forked(),
            StoreError::NotFound(_) => Ending::node_unknown(node),
            StoreError::ReportGap { expected, got } => {
                Ending::protocol_fault(format!("reports begin at {got}, the next one is {expected}"))
            }
            StoreError::Closed => Ending::stopping(),
            StoreError::NotWritable(_)
            | StoreError::Corrupt(_)
            | StoreError::TooNew { .. }
            | StoreError::Locked(_)
            | StoreError::Failed(_)
            | StoreError::Exists(_)
            | StoreError::Stale(_)
            | StoreError::InUse { .. }
            | StoreError::AddressTaken(..)
            | StoreError::Fixed { .. }
            | StoreError::RequestIdReused
            | StoreError::CursorTooOld { .. } => {
                tracing::error!(%error, "the store failed a session");
                let message = "the server cannot use its database now; nothing was acknowledged that is not durable";
                Ending::new(Reason::StoreUnavailable, message, RETRY_LATER)
            }
        }
    }

    /// The word for logs.
    pub(super) fn word(&self) -> &'static str {
        self.reason.as_str_name().trim_start_matches("REASON_")
    }
}

fn revisions(range: &RangeInclusive<u32>) -> String {
    if range.start() == range.end() {
        format!("revision {}", range.start())
    } else {
        format!("revisions {} to {}", range.start(), range.end())
    }
}

impl From<Ending> for Close {
    fn from(ending: Ending) -> Self {
        let Ending { reason, message, retry_after, permanent } = ending;
        let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
        Close { reason: reason.into(), message, retry_after_ms, permanent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(error: StoreError) -> (Reason, bool, u32) {
        let close = Close::from(Ending::of_store(&error, &NodeId::new("n").unwrap()));
        assert!(!close.message.contains("/var"), "what the database says is not for agents");
        (close.reason(), close.permanent, close.retry_after_ms)
    }

    #[test]
    fn what_passes_by_itself_is_not_permanent() {
        assert_eq!(
            close(StoreError::NotWritable("/var/muster.db: disk full".into())),
            (Reason::StoreUnavailable, false, 5_000)
        );
        assert_eq!(close(StoreError::Fenced), (Reason::Superseded, false, 5_000));
        assert_eq!(close(StoreError::Closed), (Reason::ServerStopping, false, 1_000));
        assert_eq!(close(StoreError::ReportGap { expected: 2, got: 9 }), (Reason::ProtocolFault, false, 1_000));
        assert_eq!(close(StoreError::NotFound("nodes/n".into())), (Reason::NodeUnknown, true, 1_000));
    }
}
