//! One situation, and what can happen in it.

use std::collections::VecDeque;
use std::fmt;

use muster_domain::message::MessageState;
use muster_domain::resolution::Resolution;

use super::disk::{ATTEMPTS_MAX, Came, Journals};
use super::node::{Gate, Node, Session, StablePhase};
use super::server::Server;

/// Frames of one direction that are on their way at a time.
const LINE_MAX: usize = 2;

/// How much happens in one history beside the ordinary course of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Bounds {
    /// Events that nobody can count on, of all kinds together.
    pub(super) surprises: u8,
    /// Databases that are put back, among them.
    pub(super) restores: u8,
    /// Journals that are lost, among them.
    pub(super) journals: u8,
}

/// A fault that is built in, to show that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The gateway is called before the intent is durable.
    IntentNotSynced,
    /// A new run starts again what the last one had started.
    StartedAgain,
    /// Attempts that never arrived are not noticed.
    NeverReturned,
    /// A gateway that does not answer is taken for one that refused.
    TimeOutRefuses,
    /// Outcomes are forgotten once they are acknowledged.
    OutcomesForgotten,
    /// A journal with another id is taken for the one before.
    LossUnnoticed,
}

/// What an agent says first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Hello {
    pub(super) journal_id: u8,
    pub(super) opening: u8,
    pub(super) head: u8,
    pub(super) acknowledged: u8,
    pub(super) answered_for: Vec<(u8, Option<u8>)>,
}

/// A frame from the agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Up {
    Hello(Hello),
    Report { offset: u8, said: Option<(u8, Came)> },
    Drain,
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Down {
    Welcome { committed: u8, drop: Vec<u8>, cancel: bool },
    Dispatch { attempt_no: u8, resend_after: u8, report_committed: u8 },
    Acknowledge(u8),
    Cancel,
}

/// A stream with the frames that are on their way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Line {
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    /// The server has taken its Hello: what it sends goes here.
    is_known: bool,
}

/// What a gateway does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Takes,
    TakesAndStaysSilent,
    StaysSilent,
    Refuses,
}

/// One situation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    server: Server,
    backup: Option<Server>,
    node: Node,
    line: Option<Line>,
    is_over: bool,
    /// How often the gateway took the message.
    taken: u8,
    /// The attempts that were handed to it, one bit each.
    handed_over: u16,
    is_handed_over_again: bool,
    is_restored: bool,
    /// Permissions to send again.
    permitted: u8,
    left: Bounds,
}

/// Something that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Claim,
    ServerReads,
    ServerSeesTheEnd,
    Expire,
    AgentStarts,
    AgentConnects,
    AgentReads,
    AgentGoesOnAlone,
    Begin,
    EndUnstarted,
    Call(Answer),
    EndBegun,
    Record,
    Tell,
    AgentStops,
    Break,
    Crash,
    LoseJournal,
    Drain,
    BackUp,
    Restore,
    Decide(Resolution),
    Cancel,
    ValidityEnds,
    GiveUp,
}

impl Event {
    const ALL: [Event; 30] = [
        Event::Claim,
        Event::ServerReads,
        Event::ServerSeesTheEnd,
        Event::Expire,
        Event::AgentStarts,
        Event::AgentConnects,
        Event::AgentReads,
        Event::AgentGoesOnAlone,
        Event::Begin,
        Event::EndUnstarted,
        Event::Call(Answer::Takes),
        Event::EndBegun,
        Event::Record,
        Event::Tell,
        Event::AgentStops,
        Event::Call(Answer::TakesAndStaysSilent),
        Event::Call(Answer::StaysSilent),
        Event::Call(Answer::Refuses),
        Event::Break,
        Event::Crash,
        Event::LoseJournal,
        Event::Drain,
        Event::BackUp,
        Event::Restore,
        Event::Decide(Resolution::Sent),
        Event::Decide(Resolution::Resend),
        Event::Decide(Resolution::Drop),
        Event::Cancel,
        Event::ValidityEnds,
        Event::GiveUp,
    ];

