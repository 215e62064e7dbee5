//! The queues of waiting messages: what can leave, and what waits for a time of its own.

use std::collections::BTreeMap;

use muster_domain::Timestamp;
use muster_domain::gate::WaitReason;
use rusqlite::{OptionalExtension as _, params};

use super::code::Code as _;
use super::facts::Facts;
use super::micros;
use super::txn::Txn;
use crate::{Result, StoreError};

/// A row of `ready`.
pub(super) struct Ready {
    pub(super) bot_key: i64,
    pub(super) priority: i64,
    pub(super) message_id: i64,
    pub(super) attempt_no: i64,
}

impl From<&Facts> for Ready {
    fn from(facts: &Facts) -> Self {
        let Facts { bot_key, priority, message_id, attempt_no, .. } = *facts;
        Ready { bot_key, priority, message_id, attempt_no }
    }
}

/// Puts messages into their bots' queues.
pub(super) fn enter(txn: &Txn, rows: impl IntoIterator<Item = Ready>) -> Result<()> {
    let mut insert =
        txn.prepare("INSERT INTO ready (bot_key, priority, message_id, attempt_no) VALUES (?, ?, ?, ?)")?;
    for row in rows {
        insert.execute(params![row.bot_key, row.priority, row.message_id, row.attempt_no])?;
    }
    Ok(())
}

/// Parks a message until a time. It blocks the later ones of its chain, unless the time is the client's own.
pub(super) fn park(txn: &Txn, facts: &Facts, until: Timestamp, reason: WaitReason) -> Result<()> {
    if reason == WaitReason::NotBefore {
        txn.counts.borrow_mut().scheduled(facts.bot_key, facts.priority, true);
    }
    txn.execute(
        "INSERT INTO parked (wake_time, message_id, bot_key, priority, chain, attempt_no, reason, since, blocks) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            micros(until),
            facts.message_id,
            facts.bot_key,
            facts.priority,
            facts.chain,
            facts.attempt_no,
            reason.code(),
            micros(txn.now),
            reason != WaitReason::NotBefore,
        ],
    )
    .map(drop)
}

/// Notes that a message is no longer parked for `reason`.
pub(super) fn unpark(txn: &Txn, bot_key: i64, priority: i64, reason: i64) -> Result<()> {
    if WaitReason::decode(reason)? == WaitReason::NotBefore {
        txn.counts.borrow_mut().scheduled(bot_key, priority, false);
    }
    Ok(())
}

/// Takes waiting messages out of the queues.
pub(super) fn leave<'a>(txn: &Txn, leaving: impl IntoIterator<Item = &'a Facts>) -> Result<()> {
    let mut ready = txn.prepare("DELETE FROM ready WHERE bot_key = ? AND priority = ? AND message_id = ?")?;
    let mut parked = txn.prepare("DELETE FROM parked WHERE bot_key = ? AND message_id = ? RETURNING reason")?;
    for facts in leaving {
        if ready.execute(params![facts.bot_key, facts.priority, facts.message_id])? == 1 {
            continue;
        }
        let reason = parked.query_row(params![facts.bot_key, facts.message_id], |row| row.get(0)).optional()?;
        unpark(txn, facts.bot_key, facts.priority, reason.ok_or_else(StoreError::misplaced)?)?;
    }
    Ok(())
}

/// Takes the first messages of queues out: of each queue everything up to the last one that leaves.
pub(super) fn leave_first<'a>(txn: &Txn, leaving: impl IntoIterator<Item = &'a Facts>) -> Result<()> {
    let mut queues: BTreeMap<(i64, i64), (i64, usize)> = BTreeMap::new();
    for facts in leaving {
        let (last, count) = queues.entry((facts.bot_key, facts.priority)).or_default();
        *last = facts.message_id.max(*last);
        *count += 1;
    }
    let mut behead = txn.prepare("DELETE FROM ready WHERE bot_key = ? AND priority = ? AND message_id <= ?")?;
    for ((bot_key, priority), (last, count)) in queues {
        if behead.execute([bot_key, priority, last])? != count {
            return Err(StoreError::misplaced());
        }
    }
    Ok(())
}

/// Lets go what of a moved bot waits behind earlier messages. What it waits for may have been under way at the node that the bot
/// left, and is in nobody's way there if the bot comes back.
pub(super) fn release_moved(txn: &mut Txn, bot_key: i64) -> Result<()> {
    let released = txn.execute(
        "UPDATE parked SET wake_time = ? WHERE bot_key = ? AND blocks = 1 AND reason = ?",
        params![micros(txn.now), bot_key, WaitReason::ChainBlocked.code()],
    )?;
    txn.something_due |= released > 0;
    Ok(())
}

/// Lets go what waits behind an earlier message of a chain: its time has come. What another one still blocks is parked again
/// by the next claim.
pub(super) fn release(txn: &mut Txn, chain: i64) -> Result<()> {
    let released = txn.execute(
        "UPDATE parked SET wake_time = ? WHERE chain = ? AND blocks = 1 AND reason = ?",
        params![micros(txn.now), chain, WaitReason::ChainBlocked.code()],
    )?;
    txn.something_due |= released > 0;
    Ok(())
}
