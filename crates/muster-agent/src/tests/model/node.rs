//! The agent: a disk, a process that may die, and the rules of the agent.

use std::rc::Rc;
use std::time::Duration;

use muster_domain::message::HandbackReason;

use super::disk::{Came, Entry, Journals, View, attempt};
use super::world::{Down, Fault, Hello, Up};
use crate::lane::gate::{self, Facts, Phase, Standing};
use crate::session::verdict::{self, judge};

/// A node with its journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// What is durable.
    disk: Rc<[Entry]>,
    /// What is written and not synced: a crash takes it.
    written: Vec<Entry>,
    journal_id: u8,
    /// Processes that have opened the journal.
    opening: u8,
    pub(super) process: Option<Process>,
}

/// What is in the memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) phase: StablePhase,
    pub(super) session: Session,
    /// Reports up to here were sent in this session.
    sent: u8,
    /// What the gateway answered, before it is recorded.
    pub(super) answer: Option<Came>,
}

/// [`Phase`], as far as it occurs here, with an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum StablePhase {
    Resuming,
    Working,
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Session {
    None,
    /// Hello was said.
    Opening,
    Open,
}

/// What the gate says about the attempt that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Start,
    End(Came),
    Wait,
}

impl Node {
    pub(super) fn new() -> Self {
        Node { disk: Rc::from([]), written: Vec::new(), journal_id: 1, opening: 0, process: None }
    }

    /// What the running process knows: also what is not durable yet.
    pub(super) fn view(&self, journals: &mut Journals, fault: Fault) -> Rc<View> {
        if self.written.is_empty() {
            return journals.view(&self.disk, fault);
        }
        let all: Rc<[Entry]> = self.disk.iter().chain(&self.written).copied().collect();
        journals.view(&all, fault)
    }

    /// Writes and syncs.
    fn append(&mut self, entries: &[Entry]) {
        let all = self.disk.iter().chain(&self.written).chain(entries).copied();
        self.disk = without_outdated(all.collect()).into();
        self.written.clear();
    }

    /// Writes without waiting for the disk.
    fn append_quietly(&mut self, entry: Entry) {
        self.written.push(entry);
        self.written = without_outdated(std::mem::take(&mut self.written));
    }

    fn report(&mut self, view: &View, attempt_no: u8, came: Came) {
        self.append(&[Entry::Report { offset: view.head + 1, attempt_no, came }]);
    }

    /// A new process opens the journal and takes up what the last one left.
    pub(super) fn start(&mut self, journals: &mut Journals, fault: Fault) {
        self.opening += 1;
        let process = Process { phase: StablePhase::Resuming, session: Session::None, sent: 0, answer: None };
        self.process = Some(process);
        let view = self.view(journals, fault);
        if let Some(attempt_no) = view.left_started
            && fault != Fault::StartedAgain
        {
            self.report(&view, attempt_no, Came::Uncertain);
        }
    }

    /// The process dies, and with it what was not synced.
    pub(super) fn crash(&mut self) {
        self.process = None;
        self.written.clear();
    }

    /// The process ends as it should.
    pub(super) fn stop(&mut self) {
        self.append(&[]);
        self.process = None;
    }

    /// The disk is replaced by an empty one.
    pub(super) fn lose_journal(&mut self) {
        self.disk = Rc::from([]);
        self.journal_id += 1;
        self.opening = 0;
    }

    pub(super) fn hello(&self, view: &View) -> Up {
        Up::Hello(Hello {
            journal_id: self.journal_id,
            opening: self.opening,
            head: view.head,
            acknowledged: view.acknowledged,
            answered_for: view.answered_for.clone(),
        })
    }

