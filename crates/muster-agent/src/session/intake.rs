//! What the server sends into the lanes: attempts to accept, to cancel and to drop, in the order of their frames.
//!
//! One intake runs per session, and to its end: a session is over only when its intake has either accepted an attempt or
//! left it. The next session's Hello then says what is true.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{AttemptRef, HandbackReason, Outcome};
use muster_domain::{BotId, MessageId};
use muster_proto::agent_v1 as wire;
use muster_proto::convert::agent_v1::{Attempt, AttemptOutcome};
use prost::Message;
use tokio::sync::mpsc;

use super::outbox::Outbox;
use super::verdict::{Verdict, judge};
use crate::clock::Stamp;
use crate::journal::record::{Accept, Record, Report, Settled, Settlement};
use crate::journal::state::{Known, Load, State};
use crate::journal::{AppendError, Journal};
use crate::lane::{Item, Lanes, Phase};
use crate::report;

/// Frames that are taken together into one sync.
const FRAMES_AT_ONCE_MAX: usize = 64;

/// Something for the lanes.
pub(super) enum Arrival {
    /// Attempts that belong to this agent now.
    Dispatch(Dispatch),
    /// Attempts that shall not be started.
    Cancel(Vec<AttemptRef>),
    /// Attempts that are no longer this agent's.
    Drop(Vec<AttemptRef>),
    /// The server has confirmed what is held from before.
    Confirmed,
}

/// The attempts of one frame.
pub(super) struct Dispatch {
    pub(super) seq: u64,
    pub(super) report_committed: u64,
    pub(super) arrived: Stamp,
    pub(super) attempts: Vec<Arrived>,
}

/// One attempt as it arrived.
pub(super) enum Arrived {
    /// It can be read.
    Good {
        attempt: Box<Attempt>,
        /// As the wire carries it.
        body: Bytes,
    },
    /// It breaks a rule, which is told.
    Bad { attempt: AttemptRef, why: String },
}

/// Why an intake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntakeEnd {
    /// The session did.
    SessionEnded,
    /// The journal refused.
    Refused(AppendError),
}

/// The intake of a session.
pub(super) struct Intake {
    pub(super) journal: Journal,
    pub(super) lanes: Arc<Lanes>,
    pub(super) outbox: Outbox,
    /// Attempts that arrived and are not in the journal yet.
    pub(super) underway: Arc<Underway>,
}

/// Attempts that arrived and are not decided yet.
#[derive(Debug, Default)]
pub(super) struct Underway(Mutex<Load>);

impl Underway {
    fn with<T>(&self, change: impl FnOnce(&mut Load) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn add(&self, weight: u64) {
        self.with(|load| {
            load.attempts += 1;
            load.bytes += weight;
        });
    }

    fn remove(&self, done: Load) {
        self.with(|load| {
            load.attempts = load.attempts.saturating_sub(done.attempts);
            load.bytes = load.bytes.saturating_sub(done.bytes);
        });
    }

    pub(super) fn load(&self) -> Load {
        self.with(|load| *load)
    }
}

/// What one sync makes durable, and what follows it.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    items: Vec<Item>,
    /// Attempts that the batch accepts: the journal does not know them yet.
    accepted: HashMap<MessageId, u32>,
    load: Load,
    through_seq: Option<u64>,
    /// Reports among the records.
    reports: u64,
    /// Chains that break by what is told of attempts that are not accepted, each with the place of its report.
    broken: Vec<(BotId, u64, u64)>,
}

impl Batch {
    fn report(&mut self, record: Record) {
        self.records.push(record);
        self.reports += 1;
    }

    /// The next report says that a message comes again: later ones of its chain that were chosen before go back.
    fn breaks_chain_of(&mut self, arrived: &Arrived) {
        if let Arrived::Good { attempt, .. } = arrived {
            self.broken.push((attempt.bot.clone(), attempt.chain, self.reports));
        }
    }
}

