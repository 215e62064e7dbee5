//! Drains: what was under way at a node when it began to be emptied, and what became of it.

use muster_domain::NodeId;
use muster_domain::drain::Drain;
use muster_domain::life::AttemptEnd;
use muster_domain::message::MessageState;
use muster_domain::node::Cordon;
use rusqlite::params;
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::attempts::latest_end;
use super::code::Code as _;
use super::directory::{bot_id, node_id};
use super::error::failed;
use super::fleet;
use super::txn::Txn;
use super::{desired, micros, time};
use crate::{AttemptAtNode, AttemptRef, Result, StoreError, UnderWayFilter};

/// Begins a drain, or moves the deadline of one that stands. What is under way is noted once.
pub(super) fn begin(txn: &mut Txn, tenant_key: i64, id: &NodeId, cordon: Cordon, drain: Drain) -> Result<()> {
    let node_key = fleet::node_key(txn, tenant_key, id)?;
    fleet::set_cordon(txn, tenant_key, id, Some(cordon))?;
    txn.execute(
        "UPDATE node SET drain_time = coalesce(drain_time, ?1), drain_until = ?2 WHERE node_key = ?3",
        params![micros(drain.since), micros(drain.until), node_key],
    )?;
    txn.execute(
        "INSERT OR IGNORE INTO drained (node_key, message_id, attempt_no) SELECT node_key, message_id, attempt_no FROM \
         flight WHERE node_key = ?",
        [node_key],
    )?;
    desired::bump(txn, node_key).map(drop)
}

/// Ends the drain of a node, if one stands.
pub(super) fn end(txn: &mut Txn, node_key: i64) -> Result<()> {
    let ended = txn.execute(
        "UPDATE node SET drain_time = NULL, drain_until = NULL WHERE node_key = ? AND drain_time IS NOT NULL",
        [node_key],
    )?;
    if ended == 0 {
        return Ok(());
    }
    txn.execute("DELETE FROM drained WHERE node_key = ?", [node_key])?;
    desired::bump(txn, node_key).map(drop)
}

/// Messages that are kept no longer have no attempts either.
const DRAINED: &str = "SELECT d.message_id, d.attempt_no, b.bot_id, n.node_id, f.message_id IS NOT NULL, a.outcome, s.state, \
    s.network_id IS NOT NULL, coalesce(f.dispatch_time, a.dispatch_time, s.dispatch_time, 0) \
    FROM drained d JOIN node n ON n.node_key = d.node_key JOIN message m ON m.message_id = d.message_id \
    JOIN bot b ON b.bot_key = m.bot_key \
    LEFT JOIN flight f ON f.message_id = d.message_id AND f.attempt_no = d.attempt_no \
    LEFT JOIN attempt a ON a.message_id = d.message_id AND a.attempt_no = d.attempt_no \
    LEFT JOIN settled s ON s.message_id = d.message_id AND s.attempt_no = d.attempt_no \
    WHERE n.tenant_key = ? AND n.node_id = ? AND d.message_id > ? ORDER BY d.message_id LIMIT ?";

/// See [`crate::Store::drain_list`].
pub(super) async fn list(
    readers: &SqlitePool,
    tenant_key: i64,
    node: &NodeId,
    after: i64,
    limit: u32,
) -> Result<Vec<AttemptAtNode>> {
    let query = sqlx::query(DRAINED).bind(tenant_key).bind(node.as_str().to_owned()).bind(after).bind(limit);
    query.fetch_all(readers).await.map_err(failed)?.iter().map(drained).collect()
}

fn drained(row: &SqliteRow) -> Result<AttemptAtNode> {
    let is_under_way: bool = row.get(4);
    let end = match (is_under_way, row.get::<Option<i64>, _>(5), row.get::<Option<i64>, _>(6)) {
        (true, ..) => None,
        (false, Some(end), _) => Some(AttemptEnd::decode(end)?),
        (false, None, Some(state)) => latest_end(MessageState::decode(state)?, row.get(7)),
        (false, None, None) => None,
    };
    Ok(AttemptAtNode { end, ..at_node(row, row.get(8))? })
}

const UNDER_WAY: &str = "SELECT f.message_id, f.attempt_no, b.bot_id, n.node_id, f.dispatch_time \
    FROM flight f JOIN node n ON n.node_key = f.node_key JOIN bot b ON b.bot_key = f.bot_key \
    WHERE n.tenant_key = ?1 AND (?2 IS NULL OR n.node_id = ?2) AND (?3 IS NULL OR b.bot_id = ?3) AND f.message_id > ?4 \
    ORDER BY f.message_id LIMIT ?5";

/// See [`crate::Store::under_way`]. Attempts under way are few: they are bounded by what agents take.
pub(super) async fn under_way(
    readers: &SqlitePool,
    tenant_key: i64,
    filter: &UnderWayFilter,
    after: i64,
    limit: u32,
) -> Result<Vec<AttemptAtNode>> {
    let (node, bot) = (filter.node.as_ref(), filter.bot.as_ref());
    let query = sqlx::query(UNDER_WAY)
        .bind(tenant_key)
        .bind(node.map(|id| id.as_str().to_owned()))
        .bind(bot.map(|id| id.as_str().to_owned()))
        .bind(after)
        .bind(limit);
    query.fetch_all(readers).await.map_err(failed)?.iter().map(|row| at_node(row, row.get(4))).collect()
}

/// The first columns of both lists.
fn at_node(row: &SqliteRow, dispatch_time: i64) -> Result<AttemptAtNode> {
    let id: i64 = row.get(0);
    let message_id =
        muster_domain::MessageId::from_raw(id).ok_or_else(|| StoreError::Corrupt(format!("{id} is no message id")))?;
    Ok(AttemptAtNode {
        attempt: AttemptRef { message_id, attempt_no: row.get::<i64, _>(1) as u32 },
        bot: bot_id(row.get(2))?,
        node: node_id(row.get(3))?,
        dispatch_time: time(dispatch_time),
        end: None,
    })
}
