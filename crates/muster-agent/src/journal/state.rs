//! What the journal says, as a pure fold over its records: the same code at replay and while it is written.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use muster_domain::MessageId;
use muster_domain::message::AttemptRef;

use super::chains::Chains;
use super::record::{Accept, Forgotten, Record, Report, Settled, Settlement};
use crate::clock::Stamp;

/// Outcomes that are remembered after the server committed them, so that a server that was restored from a backup and
/// dispatches again is answered, not obeyed. About 200 bytes each.
pub(crate) const OUTCOMES_REMEMBERED_MAX: usize = 100_000;

/// How long they are remembered: longer than any sensible age of a backup that is brought back into service.
pub(crate) const OUTCOMES_REMEMBERED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a fact stands on disk, so that a segment is deleted only when nothing in it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Home {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Bytes of the frame.
    pub(crate) bytes: u64,
}

/// An attempt that was accepted and has no outcome yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// What was accepted.
    pub(crate) accept: Accept,
    /// Its intent is durable: the gateway may have been called.
    pub(crate) started: bool,
    home: Home,
}

/// An attempt that the agent answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnsweredFor {
    /// Which.
    pub(crate) attempt: AttemptRef,
    /// The gateway may have been called.
    pub(crate) started: bool,
    /// Where its outcome is reported, if it has one.
    pub(crate) reported_at: Option<u64>,
}

/// An attempt that an earlier run of the agent left without outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeftBehind {
    /// It provably was not started: it goes on.
    Unstarted(Accept),
    /// The gateway may have been called: it is never started again.
    Started(Accept),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    report: Report,
    home: Home,
    /// Weight of the attempt that it settled, until the server knows.
    settled_weight: Option<u64>,
}

/// Attempts that take up credit: held, or settled without the server knowing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// How many.
    pub(crate) attempts: u64,
    /// What they count against the credit of bytes.
    pub(crate) bytes: u64,
}

impl Load {
    fn add(&mut self, weight: u64) {
        self.attempts += 1;
        self.bytes += weight;
    }

    fn remove(&mut self, weight: u64) {
        self.attempts = self.attempts.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight);
    }
}

/// What is known of a message before an attempt of it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing, or nothing that stands in the way.
    New,
    /// An attempt of it is under way here.
    Held {
        /// Its number.
        attempt_no: u32,
    },
    /// This very attempt ended, and the server has not acknowledged that yet: it will be told in any case.
    Reported,
    /// The answer is known already. The report's body says what became of attempt `attempt_no`.
    Settled {
        /// The attempt that ended.
        attempt_no: u32,
        /// When.
        stamp: Stamp,
        /// How.
        how: Settlement,
        /// The report.
        body: Bytes,
    },
}

/// The journal's content in memory.
#[derive(Debug, Default)]
pub(crate) struct State {
    held: HashMap<MessageId, Held>,
    pending: BTreeMap<u64, Stored>,
    remembered: BTreeMap<u64, Stored>,
    /// Where the latest outcome of a message is, pending or remembered.
    outcomes: HashMap<MessageId, u64>,
    chains: Chains,
    /// What is not remembered any more.
    forgotten: Option<Forgotten>,
    acknowledged: u64,
    head: u64,
    /// Order of the latest attempt that was accepted.
    order: u64,
    load: Load,
    /// Bytes per segment that are still needed.
    live: HashMap<u64, u64>,
}

impl State {
    /// A state whose reports begin behind `acknowledged`.
    pub(crate) fn starting_at(acknowledged: u64) -> Self {
        State { acknowledged, head: acknowledged, ..State::default() }
    }

    /// Takes a record that is durable at `home`. `now` decides what is old enough to be forgotten.
    pub(crate) fn apply(&mut self, record: Record, home: Home, now: Stamp) {
        match record {
            Record::Batch { .. } => {}
            Record::Accept(accept) => self.accept(accept, home),
            Record::Intent(attempt) => {
                if let Some(held) = self.held.get_mut(&attempt.message_id)
                    && held.accept.attempt == attempt
                {
                    held.started = true;
                }
            }
            Record::Report(report) => self.report(report, home),
            Record::Acknowledged(through) => self.acknowledge(through, now),
            Record::Forget(attempt) => {
                if let Some(held) = self.release(attempt) {
                    self.load.remove(held.accept.weight);
                }
            }
            Record::Chain { chain, offset } => self.chains.note(chain, offset),
            Record::Forgotten(forgotten) => self.note_forgotten(forgotten),
        }
    }

