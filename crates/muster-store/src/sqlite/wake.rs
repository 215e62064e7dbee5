//! What becomes due: parked messages, ends of validity, ends of holds.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Row as _;

use super::desired;
use super::error::failed;
use super::micros;
use super::writer::Txn;
use super::{expiry, queues};
use crate::{Result, WakeResult};

/// See [`crate::Store::wake_due`].
pub(super) async fn due(txn: &mut Txn, limit: u32, silence: Duration) -> Result<WakeResult> {
    let now = micros(txn.now);
    // First: what ends may let others go.
    expiry::end(txn, limit, silence).await?;
    let woken = sqlx::query(
        "DELETE FROM parked WHERE (wake_time, message_id) IN (SELECT wake_time, message_id FROM parked WHERE wake_time <= ? \
         ORDER BY wake_time, message_id LIMIT ?) RETURNING bot_key, priority, message_id, attempt_no",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(&mut txn.connection)
    .await
    .map_err(failed)?;
    queues::insert_ready(txn, &woken, |row| (row.get(0), row.get(1), row.get(2), row.get(3))).await?;
    let bots: BTreeSet<i64> = woken.iter().map(|row| row.get(0)).collect();
    let parked = soonest(txn, "SELECT min(wake_time) FROM parked").await?;
    let soonest = [parked, expiry::next(txn).await?].into_iter().flatten().min();
    Ok(WakeResult { wake: places(txn, bots).await?, next: soonest.map(|time| wait(now, time)) })
}

/// The earliest of the times that `query` asks for.
async fn soonest(txn: &mut Txn, query: &'static str) -> Result<Option<i64>> {
    sqlx::query_scalar(query).fetch_one(&mut txn.connection).await.map_err(failed)
}

/// How long it is from `now` until `time`.
fn wait(now: i64, time: i64) -> Duration {
    Duration::from_micros((time - now).max(0).unsigned_abs())
}

/// Bots by key, with their nodes and tenants.
async fn places(
    txn: &mut Txn,
    keys: BTreeSet<i64>,
) -> Result<Vec<(muster_domain::TenantId, muster_domain::NodeId, muster_domain::BotId)>> {
    let keys: Vec<i64> = keys.into_iter().collect();
    let head = "SELECT tenant_key, node_key, bot_key FROM bot WHERE bot_key IN (VALUES";
    let rows = super::bulk::fetch(&mut txn.connection, head, 1, ")", &keys, |query, key| query.bind(*key)).await?;
    rows.iter()
        .map(|row| {
            let directory = &txn.directory;
            Ok((directory.tenant_id(row.get(0))?, directory.node_id(row.get(1))?, directory.bot_id(row.get(2))?))
        })
        .collect()
}

/// See [`crate::Store::holds_end`].
pub(super) async fn holds_end(txn: &mut Txn) -> Result<WakeResult> {
    let now = micros(txn.now);
    let ended = sqlx::query("SELECT bot_key, node_key FROM bot WHERE hold_until <= ?")
        .bind(now)
        .fetch_all(&mut txn.connection)
        .await
        .map_err(failed)?;
    let mut keys = BTreeSet::new();
    for row in ended {
        let (bot_key, node_key): (i64, i64) = (row.get(0), row.get(1));
        let version = desired::bump(txn, node_key).await?;
        sqlx::query(
            "UPDATE bot SET hold_reason = NULL, hold_author = NULL, hold_since = NULL, hold_until = NULL, generation = generation + 1, \
             version = ?, update_time = ? WHERE bot_key = ?",
        )
        .bind(version)
        .bind(now)
        .bind(bot_key)
        .execute(&mut txn.connection)
        .await
        .map_err(failed)?;
        keys.insert(bot_key);
    }
    let soonest = soonest(txn, "SELECT min(hold_until) FROM bot WHERE hold_until IS NOT NULL").await?;
    Ok(WakeResult { wake: places(txn, keys).await?, next: soonest.map(|time| wait(now, time)) })
}
