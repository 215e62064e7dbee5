//! Counts over the ledger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{Answer, Kind, LedgerEntry, LedgerEvent, Status};

/// Counts over the whole ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Position of the last line.
    pub last_seq: u64,
    /// Messages that the network took, over all gateways.
    pub accepted: u64,
    /// Counts per gateway and instance.
    pub gateways: BTreeMap<String, BTreeMap<String, InstanceSummary>>,
}

/// Counts of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSummary {
    /// Messages taken, by kind.
    pub accepted: BTreeMap<Kind, u64>,
    /// Messages taken, by what the caller was told.
    pub answers: BTreeMap<Answer, u64>,
    /// Statuses reported, by status.
    pub statuses: BTreeMap<Status, u64>,
    /// Messages from outside.
    pub inbound: u64,
    /// Inbound messages marked as read.
    pub marked_read: u64,
}

impl Summary {
    /// Counts one more line.
    pub(crate) fn count(&mut self, seq: u64, entry: &LedgerEntry) {
        self.last_seq = seq;
        let instances = self.gateways.entry(entry.gateway.clone()).or_default();
        let instance = instances.entry(entry.instance.clone()).or_default();
        match &entry.event {
            LedgerEvent::Accepted(accepted) => {
                self.accepted += 1;
                *instance.accepted.entry(accepted.content.kind).or_default() += 1;
                *instance.answers.entry(accepted.answer).or_default() += 1;
            }
            LedgerEvent::Status { status, .. } => *instance.statuses.entry(*status).or_default() += 1,
            LedgerEvent::Inbound { .. } => instance.inbound += 1,
            LedgerEvent::MarkedRead { .. } => instance.marked_read += 1,
        }
    }
}