    fn accept(&mut self, accept: Accept, home: Home) {
        // The same attempt again is a copy that was carried forward.
        let message_id = accept.attempt.message_id;
        self.order = self.order.max(accept.order);
        let started =
            self.held.get(&message_id).is_some_and(|held| held.started && held.accept.attempt == accept.attempt);
        self.enliven(home);
        self.load.add(accept.weight);
        if let Some(replaced) = self.held.insert(message_id, Held { accept, started, home }) {
            self.unlive(replaced.home);
            self.load.remove(replaced.accept.weight);
        }
    }

    fn release(&mut self, attempt: AttemptRef) -> Option<Held> {
        if self.held.get(&attempt.message_id)?.accept.attempt != attempt {
            return None;
        }
        let held = self.held.remove(&attempt.message_id)?;
        self.unlive(held.home);
        Some(held)
    }

    fn report(&mut self, report: Report, home: Home) {
        let offset = report.offset;
        let is_copy = offset <= self.head;
        self.head = self.head.max(offset);
        let mut settled_weight = None;
        if let Some(Settled { attempt, how }) = report.settles {
            // A copy that was carried forward says nothing new: the attempt may be back under the same number by now.
            if !is_copy && let Some(held) = self.release(attempt) {
                settled_weight = Some(held.accept.weight);
                if how.breaks_chain() {
                    self.chains.note(held.accept.chain, offset);
                }
            }
            let latest = self.outcomes.entry(attempt.message_id).or_default();
            *latest = offset.max(*latest);
        }
        let stored = Stored { report, home, settled_weight };
        if offset <= self.acknowledged {
            return self.remember(stored);
        }
        self.enliven(home);
        match self.pending.entry(offset) {
            Entry::Vacant(place) => {
                place.insert(stored);
            }
            Entry::Occupied(mut place) => {
                let replaced = std::mem::replace(&mut place.get_mut().home, home);
                self.unlive(replaced);
            }
        }
    }

    fn acknowledge(&mut self, through: u64, now: Stamp) {
        // An acknowledgement of what was never reported is nonsense; the session refuses it before it comes here.
        let through = through.min(self.head);
        self.acknowledged = self.acknowledged.max(through);
        while let Some(first) = self.pending.first_entry()
            && *first.key() <= through
        {
            let mut stored = first.remove();
            self.unlive(stored.home);
            if let Some(weight) = stored.settled_weight.take() {
                self.load.remove(weight);
            }
            self.remember(stored);
        }
        self.forget_old(now);
        self.chains.tidy(self.acknowledged, self.held.values().map(|held| &held.accept));
    }

    fn remember(&mut self, stored: Stored) {
        if stored.report.settles.is_some_and(|settled| settled.how.is_remembered()) {
            self.enliven(stored.home);
            if let Some(replaced) = self.remembered.insert(stored.report.offset, stored) {
                self.unlive(replaced.home);
            }
        } else {
            self.unindex(&stored.report);
        }
    }

    fn forget_old(&mut self, now: Stamp) {
        while let Some((_, oldest)) = self.remembered.first_key_value()
            && (self.remembered.len() > OUTCOMES_REMEMBERED_MAX
                || oldest.report.stamp.age(now) > OUTCOMES_REMEMBERED_FOR)
        {
            if let Some((_, forgotten)) = self.remembered.pop_first() {
                self.unlive(forgotten.home);
                self.unindex(&forgotten.report);
                let Report { offset: through, stamp, .. } = forgotten.report;
                self.note_forgotten(Forgotten { through, stamp });
            }
        }
    }

    fn note_forgotten(&mut self, forgotten: Forgotten) {
        if self.forgotten.is_none_or(|before| before.through < forgotten.through) {
            self.forgotten = Some(forgotten);
        }
    }