impl Intake {
    /// Takes what arrives until the session ends.
    pub(super) async fn run(self, mut arrivals: mpsc::UnboundedReceiver<Arrival>) -> IntakeEnd {
        let mut frames = Vec::new();
        loop {
            arrivals.recv_many(&mut frames, FRAMES_AT_ONCE_MAX).await;
            // What a dead session dispatched and was not accepted goes back to the server: it is not in the next Hello.
            if frames.is_empty() || arrivals.is_closed() {
                return IntakeEnd::SessionEnded;
            }
            let mut batch = Batch::default();
            for frame in frames.drain(..) {
                let taken = match frame {
                    Arrival::Dispatch(dispatch) => {
                        self.gather(dispatch, &mut batch);
                        Ok(())
                    }
                    Arrival::Cancel(attempts) => {
                        let now = self.journal.now();
                        self.take_out(&mut batch, &attempts, |item| cancelled(item, now)).await
                    }
                    Arrival::Drop(attempts) => {
                        self.take_out(&mut batch, &attempts, |item| Record::Forget(item.attempt.attempt)).await
                    }
                    Arrival::Confirmed => {
                        self.lanes.enter(Phase::Working);
                        Ok(())
                    }
                };
                if let Err(error) = taken {
                    return IntakeEnd::Refused(error);
                }
            }
            if let Err(error) = self.accept(&mut batch).await {
                return IntakeEnd::Refused(error);
            }
        }
    }

    /// Decides on the attempts of a frame.
    fn gather(&self, dispatch: Dispatch, batch: &mut Batch) {
        let Dispatch { seq, report_committed, arrived, attempts } = dispatch;
        let verdicts = self.journal.read(|state| verdicts(state, &attempts, &mut batch.accepted));
        let now = self.journal.now();
        let mut repeats = 0_usize;
        for (arrival, (verdict, broken_at)) in attempts.into_iter().zip(verdicts) {
            let (attempt, weight) = (arrival.attempt(), arrival.weight());
            batch.load.attempts += 1;
            batch.load.bytes += weight;
            match (verdict, arrival) {
                (Verdict::Ignore, _) => {}
                (Verdict::Accept, Arrived::Good { attempt, body }) => {
                    let mut item = Item { attempt: *attempt, arrived, report_committed, has_intent: false };
                    let (attempt, chain) = (item.attempt.attempt, item.attempt.chain);
                    let accept = Accept { order: 0, attempt, chain, weight, report_committed, stamp: arrived, body };
                    batch.records.push(Record::Accept(accept));
                    if let Some(offset) = broken_at {
                        // Its lane hands it back if it was chosen before that report.
                        self.lanes.bots().get_or_insert(&item.attempt.bot).lane().note_broken(chain, offset);
                    }
                    if self.lanes.try_begin(&item) {
                        item.has_intent = true;
                        batch.records.push(Record::Intent(attempt));
                    }
                    batch.items.push(item);
                }
                (Verdict::Accept, Arrived::Bad { why, .. }) => {
                    tracing::warn!(%attempt, %why, "the server dispatched an attempt that breaks a rule; it fails");
                    let failure = Failure::new(FailureReason::InvalidRequest, why);
                    batch.report(ended(attempt, Outcome::Failed(failure), now));
                }
                (Verdict::HandBack, _) => {
                    let outcome = Outcome::HandedBack(HandbackReason::ChainBroken);
                    batch.report(ended(attempt, outcome, now));
                }
                (Verdict::Repeat { stamp, how, body }, arrival) => {
                    tracing::debug!(%attempt, "the outcome of a dispatched attempt is known from before");
                    repeats += 1;
                    if how.breaks_chain() {
                        batch.breaks_chain_of(&arrival);
                    }
                    batch.report(repeated(attempt, stamp, how, &body));
                }
            }
        }
        if repeats > 0 {
            tracing::warn!(
                repeats,
                "the server dispatched what it was told of before: the outcomes are told again, nothing is sent"
            );
        }
        batch.through_seq = Some(seq);
    }

    /// Makes a batch durable, acknowledges it, and fills the lanes.
    async fn accept(&self, batch: &mut Batch) -> Result<(), AppendError> {
        let Batch { records, items, load, through_seq, broken, .. } = std::mem::take(batch);
        let result = if records.is_empty() { Ok(0) } else { self.journal.append_if_room(records).await };
        let first = match result {
            Ok(first) => first,
            Err(error) => {
                for item in items.iter().filter(|item| item.has_intent) {
                    self.lanes.abandon(item);
                }
                return Err(error);
            }
        };
        self.underway.remove(load);
        for (bot, chain, nth) in broken {
            self.lanes.bots().get_or_insert(&bot).lane().note_broken(chain, first + nth);
        }
        for item in items {
            self.lanes.push(item);
        }
        if let Some(through_seq) = through_seq {
            self.outbox.send(wire::agent_frame::Body::DispatchAck(wire::DispatchAck { through_seq }));
        }
        Ok(())
    }

