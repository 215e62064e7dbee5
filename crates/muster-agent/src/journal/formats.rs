//! Journals of every format that was ever written, kept as files below `tests/fixtures`: the next agent has to open them.
//!
//! When the format changes:
//! 1. Raise `FORMAT` in `segment.rs`, and keep what reads the earlier ones.
//! 2. Run `cargo test --package muster-agent write_a_journal -- --ignored`: it writes the folder of the new format. Commit it.
//! 3. Leave the folders of earlier formats as they are: [`journals_of_every_format_open`] goes through all of them.
//!
//! What is in a journal also has the wire's form (attempts and reports); `crates/muster-proto/tests/wire.rs` keeps that readable.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use muster_domain::content::Content;
use muster_domain::failure::FailureReason;
use muster_domain::message::Outcome;
use muster_proto::agent_v1 as wire;
use muster_proto::convert::agent_v1::{Attempt, AttemptOutcome};
use prost::Message as _;

use super::error::JournalError;
use super::log::Log;
use super::record::tests::attempt_ref;
use super::record::{Accept, Forgotten, Record, Report, Settled, Settlement};
use super::segment::{self, FORMAT, Header};
use super::state::{Known, StateCell};
use crate::clock::{BootId, Clock, Stamp};
use crate::disk::SystemDisk;
use crate::machine::Machine;

const JOURNAL_ID: [u8; 16] = *b"a kept journal!!";
const BOOT: [u8; 16] = *b"a certain boot!!";
const NOW: Stamp = Stamp { boot_ms: 1_000_000, wall_ms: 1_800_000_000_000 };

/// The boot and the minute in which the journals were written.
struct Then;

impl Clock for Then {
    fn boot(&self) -> [u8; 16] {
        BOOT
    }

    fn boot_ms(&self) -> i64 {
        NOW.boot_ms + 60_000
    }

    fn wall_ms(&self) -> i64 {
        NOW.wall_ms + 60_000
    }
}

fn machine() -> Machine {
    Machine { clock: Arc::new(Then), ..Machine::system() }
}

fn folder(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/journal-format-{format}"))
}

/// The files of a folder by name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// A copy that may be written to.
fn copy_of(format: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files(&folder(format)).iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    dir
}

fn open(dir: &Path) -> Result<(Log, StateCell), JournalError> {
    Log::open(&machine(), dir, u64::MAX, [9; 16])
}

fn attempt(message: i64) -> wire::Attempt {
    wire::Attempt {
        r#ref: Some(attempt_ref(message, 1).into()),
        bot: "clinic-1".into(),
        recipient: "+5511900000001".into(),
        content: Some(wire::Content {
            kind: Some(wire::content::Kind::Text(wire::content::Text { body: "See you at ten.".into() })),
        }),
        chain: 77,
        start_within_ms: 600_000,
        ..wire::Attempt::default()
    }
}

fn accept(order: u64, message: i64) -> Record {
    let body = Bytes::from(attempt(message).encode_to_vec());
    let weight = body.len() as u64;
    let attempt = attempt_ref(message, 1);
    Record::Accept(Accept { order, attempt, chain: 77, weight, report_committed: 2, stamp: NOW, body })
}

fn report(offset: u64, settles: Option<Settled>, body: wire::report::Body) -> Record {
    let body = Bytes::from(wire::Report { age_ms: 0, body: Some(body) }.encode_to_vec());
    Record::Report(Report { offset, stamp: NOW, settles, body })
}

fn settle(offset: u64, message: i64, how: Settlement, outcome: wire::OutcomeReport) -> Record {
    let attempt = attempt_ref(message, 1);
    let outcome = wire::OutcomeReport { attempt: Some(attempt.into()), ..outcome };
    report(offset, Some(Settled { attempt, how }), wire::report::Body::Outcome(outcome))
}

/// A journal with a record of each kind: two segments, each with the batches that were made durable in it.
fn journal() -> [(Header, Vec<Vec<Record>>); 2] {
    let sent = wire::OutcomeReport {
        outcome: wire::Outcome::Sent.into(),
        network_id: "id-101".into(),
        ..wire::OutcomeReport::default()
    };
    let failure = wire::Failure {
        reason: wire::FailureReason::OutcomeUnknown.into(),
        detail: "no answer".into(),
        ..wire::Failure::default()
    };
    let uncertain = wire::OutcomeReport {
        outcome: wire::Outcome::Uncertain.into(),
        failure: Some(failure),
        ..wire::OutcomeReport::default()
    };
    let receipt = wire::report::Body::Receipt(wire::ReceiptReport {
        bot: "clinic-1".into(),
        network_id: "id-101".into(),
        kind: wire::ReceiptKind::Delivered.into(),
        failure: None,
    });
    let first = Header {
        journal_id: JOURNAL_ID,
        number: 4,
        opening: 3,
        boot: BootId(BOOT),
        place: [5; 16],
        acknowledged: 2,
        head: 2,
    };
    let second = Header { number: 5, acknowledged: 3, head: 4, ..first };
    let forgotten = Record::Forgotten(Forgotten { through: 1, stamp: NOW });
    let broken = Record::Chain { chain: 78, offset: 2 };
    let carried = [broken, forgotten];
    [
        (
            first,
            vec![
                carried.to_vec(),
                vec![accept(1, 101), accept(2, 102), accept(3, 103)],
                vec![Record::Intent(attempt_ref(101, 1)), Record::Intent(attempt_ref(102, 1))],
                vec![settle(3, 101, Settlement::Sent, sent), report(4, None, receipt), Record::Acknowledged(3)],
            ],
        ),
        (
            second,
            vec![
                carried.to_vec(),
                vec![settle(5, 102, Settlement::Uncertain, uncertain), Record::Forget(attempt_ref(103, 1))],
                vec![accept(4, 104), accept(5, 105), Record::Intent(attempt_ref(104, 1))],
            ],
        ),
    ]
}