    fn unindex(&mut self, report: &Report) {
        if let Some(settled) = report.settles
            && self.outcomes.get(&settled.attempt.message_id) == Some(&report.offset)
        {
            self.outcomes.remove(&settled.attempt.message_id);
        }
    }

    fn enliven(&mut self, home: Home) {
        *self.live.entry(home.segment).or_default() += home.bytes;
    }

    fn unlive(&mut self, home: Home) {
        if let Some(bytes) = self.live.get_mut(&home.segment) {
            *bytes = bytes.saturating_sub(home.bytes);
            if *bytes == 0 {
                self.live.remove(&home.segment);
            }
        }
    }

    /// Offset of the latest report; zero before the first.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Order of the latest attempt that was accepted; zero before the first.
    pub(crate) fn order(&self) -> u64 {
        self.order
    }

    /// Takes over the head that a segment begins with: reports before it may be gone from disk.
    pub(crate) fn raise_head(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// Takes over the acknowledgement that a segment begins with.
    pub(crate) fn raise_acknowledged(&mut self, acknowledged: u64, now: Stamp) {
        self.acknowledge(acknowledged, now);
    }

    /// Attempts that take up credit.
    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// Reports up to here are committed at the server.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether every report that the server does not have yet is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.pending.len() as u64 == self.head - self.acknowledged
            && self.pending.first_key_value().is_none_or(|(first, _)| *first == self.acknowledged + 1)
    }

    /// Attempts without outcome.
    pub(crate) fn held(&self) -> impl ExactSizeIterator<Item = &Held> {
        self.held.values()
    }

    /// The attempt of this message that is under way.
    pub(crate) fn held_of(&self, message_id: MessageId) -> Option<&Held> {
        self.held.get(&message_id)
    }

    /// Attempts that the agent answers for. To a server that does not have an outcome yet, the attempt is still here.
    pub(crate) fn answered_for(&self) -> impl Iterator<Item = AnsweredFor> {
        let held = self.held.values().map(|held| AnsweredFor {
            attempt: held.accept.attempt,
            started: held.started,
            reported_at: None,
        });
        let ended = self.pending.values().filter_map(|stored| {
            let attempt = stored.report.settles?.attempt;
            Some(AnsweredFor { attempt, started: true, reported_at: Some(stored.report.offset) })
        });
        held.chain(ended.filter(|ended| !self.held.contains_key(&ended.attempt.message_id)))
    }

    /// What becomes of the attempts that an earlier run of the agent left without outcome, in the order in which they were
    /// accepted. One that was started may have been handed to the gateway, and nobody heard its answer.
    pub(crate) fn left_behind(&self) -> Vec<LeftBehind> {
        let mut held: Vec<&Held> = self.held.values().collect();
        held.sort_unstable_by_key(|held| held.accept.order);
        let fate = |held: &Held| match held.started {
            true => LeftBehind::Started(held.accept.clone()),
            false => LeftBehind::Unstarted(held.accept.clone()),
        };
        held.into_iter().map(fate).collect()
    }

    /// Reports from `offset` on that the server has not committed.
    pub(crate) fn pending_from(&self, offset: u64) -> impl Iterator<Item = &Report> {
        self.pending.range(offset..).map(|(_, stored)| &stored.report)
    }

    /// The remembered outcome that was reported at `offset`, if there is one.
    pub(crate) fn remembered_at(&self, offset: u64) -> Option<&Report> {
        self.remembered.get(&offset).map(|stored| &stored.report)
    }

    /// The outcomes that are not remembered any more, if there are any.
    pub(crate) fn forgotten(&self) -> Option<Forgotten> {
        self.forgotten
    }

    /// How many reports wait for the server.
    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Marks of broken chains: an attempt of the chain that was chosen before the report must not be started.
    pub(crate) fn broken_chains(&self) -> impl Iterator<Item = (u64, u64)> {
        self.chains.iter()
    }

    /// The report after which an attempt of the chain must have been chosen, if the chain is broken.
    pub(crate) fn chain_broken_at(&self, chain: u64) -> Option<u64> {
        self.chains.broken_at(chain)
    }

