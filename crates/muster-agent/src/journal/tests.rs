//! The log against a model: whatever is done, wherever it is cut, what comes back is what was durable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;

use super::error::{AppendError, JournalError};
use super::log::Log;
use super::record::tests::attempt_ref;
use super::record::{Accept, Record, Report, Settled, Settlement};
use super::segment;
use super::state::{OUTCOMES_REMEMBERED_FOR, State, StateCell};
use super::{FREE_BYTES_MIN, Journal};
use crate::clock::{Clock, Stamp, SystemClock};
use crate::disk::SystemDisk;
use crate::machine::Machine;

const JOURNAL_ID: [u8; 16] = [7; 16];

/// What the journal must say, written as plainly as possible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    /// Message → (attempt number, started).
    held: BTreeMap<i64, (u32, bool)>,
    /// Reports that the server does not have.
    pending: BTreeSet<u64>,
    acknowledged: u64,
    head: u64,
}

impl Model {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Accept(accept) => {
                let (message, attempt_no) = (accept.attempt.message_id.raw(), accept.attempt.attempt_no);
                if self.held.get(&message).is_none_or(|(no, _)| *no != attempt_no) {
                    self.held.insert(message, (attempt_no, false));
                }
            }
            Record::Intent(attempt) => {
                if let Some((no, started)) = self.held.get_mut(&attempt.message_id.raw()) {
                    *started |= *no == attempt.attempt_no;
                }
            }
            Record::Report(report) => {
                self.head = report.offset;
                self.pending.insert(report.offset);
                if let Some(settled) = report.settles {
                    self.drop(settled.attempt.message_id.raw(), settled.attempt.attempt_no);
                }
            }
            Record::Acknowledged(through) => {
                self.acknowledged = self.acknowledged.max(*through.min(&self.head));
                let acknowledged = self.acknowledged;
                self.pending.retain(|offset| *offset > acknowledged);
            }
            Record::Forget(attempt) => self.drop(attempt.message_id.raw(), attempt.attempt_no),
            Record::Batch { .. } | Record::Chain { .. } | Record::Forgotten(_) => {}
        }
    }

    fn drop(&mut self, message: i64, attempt_no: u32) {
        if self.held.get(&message).is_some_and(|(no, _)| *no == attempt_no) {
            self.held.remove(&message);
        }
    }

    fn of(state: &State) -> Model {
        let held = |held: &super::state::Held| {
            (held.accept.attempt.message_id.raw(), (held.accept.attempt.attempt_no, held.started))
        };
        Model {
            held: state.held().map(held).collect(),
            pending: state.pending_from(0).map(|report| report.offset).collect(),
            acknowledged: state.acknowledged(),
            head: state.head(),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Accept { message: i64, attempt_no: u32, chain: u64 },
    Intent { message: i64, attempt_no: u32 },
    Settle { message: i64, attempt_no: u32, how: Settlement },
    Receipt,
    Acknowledge { behind: u64 },
    Forget { message: i64, attempt_no: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop::sample::select(vec![
        Settlement::Sent,
        Settlement::Uncertain,
        Settlement::Ended,
        Settlement::Retry,
        Settlement::HandedBack,
    ]);
    let attempt = || (1i64..12, 1u32..3);
    let step = prop_oneof![
        4 => (attempt(), 0u64..4).prop_map(|((message, attempt_no), chain)| Step::Accept { message, attempt_no, chain }),
        3 => attempt().prop_map(|(message, attempt_no)| Step::Intent { message, attempt_no }),
        4 => (attempt(), how).prop_map(|((message, attempt_no), how)| Step::Settle { message, attempt_no, how }),
        2 => Just(Step::Receipt),
        2 => (0u64..6).prop_map(|behind| Step::Acknowledge { behind }),
        1 => attempt().prop_map(|(message, attempt_no)| Step::Forget { message, attempt_no }),
    ];
    prop::collection::vec(step, 1..6)
}

/// The records of a step, with offsets as the writer would assign them.
fn records(steps: &[Step], state: &State, order: &mut u64) -> Vec<Record> {
    let mut head = state.head();
    let mut report = |settles| {
        head += 1;
        Record::Report(Report {
            offset: head,
            stamp: Stamp::read(&SystemClock),
            settles,
            body: Bytes::from_static(b"report"),
        })
    };
    let mut records = Vec::new();
    for step in steps {
        records.push(match *step {
            Step::Accept { message, attempt_no, chain } => {
                *order += 1;
                Record::Accept(Accept {
                    order: *order,
                    attempt: attempt_ref(message, attempt_no),
                    chain,
                    weight: 1,
                    report_committed: state.acknowledged(),
                    stamp: Stamp::read(&SystemClock),
                    body: Bytes::from_static(b"attempt"),
                })
            }
            Step::Intent { message, attempt_no } => Record::Intent(attempt_ref(message, attempt_no)),
            Step::Settle { message, attempt_no, how } => {
                report(Some(Settled { attempt: attempt_ref(message, attempt_no), how }))
            }
            Step::Receipt => report(None),
            Step::Acknowledge { behind } => Record::Acknowledged(state.head().saturating_sub(behind)),
            Step::Forget { message, attempt_no } => Record::Forget(attempt_ref(message, attempt_no)),
        });
    }
    records
}

struct Bench {
    dir: tempfile::TempDir,
    segment_bytes: u64,
    open: Option<(Log, StateCell)>,
    model: Model,
    order: u64,
}

impl Bench {
    fn new(segment_bytes: u64) -> Self {
        let mut bench =
            Bench { dir: tempfile::tempdir().unwrap(), segment_bytes, open: None, model: Model::default(), order: 0 };
        bench.reopen().unwrap();
        bench
    }

    fn reopen(&mut self) -> Result<(), JournalError> {
        self.open = None;
        self.open = Some(Log::open(&Machine::system(), self.dir.path(), self.segment_bytes, JOURNAL_ID)?);
        Ok(())
    }

    fn state(&self) -> Model {
        Model::of(&self.open.as_ref().unwrap().1.lock())
    }

    fn append(&mut self, steps: &[Step]) -> Vec<Record> {
        let (log, state) = self.open.as_mut().unwrap();
        let records = records(steps, &state.lock(), &mut self.order);
        log.append(&records).unwrap();
        let homes = log.homes().to_vec();
        for (record, home) in records.iter().zip(homes) {
            state.lock().apply(record.clone(), home, Stamp::read(&SystemClock));
            self.model.apply(record);
        }
        if log.is_rotation_due() {
            log.rotate(state).unwrap();
        }
        records
    }

    fn active_path(&self) -> PathBuf {
        segment::path_of(self.dir.path(), *segment::list(&SystemDisk, self.dir.path()).unwrap().last().unwrap())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_was_durable_comes_back(batches in prop::collection::vec(steps(), 1..25), reopen_every in 1usize..10) {
        // Segments of half a kilobyte: rotation, copying and deletion happen all the time.
        let mut bench = Bench::new(512);
        for (i, steps) in batches.iter().enumerate() {
            bench.append(steps);
            prop_assert_eq!(&bench.state(), &bench.model);
            if i % reopen_every == 0 {
                bench.reopen().unwrap();
                prop_assert_eq!(&bench.state(), &bench.model);
            }
        }
        bench.reopen().unwrap();
        prop_assert_eq!(&bench.state(), &bench.model);
    }

    #[test]
    fn a_crash_in_a_write_leaves_a_beginning_of_it(
        before in prop::collection::vec(steps(), 1..6), last in steps(), cut in any::<prop::sample::Index>(),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bench = Bench::new(u64::MAX);
        for steps in &before {
            bench.append(steps);
        }
        let path = bench.active_path();
        let durable = fs::metadata(&path).unwrap().len() as usize;
        let mut possible = vec![bench.model.clone()];
        let mut model = bench.model.clone();
        for record in bench.append(&last) {
            model.apply(&record);
            possible.push(model.clone());
        }
        bench.open = None;
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(durable + cut.index(bytes.len() - durable + 1));
        bytes.extend_from_slice(&garbage);
        fs::write(&path, &bytes).unwrap();
        bench.reopen().unwrap();
        prop_assert!(possible.contains(&bench.state()), "{:?} is none of {:?}", bench.state(), possible);
        // And what is written behind the cut is read like everything else.
        bench.model = bench.state();
        bench.append(&last);
        bench.reopen().unwrap();
        prop_assert_eq!(&bench.state(), &bench.model);
    }

    #[test]
    fn damage_of_what_was_durable_is_named(batches in prop::collection::vec(steps(), 2..8), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bench = Bench::new(u64::MAX);
        let mut ends = Vec::new();
        for steps in &batches {
            ends.push(fs::metadata(bench.active_path()).unwrap().len() as usize);
            bench.append(steps);
        }
        let path = bench.active_path();
        bench.open = None;
        // Anywhere before the last batch: that batch proves that it was durable.
        let at = at.index(*ends.last().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let error = bench.reopen().unwrap_err();
        let is_named = match &error {
            JournalError::Corrupt { path: named, offset, .. } => *named == path && *offset <= at as u64,
            JournalError::NotAJournal { path: named } | JournalError::VersionUnsupported { path: named, .. } => {
                *named == path && at < 12
            }
            _ => false,
        };
        prop_assert!(is_named, "{}", error);
    }

    #[test]
    fn any_file_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), keep_header in any::<bool>()) {
        let mut bench = Bench::new(u64::MAX);
        let path = bench.active_path();
        bench.open = None;
        let mut content = if keep_header { fs::read(&path).unwrap() } else { Vec::new() };
        content.extend_from_slice(&bytes);
        fs::write(&path, &content).unwrap();
        let _ = bench.reopen();
    }
}

#[test]
fn openings_are_counted_and_one_process_has_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(&Machine::system(), dir.path(), 1024, JOURNAL_ID).unwrap();
    assert_eq!(log.identity().opening, 1);
    assert!(matches!(Log::open(&Machine::system(), dir.path(), 1024, JOURNAL_ID), Err(JournalError::Locked { .. })));
    drop(log);
    let (log, _) = Log::open(&Machine::system(), dir.path(), 1024, [9; 16]).unwrap();
    assert_eq!((log.identity().journal_id, log.identity().opening), (JOURNAL_ID, 2));
}

#[test]
fn a_copied_journal_is_not_at_home() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(Log::open(&Machine::system(), here.path(), 1024, JOURNAL_ID).unwrap());
    for entry in fs::read_dir(here.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, there.path().join(path.file_name().unwrap())).unwrap();
    }
    assert!(!Log::open(&Machine::system(), there.path(), 1024, JOURNAL_ID).unwrap().0.identity().is_at_home);
    let boots_are_known = SystemClock.boot() != [0; 16];
    assert_eq!(
        Log::open(&Machine::system(), here.path(), 1024, JOURNAL_ID).unwrap().0.identity().is_at_home,
        boots_are_known
    );
}