    /// It belongs to the ordinary course of things: it happens sooner or later by itself.
    pub(super) fn is_ordinary(self) -> bool {
        match self {
            Event::Claim
            | Event::ServerReads
            | Event::ServerSeesTheEnd
            | Event::Expire
            | Event::AgentStarts
            | Event::AgentConnects
            | Event::AgentReads
            | Event::AgentGoesOnAlone
            | Event::Begin
            | Event::EndUnstarted
            | Event::Call(Answer::Takes)
            | Event::EndBegun
            | Event::Record
            | Event::Tell
            | Event::AgentStops => true,
            Event::Call(_)
            | Event::Break
            | Event::Crash
            | Event::LoseJournal
            | Event::Drain
            | Event::BackUp
            | Event::Restore
            | Event::Decide(_)
            | Event::Cancel
            | Event::ValidityEnds
            | Event::GiveUp => false,
        }
    }

    /// It counts among the surprises of a history. A backup changes nothing by itself.
    fn is_surprise(self) -> bool {
        !self.is_ordinary() && self != Event::BackUp
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Event::Claim => "the server commits an attempt and dispatches it",
            Event::ServerReads => "the server takes a frame",
            Event::ServerSeesTheEnd => "the server sees that the stream is gone",
            Event::Expire => "the server ends the message, which waits past its validity",
            Event::AgentStarts => "the agent starts",
            Event::AgentConnects => "the agent opens a stream and says Hello",
            Event::AgentReads => "the agent takes a frame",
            Event::AgentGoesOnAlone => "the agent goes on with what it holds without the server's word",
            Event::Begin => "the agent writes its intent",
            Event::EndUnstarted => "the agent ends the attempt unstarted",
            Event::Call(Answer::Takes) => "the gateway is called, takes the message and says so",
            Event::Call(Answer::TakesAndStaysSilent) => "the gateway is called, takes the message and never answers",
            Event::Call(Answer::StaysSilent) => "the gateway is called, does not take the message and never answers",
            Event::Call(Answer::Refuses) => "the gateway is called and refuses",
            Event::EndBegun => "the agent ends the attempt that it was about to hand over",
            Event::Record => "the agent writes the outcome",
            Event::Tell => "the agent sends a report",
            Event::AgentStops => "the agent, having drained, stops",
            Event::Break => "the stream breaks, and what was on its way is lost",
            Event::Crash => "the agent dies",
            Event::LoseJournal => "the journal is lost, and a new one is begun",
            Event::Drain => "the agent is told to stop and drains",
            Event::BackUp => "the database is backed up",
            Event::Restore => "the database is restored from the backup",
            Event::Decide(Resolution::Sent) => "an operator takes the message for sent",
            Event::Decide(Resolution::Resend) => "an operator has the message sent again",
            Event::Decide(Resolution::Drop) => "an operator drops the message",
            Event::Cancel => "the client takes the message back",
            Event::ValidityEnds => "the validity ends",
            Event::GiveUp => "the server waits for the report no more",
        })
    }
}

impl World {
    /// A message was accepted, and nothing else has happened.
    pub(super) fn new(bounds: Bounds) -> Self {
        World {
            server: Server::new(),
            backup: None,
            node: Node::new(),
            line: None,
            is_over: false,
            taken: 0,
            handed_over: 0,
            is_handed_over_again: false,
            is_restored: false,
            permitted: 0,
            left: bounds,
        }
    }

    /// What can happen, each with the situation after it.
    pub(super) fn next(&self, journals: &mut Journals, fault: Fault) -> Vec<(Event, World)> {
        let mut next = Vec::new();
        let mut world = self.clone();
        for event in Event::ALL {
            if self.left.surprises == 0 && event.is_surprise() {
                continue;
            }
            if world.happen(event, journals, fault).is_some() {
                world.left.surprises -= u8::from(event.is_surprise());
                next.push((event, world));
                world = self.clone();
            }
        }
        next
    }

    /// The promise that is broken here, if one is.
    pub(super) fn broken(&self) -> Option<String> {
        let (taken, permitted) = (self.taken, self.permitted);
        if taken > 1 + permitted {
            return Some(format!("the message was taken {taken} times, and {permitted} permissions were given"));
        }
        if self.is_handed_over_again {
            return Some("one attempt was handed to the gateway twice".to_owned());
        }
        None
    }

