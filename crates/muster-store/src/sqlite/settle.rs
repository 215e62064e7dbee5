//! Writing the steps in the life of messages: the one place where a message leaves a state for another one, other than the
//! first state and the claim. Which step follows from what is told by [`muster_domain::life`]. A message that becomes uncertain here is
//! looked at by its policy at once.

use std::collections::BTreeSet;

use muster_domain::failure::Failure;
use muster_domain::life::{self, AttemptEnd, Place};
use muster_domain::message::MessageState;
use rusqlite::params;

use super::code::Code as _;
use super::facts::Facts;
use super::queues::{self, Ready};
use super::txn::Txn;
use super::{attempts, micros, opt_outs, policy};
use crate::{Result, StoreError};

/// One step: a message leaves the state that its facts tell for another one.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) facts: Facts,
    pub(super) to: MessageState,
    /// Where it waits, if it waits.
    pub(super) place: Place,
    /// What the latest attempt came to, if the step ends one.
    pub(super) attempt: Option<AttemptResult>,
    /// Why the message is in the new state, if a failure brought it there.
    pub(super) failure: Option<Failure>,
}

/// What an attempt came to.
#[derive(Debug, Clone)]
pub(super) struct AttemptResult {
    /// Which attempt: a late report may speak of an earlier one than the latest.
    pub(super) attempt_no: i64,
    pub(super) end: AttemptEnd,
    pub(super) network_id: Option<String>,
    pub(super) queued_us: Option<i64>,
    pub(super) gateway_us: Option<i64>,
}

/// What an agent measured and learned of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) attempt_no: i64,
    pub(super) network_id: Option<String>,
    pub(super) queued_us: i64,
    pub(super) gateway_us: i64,
}

impl Told {
    pub(super) fn came_to(self, end: AttemptEnd) -> AttemptResult {
        let Told { attempt_no, network_id, queued_us, gateway_us } = self;
        AttemptResult { attempt_no, end, network_id, queued_us: Some(queued_us), gateway_us: Some(gateway_us) }
    }
}

impl Step {
    /// A step that ends the latest attempt, if any, and of which nobody told more.
    pub(super) fn new(facts: Facts, step: life::Step) -> Self {
        let life::Step { to, place, end, failure } = step;
        let attempt_no = facts.attempt_no;
        let attempt =
            end.map(|end| AttemptResult { attempt_no, end, network_id: None, queued_us: None, gateway_us: None });
        Step { facts, to, place, attempt, failure }
    }

    /// A step that follows from what an agent told of an attempt.
    pub(super) fn told(facts: Facts, step: life::Step, told: Told) -> Self {
        let life::Step { to, place, end, failure } = step;
        Step { facts, to, place, attempt: end.map(|end| told.came_to(end)), failure }
    }

    /// Whether the new state tells what the attempt came to. Where it does not, the attempt is kept apart for the trace.
    fn state_tells_the_end(&self) -> bool {
        let end = self.attempt.as_ref().map(|attempt| attempt.end);
        match self.to {
            MessageState::Waiting => false,
            MessageState::Expired => end == Some(AttemptEnd::Expired),
            MessageState::Cancelled => end == Some(AttemptEnd::Cancelled),
            // Its agent dropped it because its recipient opted out.
            MessageState::Failed => end != Some(AttemptEnd::Cancelled),
            _ => true,
        }
    }

    /// What the columns of an attempt's end hold.
    pub(super) fn end(&self) -> End<'_> {
        let attempt = self.attempt.as_ref();
        End {
            reason: self.failure.as_ref().map(|failure| failure.reason.code()),
            detail: self.failure.as_ref().map(|failure| failure.detail.as_str()),
            network_id: attempt.and_then(|attempt| attempt.network_id.as_deref()),
            queued_us: attempt.and_then(|attempt| attempt.queued_us),
            gateway_us: attempt.and_then(|attempt| attempt.gateway_us),
        }
    }

    fn becomes(&self, state: MessageState) -> bool {
        self.to == state && self.facts.state != state
    }

    fn comes_from(&self) -> Hold {
        Hold::of(self.facts.state)
    }
}

/// The end of an attempt, as columns have it.
pub(super) struct End<'a> {
    pub(super) reason: Option<i64>,
    pub(super) detail: Option<&'a str>,
    pub(super) network_id: Option<&'a str>,
    pub(super) queued_us: Option<i64>,
    pub(super) gateway_us: Option<i64>,
}

/// Which table says where a message is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Queue,
    Flight,
    Settled,
}

impl Hold {
    fn of(state: MessageState) -> Self {
        match state {
            MessageState::Waiting => Hold::Queue,
            MessageState::Dispatched => Hold::Flight,
            _ => Hold::Settled,
        }
    }
}