fn write(dir: &Path) {
    for (header, batches) in journal() {
        let mut file = segment::create(&SystemDisk, dir, &header).unwrap();
        let mut at = fs::metadata(segment::path_of(dir, header.number)).unwrap().len();
        for records in batches {
            let mut bytes = Vec::new();
            Record::Batch { at }.encode(&mut bytes);
            for record in records {
                record.encode(&mut bytes);
            }
            file.append(&bytes).unwrap();
            at += bytes.len() as u64;
        }
        file.sync().unwrap();
    }
}

#[test]
#[ignore = "writes the fixture of the present format"]
fn write_a_journal() {
    fs::create_dir_all(folder(FORMAT)).unwrap();
    write(&folder(FORMAT));
}

#[test]
fn what_is_written_has_the_present_format() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    assert!(files(dir.path()) == files(&folder(FORMAT)), "the format has changed: see the head of this file");
}

#[test]
fn journals_of_every_format_open() {
    for format in 1..=FORMAT {
        let dir = copy_of(format);
        for opening in 4..6 {
            let (log, state) = open(dir.path()).unwrap_or_else(|error| panic!("format {format}: {error}"));
            assert_eq!((log.identity().journal_id, log.identity().opening), (JOURNAL_ID, opening));
            let state = state.lock();
            assert_eq!((state.acknowledged(), state.head(), state.order()), (3, 5, 5));
            assert_eq!(state.broken_chains().collect::<Vec<_>>(), [(78, 2)]);
            assert_eq!(state.forgotten(), Some(Forgotten { through: 1, stamp: NOW }));
            let mut held: Vec<_> = state.held().collect();
            held.sort_unstable_by_key(|held| held.accept.order);
            let started: Vec<_> = held.iter().map(|held| (held.accept.attempt, held.started)).collect();
            assert_eq!(started, [(attempt_ref(104, 1), true), (attempt_ref(105, 1), false)]);
            let Record::Accept(accepted) = accept(4, 104) else { unreachable!() };
            assert_eq!(held[0].accept, accepted);
            let read = Attempt::try_from(wire::Attempt::decode(&*held[0].accept.body).unwrap()).unwrap();
            assert_eq!(read.content, Content::Text { body: "See you at ten.".into() });
            assert_eq!(state.pending_from(0).map(|report| report.offset).collect::<Vec<_>>(), [4, 5]);
            let Known::Settled { how: Settlement::Sent, body, .. } = state.known(attempt_ref(101, 1)) else {
                panic!("format {format}: what was sent is forgotten");
            };
            assert_eq!(outcome_in(&body), Outcome::Sent { network_id: "id-101".into() });
            let uncertain = state.pending_from(5).next().unwrap();
            assert!(
                matches!(outcome_in(&uncertain.body), Outcome::Uncertain(failure) if failure.reason == FailureReason::OutcomeUnknown)
            );
            assert_eq!(state.known(attempt_ref(103, 1)), Known::New);
        }
    }
}

fn outcome_in(report: &[u8]) -> Outcome {
    let Some(wire::report::Body::Outcome(outcome)) = wire::Report::decode(report).unwrap().body else {
        panic!("no outcome")
    };
    AttemptOutcome::try_from(outcome).unwrap().outcome
}

/// Opens the journal with its last segment changed, and returns why that does not go. Not a byte may have changed.
fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> JournalError {
    let dir = copy_of(FORMAT);
    let last = segment::path_of(dir.path(), 5);
    let mut bytes = fs::read(&last).unwrap();
    change(&mut bytes);
    fs::write(&last, &bytes).unwrap();
    let before = files(dir.path());
    let error = open(dir.path()).err().expect("it opens");
    let mut after = files(dir.path());
    after.remove("lock");
    assert!(before == after, "a journal that is refused stays as it is");
    error
}

/// A whole record with any content: length, checksum of length and content, content.
fn whole_record(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    let checksum = crc32fast::hash(&[&length, content].concat()).to_le_bytes();
    [&length, &checksum, content].concat()
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let error = refusal(|bytes| bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes()));
    assert!(matches!(error, JournalError::VersionUnsupported { found, .. } if found == FORMAT + 1), "{error}");
    assert!(error.to_string().contains("run the newer agent that wrote it"), "{error}");
}

#[test]
fn a_whole_record_of_an_unknown_kind_is_refused_and_left_alone() {
    let error = refusal(|bytes| bytes.extend(whole_record(&[200, 1, 2, 3])));
    assert!(matches!(error, JournalError::KindUnknown { kind: 200, .. }), "{error}");
    assert!(error.to_string().contains("run the newer agent that wrote it"), "{error}");
}

#[test]
fn a_whole_record_that_cannot_be_read_is_refused_and_left_alone() {
    let whole = |record: &Record| {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    };
    let intent = whole(&Record::Intent(attempt_ref(104, 1)));
    // An intent with a field more, and one with a field less.
    let longer = [&intent[8..], &[1]].concat();
    for content in [&longer[..], &intent[8..intent.len() - 1]] {
        let error = refusal(|bytes| bytes.extend(whole_record(content)));
        assert!(matches!(error, JournalError::RecordUnreadable { .. }), "{error}");
        assert!(error.to_string().contains("run the version of the agent that wrote it"), "{error}");
    }
}
