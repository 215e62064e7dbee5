//! Whose turn it is among the queues of a bot: what has waited for long is brought forward. The rule itself is
//! [`muster_domain::aging`].

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use muster_domain::aging::{self, Before, QUEUES};
use muster_domain::message::Priority;
use muster_domain::{MessageId, Timestamp};
use sqlx::sqlite::SqlitePool;

use super::claim::{self, Candidate};
use super::code::Code as _;
use super::error::failed;
use super::time_opt;
use super::txn::Txn;
use crate::{Result, StoreError};

/// Bots whose queues take turns, each with the queue that had the latest one. It ends with the process: the most urgent queue
/// begins again, and each of the others has its next turn as soon as it would have had otherwise.
#[derive(Default)]
pub(super) struct Turns(HashMap<i64, Priority>);

impl Turns {
    /// Notes which queue of a bot had the latest turn; `None` if its queues take no turns.
    pub(super) fn note(&mut self, bot_key: i64, latest: Option<Priority>) {
        match latest {
            Some(priority) => drop(self.0.insert(bot_key, priority)),
            None => drop(self.0.remove(&bot_key)),
        }
    }
}

/// The first messages of a bot's queues, in the order in which they leave.
pub(super) struct InTurn {
    pub(super) candidates: Vec<Candidate>,
    /// More than one queue has something that may go first.
    pub(super) taking_turns: bool,
}

/// Finds the first messages of a bot's queues, at most `limit`. `step` is how long a message waits until it counts as the next
/// higher priority.
pub(super) fn candidates(txn: &Txn, tenant_key: i64, bot_key: i64, limit: u32, step: Duration) -> Result<InTurn> {
    let urgent = claim::most_urgent(txn, tenant_key, bot_key, limit)?;
    let (Some(first), Some(last)) = (urgent.first(), urgent.last()) else {
        return Ok(InTurn { candidates: urgent, taking_turns: false });
    };
    let (first, last) = (Priority::decode(first.facts.priority)?, Priority::decode(last.facts.priority)?);
    let mut aged: [Vec<Candidate>; QUEUES] = Default::default();
    // Otherwise there is nothing behind these.
    if urgent.len() as u64 == u64::from(limit) {
        for pair in Priority::ALL.windows(2).filter(|pair| pair[0] >= first && pair[1] >= last) {
            let (next_higher, priority) = (pair[0], pair[1]);
            if let Some(old) = aging::accepted_by(priority, next_higher, step, txn.now) {
                aged[priority as usize] = claim::accepted_before(txn, tenant_key, bot_key, priority, old, limit)?;
            }
        }
    }
    if first == last && aged.iter().all(Vec::is_empty) {
        return Ok(InTurn { candidates: urgent, taking_turns: false });
    }
    let mut queues: [VecDeque<Candidate>; QUEUES] = Default::default();
    for candidate in urgent {
        queues[Priority::decode(candidate.facts.priority)? as usize].push_back(candidate);
    }
    for (queue, aged) in queues.iter_mut().zip(aged) {
        if aged.len() > queue.len() {
            *queue = aged.into();
        }
    }
    let latest = txn.turns.0.get(&bot_key).copied();
    let mut candidates = aging::in_turn(queues, |candidate| since(candidate, txn.now), latest, step, txn.now);
    candidates.truncate(limit as usize);
    Ok(InTurn { candidates, taking_turns: true })
}

/// See [`aging::since`].
fn since(candidate: &Candidate, now: Timestamp) -> Timestamp {
    MessageId::from_raw(candidate.facts.message_id).map_or(now, |id| aging::since(id, time_opt(candidate.not_before)))
}

/// See [`crate::Store::message_queue_ahead`].
pub(super) async fn ahead(
    readers: &SqlitePool,
    tenant_key: i64,
    id: MessageId,
    step: Duration,
    now: Timestamp,
) -> Result<u64> {
    let found: Option<(i64, i64, Option<i64>)> =
        sqlx::query_as("SELECT bot_key, priority, not_before FROM message WHERE message_id = ? AND tenant_key = ?")
            .bind(id.raw())
            .bind(tenant_key)
            .fetch_optional(readers)
            .await
            .map_err(failed)?;
    let Some((bot_key, priority, not_before)) = found else {
        return Err(StoreError::NotFound(id.resource_name()));
    };
    let own = Priority::decode(priority)?;
    let counts = aging::counts_as(own, aging::since(id, time_opt(not_before)), step, now);
    let mut others = Vec::with_capacity(QUEUES);
    for other in Priority::ALL.into_iter().filter(|other| *other != own) {
        let at_least = count(readers, bot_key, other, aging::accepted_by(other, counts, step, now)).await?;
        let higher = match Priority::ALL[..counts as usize].last() {
            Some(higher) => count(readers, bot_key, other, aging::accepted_by(other, *higher, step, now)).await?,
            None => 0,
        };
        others.push(Before { higher, equal: at_least.saturating_sub(higher) });
    }
    Ok(aging::ahead(count(readers, bot_key, own, Some(id)).await?, others))
}

/// How many messages of a queue have an id below `before`; all of them if that is `None`.
async fn count(readers: &SqlitePool, bot_key: i64, priority: Priority, before: Option<MessageId>) -> Result<u64> {
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ready WHERE bot_key = ? AND priority = ? AND message_id < ?")
            .bind(bot_key)
            .bind(priority.code())
            .bind(before.map_or(i64::MAX, MessageId::raw))
            .fetch_one(readers)
            .await
            .map_err(failed)?;
    Ok(count.unsigned_abs())
}
