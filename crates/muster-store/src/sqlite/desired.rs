//! What a node should look like, by version.

use muster_domain::bot::Stage;
use muster_domain::gateway::GatewaySpec;
use muster_domain::{Address, Timestamp};
use rusqlite::params;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::bots::hold;
use super::code::Code as _;
use super::directory::{bot_id, gateway_id, kind, node_id};
use super::error::failed;
use super::fence::Fence;
use super::nodes::labels;
use super::txn::Txn;
use crate::{ApplyError, DesiredBot, DesiredState, Result, SessionRef, StoreError};

/// The next version of a node's desired state.
pub(super) fn bump(txn: &mut Txn, node_key: i64) -> Result<i64> {
    txn.value(
        "UPDATE node SET desired_version = desired_version + 1, desired_lineage = ? WHERE node_key = ? \
         RETURNING desired_version",
        params![txn.lineage(), node_key],
    )
}

/// Kinds of resources in `departure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Gateway = 1,
    Bot = 2,
}

/// Notes that a resource left a node.
pub(super) fn depart(txn: &mut Txn, node_key: i64, kind: Leaving, id: &str, version: i64) -> Result<()> {
    txn.execute(
        "INSERT OR REPLACE INTO departure (node_key, kind, resource_id, version) VALUES (?, ?, ?, ?)",
        params![node_key, kind as i64, id.to_owned(), version],
    )?;
    Ok(())
}

/// Notes that a resource came to a node, perhaps back.
pub(super) fn arrive(txn: &mut Txn, node_key: i64, kind: Leaving, id: &str) -> Result<()> {
    txn.execute(
        "DELETE FROM departure WHERE node_key = ? AND kind = ? AND resource_id = ?",
        params![node_key, kind as i64, id.to_owned()],
    )?;
    Ok(())
}

/// See [`crate::Store::desired_state`].
pub(super) async fn state(
    readers: &SqlitePool,
    tenant_key: i64,
    session: &SessionRef,
    since: u64,
    now: Timestamp,
) -> Result<DesiredState> {
    // One snapshot for all four reads.
    let mut snapshot = readers.begin().await.map_err(failed)?;
    let row =
        sqlx::query("SELECT node_key, desired_version, drain_time IS NOT NULL, desired_lineage FROM node WHERE tenant_key = ? AND node_id = ? AND epoch = ?")
            .bind(tenant_key)
            .bind(session.node.as_str().to_owned())
            .bind(session.epoch.0 as i64)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(failed)?
            .ok_or(StoreError::Fenced)?;
    let (node_key, version) = (row.get::<i64, _>(0), row.get::<i64, _>(1));
    let base = if since as i64 > version { 0 } else { since as i64 };
    let mut state = DesiredState {
        version: version as u64,
        lineage: row.get(3),
        base_version: base as u64,
        gateways: Vec::new(),
        bots: Vec::new(),
        removed_gateways: Vec::new(),
        removed_bots: Vec::new(),
        draining: row.get(2),
    };
    let gateways = sqlx::query(
        "SELECT g.gateway_id, g.kind, n.node_id, g.display_name, g.labels FROM gateway g JOIN node n USING (node_key) \
         WHERE g.node_key = ? AND g.version > ? AND g.removed = 0 ORDER BY g.gateway_id",
    );
    for row in gateways.bind(node_key).bind(base).fetch_all(&mut *snapshot).await.map_err(failed)? {
        state.gateways.push(GatewaySpec {
            id: gateway_id(row.get(0))?,
            kind: kind(row.get(1))?,
            node: node_id(row.get(2))?,
            display_name: row.get(3),
            labels: labels(row.get(4)),
        });
    }
    let bots = sqlx::query(
        "SELECT b.bot_id, g.gateway_id, b.stage, b.address, b.hold_reason, b.hold_author, b.hold_since, b.hold_until, \
         b.window_generation \
         FROM bot b JOIN gateway g USING (gateway_key) WHERE b.node_key = ? AND b.version > ? ORDER BY b.bot_id",
    );
    for row in bots.bind(node_key).bind(base).fetch_all(&mut *snapshot).await.map_err(failed)? {
        let stage = Stage::decode(row.get(2))?;
        let held = hold(row.get(4), row.get(5), row.get(6), row.get(7)).is_some_and(|hold| hold.in_force(now));
        state.bots.push(DesiredBot {
            id: bot_id(row.get(0))?,
            gateway: gateway_id(row.get(1))?,
            may_send: !held && !matches!(stage, Stage::Cooling | Stage::Restricted | Stage::Banned | Stage::Retired),
            connect: !matches!(stage, Stage::Banned | Stage::Retired),
            address: row.get::<Option<&str>, _>(3).map(Address::from_stored),
            window_generation: row.get(8),
        });
    }
    if base > 0 {
        let departures = sqlx::query("SELECT kind, resource_id FROM departure WHERE node_key = ? AND version > ?");
        for row in departures.bind(node_key).bind(base).fetch_all(&mut *snapshot).await.map_err(failed)? {
            match row.get::<i64, _>(0) {
                1 => state.removed_gateways.push(gateway_id(row.get(1))?),
                _ => state.removed_bots.push(bot_id(row.get(1))?),
            }
        }
    }
    Ok(state)
}

/// See [`crate::Store::desired_applied`].
pub(super) fn applied(
    txn: &mut Txn,
    tenant_key: i64,
    fence: Fence,
    version: u64,
    errors: Vec<ApplyError>,
) -> Result<()> {
    let changed = txn.execute(
        "UPDATE node SET applied_version = ? WHERE node_key = ? AND epoch = ?",
        params![version as i64, fence.node_key, fence.epoch],
    )?;
    if changed == 0 {
        return Err(StoreError::Fenced);
    }
    txn.execute("UPDATE gateway SET apply_error = '' WHERE node_key = ? AND apply_error <> ''", [fence.node_key])?;
    txn.execute("UPDATE bot SET apply_error = '' WHERE node_key = ? AND apply_error <> ''", [fence.node_key])?;
    for error in errors {
        let (sql, id, text) = match &error {
            ApplyError::Gateway(id, text) => (
                "UPDATE gateway SET apply_error = ? WHERE tenant_key = ? AND gateway_id = ? AND node_key = ?",
                id.as_str(),
                text,
            ),
            ApplyError::Bot(id, text) => (
                "UPDATE bot SET apply_error = ? WHERE tenant_key = ? AND bot_id = ? AND node_key = ?",
                id.as_str(),
                text,
            ),
        };
        txn.execute(sql, params![text, tenant_key, id, fence.node_key])?;
    }
    Ok(())
}
