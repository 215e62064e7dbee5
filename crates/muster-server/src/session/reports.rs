//! Reports that were received and are not yet durable, without gaps.

use std::collections::VecDeque;

use muster_domain::limits::REPORTS_UNACKNOWLEDGED_MAX;
use muster_store::{Report, ReportBatch};

use super::ending::Ending;

/// Reports in one call to the store: enough to amortise a commit, little enough to keep it short.
const BATCH_MAX: usize = 2_000;

/// Reports that wait for the store before the session stops reading. An agent sends no more ahead of their acknowledgement, so that a
/// database that stands still never keeps its signs of life from being read; one that does is slowed down.
const QUEUED_MAX: usize = REPORTS_UNACKNOWLEDGED_MAX as usize + 1;

/// The reports.
pub(super) struct Reports {
    /// Offset of the next report to be received.
    expected: u64,
    queued: VecDeque<Report>,
}

impl Reports {
    /// Nothing is received yet; reports up to `committed` are durable.
    pub(super) fn new(committed: u64) -> Self {
        Reports { expected: committed.saturating_add(1), queued: VecDeque::new() }
    }

    /// Takes the reports of a frame. Those that came before are skipped; a gap is a fault.
    pub(super) fn receive(
        &mut self,
        first_offset: u64,
        reports: impl ExactSizeIterator<Item = Report>,
    ) -> Result<(), Ending> {
        if first_offset > self.expected || first_offset == 0 {
            let expected = self.expected;
            return Err(Ending::protocol_fault(format!("reports begin at {first_offset}, the next one is {expected}")));
        }
        let known = self.expected - first_offset;
        let before = self.queued.len();
        self.queued.extend(reports.skip(usize::try_from(known).unwrap_or(usize::MAX)));
        self.expected += (self.queued.len() - before) as u64;
        Ok(())
    }

    /// The next reports for the store.
    pub(super) fn take(&mut self) -> Option<ReportBatch> {
        if self.queued.is_empty() {
            return None;
        }
        let first_offset = self.expected - self.queued.len() as u64;
        let reports = self.queued.drain(..self.queued.len().min(BATCH_MAX)).collect();
        Some(ReportBatch { first_offset, reports })
    }

    /// No more may be received for now.
    pub(super) fn is_full(&self) -> bool {
        self.queued.len() >= QUEUED_MAX
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::Timestamp;
    use muster_store::ReportBody;
    use proptest::prelude::*;

    use super::*;

    fn some(count: usize) -> impl ExactSizeIterator<Item = Report> {
        (0..count).map(|_| Report { time: Timestamp::UNIX_EPOCH, body: ReportBody::Empty })
    }

    #[test]
    fn a_gap_is_a_fault() {
        let mut reports = Reports::new(10);
        assert!(reports.receive(12, some(1)).is_err());
        assert!(reports.receive(0, some(1)).is_err());
        assert!(reports.receive(11, some(1)).is_ok());
    }

    proptest! {
        #[test]
        fn batches_go_on_where_the_last_one_ended(
            committed in 0u64..100, frames in prop::collection::vec((0u64..20, 0usize..3_000), 1..20),
        ) {
            let mut reports = Reports::new(committed);
            let mut next = committed + 1;
            for (back, count) in frames {
                let first = reports.expected.saturating_sub(back).max(1);
                reports.receive(first, some(count)).unwrap();
                if let Some(batch) = reports.take() {
                    prop_assert_eq!(batch.first_offset, next);
                    prop_assert!((1..=BATCH_MAX).contains(&batch.reports.len()));
                    next += batch.reports.len() as u64;
                }
            }
        }
    }
}
