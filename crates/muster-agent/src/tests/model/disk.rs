//! The journal's records, as far as one message has them, and what the real fold makes of them.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use muster_domain::MessageId;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{AttemptRef, HandbackReason, Outcome};

use super::world::Fault;
use crate::clock::Stamp;
use crate::journal::record::{Accept, Record, Report, Settled, Settlement};
use crate::journal::state::{Home, Known, LeftBehind, State};

/// The chain of the one message.
const CHAIN: u64 = 1;

/// Attempts that a history has at the most: more than its surprises can cause. Without a bound, histories could go round for
/// ever: an agent that holds one attempt hands back what a restored server dispatches under another number, and that is
/// dispatched again until the first one has ended.
pub(super) const ATTEMPTS_MAX: u8 = 5;

/// The one message.
pub(super) fn attempt(attempt_no: u8) -> AttemptRef {
    let message_id = MessageId::from_raw(7).expect("a message id is positive");
    AttemptRef { message_id, attempt_no: attempt_no.into() }
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Came {
    Sent,
    Uncertain,
    /// Refused before the gateway acted; it can be tried again.
    Refused,
    HandedBack,
    Expired,
    Cancelled,
}

impl Came {
    const ALL: [Came; 6] =
        [Came::Sent, Came::Uncertain, Came::Refused, Came::HandedBack, Came::Expired, Came::Cancelled];

    pub(super) fn outcome(self) -> Outcome {
        match self {
            Came::Sent => Outcome::Sent { network_id: String::new() },
            Came::Uncertain => Outcome::Uncertain(Failure::new(FailureReason::OutcomeUnknown, "")),
            Came::Refused => Outcome::Failed(Failure::new(FailureReason::RateLimited, "")),
            Came::HandedBack => Outcome::HandedBack(HandbackReason::Draining),
            Came::Expired => Outcome::Expired,
            Came::Cancelled => Outcome::Cancelled,
        }
    }

    pub(super) fn of(outcome: &Outcome) -> Came {
        match outcome {
            Outcome::Sent { .. } => Came::Sent,
            Outcome::Uncertain(_) => Came::Uncertain,
            Outcome::Failed(_) => Came::Refused,
            Outcome::HandedBack(_) => Came::HandedBack,
            Outcome::Expired => Came::Expired,
            Outcome::Cancelled => Came::Cancelled,
        }
    }

    /// How the body of a report says it here.
    fn body(self) -> Bytes {
        let place = Came::ALL.iter().position(|came| *came == self);
        Bytes::from(vec![place.and_then(|place| u8::try_from(place).ok()).expect("few")])
    }

    pub(super) fn read(body: &[u8]) -> Came {
        Came::ALL[usize::from(body[0])]
    }
}

/// A record of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Accept { attempt_no: u8, report_committed: u8 },
    Intent(u8),
    Report { offset: u8, attempt_no: u8, came: Came },
    Acknowledged(u8),
    Forget(u8),
}

impl Entry {
    fn record(self, order: u64) -> Record {
        match self {
            Entry::Accept { attempt_no, report_committed } => Record::Accept(Accept {
                order,
                attempt: attempt(attempt_no),
                chain: CHAIN,
                weight: 1,
                report_committed: report_committed.into(),
                stamp: Stamp::default(),
                body: Bytes::new(),
            }),
            Entry::Intent(attempt_no) => Record::Intent(attempt(attempt_no)),
            Entry::Report { offset, attempt_no, came } => Record::Report(Report {
                offset: offset.into(),
                stamp: Stamp::default(),
                settles: Some(Settled { attempt: attempt(attempt_no), how: Settlement::of(&came.outcome()) }),
                body: came.body(),
            }),
            Entry::Acknowledged(through) => Record::Acknowledged(through.into()),
            Entry::Forget(attempt_no) => Record::Forget(attempt(attempt_no)),
        }
    }
}

/// The attempt that is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) attempt_no: u8,
    pub(super) started: bool,
    pub(super) is_chain_broken: bool,
}

/// What a journal says.
#[derive(Debug)]
pub(super) struct View {
    pub(super) held: Option<Held>,
    pub(super) head: u8,
    pub(super) acknowledged: u8,
    /// For the next Hello: attempts, and where their outcomes stand.
    pub(super) answered_for: Vec<(u8, Option<u8>)>,
    /// The attempt that a new run finds started and without outcome.
    pub(super) left_started: Option<u8>,
    /// What is told when reports are sent from an offset on, by offset less one.
    pub(super) said: Vec<Option<(u8, Came)>>,
    known: Vec<Known>,
}

impl View {
    /// What is known of the message when this attempt arrives.
    pub(super) fn known(&self, attempt_no: u8) -> Known {
        self.known[usize::from(attempt_no)].clone()
    }
}

fn small(number: u64) -> u8 {
    u8::try_from(number).expect("histories are short")
}

fn small_no(attempt: AttemptRef) -> u8 {
    u8::try_from(attempt.attempt_no).expect("histories are short")
}

/// Journals by their content, each folded once.
#[derive(Default)]
pub(super) struct Journals {
    views: HashMap<Rc<[Entry]>, Rc<View>>,
}

impl Journals {
    pub(super) fn view(&mut self, entries: &Rc<[Entry]>, fault: Fault) -> Rc<View> {
        let fold = || Rc::new(fold(entries, fault));
        Rc::clone(self.views.entry(Rc::clone(entries)).or_insert_with(fold))
    }
}

fn fold(entries: &[Entry], fault: Fault) -> View {
    let mut state = State::starting_at(0);
    for (entry, order) in entries.iter().zip(1..) {
        state.apply(entry.record(order), Home::default(), Stamp::default());
    }
    let acknowledged = state.acknowledged();
    let said = |report: &Report| report.settles.map(|settled| (small_no(settled.attempt), Came::read(&report.body)));
    let remembers = fault != Fault::OutcomesForgotten;
    let before = (1..=acknowledged).map(|offset| state.remembered_at(offset).filter(|_| remembers).and_then(said));
    let known = |attempt_no| match state.known(attempt(attempt_no)) {
        Known::Settled { .. } if !remembers => Known::New,
        known => known,
    };
    let held = state.held().next().map(|held| Held {
        attempt_no: small_no(held.accept.attempt),
        started: held.started,
        is_chain_broken: state.chain_broken_at(CHAIN).is_some_and(|offset| offset > held.accept.report_committed),
    });
    let left_started = state.left_behind().first().and_then(|left| match left {
        LeftBehind::Started(accept) => Some(small_no(accept.attempt)),
        LeftBehind::Unstarted(_) => None,
    });
    View {
        held,
        head: small(state.head()),
        acknowledged: small(acknowledged),
        answered_for: state.answered_for().map(|held| (small_no(held.attempt), held.reported_at.map(small))).collect(),
        left_started,
        said: before.chain(state.pending_from(0).map(said)).collect(),
        known: (0..=ATTEMPTS_MAX).map(known).collect(),
    }
}
