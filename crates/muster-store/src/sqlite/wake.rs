//! What becomes due: parked messages, openings of windows, ends of validity, of back-offs and of holds, and decisions of policies.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_domain::{BotId, NodeId, TenantId};
use rusqlite::params;

use super::backoffs;
use super::desired;
use super::expiry;
use super::micros;
use super::policy;
use super::queues::{self, Ready};
use super::txn::Txn;
use super::windows;
use crate::{Result, WakeResult};

/// See [`crate::Store::wake_due`].
pub(super) fn due(txn: &mut Txn, limit: u32, silence: Duration, uncertain_wait: Duration) -> Result<WakeResult> {
    let now = micros(txn.now);
    // First: what ends may let others go.
    expiry::end(txn, limit, silence)?;
    let woken = txn.all(
        "DELETE FROM parked WHERE (wake_time, message_id) IN (SELECT wake_time, message_id FROM parked WHERE \
         wake_time <= ? ORDER BY wake_time, message_id LIMIT ?) RETURNING bot_key, priority, message_id, \
         attempt_no, reason",
        params![now, limit],
        |row| {
            let (bot_key, priority) = (row.get(0)?, row.get(1)?);
            queues::unpark(txn, bot_key, priority, row.get(4)?)?;
            Ok(Ready { bot_key, priority, message_id: row.get(2)?, attempt_no: row.get(3)? })
        },
    )?;
    let mut bots = backoffs::end_due(txn)?;
    bots.extend(woken.iter().map(|row| row.bot_key));
    bots.extend(windows::open_due(txn, limit)?);
    bots.extend(policy::due(txn, limit, uncertain_wait)?);
    queues::enter(txn, woken)?;
    let parked = soonest(txn, "SELECT min(wake_time) FROM parked")?;
    let times =
        [parked, expiry::next(txn)?, backoffs::next(txn)?, windows::next(txn)?, policy::next(txn, uncertain_wait)?];
    let soonest = times.into_iter().flatten().min();
    Ok(WakeResult { wake: places(txn, bots)?, next: soonest.map(|time| wait(now, time)) })
}

/// The earliest of the times that `query` asks for.
fn soonest(txn: &Txn, query: &str) -> Result<Option<i64>> {
    txn.value(query, [])
}

/// How long it is from `now` until `time`.
fn wait(now: i64, time: i64) -> Duration {
    Duration::from_micros((time - now).max(0).unsigned_abs())
}

/// Bots by key, with their nodes and tenants.
fn places(txn: &Txn, keys: BTreeSet<i64>) -> Result<Vec<(TenantId, NodeId, BotId)>> {
    let mut places = Vec::with_capacity(keys.len());
    for key in keys {
        places.extend(txn.first("SELECT tenant_key, node_key FROM bot WHERE bot_key = ?", [key], |row| {
            let directory = &txn.directory;
            Ok((directory.tenant_id(row.get(0)?)?, directory.node_id(row.get(1)?)?, directory.bot_id(key)?))
        })?);
    }
    Ok(places)
}

/// See [`crate::Store::holds_end`].
pub(super) fn holds_end(txn: &mut Txn) -> Result<WakeResult> {
    let now = micros(txn.now);
    let ended: Vec<(i64, i64)> = txn
        .all("SELECT bot_key, node_key FROM bot WHERE hold_until <= ?", [now], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut keys = BTreeSet::new();
    for (bot_key, node_key) in ended {
        let version = desired::bump(txn, node_key)?;
        txn.execute(
            "UPDATE bot SET hold_reason = NULL, hold_author = NULL, hold_since = NULL, hold_until = NULL, \
             generation = generation + 1, version = ?, update_time = ? WHERE bot_key = ?",
            params![version, now, bot_key],
        )?;
        keys.insert(bot_key);
    }
    let soonest = soonest(txn, "SELECT min(hold_until) FROM bot WHERE hold_until IS NOT NULL")?;
    Ok(WakeResult { wake: places(txn, keys)?, next: soonest.map(|time| wait(now, time)) })
}
