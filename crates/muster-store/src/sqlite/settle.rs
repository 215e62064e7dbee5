//! Steps in the life of messages: the one place that writes a state other than the first and the claim.

use std::collections::HashMap;

use muster_domain::Timestamp;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::WaitReason;
use muster_domain::message::MessageState;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::code::{AttemptEnd, Code as _};
use super::writer::Txn;
use super::{bulk, micros};
use crate::{Result, StoreError};

/// What a step needs to know of a message.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) message_id: i64,
    pub(super) tenant_key: i64,
    pub(super) bot_key: i64,
    pub(super) state: MessageState,
    pub(super) priority: i64,
    pub(super) chain: i64,
    pub(super) expire_time: i64,
    pub(super) attempt_no: i64,
    pub(super) cancel_requested: bool,
    pub(super) node_key: Option<i64>,
    pub(super) epoch: Option<i64>,
    pub(super) dispatch_time: Option<i64>,
}

/// The columns of [`Facts`], in the order that [`Facts::read`] expects.
pub(super) const FACTS: &str = "message_id, tenant_key, bot_key, state, priority, chain, expire_time, attempt_no, \
    cancel_requested, node_key, epoch, dispatch_time";

impl Facts {
    pub(super) fn read(row: &SqliteRow) -> Result<Self> {
        Ok(Facts {
            message_id: row.get(0),
            tenant_key: row.get(1),
            bot_key: row.get(2),
            state: MessageState::decode(row.get(3))?,
            priority: row.get(4),
            chain: row.get(5),
            expire_time: row.get(6),
            attempt_no: row.get(7),
            cancel_requested: row.get(8),
            node_key: row.get(9),
            epoch: row.get(10),
            dispatch_time: row.get(11),
        })
    }
}

/// Reads the facts of messages by id.
pub(super) async fn facts(txn: &mut Txn, ids: &[i64]) -> Result<HashMap<i64, Facts>> {
    let head = format!("SELECT {FACTS} FROM message WHERE message_id IN (VALUES");
    let rows = bulk::fetch(&mut txn.connection, &head, 1, ")", ids, |query, id| query.bind(*id)).await?;
    rows.iter().map(|row| Facts::read(row).map(|facts| (facts.message_id, facts))).collect()
}

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

/// The session whose writes these are: it must still be the latest one of its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence {
    pub(super) node_key: i64,
    pub(super) epoch: i64,
}

impl Step {
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
}

/// Takes the steps. With a `fence`, all of them fail as [`StoreError::Fenced`] if the session is no longer the latest; a
/// message that is not in the state of its facts any more is a fault of the caller and fails all of them too.
pub(super) async fn apply(txn: &mut Txn, steps: Vec<Step>, fence: Option<Fence>) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    update(txn, &steps, fence).await?;
    leave_queues(txn, &steps).await?;
    enter_queues(txn, &steps).await?;
    let ends = || steps.iter().filter(|step| step.attempt.is_some());
    let apart: Vec<&Step> =
        ends().filter(|step| step.facts.state != MessageState::Waiting && !step.state_tells_the_end()).collect();
    keep_attempts(txn, &apart).await?;
    let told_late: Vec<&Step> = ends().filter(|step| step.facts.state != MessageState::Dispatched).collect();
    correct_attempts(txn, &told_late).await?;
    for step in &steps {
        let facts = &step.facts;
        txn.moved(facts.tenant_key, facts.bot_key, facts.message_id, Some(facts.state), step.to);
    }
    Ok(())
}

async fn update(txn: &mut Txn, steps: &[Step], fence: Option<Fence>) -> Result<()> {
    let now = micros(txn.now);
    // Two numbered places would need numbers for all of them; without a fence the condition compares the value with itself.
    let tail = ") AS v WHERE message.message_id = v.column1 AND message.state = v.column2 AND message.attempt_no = v.column3 \
         AND (? = 0 OR EXISTS (SELECT 1 FROM node WHERE node_key = ? AND epoch = ?))";
    let (fenced, node_key, epoch) = fence.map_or((0, 0, 0), |fence| (1, fence.node_key, fence.epoch));
    let changed = bulk::execute(
        &mut txn.connection,
        "UPDATE message SET state = v.column4, outcome_time = coalesce(v.column5, outcome_time), reason = v.column6, \
         detail = v.column7, network_id = coalesce(v.column8, network_id), queued_us = coalesce(v.column9, queued_us), \
         gateway_us = coalesce(v.column10, gateway_us) FROM (VALUES",
        10,
        tail,
        steps,
        |query, step| {
            let attempt = step.attempt.as_ref();
            let query = query.bind(step.facts.message_id).bind(step.facts.state.code()).bind(step.facts.attempt_no);
            let query = query.bind(step.to.code()).bind(attempt.map(|_| now));
            let query = query.bind(step.failure.as_ref().map(|(reason, _)| reason.code()));
            let query = query.bind(step.failure.as_ref().map(|(_, detail)| detail.clone()));
            let query = query.bind(attempt.and_then(|attempt| attempt.network_id.clone()));
            query
                .bind(attempt.and_then(|attempt| attempt.queued_us))
                .bind(attempt.and_then(|attempt| attempt.gateway_us))
        },
        |query| query.bind(fenced).bind(node_key).bind(epoch),
    )
    .await?;
    if changed == steps.len() as u64 {
        return Ok(());
    }
    if fence.is_some() {
        return Err(StoreError::Fenced);
    }
    Err(StoreError::Failed(format!(
        "{} of {} messages were not where they should be",
        steps.len() as u64 - changed,
        steps.len()
    )))
}

