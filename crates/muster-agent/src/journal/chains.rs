//! Chains that are broken: a message of theirs comes again, and later ones that were chosen before that was known must wait.

use std::collections::{HashMap, HashSet};

use super::record::Accept;

/// Marks that are kept before they are looked through for the first time.
const UNTIDIED_MAX: usize = 64;

/// Per broken chain, the report after which an attempt of it must have been chosen.
#[derive(Debug, Default)]
pub(super) struct Chains {
    marks: HashMap<u64, u64>,
    /// How many marks are worth looking through.
    tidy_at: usize,
}

impl Chains {
    /// The report at `offset` says that a message of the chain comes again.
    pub(super) fn note(&mut self, chain: u64, offset: u64) {
        let mark = self.marks.entry(chain).or_default();
        *mark = offset.max(*mark);
    }

    /// The latest such report.
    pub(super) fn broken_at(&self, chain: u64) -> Option<u64> {
        self.marks.get(&chain).copied()
    }

    /// All marks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.marks.iter().map(|(chain, offset)| (*chain, *offset))
    }

    /// Drops the marks that can no longer hold anything back: the server knows the report, and no attempt that was chosen
    /// before it is held.
    pub(super) fn tidy<'a>(&mut self, acknowledged: u64, held: impl Iterator<Item = &'a Accept>) {
        if self.marks.len() < self.tidy_at.max(UNTIDIED_MAX) {
            return;
        }
        let mut earliest = u64::MAX;
        let mut waiting = HashSet::new();
        for accept in held {
            earliest = earliest.min(accept.report_committed);
            waiting.insert(accept.chain);
        }
        self.marks.retain(|chain, offset| *offset > acknowledged || (*offset > earliest && waiting.contains(chain)));
        self.tidy_at = 2 * self.marks.len();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::record::tests::attempt_ref;
    use super::*;
    use crate::clock::Stamp;

    #[test]
    fn marks_last_while_somebody_may_overtake() {
        let held = Accept {
            order: 1,
            attempt: attempt_ref(1, 1),
            chain: 5,
            weight: 0,
            report_committed: 0,
            stamp: Stamp::default(),
            body: Bytes::new(),
        };
        let mut chains = Chains::default();
        for offset in 1..1_000 {
            chains.note(if offset == 1 { 5 } else { 1_000 + offset }, offset);
            chains.tidy(offset, std::iter::once(&held));
        }
        assert!(chains.iter().count() <= UNTIDIED_MAX + 1);
        assert_eq!(chains.broken_at(5), Some(1));
        chains.note(5, 7);
        chains.note(5, 3);
        assert_eq!(chains.broken_at(5), Some(7));
    }
}