#[test]
fn restarts_leave_no_trail_of_files() {
    let mut bench = Bench::new(1024 * 1024);
    bench.append(&[Step::Accept { message: 1, attempt_no: 1, chain: 0 }, Step::Receipt]);
    for _ in 0..20 {
        bench.reopen().unwrap();
    }
    assert_eq!(segment::list(&SystemDisk, bench.dir.path()).unwrap().len(), 1);
    assert_eq!(bench.state(), bench.model);
}

#[test]
fn what_was_forgotten_stays_known_when_its_segment_is_gone() {
    let mut bench = Bench::new(512);
    let now = Stamp::read(&SystemClock);
    let long_ago = i64::try_from(2 * OUTCOMES_REMEMBERED_FOR.as_millis()).unwrap();
    let stamp = Stamp { boot_ms: now.boot_ms - long_ago, wall_ms: now.wall_ms - long_ago };
    let settles = Some(Settled { attempt: attempt_ref(1, 1), how: Settlement::Sent });
    let outcome = [Record::Report(Report { offset: 1, stamp, settles, body: Bytes::new() }), Record::Acknowledged(1)];
    let (log, state) = bench.open.as_mut().unwrap();
    log.append(&outcome).unwrap();
    let homes = log.homes().to_vec();
    outcome.iter().zip(homes).for_each(|(record, home)| state.lock().apply(record.clone(), home, now));
    let first = bench.active_path();
    while first.exists() {
        bench.append(&[Step::Receipt, Step::Acknowledge { behind: 0 }]);
    }
    for _ in 0..2 {
        bench.reopen().unwrap();
        let forgotten = bench.open.as_ref().unwrap().1.lock().forgotten().unwrap();
        assert_eq!((forgotten.through, forgotten.stamp.age(now).as_secs()), (1, 2 * OUTCOMES_REMEMBERED_FOR.as_secs()));
    }
}