async fn leave_queues(txn: &mut Txn, steps: &[Step]) -> Result<()> {
    let leaving: Vec<&Facts> =
        steps.iter().map(|step| &step.facts).filter(|facts| facts.state == MessageState::Waiting).collect();
    remove_waiting(txn, &leaving).await
}

/// Takes messages out of the queues.
pub(super) async fn remove_waiting(txn: &mut Txn, leaving: &[&Facts]) -> Result<()> {
    let removed = bulk::execute(
        &mut txn.connection,
        "DELETE FROM ready WHERE (bot_key, priority, message_id) IN (VALUES",
        3,
        ")",
        leaving,
        |query, facts| query.bind(facts.bot_key).bind(facts.priority).bind(facts.message_id),
        |query| query,
    )
    .await?;
    if removed < leaving.len() as u64 {
        let head = "DELETE FROM parked WHERE message_id IN (VALUES";
        bulk::execute(
            &mut txn.connection,
            head,
            1,
            ")",
            leaving,
            |query, facts| query.bind(facts.message_id),
            |query| query,
        )
        .await?;
    }
    Ok(())
}

async fn enter_queues(txn: &mut Txn, steps: &[Step]) -> Result<()> {
    let ready: Vec<&Facts> = steps.iter().filter(|step| step.place == Place::Ready).map(|step| &step.facts).collect();
    insert_ready(txn, &ready).await?;
    let parked: Vec<(&Facts, Timestamp, WaitReason)> = steps
        .iter()
        .filter_map(|step| match step.place {
            Place::Parked { until, reason } => Some((&step.facts, until, reason)),
            Place::Ready | Place::Nowhere => None,
        })
        .collect();
    insert_parked(txn, &parked).await
}

/// Puts messages into their bots' queues.
pub(super) async fn insert_ready(txn: &mut Txn, rows: &[&Facts]) -> Result<()> {
    let head = "INSERT INTO ready (bot_key, priority, message_id) VALUES";
    let bind =
        |query: bulk::Query, facts: &&Facts| query.bind(facts.bot_key).bind(facts.priority).bind(facts.message_id);
    bulk::insert(&mut txn.connection, head, 3, rows, bind).await.map(|_| ())
}

/// Parks messages until a time. They block the later ones of their chain, unless the time is the client's own.
pub(super) async fn insert_parked(txn: &mut Txn, rows: &[(&Facts, Timestamp, WaitReason)]) -> Result<()> {
    let now = micros(txn.now);
    bulk::insert(
        &mut txn.connection,
        "INSERT INTO parked (wake_time, message_id, bot_key, priority, chain, reason, since, blocks) VALUES",
        8,
        rows,
        |query, (facts, until, reason)| {
            let query = query
                .bind(micros(*until))
                .bind(facts.message_id)
                .bind(facts.bot_key)
                .bind(facts.priority)
                .bind(facts.chain);
            query.bind(reason.code()).bind(now).bind(i64::from(*reason != WaitReason::NotBefore))
        },
    )
    .await
    .map(|_| ())
}

/// Corrects kept attempts that came to something else than was believed.
async fn correct_attempts(txn: &mut Txn, steps: &[&Step]) -> Result<()> {
    let now = micros(txn.now);
    bulk::execute(
        &mut txn.connection,
        "UPDATE attempt SET outcome_time = v.column3, outcome = v.column4, reason = v.column5, detail = v.column6, \
         network_id = v.column7, queued_us = v.column8, gateway_us = v.column9 FROM (VALUES",
        9,
        ") AS v WHERE attempt.message_id = v.column1 AND attempt.attempt_no = v.column2",
        steps,
        |query, step| {
            let attempt = step.attempt.as_ref();
            let query = query.bind(step.facts.message_id).bind(attempt.map(|attempt| attempt.attempt_no)).bind(now);
            let query = query.bind(attempt.map(|attempt| attempt.end.code()));
            let query = query.bind(step.failure.as_ref().map(|(reason, _)| reason.code()));
            let query = query.bind(step.failure.as_ref().map(|(_, detail)| detail.clone()));
            let query = query.bind(attempt.and_then(|attempt| attempt.network_id.clone()));
            query
                .bind(attempt.and_then(|attempt| attempt.queued_us))
                .bind(attempt.and_then(|attempt| attempt.gateway_us))
        },
        |query| query,
    )
    .await
    .map(|_| ())
}

/// Keeps attempts that another one will follow, or whose end the message's state does not tell.
async fn keep_attempts(txn: &mut Txn, steps: &[&Step]) -> Result<()> {
    let now = micros(txn.now);
    bulk::insert(
        &mut txn.connection,
        "INSERT OR REPLACE INTO attempt (message_id, attempt_no, node_key, epoch, dispatch_time, outcome_time, outcome, reason, \
         detail, network_id, queued_us, gateway_us) VALUES",
        12,
        steps,
        |query, step| {
            let (facts, attempt) = (&step.facts, step.attempt.as_ref());
            let query = query.bind(facts.message_id).bind(facts.attempt_no).bind(facts.node_key.unwrap_or_default());
            let query = query.bind(facts.epoch.unwrap_or_default()).bind(facts.dispatch_time.unwrap_or(now)).bind(now);
            let query = query.bind(attempt.map_or(-1, |attempt| attempt.end.code()));
            let query = query.bind(step.failure.as_ref().map(|(reason, _)| reason.code()));
            let query = query.bind(step.failure.as_ref().map(|(_, detail)| detail.clone()));
            let query = query.bind(attempt.and_then(|attempt| attempt.network_id.clone()));
            query.bind(attempt.and_then(|attempt| attempt.queued_us)).bind(attempt.and_then(|attempt| attempt.gateway_us))
        },
    )
    .await
    .map(|_| ())
}
