//! What happened in a simulation: its events in their order, the faults that struck, and what broke.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::time::Time;

/// The record of one simulation. Clones write into the same one.
#[derive(Clone)]
pub(crate) struct Chronicle {
    time: Time,
    /// Shows each event as it happens.
    shows: bool,
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    hash: u64,
    events: u64,
    faults: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

/// The end of a record.
pub(crate) struct Told {
    /// Over every event with its time, in order.
    pub(crate) hash: u64,
    /// How many there were.
    pub(crate) events: u64,
    /// How often each fault struck.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What broke.
    pub(crate) violations: Vec<String>,
}

impl Chronicle {
    pub(crate) fn new(time: Time, shows: bool) -> Self {
        let record = Record { hash: 0xcbf2_9ce4_8422_2325, ..Record::default() };
        Chronicle { time, shows, record: Arc::new(Mutex::new(record)) }
    }

    /// Something happened.
    #[expect(clippy::print_stderr, reason = "the trace that was asked for")]
    pub(crate) fn event(&self, who: &str, what: impl std::fmt::Display) {
        let now = self.time.now();
        let line = format!("{:>12.6} {who:<9} {what}", now.as_secs_f64());
        if self.shows {
            eprintln!("{line}");
        }
        let mut record = self.record();
        record.events += 1;
        // FNV-1a: any hash does, and this one will give the same for ever.
        for byte in line.bytes() {
            record.hash = (record.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// A fault struck.
    pub(crate) fn fault(&self, who: &str, kind: &'static str, detail: impl std::fmt::Display) {
        self.event(who, format_args!("FAULT {kind} {detail}"));
        *self.record().faults.entry(kind).or_default() += 1;
    }

    /// A promise broke.
    pub(crate) fn violation(&self, promise: &str, what: impl std::fmt::Display) {
        self.event("check", format_args!("VIOLATION {promise} {what}"));
        self.record().violations.push(format!("{promise}: {what}"));
    }

    /// How often a fault struck.
    pub(crate) fn struck(&self, kind: &str) -> u64 {
        self.record().faults.get(kind).copied().unwrap_or(0)
    }

    /// What was recorded.
    pub(crate) fn told(&self) -> Told {
        let record = self.record();
        Told {
            hash: record.hash,
            events: record.events,
            faults: record.faults.clone(),
            violations: record.violations.clone(),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
