//! Steps in the life of messages: the one place where a message leaves a state for another one, other than the first state
//! and the claim.

use std::collections::BTreeSet;

use muster_domain::Timestamp;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::WaitReason;
use muster_domain::message::MessageState;

use super::code::{AttemptEnd, Code as _};
use super::facts::{Facts, Latest};
use super::queues::{self, Parking};
use super::writer::Txn;
use super::{attempts, bulk, micros};
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
    pub(super) failure: Option<(FailureReason, String)>,
}

/// Where a waiting message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It does not wait.
    Nowhere,
    /// In its bot's queue.
    Ready,
    /// For a time.
    Parked { until: Timestamp, reason: WaitReason },
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

impl AttemptResult {
    /// What the latest attempt of a message came to, where nobody measured it.
    pub(super) fn untimed(facts: &Facts, end: AttemptEnd) -> Self {
        AttemptResult { attempt_no: facts.attempt_no, end, network_id: None, queued_us: None, gateway_us: None }
    }
}

impl Step {
    /// A message that never leaves, or whose fate is settled.
    pub(super) fn finish(
        facts: Facts,
        to: MessageState,
        attempt: Option<AttemptResult>,
        failure: Option<Failure>,
    ) -> Self {
        let failure = failure.map(|failure| (failure.reason, failure.detail));
        Step { facts, to, place: Place::Nowhere, attempt, failure }
    }

    /// A message whose attempt was not sent and that may leave again: unless the client took it back or its validity ended.
    pub(super) fn wait_again(
        facts: Facts,
        now: Timestamp,
        place: Place,
        attempt: AttemptResult,
        failure: Option<Failure>,
    ) -> Self {
        if facts.cancel_requested {
            return Step::finish(facts, MessageState::Cancelled, Some(attempt), failure);
        }
        if facts.expire_time <= micros(now) {
            return Step::finish(facts, MessageState::Expired, Some(attempt), failure);
        }
        let failure = failure.map(|failure| (failure.reason, failure.detail));
        Step { facts, to: MessageState::Waiting, place, attempt: Some(attempt), failure }
    }

    /// Whether the new state tells what the attempt came to. Where it does not, the attempt is kept apart for the trace.
    fn state_tells_the_end(&self) -> bool {
        let end = self.attempt.as_ref().map(|attempt| attempt.end);
        match self.to {
            MessageState::Waiting => false,
            MessageState::Expired => end == Some(AttemptEnd::Expired),
            MessageState::Cancelled => end == Some(AttemptEnd::Cancelled),
            _ => true,
        }
    }

    /// The number of the failure's reason, as a column has it.
    pub(super) fn reason(&self) -> Option<i64> {
        self.failure.as_ref().map(|(reason, _)| reason.code())
    }

    /// The failure's detail, as a column has it.
    pub(super) fn detail(&self) -> Option<String> {
        self.failure.as_ref().map(|(_, detail)| detail.clone())
    }

    /// The id that the network gave, as a column has it.
    pub(super) fn network_id(&self) -> Option<String> {
        self.attempt.as_ref().and_then(|attempt| attempt.network_id.clone())
    }

    /// How long the agent held the attempt, as a column has it.
    pub(super) fn queued_us(&self) -> Option<i64> {
        self.attempt.as_ref().and_then(|attempt| attempt.queued_us)
    }

    /// How long the gateway took, as a column has it.
    pub(super) fn gateway_us(&self) -> Option<i64> {
        self.attempt.as_ref().and_then(|attempt| attempt.gateway_us)
    }

    fn comes_from(&self) -> Hold {
        Hold::of(self.facts.state)
    }
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

/// Takes the steps: all of them, or none when a message is not where its facts say, which is a fault of the caller.
pub(super) async fn apply(txn: &mut Txn, steps: Vec<Step>) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let choose = |wanted: fn(Hold, Hold) -> bool| -> Vec<&Step> {
        steps.iter().filter(|step| wanted(step.comes_from(), Hold::of(step.to))).collect()
    };
    let waited = choose(|from, _| from == Hold::Queue);
    let leaving: Vec<&Facts> = waited.iter().map(|step| &step.facts).collect();
    queues::leave(txn, &leaving).await?;
    remove(txn, "DELETE FROM flight WHERE message_id IN (VALUES", &choose(|from, _| from == Hold::Flight)).await?;
    let reopened = choose(|from, to| from == Hold::Settled && to != Hold::Settled);
    remove(txn, "DELETE FROM settled WHERE message_id IN (VALUES", &reopened).await?;
    settle(txn, &choose(|from, to| from != Hold::Settled && to == Hold::Settled)).await?;
    resettle(txn, &choose(|from, to| from == Hold::Settled && to == Hold::Settled)).await?;
    enter_queues(txn, &steps).await?;
    keep_attempts(txn, &steps).await?;
    let freed = freed_chains(txn, &steps);
    queues::release(txn, &freed).await?;
    for step in &steps {
        let facts = &step.facts;
        txn.moved(facts.tenant_key, facts.bot_key, facts.message_id, Some(facts.state), step.to);
    }
    Ok(())
}

