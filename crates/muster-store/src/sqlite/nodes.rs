//! Nodes and gateways: reading their rows.

use std::collections::BTreeMap;

use muster_domain::Epoch;
use muster_domain::drain::Drain;
use muster_domain::failure::Scope;
use muster_domain::gateway::{Gateway, GatewaySpec};
use muster_domain::node::{Cordon, Node, NodeSpec};
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::backoffs;
use super::directory::{gateway_id, kind, node_id};
use super::error::failed;
use super::{time, time_opt};
use crate::Result;

const NODE: &str = "SELECT node_id, display_name, labels, generation, epoch, online, online_time, agent_version, desired_version, \
    applied_version, create_time, update_time, cordon_reason, cordon_author, cordon_time, \
    drain_time, drain_until, (SELECT count(*) FROM flight f WHERE f.node_key = node.node_key) FROM node WHERE removed = 0 AND tenant_key = ?";

const GATEWAY: &str = "SELECT g.gateway_id, g.kind, n.node_id, g.display_name, g.labels, g.generation, g.apply_error, g.create_time, \
    g.update_time, v.reason, v.detail, v.refusals, v.since, v.refused, v.until FROM gateway g JOIN node n USING (node_key) \
    LEFT JOIN backoff v ON v.scope = 4 AND v.key = g.gateway_key WHERE g.removed = 0 AND g.tenant_key = ?";

/// Labels as a column has them: a JSON object.
pub(super) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    serde_json::to_string(labels).unwrap_or_else(|_| "{}".to_owned())
}

/// Labels from a column.
pub(super) fn labels(text: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text).unwrap_or_default()
}

pub(super) fn node(row: &SqliteRow) -> Result<Node> {
    Ok(Node {
        spec: NodeSpec { id: node_id(row.get(0))?, display_name: row.get(1), labels: labels(row.get(2)) },
        generation: row.get::<i64, _>(3) as u64,
        epoch: Epoch(row.get::<i64, _>(4) as u64),
        online: row.get(5),
        online_time: time_opt(row.get(6)),
        agent_version: row.get(7),
        desired_version: row.get::<i64, _>(8) as u64,
        applied_version: row.get::<i64, _>(9) as u64,
        create_time: time(row.get(10)),
        update_time: time(row.get(11)),
        cordon: cordon(row.get(12), row.get(13), row.get(14)),
        drain: drain(row.get(15), row.get(16)),
        under_way: row.get::<i64, _>(17) as u64,
    })
}

fn cordon(reason: Option<String>, author: Option<String>, since: Option<i64>) -> Option<Cordon> {
    Some(Cordon { reason: reason?, author: author?, since: time(since?) })
}

fn drain(since: Option<i64>, until: Option<i64>) -> Option<Drain> {
    Some(Drain { since: time(since?), until: time(until?) })
}

pub(super) fn gateway(row: &SqliteRow) -> Result<Gateway> {
    Ok(Gateway {
        spec: GatewaySpec {
            id: gateway_id(row.get(0))?,
            kind: kind(row.get(1))?,
            node: node_id(row.get(2))?,
            display_name: row.get(3),
            labels: labels(row.get(4)),
        },
        generation: row.get::<i64, _>(5) as u64,
        apply_error: row.get(6),
        backoff: backoffs::columns(row, Scope::Gateway, 9)?,
        create_time: time(row.get(7)),
        update_time: time(row.get(8)),
    })
}

/// Nodes after `after`, or exactly `id`.
pub(super) async fn node_list(
    readers: &SqlitePool,
    tenant_key: i64,
    id: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Node>> {
    let sql = format!("{NODE} AND node_id > ? AND (? IS NULL OR node_id = ?) ORDER BY node_id LIMIT ?");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant_key).bind(after.to_owned());
    let id = id.map(str::to_owned);
    let rows = query.bind(id.clone()).bind(id).bind(limit).fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(node).collect()
}

/// Gateways after `after`, or exactly `id`; only those on `node` if one is named.
pub(super) async fn gateway_list(
    readers: &SqlitePool,
    tenant_key: i64,
    id: Option<&str>,
    on: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Gateway>> {
    let sql = format!(
        "{GATEWAY} AND g.gateway_id > ? AND (? IS NULL OR g.gateway_id = ?) AND (? IS NULL OR n.node_id = ?) ORDER BY g.gateway_id LIMIT ?"
    );
    let (id, on) = (id.map(str::to_owned), on.map(str::to_owned));
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant_key).bind(after.to_owned());
    let query = query.bind(id.clone()).bind(id).bind(on.clone()).bind(on).bind(limit);
    let rows = query.fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(gateway).collect()
}