#[test]
fn a_missing_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(Log::open(&Machine::system(), dir.path(), 1024, JOURNAL_ID).unwrap());
    fs::write(segment::path_of(dir.path(), 5), b"x").unwrap();
    assert!(matches!(
        Log::open(&Machine::system(), dir.path(), 1024, JOURNAL_ID),
        Err(JournalError::SegmentMissing { number: 2, .. })
    ));
}

fn receipt() -> Vec<Record> {
    vec![Record::Report(Report {
        offset: 0,
        stamp: Stamp::read(&SystemClock),
        settles: None,
        body: Bytes::from_static(b"x"),
    })]
}

#[tokio::test]
async fn many_callers_share_a_sync_and_each_gets_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, closer) = Journal::open(&Machine::system(), dir.path(), 0).unwrap();
    let calls: Vec<_> = (0..200).map(|_| journal.append(receipt())).collect();
    let mut offsets: Vec<u64> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (1..=200).collect::<Vec<u64>>());
    assert_eq!(*journal.head().borrow(), 200);
    journal.acknowledge(150);
    closer.close().await;
    assert_eq!(journal.append(receipt()).await, Err(AppendError::Closed));
    let (journal, _closer) = Journal::open(&Machine::system(), dir.path(), FREE_BYTES_MIN).unwrap();
    assert_eq!(journal.read(|state| (state.acknowledged(), state.head(), state.pending_count())), (150, 200, 50));
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_and_keeps_what_has_to_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _closer) = Journal::open(&Machine::system(), dir.path(), u64::MAX).unwrap();
    let mut is_full = journal.is_full();
    is_full.wait_for(|full| *full).await.unwrap();
    assert_eq!(journal.append_if_room(receipt()).await, Err(AppendError::Full));
    assert_eq!(journal.append(receipt()).await, Ok(1));
}