async fn remove(txn: &mut Txn, head: &'static str, steps: &[&Step]) -> Result<()> {
    let bind = |query: bulk::Query, step: &&Step| query.bind(step.facts.message_id);
    let removed = bulk::execute(&mut txn.connection, head, 1, ")", steps, bind, |query| query).await?;
    let wanted = steps.len() as u64;
    if removed == wanted { Ok(()) } else { Err(StoreError::misplaced(wanted - removed, wanted)) }
}

/// Settles what waited or was under way.
async fn settle(txn: &mut Txn, steps: &[&Step]) -> Result<()> {
    let now = micros(txn.now);
    bulk::insert(
        &mut txn.connection,
        "INSERT INTO settled (message_id, tenant_key, bot_key, state, attempt_no, node_key, epoch, dispatch_time, outcome_time, \
         queued_us, gateway_us, network_id, reason, detail, cancel_requested) VALUES",
        15,
        steps,
        |query, step| {
            let facts = &step.facts;
            let (node_key, epoch, dispatch_time) = columns(facts.latest);
            let query = query.bind(facts.message_id).bind(facts.tenant_key).bind(facts.bot_key).bind(step.to.code());
            let query = query.bind(facts.attempt_no).bind(node_key).bind(epoch).bind(dispatch_time);
            let query = query.bind(step.attempt.as_ref().map(|_| now)).bind(step.queued_us()).bind(step.gateway_us());
            let query = query.bind(step.network_id()).bind(step.reason()).bind(step.detail());
            query.bind(facts.cancel_requested)
        },
    )
    .await
    .map(|_| ())
}

fn columns(latest: Option<Latest>) -> (Option<i64>, Option<i64>, Option<i64>) {
    match latest {
        Some(Latest { node_key, epoch, dispatch_time }) => (Some(node_key), Some(epoch), Some(dispatch_time)),
        None => (None, None, None),
    }
}

/// Moves what was settled on better evidence.
async fn resettle(txn: &mut Txn, steps: &[&Step]) -> Result<()> {
    let now = micros(txn.now);
    bulk::execute(
        &mut txn.connection,
        "UPDATE settled SET state = v.column2, outcome_time = coalesce(v.column3, outcome_time), queued_us = coalesce(v.column4, queued_us), \
         gateway_us = coalesce(v.column5, gateway_us), network_id = coalesce(v.column6, network_id), reason = v.column7, \
         detail = v.column8 FROM (VALUES",
        8,
        ") AS v WHERE settled.message_id = v.column1",
        steps,
        |query, step| {
            let query = query.bind(step.facts.message_id).bind(step.to.code()).bind(step.attempt.as_ref().map(|_| now));
            let query = query.bind(step.queued_us()).bind(step.gateway_us());
            query.bind(step.network_id()).bind(step.reason()).bind(step.detail())
        },
        |query| query,
    )
    .await
    .map(|_| ())
}

async fn enter_queues(txn: &mut Txn, steps: &[Step]) -> Result<()> {
    let (mut ready, mut parked): (Vec<&Facts>, Vec<Parking<'_>>) = (Vec::new(), Vec::new());
    for step in steps {
        match step.place {
            Place::Ready => ready.push(&step.facts),
            Place::Parked { until, reason } => parked.push((&step.facts, until, reason)),
            Place::Nowhere => {}
        }
    }
    queues::enter(txn, &ready).await?;
    queues::park(txn, &parked).await
}

async fn keep_attempts(txn: &mut Txn, steps: &[Step]) -> Result<()> {
    let ends = || steps.iter().filter(|step| step.attempt.is_some());
    let apart: Vec<&Step> =
        ends().filter(|step| step.facts.state != MessageState::Waiting && !step.state_tells_the_end()).collect();
    attempts::keep(txn, &apart).await?;
    let told_late: Vec<&Step> = ends().filter(|step| step.facts.state != MessageState::Dispatched).collect();
    attempts::correct(txn, &told_late).await
}

/// Chains whose later messages need not wait for these any more: what they waited for ended otherwise than by its time, or
/// was under way at a node that the bot has left.
fn freed_chains(txn: &Txn, steps: &[Step]) -> Vec<i64> {
    let mut freed = BTreeSet::new();
    for step in steps {
        let facts = &step.facts;
        let elsewhere = || {
            let here = txn.directory.node_of(facts.bot_key);
            facts.latest.is_some_and(|latest| here.is_some_and(|here| here != latest.node_key))
        };
        if facts.state == MessageState::Waiting || (facts.state == MessageState::Dispatched && elsewhere()) {
            freed.insert(facts.chain);
        }
    }
    freed.into_iter().collect()
}