    /// What is known of the message of `attempt` before it is accepted.
    pub(crate) fn known(&self, attempt: AttemptRef) -> Known {
        if let Some(held) = self.held.get(&attempt.message_id) {
            return Known::Held { attempt_no: held.accept.attempt.attempt_no };
        }
        let Some(offset) = self.outcomes.get(&attempt.message_id) else {
            return Known::New;
        };
        let pending = self.pending.get(offset);
        let Some(Stored { report, .. }) = pending.or_else(|| self.remembered.get(offset)) else {
            return Known::New;
        };
        match report.settles {
            // The server can only have it from the report: it knows, and gives the attempt again.
            Some(Settled { how: Settlement::HandedBack, .. }) => Known::New,
            Some(settled) if pending.is_some() && settled.attempt == attempt => Known::Reported,
            Some(Settled { attempt: AttemptRef { attempt_no, .. }, how }) => {
                Known::Settled { attempt_no, stamp: report.stamp, how, body: report.body.clone() }
            }
            None => Known::New,
        }
    }

    /// Bytes of a segment that are still needed.
    pub(crate) fn live_bytes(&self, segment: u64) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    /// What each segment begins with, so that none of the earlier ones is needed for it.
    pub(crate) fn carried(&self) -> Vec<Record> {
        let chains = self.chains.iter().map(|(chain, offset)| Record::Chain { chain, offset });
        chains.chain(self.forgotten.map(Record::Forgotten)).collect()
    }

    /// Everything in a segment that is still needed, to be written again elsewhere.
    pub(crate) fn living_in(&self, segment: u64) -> Vec<Record> {
        let mut records = Vec::new();
        for stored in self.remembered.values().chain(self.pending.values()) {
            if stored.home.segment == segment {
                records.push(Record::Report(stored.report.clone()));
            }
        }
        for held in self.held.values().filter(|held| held.home.segment == segment) {
            records.push(Record::Accept(held.accept.clone()));
            if held.started {
                records.push(Record::Intent(held.accept.attempt));
            }
        }
        records
    }
}

/// The state, shared between its one writer and its readers. Locked for moments only, never over a write.
#[derive(Debug)]
pub(crate) struct StateCell(Mutex<State>);