/// Takes the steps. Fails when a message is not where its facts say, which is a fault of the caller.
pub(super) fn apply(txn: &mut Txn, mut steps: Vec<Step>) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    // In the order of the tables, where a row behind the last one costs the least.
    steps.sort_unstable_by_key(|step| step.facts.message_id);
    leave(txn, &steps)?;
    enter(txn, &steps)?;
    keep_attempts(txn, &steps)?;
    for chain in freed_chains(txn, &steps) {
        queues::release(txn, chain)?;
    }
    for step in &steps {
        let facts = &step.facts;
        txn.under_way.forget(facts.message_id);
        txn.moved(facts.tenant_key, facts.bot_key, facts.priority, facts.message_id, facts.state, step.to);
    }
    let uncertain = steps.iter().filter(|step| step.becomes(MessageState::Uncertain));
    let uncertain: Vec<i64> = uncertain.map(|step| step.facts.message_id).collect();
    let returned = steps.into_iter().filter(|step| step.to == MessageState::Waiting);
    let returned =
        returned.map(|step| Facts { state: MessageState::Waiting, opted_out: false, ..step.facts }).collect();
    opt_outs::refuse_returned(txn, returned)?;
    policy::look(txn, &uncertain)
}

/// Takes the messages from where they are.
fn leave(txn: &Txn, steps: &[Step]) -> Result<()> {
    let waited = steps.iter().filter(|step| step.comes_from() == Hold::Queue);
    queues::leave(txn, waited.map(|step| &step.facts))?;
    let mut land = txn.prepare("DELETE FROM flight WHERE message_id = ?")?;
    let mut reopen = txn.prepare("DELETE FROM settled WHERE message_id = ?")?;
    for step in steps {
        let removed = match (step.comes_from(), Hold::of(step.to)) {
            (Hold::Queue, _) | (Hold::Settled, Hold::Settled) => 1,
            (Hold::Flight, _) => land.execute([step.facts.message_id])?,
            (Hold::Settled, Hold::Queue | Hold::Flight) => reopen.execute([step.facts.message_id])?,
        };
        if removed != 1 {
            return Err(StoreError::misplaced());
        }
    }
    Ok(())
}

/// Puts the messages where they go.
fn enter(txn: &Txn, steps: &[Step]) -> Result<()> {
    let ready = steps.iter().filter(|step| step.place == Place::Ready);
    queues::enter(txn, ready.map(|step| Ready::from(&step.facts)))?;
    let mut settle = txn.prepare(
        "INSERT INTO settled (message_id, tenant_key, bot_key, state, attempt_no, node_key, epoch, dispatch_time, outcome_time, \
         queued_us, gateway_us, network_id, reason, detail, cancel_requested) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut resettle = txn.prepare(
        "UPDATE settled SET state = ?2, outcome_time = coalesce(?3, outcome_time), queued_us = coalesce(?4, queued_us), \
         gateway_us = coalesce(?5, gateway_us), network_id = coalesce(?6, network_id), reason = ?7, detail = ?8, \
         cancel_requested = cancel_requested OR state = ?9 \
         WHERE message_id = ?1",
    )?;
    let now = micros(txn.now);
    for step in steps {
        if let Place::Parked { wait, reason } = step.place {
            queues::park(txn, &step.facts, txn.now + wait, reason)?;
        }
        if Hold::of(step.to) != Hold::Settled {
            continue;
        }
        let (facts, end, outcome_time) = (&step.facts, step.end(), step.attempt.as_ref().map(|_| now));
        if step.comes_from() == Hold::Settled {
            resettle.execute(params![
                facts.message_id,
                step.to.code(),
                outcome_time,
                end.queued_us,
                end.gateway_us,
                end.network_id,
                end.reason,
                end.detail,
                // Who took it back still wants that, whatever turns out.
                MessageState::Cancelled.code(),
            ])?;
        } else {
            settle.execute(params![
                facts.message_id,
                facts.tenant_key,
                facts.bot_key,
                step.to.code(),
                facts.attempt_no,
                facts.latest.map(|latest| latest.node_key),
                facts.latest.map(|latest| latest.epoch),
                facts.latest.map(|latest| latest.dispatch_time),
                outcome_time,
                end.queued_us,
                end.gateway_us,
                end.network_id,
                end.reason,
                end.detail,
                facts.cancel_requested,
            ])?;
        }
    }
    Ok(())
}

fn keep_attempts(txn: &Txn, steps: &[Step]) -> Result<()> {
    for step in steps {
        let Some(attempt) = &step.attempt else { continue };
        if step.facts.state != MessageState::Waiting && !step.state_tells_the_end() {
            attempts::keep(txn, step, attempt)?;
        }
        // Told late, it may be kept as something else.
        if step.facts.state != MessageState::Dispatched {
            attempts::correct(txn, step, attempt)?;
        }
    }
    Ok(())
}

/// Chains whose later messages need not wait for these any more: what they waited for ended otherwise than by its time, or
/// was under way at a node that the bot has left.
fn freed_chains(txn: &Txn, steps: &[Step]) -> BTreeSet<i64> {
    let elsewhere = |facts: &Facts| {
        let here = txn.directory.node_of(facts.bot_key);
        facts.latest.is_some_and(|latest| here.is_some_and(|here| here != latest.node_key))
    };
    let freed = steps.iter().map(|step| &step.facts).filter(|facts| match facts.state {
        MessageState::Waiting => true,
        MessageState::Dispatched => elsewhere(facts),
        _ => false,
    });
    freed.map(|facts| facts.chain).collect()
}
