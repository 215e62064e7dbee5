//! What becomes due: parked messages, ends of validity, ends of holds.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_domain::message::MessageState;
use sqlx::Row as _;

use super::desired;
use super::error::failed;
use super::micros;
use super::settle::{self, FACTS, Facts, Step};
use super::writer::Txn;
use crate::{Result, WakeResult};

/// See [`crate::Store::wake_due`].
pub(super) async fn due(txn: &mut Txn, limit: u32) -> Result<WakeResult> {
    let now = micros(txn.now);
    expire(txn, now, limit).await?;
    let woken = sqlx::query(
        "DELETE FROM parked WHERE (wake_time, message_id) IN (SELECT wake_time, message_id FROM parked WHERE wake_time <= ? \
         ORDER BY wake_time, message_id LIMIT ?) RETURNING message_id, bot_key, priority",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(&mut txn.connection)
    .await
    .map_err(failed)?;
    let rows: Vec<(i64, i64, i64)> = woken.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let head = "INSERT INTO ready (bot_key, priority, message_id) VALUES";
    super::bulk::insert(&mut txn.connection, head, 3, &rows, |query, (message_id, bot_key, priority)| {
        query.bind(*bot_key).bind(*priority).bind(*message_id)
    })
    .await?;
    let bots: BTreeSet<i64> = rows.into_iter().map(|(_, bot_key, _)| bot_key).collect();
    Ok(WakeResult { wake: places(txn, bots).await?, next: next(txn, now, NEXT_MESSAGE).await? })
}

/// Ends the wait of messages whose validity is over.
async fn expire(txn: &mut Txn, now: i64, limit: u32) -> Result<()> {
    let sql = format!("SELECT {FACTS} FROM message WHERE state = 0 AND expire_time <= ? ORDER BY expire_time LIMIT ?");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(now)
        .bind(limit)
        .fetch_all(&mut txn.connection)
        .await
        .map_err(failed)?;
    let steps = rows
        .iter()
        .map(|row| Ok(Step::finish(Facts::read(row)?, MessageState::Expired, None, None)))
        .collect::<Result<Vec<_>>>()?;
    settle::apply(txn, steps, None).await
}

/// How long until `query` finds something due; `None` while it finds nothing at all.
async fn next(txn: &mut Txn, now: i64, query: &'static str) -> Result<Option<Duration>> {
    let soonest: Option<i64> = sqlx::query_scalar(query).fetch_one(&mut txn.connection).await.map_err(failed)?;
    Ok(soonest.map(|time| Duration::from_micros((time - now).max(0).unsigned_abs())))
}

/// The next message that wakes up or expires.
const NEXT_MESSAGE: &str = "SELECT min(time) FROM (SELECT min(wake_time) AS time FROM parked \
    UNION ALL SELECT min(expire_time) FROM message WHERE state = 0)";

/// The next hold that ends.
const NEXT_HOLD: &str = "SELECT min(hold_until) FROM bot WHERE hold_until IS NOT NULL";

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
    Ok(WakeResult { wake: places(txn, keys).await?, next: next(txn, now, NEXT_HOLD).await? })
}