impl StateCell {
    pub(crate) fn new(state: State) -> Self {
        StateCell(Mutex::new(state))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a fold ends the process in a release build; elsewhere the tests want to go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::attempt_ref;
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(boot_ms: i64) -> Stamp {
        Stamp { boot_ms, wall_ms: boot_ms }
    }

    struct Bench {
        state: State,
        now: Stamp,
    }

    impl Bench {
        fn new() -> Self {
            Bench { state: State::starting_at(0), now: at(0) }
        }

        fn apply(&mut self, segment: u64, record: Record) {
            self.state.apply(record, Home { segment, bytes: 10 }, self.now);
        }

        fn accept(&mut self, segment: u64, message: i64, chain: u64, report_committed: u64) {
            let attempt = attempt_ref(message, 1);
            let accept =
                Accept { order: 0, attempt, chain, weight: 5, report_committed, stamp: self.now, body: Bytes::new() };
            self.apply(segment, Record::Accept(accept));
        }

        fn settle(&mut self, segment: u64, offset: u64, message: i64, how: Settlement) {
            let settles = Some(Settled { attempt: attempt_ref(message, 1), how });
            self.apply(segment, Record::Report(Report { offset, stamp: self.now, settles, body: Bytes::new() }));
        }
    }

    #[test]
    fn an_outcome_frees_the_attempt_and_stays_until_it_is_acknowledged_and_then_as_a_memory() {
        let mut bench = Bench::new();
        bench.accept(1, 7, 70, 0);
        bench.apply(1, Record::Intent(attempt_ref(7, 1)));
        assert!(bench.state.held_of(attempt_ref(7, 1).message_id).unwrap().started);
        assert_eq!(bench.state.known(attempt_ref(7, 2)), Known::Held { attempt_no: 1 });
        bench.settle(1, 1, 7, Settlement::Sent);
        assert_eq!(bench.state.held().len(), 0);
        assert_eq!(bench.state.known(attempt_ref(7, 1)), Known::Reported);
        let told = AnsweredFor { attempt: attempt_ref(7, 1), started: true, reported_at: Some(1) };
        assert_eq!(bench.state.answered_for().collect::<Vec<_>>(), [told]);
        assert_eq!(bench.state.load(), Load { attempts: 1, bytes: 5 }, "until the server knows");
        bench.apply(1, Record::Acknowledged(1));
        assert_eq!(bench.state.load(), Load::default());
        assert!(bench.state.is_complete());
        assert_eq!(bench.state.answered_for().count(), 0);
        assert!(matches!(
            bench.state.known(attempt_ref(7, 1)),
            Known::Settled { attempt_no: 1, how: Settlement::Sent, .. }
        ));
        assert_eq!(bench.state.known(attempt_ref(8, 1)), Known::New);
    }

    #[test]
    fn what_was_handed_back_is_forgotten_once_the_server_knows() {
        let mut bench = Bench::new();
        bench.accept(1, 7, 70, 0);
        bench.settle(1, 1, 7, Settlement::HandedBack);
        assert_eq!(bench.state.known(attempt_ref(7, 1)), Known::New);
        bench.apply(1, Record::Acknowledged(1));
        assert_eq!(bench.state.known(attempt_ref(7, 1)), Known::New);
        assert_eq!(bench.state.live_bytes(1), 0);
    }

    #[test]
    fn memory_ends_after_its_time_and_at_its_count() {
        let mut bench = Bench::new();
        bench.settle(1, 1, 7, Settlement::Sent);
        bench.apply(1, Record::Acknowledged(1));
        bench.now = at(7 * 24 * HOUR_MS + 1);
        bench.settle(2, 2, 8, Settlement::Sent);
        assert_eq!(bench.state.forgotten(), None);
        bench.apply(2, Record::Acknowledged(2));
        assert_eq!(bench.state.known(attempt_ref(7, 1)), Known::New);
        assert_eq!(bench.state.live_bytes(1), 0);
        assert_eq!(bench.state.forgotten(), Some(Forgotten { through: 1, stamp: at(0) }));
        for i in 0..=OUTCOMES_REMEMBERED_MAX as u64 {
            bench.settle(3, 3 + i, 100 + i as i64, Settlement::Ended);
        }
        bench.apply(3, Record::Acknowledged(u64::MAX));
        assert_eq!(bench.state.live_bytes(3), OUTCOMES_REMEMBERED_MAX as u64 * 10);
        assert_eq!(bench.state.forgotten().map(|forgotten| forgotten.through), Some(3));
    }

    #[test]
    fn a_copy_moves_what_lives_and_frees_the_old_segment() {
        let mut bench = Bench::new();
        bench.accept(1, 7, 70, 0);
        bench.apply(1, Record::Intent(attempt_ref(7, 1)));
        bench.accept(1, 8, 80, 0);
        bench.settle(1, 1, 8, Settlement::Sent);
        for record in bench.state.living_in(1) {
            bench.apply(2, record);
        }
        assert_eq!(bench.state.live_bytes(1), 0);
        assert_eq!(bench.state.live_bytes(2), 20);
        assert!(bench.state.held().all(|held| held.started));
        assert!(bench.state.is_complete());
    }

    #[test]
    fn a_copy_of_a_handback_leaves_the_attempt_alone_that_came_back() {
        let mut bench = Bench::new();
        bench.accept(1, 7, 70, 0);
        bench.settle(1, 1, 7, Settlement::HandedBack);
        bench.accept(2, 7, 70, 1);
        for record in bench.state.living_in(1) {
            bench.apply(2, record);
        }
        assert_eq!(bench.state.held().len(), 1);
    }

    #[test]
    fn a_missing_report_shows() {
        let mut bench = Bench::new();
        bench.settle(1, 2, 7, Settlement::Sent);
        assert!(!bench.state.is_complete());
        bench.settle(1, 1, 8, Settlement::Sent);
        assert!(bench.state.is_complete());
    }

    #[test]
    fn a_refusal_breaks_the_chain_of_its_attempt() {
        let mut bench = Bench::new();
        bench.accept(1, 1, 5, 0);
        bench.settle(1, 1, 1, Settlement::Retry);
        bench.accept(1, 2, 6, 0);
        bench.settle(1, 2, 2, Settlement::Sent);
        assert_eq!(bench.state.broken_chains().collect::<Vec<_>>(), [(5, 1)]);
    }
}