    /// Takes attempts out of their lanes that were not begun, and records each with `record`. What arrived before is accepted
    /// first.
    async fn take_out(
        &self,
        batch: &mut Batch,
        attempts: &[AttemptRef],
        record: impl Fn(&Item) -> Record,
    ) -> Result<(), AppendError> {
        self.accept(batch).await?;
        if *self.journal.is_full().borrow() {
            // The next session asks again.
            return Ok(());
        }
        let taken: Vec<Item> = attempts.iter().filter_map(|attempt| self.take_out_one(*attempt)).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let result = self.journal.append_if_room(taken.iter().map(record).collect()).await;
        if result.is_err() {
            for item in taken {
                self.lanes.push(item);
            }
        }
        result.map(|_| ())
    }

    fn take_out_one(&self, attempt: AttemptRef) -> Option<Item> {
        let body = self.journal.read(|state| state.held_of(attempt.message_id).map(|held| held.accept.body.clone()))?;
        let bot = self.lanes.bots().get(&bot_of(&body)?)?;
        bot.lane().take_out(attempt)
    }
}

impl Arrived {
    fn attempt(&self) -> AttemptRef {
        match self {
            Arrived::Good { attempt, .. } => attempt.attempt,
            Arrived::Bad { attempt, .. } => *attempt,
        }
    }

    /// Up to which attempt an operator overrules what may have been sent.
    fn resend_after(&self) -> u32 {
        match self {
            Arrived::Good { attempt, .. } => attempt.resend_after,
            Arrived::Bad { .. } => 0,
        }
    }

    fn chain(&self) -> Option<u64> {
        match self {
            Arrived::Good { attempt, .. } => Some(attempt.chain),
            Arrived::Bad { .. } => None,
        }
    }

    /// What the attempt counts against the credit of bytes. One that cannot be read counts nothing.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Arrived::Good { attempt, .. } => attempt.credit_bytes(),
            Arrived::Bad { .. } => 0,
        }
    }
}

/// What becomes of each attempt of a frame, and the report at which its chain broke, if it did.
fn verdicts(
    state: &State,
    attempts: &[Arrived],
    accepted: &mut HashMap<MessageId, u32>,
) -> Vec<(Verdict, Option<u64>)> {
    let judge = |arrived: &Arrived| {
        let attempt = arrived.attempt();
        let known = match accepted.get(&attempt.message_id) {
            Some(attempt_no) => Known::Held { attempt_no: *attempt_no },
            None => state.known(attempt),
        };
        let verdict = judge(attempt, arrived.resend_after(), known);
        if verdict == Verdict::Accept {
            accepted.insert(attempt.message_id, attempt.attempt_no);
        }
        (verdict, arrived.chain().and_then(|chain| state.chain_broken_at(chain)))
    };
    attempts.iter().map(judge).collect()
}

fn bot_of(body: &[u8]) -> Option<BotId> {
    BotId::new(&wire::Attempt::decode(body).ok()?.bot).ok()
}

/// The report of an attempt that ends without having been accepted.
fn ended(attempt: AttemptRef, outcome: Outcome, now: Stamp) -> Record {
    report::outcome(AttemptOutcome { attempt, outcome, queued: Duration::ZERO, gateway: Duration::ZERO }, now)
}

fn cancelled(item: &Item, now: Stamp) -> Record {
    let attempt = item.attempt.attempt;
    let queued = item.arrived.age(now);
    report::outcome(AttemptOutcome { attempt, outcome: Outcome::Cancelled, queued, gateway: Duration::ZERO }, now)
}

/// A known outcome, said of another attempt of the same message.
fn repeated(attempt: AttemptRef, stamp: Stamp, how: Settlement, body: &[u8]) -> Record {
    let mut said = wire::Report::decode(body).unwrap_or_default();
    if let Some(wire::report::Body::Outcome(outcome)) = &mut said.body {
        outcome.attempt = Some(attempt.into());
    }
    let body = Bytes::from(said.encode_to_vec());
    Record::Report(Report { offset: 0, stamp, settles: Some(Settled { attempt, how }), body })
}
