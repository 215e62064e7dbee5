//! What happened during a campaign, as it happened.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Moment {
    /// Milliseconds from the begin of the campaign.
    pub at_ms: u64,
    /// What.
    pub what: String,
}

/// Something that must not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise it breaks: `P1` to `P8`, or `CONDUCT` for a process or a call that did what none should.
    pub promise: &'static str,
    /// The facts.
    pub facts: String,
}

/// Takes down what happens, from all tasks.
pub(super) struct Timeline {
    begin: Instant,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    moments: Vec<Moment>,
    violations: Vec<Violation>,
}

/// Violations that are kept. A broken rule tends to break for everything.
const VIOLATIONS_KEPT: usize = 200;

impl Timeline {
    pub(super) fn begin() -> Self {
        Self { begin: Instant::now(), pages: Mutex::default() }
    }

    /// When the campaign began.
    pub(super) fn origin(&self) -> Instant {
        self.begin
    }

    pub(super) fn note(&self, what: impl Into<String>) {
        let at_ms = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pages().moments.push(Moment { at_ms, what: what.into() });
    }

    pub(super) fn violation(&self, promise: &'static str, facts: impl Into<String>) {
        let mut pages = self.pages();
        if pages.violations.len() < VIOLATIONS_KEPT {
            pages.violations.push(Violation { promise, facts: facts.into() });
        }
    }

    pub(super) fn close(&self) -> (Vec<Moment>, Vec<Violation>) {
        let pages = std::mem::take(&mut *self.pages());
        (pages.moments, pages.violations)
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