    /// The promise that is broken here although everybody has told everything, if one is.
    pub(super) fn broken_at_rest(&self) -> Option<String> {
        let ended_unsent =
            matches!(self.server.state, MessageState::Failed | MessageState::Expired | MessageState::Cancelled);
        let is_decided = self.permitted > 0 || self.server.decided() == Some(Resolution::Drop);
        (ended_unsent && self.taken > 0 && !is_decided)
            .then(|| format!("the message was taken, and ends as {}", self.server.state))
    }

    /// Nothing is left to do for the message, or its history is too long to be followed.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.server.state.is_final() || self.server.attempt_no == ATTEMPTS_MAX
    }

    /// Nothing is left to do for anybody: the agent holds nothing and has told everything.
    pub(super) fn is_at_rest(&self, journals: &mut Journals, fault: Fault) -> bool {
        let view = self.node.view(journals, fault);
        let is_told = view.held.is_none() && view.head == self.server.committed();
        self.is_at_its_end() && (is_told || self.server.attempt_no == ATTEMPTS_MAX)
    }

    /// In a word, for people.
    pub(super) fn summary(&self) -> String {
        format!("{} after attempt {}, taken {} times", self.server.state, self.server.attempt_no, self.taken)
    }

    fn break_line(&mut self) {
        self.line = None;
        if let Some(process) = &mut self.node.process {
            process.session = Session::None;
        }
    }

    /// Puts a frame on the stream that the server knows of. If that one is gone, the frame is lost.
    fn send_down(&mut self, frame: Down) {
        if let Some(line) = self.line.as_mut().filter(|line| line.is_known) {
            line.down.push_back(frame);
        }
    }

    fn has_room_down(&self) -> bool {
        self.line.as_ref().is_none_or(|line| !line.is_known || line.down.len() < LINE_MAX)
    }

    /// Lets something happen. `None` if it cannot happen here; nothing has changed then.
    fn happen(&mut self, event: Event, journals: &mut Journals, fault: Fault) -> Option<()> {
        let only_if = |condition: bool| condition.then_some(());
        let view = self.node.view(journals, fault);
        let running = self.node.process.is_some();
        match event {
            Event::Claim => {
                only_if(self.server.may_claim() && !self.is_over && self.has_room_down())?;
                only_if(self.server.attempt_no < ATTEMPTS_MAX)?;
                let frame = self.server.claim();
                self.send_down(frame);
            }
            Event::ServerReads => {
                only_if(self.has_room_down())?;
                let line = self.line.as_mut()?;
                let frame = line.up.pop_front()?;
                line.is_known = true;
                match frame {
                    Up::Hello(hello) => match self.server.open(&hello, self.is_over, fault) {
                        Some(welcome) => self.send_down(welcome),
                        None => self.break_line(),
                    },
                    Up::Report { offset, said } => {
                        let through = self.server.report(offset, said, self.is_over);
                        self.send_down(Down::Acknowledge(through));
                    }
                    Up::Drain => self.server.is_draining = true,
                }
            }
            Event::ServerSeesTheEnd => {
                only_if(self.line.is_none() && self.server.is_online)?;
                self.server.is_online = false;
            }
            Event::Expire => {
                only_if(self.is_over && self.server.state == MessageState::Waiting)?;
                only_if(self.server.end_validity(false))?;
            }
            Event::GiveUp => {
                only_if(self.is_over && self.server.state == MessageState::Dispatched)?;
                only_if(self.server.end_validity(true))?;
            }
            Event::AgentStarts => {
                only_if(!running)?;
                self.node.start(journals, fault);
            }
            Event::AgentConnects => {
                let hello = self.node.hello(&view);
                let process = self.node.process.as_mut()?;
                only_if(process.session == Session::None && process.phase != StablePhase::Draining)?;
                process.session = Session::Opening;
                self.line = Some(Line { up: [hello].into(), ..Line::default() });
            }
            Event::AgentReads => {
                only_if(running)?;
                let frame = self.line.as_mut()?.down.pop_front()?;
                self.node.read(frame, &view);
            }
            Event::AgentGoesOnAlone => {
                let process = self.node.process.as_mut()?;
                only_if(process.phase == StablePhase::Resuming && view.held.is_some())?;
                process.phase = StablePhase::Working;
            }
            Event::Begin => {
                let held = view.held.filter(|held| !held.started)?;
                only_if(self.node.gate(&view, self.is_over)? == Gate::Start)?;
                self.node.begin(held.attempt_no, fault);
            }
            Event::EndUnstarted => {
                let held = view.held.filter(|held| !held.started)?;
                let Gate::End(came) = self.node.gate(&view, self.is_over)? else { return None };
                self.node.end(&view, held.attempt_no, came);
            }
            Event::Call(answer) => {
                let held = view.held.filter(|held| held.started)?;
                only_if(self.node.process?.answer.is_none())?;
                only_if(self.node.gate(&view, self.is_over)? == Gate::Start)?;
                self.call(held.attempt_no, answer, fault)?;
            }
            Event::EndBegun => {
                let held = view.held.filter(|held| held.started)?;
                only_if(self.node.process?.answer.is_none())?;
                let came = match self.node.gate(&view, self.is_over)? {
                    Gate::Start => return None,
                    Gate::End(came) => came,
                    Gate::Wait => Came::HandedBack,
                };
                self.node.end(&view, held.attempt_no, came);
            }
            Event::Record => {
                let came = self.node.process?.answer?;
                self.node.end(&view, view.held?.attempt_no, came);
            }
            Event::Tell => {
                only_if(self.line.as_ref()?.up.len() < LINE_MAX)?;
                let report = self.node.next_report(&view)?;
                self.line.as_mut()?.up.push_back(report);
            }
            Event::Drain => {
                let process = self.node.process.as_mut()?;
                only_if(process.phase == StablePhase::Working && process.session == Session::Open)?;
                process.phase = StablePhase::Draining;
                self.line.as_mut()?.up.push_back(Up::Drain);
            }
            Event::AgentStops => {
                let process = self.node.process?;
                only_if(process.phase == StablePhase::Draining && view.held.is_none())?;
                only_if(self.line.as_ref().is_none_or(|line| line.up.is_empty()))?;
                self.break_line();
                self.node.stop();
            }
            Event::Break => {
                only_if(self.line.is_some())?;
                self.break_line();
            }
            Event::Crash => {
                only_if(running)?;
                self.break_line();
                self.node.crash();
            }
            Event::LoseJournal => {
                only_if(!running && self.left.journals > 0 && view.head + u8::from(view.held.is_some()) > 0)?;
                self.left.journals -= 1;
                self.node.lose_journal();
            }
            Event::BackUp => {
                only_if(self.left.restores > 0 && self.left.surprises > 0 && self.backup.is_none())?;
                self.backup = Some(self.server.backed_up());
            }
            Event::Restore => {
                self.server = self.backup.take()?;
                self.left.restores -= 1;
                self.is_restored = true;
                self.break_line();
            }
            Event::Decide(resolution) => {
                only_if(self.server.decide(resolution, self.is_over))?;
                self.permitted += u8::from(resolution == Resolution::Resend);
            }
            Event::Cancel => {
                only_if(self.has_room_down())?;
                if self.server.cancel(self.is_over)? {
                    self.send_down(Down::Cancel);
                }
            }
            Event::ValidityEnds => {
                only_if(!self.is_over)?;
                self.is_over = true;
            }
        }
        Some(())
    }

    fn call(&mut self, attempt_no: u8, answer: Answer, fault: Fault) -> Option<()> {
        let silent = if fault == Fault::TimeOutRefuses { Came::Refused } else { Came::Uncertain };
        let (takes, came) = match answer {
            Answer::Takes => (true, Came::Sent),
            Answer::TakesAndStaysSilent => (true, silent),
            Answer::StaysSilent => (false, silent),
            Answer::Refuses => (false, Came::Refused),
        };
        self.taken += u8::from(takes);
        // A database that was restored gives numbers again.
        self.is_handed_over_again |= !self.is_restored && self.handed_over & (1 << attempt_no) != 0;
        self.handed_over |= 1 << attempt_no;
        self.node.process.as_mut()?.answer = Some(came);
        Some(())
    }
}
