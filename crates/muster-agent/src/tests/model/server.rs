//! The server: rows of one message and its node, moved by the rules of the domain.

use std::convert::Infallible;

use muster_domain::life::{self, AttemptEnd, Decision, Effect, Facts, Follows, Past, Said, Step};
use muster_domain::message::MessageState;
use muster_domain::resolution::Resolution;
use muster_domain::session::{self, KnownJournal, SaidJournal, Terms};

use super::disk::Came;
use super::world::{Down, Fault, Hello};

/// Rows of the database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) state: MessageState,
    pub(super) attempt_no: u8,
    cancel_requested: bool,
    failures: u8,
    decision: Option<Decision>,
    /// The latest attempt that a permission is about.
    resend_after: u8,
    /// The agent of the present session holds what is under way, or was given it.
    is_held: bool,
    journal: KnownJournal,
    settle_after: Option<u64>,
    /// A session is believed open.
    pub(super) is_online: bool,
    /// Its agent is about to stop: it gets nothing more.
    pub(super) is_draining: bool,
}

impl Server {
    /// A message was accepted.
    pub(super) fn new() -> Self {
        Server {
            state: MessageState::Waiting,
            attempt_no: 0,
            cancel_requested: false,
            failures: 0,
            decision: None,
            resend_after: 0,
            is_held: false,
            journal: KnownJournal::default(),
            settle_after: None,
            is_online: false,
            is_draining: false,
        }
    }

    fn facts(&self, is_over: bool) -> Facts {
        let (state, cancel_requested) = (self.state, self.cancel_requested);
        Facts { state, attempt_no: self.attempt_no.into(), cancel_requested, is_over }
    }

    fn take(&mut self, step: &Step) {
        self.state = step.to;
        self.failures += u8::from(step.end == Some(AttemptEnd::Failed));
    }

    /// Whether an attempt may be committed now.
    pub(super) fn may_claim(&self) -> bool {
        self.is_online && !self.is_draining && self.settle_after.is_none() && self.state == MessageState::Waiting
    }

    /// Commits an attempt.
    pub(super) fn claim(&mut self) -> Down {
        self.attempt_no += 1;
        self.state = MessageState::Dispatched;
        self.is_held = true;

        let report_committed = committed(self.journal);
        Down::Dispatch { attempt_no: self.attempt_no, resend_after: self.resend_after, report_committed }
    }

    /// A session opens. `None` if it is refused.
    pub(super) fn open(&mut self, hello: &Hello, is_over: bool, fault: Fault) -> Option<Down> {
        let said = SaidJournal {
            journal_id: [hello.journal_id; 16],
            opening: hello.opening.into(),
            process_id: [hello.opening; 16],
            report_head: hello.head.into(),
            report_acknowledged: hello.acknowledged.into(),
            forgotten_through: None,
        };
        let Terms { report_committed, settle_after, is_lost, .. } = session::terms(&self.journal, &said).ok()?;
        self.is_held = false;
        self.is_online = true;
        self.is_draining = false;
        self.journal = KnownJournal {
            journal_id: Some(said.journal_id),
            opening: said.opening,
            process_id: Some(said.process_id),
            report_committed,
        };
        self.settle_after = settle_after;
        if is_lost && fault != Fault::LossUnnoticed && self.is_earlier() {
            self.take(&life::after_loss(&self.facts(is_over), "the journal was lost"));
        }
        let mut drop = Vec::new();
        for (attempt_no, reported_at) in &hello.answered_for {
            let (no, reported_at) = ((*attempt_no).into(), reported_at.map(u64::from));
            if session::is_still_held(&self.facts(is_over), no, true, reported_at, report_committed) {
                self.is_held = true;
            } else {
                drop.push(*attempt_no);
            }
        }
        if self.settle_after.is_none() && fault != Fault::NeverReturned {
            self.settle(is_over);
        }
        let cancel = self.state == MessageState::Dispatched && self.cancel_requested;
        Some(Down::Welcome { committed: committed(self.journal), drop, cancel })
    }

    /// The attempt under way is one of an earlier session, and nobody holds it.
    fn is_earlier(&self) -> bool {
        self.state == MessageState::Dispatched && !self.is_held
    }

    fn settle(&mut self, is_over: bool) {
        if self.is_earlier() {
            self.take(&life::after_return(&self.facts(is_over)));
        }
        self.settle_after = None;
    }

    /// Takes one report. Returns up to where reports are durable now.
    pub(super) fn report(&mut self, offset: u8, said: Option<(u8, Came)>, is_over: bool) -> u8 {
        if u64::from(offset) == self.journal.report_committed + 1 {
            self.journal.report_committed += 1;
            if let Some((attempt_no, came)) = said {
                self.outcome(attempt_no, came, is_over);
            }
            if self.settle_after.is_some_and(|until| self.journal.report_committed >= until) {
                self.settle(is_over);
            }
        }
        committed(self.journal)
    }

    fn outcome(&mut self, attempt_no: u8, came: Came, is_over: bool) {
        let outcome = came.outcome();
        let said = Said { attempt_no: attempt_no.into(), by_its_node: self.attempt_no > 0, outcome: &outcome };
        let Ok(Effect { follows, .. }) = life::after_outcome(&self.facts(is_over), said, self);
        if let Follows::Step(step) = follows {
            self.take(&step);
        }
    }

    /// Somebody decides. `false` if that cannot be.
    pub(super) fn decide(&mut self, resolution: Resolution, is_over: bool) -> bool {
        let Ok(step) = life::after_decision(&self.facts(is_over), resolution) else { return false };
        self.decision = Some(Decision { resolution, attempt_no: self.attempt_no.into() });
        if resolution == Resolution::Resend {
            self.resend_after = self.attempt_no;
        }
        self.take(&step);
        true
    }

    /// What was decided last.
    pub(super) fn decided(&self) -> Option<Resolution> {
        self.decision.map(|decision| decision.resolution)
    }

    /// A client takes the message back. Whether that changes anything, and whether the agent has to be asked.
    pub(super) fn cancel(&mut self, is_over: bool) -> Option<bool> {
        match life::after_cancel(&self.facts(is_over)) {
            life::Cancel::Step(step) => {
                self.take(&step);
                Some(false)
            }
            life::Cancel::Ask if self.cancel_requested => None,
            life::Cancel::Ask => {
                self.cancel_requested = true;
                Some(true)
            }
            life::Cancel::TooLate => None,
        }
    }

    /// The validity has ended. `false` if nothing follows.
    pub(super) fn end_validity(&mut self, is_given_up: bool) -> bool {
        let step = life::after_validity(&self.facts(true), is_given_up);
        step.inspect(|step| self.take(step)).is_some()
    }

    /// The rows, as a server finds them that starts with them.
    pub(super) fn backed_up(&self) -> Server {
        Server { is_online: false, is_draining: false, ..self.clone() }
    }

    /// Up to where reports are durable.
    pub(super) fn committed(&self) -> u8 {
        committed(self.journal)
    }
}

fn committed(journal: KnownJournal) -> u8 {
    u8::try_from(journal.report_committed).expect("histories are short")
}

impl Past for Server {
    type Error = Infallible;

    fn decision(&self) -> Result<Option<Decision>, Infallible> {
        Ok(self.decision)
    }

    fn failures(&self) -> Result<u32, Infallible> {
        Ok(self.failures.into())
    }

    fn refusals(&self) -> u32 {
        1
    }
}