    /// Takes a frame.
    pub(super) fn read(&mut self, frame: Down, view: &View) {
        match frame {
            Down::Welcome { committed, drop, cancel } => {
                if let Some(process) = &mut self.process {
                    process.session = Session::Open;
                    process.sent = committed;
                    if process.phase == StablePhase::Resuming {
                        process.phase = StablePhase::Working;
                    }
                }
                if committed > view.acknowledged {
                    self.append_quietly(Entry::Acknowledged(committed));
                }
                let unstarted = view.held.filter(|held| !held.started);
                if let Some(held) = unstarted.filter(|held| drop.contains(&held.attempt_no)) {
                    self.append(&[Entry::Forget(held.attempt_no)]);
                } else if cancel {
                    self.cancel(view);
                }
            }
            Down::Dispatch { attempt_no, resend_after, report_committed } => {
                match judge(attempt(attempt_no), resend_after.into(), view.known(attempt_no)) {
                    verdict::Verdict::Accept => self.append(&[Entry::Accept { attempt_no, report_committed }]),
                    verdict::Verdict::Ignore => {}
                    verdict::Verdict::Repeat { body, .. } => self.report(view, attempt_no, Came::read(&body)),
                    verdict::Verdict::HandBack => self.report(view, attempt_no, Came::HandedBack),
                }
            }
            Down::Cancel => self.cancel(view),
            Down::Acknowledge(through) => {
                if through > view.acknowledged {
                    self.append_quietly(Entry::Acknowledged(through));
                }
            }
        }
    }

    fn cancel(&mut self, view: &View) {
        if let Some(held) = view.held.filter(|held| !held.started) {
            self.report(view, held.attempt_no, Came::Cancelled);
        }
    }

    /// What the gate says of the attempt that is held.
    pub(super) fn gate(&self, view: &View, is_over: bool) -> Option<Gate> {
        let (process, held) = (self.process?, view.held?);
        let second = Duration::from_secs(1);
        let verdict = gate::decide(&Facts {
            phase: match process.phase {
                StablePhase::Resuming => Phase::Resuming,
                StablePhase::Working => Phase::Working,
                StablePhase::Draining => Phase::Draining,
            },
            // Draining by the server leaves an attempt the same way as draining by a stop, which is explored.
            is_drained: false,
            standing: Standing::Ready,
            age: if is_over { 2 * second } else { Duration::ZERO },
            start_within: second,
            // What a window hands back is handed back like what belongs to a broken chain.
            window_closes: false,
            window_changed: false,
            held_back: held.is_chain_broken.then_some(HandbackReason::ChainBroken),
        });
        Some(match verdict {
            gate::Verdict::Start => Gate::Start,
            gate::Verdict::End(outcome) => Gate::End(Came::of(&outcome)),
            gate::Verdict::Wait | gate::Verdict::Leave => Gate::Wait,
        })
    }

    /// Makes the intent durable.
    pub(super) fn begin(&mut self, attempt_no: u8, fault: Fault) {
        match fault {
            Fault::IntentNotSynced => self.append_quietly(Entry::Intent(attempt_no)),
            _ => self.append(&[Entry::Intent(attempt_no)]),
        }
    }

    /// Makes the outcome of the held attempt durable.
    pub(super) fn end(&mut self, view: &View, attempt_no: u8, came: Came) {
        self.report(view, attempt_no, came);
        if let Some(process) = &mut self.process {
            process.answer = None;
        }
    }

    /// The next report that has not been sent in this session.
    pub(super) fn next_report(&mut self, view: &View) -> Option<Up> {
        let process = self.process.as_mut()?;
        if process.session != Session::Open || process.sent >= view.head {
            return None;
        }
        let said = view.said[usize::from(process.sent)];
        process.sent += 1;
        Some(Up::Report { offset: process.sent, said })
    }
}

/// Without the acknowledgements that a later one replaces: the fold is the same, and there is less to tell apart.
fn without_outdated(mut entries: Vec<Entry>) -> Vec<Entry> {
    let is_acknowledgement = |entry: &Entry| matches!(entry, Entry::Acknowledged(_));
    let last = entries.iter().rposition(is_acknowledgement);
    let mut at = 0;
    entries.retain(|entry| {
        at += 1;
        !is_acknowledgement(entry) || Some(at - 1) == last
    });
    entries
}
