//! The queues of waiting messages: what can leave, and what waits for a time of its own.

use std::collections::BTreeMap;

use muster_domain::Timestamp;
use muster_domain::gate::WaitReason;
use rusqlite::params;

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

/// Takes waiting messages out of the queues.
pub(super) fn leave<'a>(txn: &Txn, leaving: impl IntoIterator<Item = &'a Facts>) -> Result<()> {
    let mut ready = txn.prepare("DELETE FROM ready WHERE bot_key = ? AND priority = ? AND message_id = ?")?;
    let mut parked = txn.prepare("DELETE FROM parked WHERE bot_key = ? AND message_id = ?")?;
    for facts in leaving {
        if ready.execute(params![facts.bot_key, facts.priority, facts.message_id])? == 0
            && parked.execute(params![facts.bot_key, facts.message_id])? == 0
        {
            return Err(StoreError::misplaced());
        }
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
