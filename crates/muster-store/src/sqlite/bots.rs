//! Bots: reading their rows, and moving them between stages.

use muster_domain::backoff::Backoff;
use muster_domain::bot::{Bot, BotSpec, Connection, Hold, Stage, StateCounts};
use muster_domain::failure::Scope;
use muster_domain::gate::RefuseReason;
use muster_domain::life;
use muster_domain::message::MessageState;
use muster_domain::{Address, BotId, Timestamp};
use rusqlite::params;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::absences;
use super::backoffs;
use super::code::Code as _;
use super::desired;
use super::directory::{Edit, Entry, bot_id, gateway_id, kind, node_id};
use super::error::failed;
use super::facts;
use super::nodes::labels;
use super::settle::{self, Step};
use super::txn::Txn;
use super::{micros, time, time_opt, windows};
use crate::{BotFilter, Result};

const BOT: &str = "SELECT b.bot_id, g.gateway_id, n.node_id, b.address, b.display_name, b.labels, b.generation, b.stage, b.stage_rule, \
    b.hold_reason, b.hold_author, b.hold_since, b.hold_until, b.connection, b.connection_detail, b.connection_time, b.apply_error, \
    b.create_time, b.update_time, g.kind, w.reason, w.detail, w.refusals, w.since, w.refused, w.until, v.reason, v.detail, \
    v.refusals, v.since, v.refused, v.until, b.on_node_absent, b.absent_after, \
    b.standby_gateway, b.fail_over_from, b.fail_over_absent, b.fail_over_time, b.sending_window FROM bot b JOIN gateway g USING (gateway_key) JOIN node n ON n.node_key = b.node_key \
    LEFT JOIN backoff w ON w.scope = 3 AND w.key = b.bot_key LEFT JOIN backoff v ON v.scope = 4 AND v.key = b.gateway_key \
    WHERE b.tenant_key = ";

/// The hold that four columns tell, if there is one.
pub(super) fn hold(
    reason: Option<String>,
    author: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
) -> Option<Hold> {
    Some(Hold {
        reason: reason?,
        author: author.unwrap_or_default(),
        since: time(since.unwrap_or_default()),
        until: time_opt(until),
    })
}

/// A bot, and its window around `now`.
fn bot(row: &SqliteRow, now: Timestamp) -> Result<Bot> {
    let sending_window = row.get::<Option<&str>, _>(38).map(windows::read).transpose()?;
    Ok(Bot {
        window: sending_window.as_ref().map(|window| window.at(now)),
        spec: BotSpec {
            id: bot_id(row.get(0))?,
            gateway: gateway_id(row.get(1))?,
            address: row.get::<Option<&str>, _>(3).map(Address::from_stored),
            display_name: row.get(4),
            labels: labels(row.get(5)),
            absence: absences::policy(row.get(32), row.get(33), row.get(34))?,
            sending_window,
        },
        node: node_id(row.get(2))?,
        network: kind(row.get(19))?.network(),
        generation: row.get::<i64, _>(6) as u64,
        stage: Stage::decode(row.get(7))?,
        stage_rule: row.get(8),
        hold: hold(row.get(9), row.get(10), row.get(11), row.get(12)),
        fail_over: absences::fail_over_of(row.get(35), row.get(36), row.get(37))?,
        connection: Connection::decode(row.get(13))?,
        connection_detail: row.get(14),
        connection_time: time_opt(row.get(15)),
        apply_error: row.get(16),
        backoff: Backoff::longer(backoffs::columns(row, Scope::Bot, 20)?, backoffs::columns(row, Scope::Gateway, 26)?),
        create_time: time(row.get(17)),
        update_time: time(row.get(18)),
    })
}

pub(super) async fn get(readers: &SqlitePool, tenant_key: i64, id: &BotId, now: Timestamp) -> Result<Option<Bot>> {
    let mut query = QueryBuilder::<Sqlite>::new(BOT);
    query.push_bind(tenant_key).push(" AND b.bot_id = ").push_bind(id.as_str().to_owned());
    let row = query.build().fetch_optional(readers).await.map_err(failed)?;
    row.as_ref().map(|row| bot(row, now)).transpose()
}

pub(super) async fn list(
    readers: &SqlitePool,
    tenant_key: i64,
    filter: &BotFilter,
    after: Option<&BotId>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Bot>> {
    let mut query = QueryBuilder::<Sqlite>::new(BOT);
    query.push_bind(tenant_key);
    if let Some(after) = after {
        query.push(" AND b.bot_id > ").push_bind(after.as_str().to_owned());
    }
    if let Some(node) = &filter.node {
        query.push(" AND n.node_id = ").push_bind(node.as_str().to_owned());
    }
    if let Some(gateway) = &filter.gateway {
        query.push(" AND g.gateway_id = ").push_bind(gateway.as_str().to_owned());
    }
    push_any(&mut query, "b.stage", filter.stages.iter().map(|stage| stage.code()));
    push_any(&mut query, "b.connection", filter.connections.iter().map(|connection| connection.code()));
    for (key, value) in &filter.labels {
        let path = format!("$.\"{key}\"");
        query.push(" AND json_extract(b.labels, ").push_bind(path).push(") = ").push_bind(value.clone());
    }
    if filter.held {
        query.push(" AND b.hold_reason IS NOT NULL");
    }
    query.push(" ORDER BY b.bot_id LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(|row| bot(row, now)).collect()
}

/// Adds `AND column IN (…)` unless there is nothing to choose from.
pub(super) fn push_any(query: &mut QueryBuilder<Sqlite>, column: &str, codes: impl ExactSizeIterator<Item = i64>) {
    if codes.len() == 0 {
        return;
    }
    query.push(format!(" AND {column} IN ("));
    let mut list = query.separated(", ");
    for code in codes {
        list.push_bind(code);
    }
    query.push(")");
}

/// Messages of bots per state; of the whole tenant for an empty list.
pub(super) async fn counts(readers: &SqlitePool, tenant_key: i64, keys: &[Option<i64>]) -> Result<Vec<StateCounts>> {
    let sums = |rows: Vec<SqliteRow>| -> Result<StateCounts> {
        let mut counts = StateCounts::default();
        for row in rows {
            counts.set(MessageState::decode(row.get(0))?, row.get::<i64, _>(1).max(0) as u64);
        }
        Ok(counts)
    };
    if keys.is_empty() {
        let rows = sqlx::query("SELECT c.state, sum(c.count) FROM bot_count c JOIN bot b USING (bot_key) WHERE b.tenant_key = ? GROUP BY c.state")
            .bind(tenant_key)
            .fetch_all(readers)
            .await
            .map_err(failed)?;
        return Ok(vec![sums(rows)?]);
    }
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let rows = sqlx::query("SELECT state, sum(count) FROM bot_count WHERE bot_key = ? GROUP BY state")
            .bind(*key)
            .fetch_all(readers)
            .await
            .map_err(failed)?;
        found.push(sums(rows)?);
    }
    Ok(found)
}

/// Where a bot is, as the transaction has it. The directory lags behind by what the transaction itself has moved.
pub(super) fn entry(txn: &Txn, tenant_key: i64, id: &BotId) -> Result<Option<Entry>> {
    txn.first(
        "SELECT b.bot_key, b.node_key, g.kind, b.stage, b.sending_window IS NOT NULL FROM bot b JOIN gateway g USING (gateway_key) \
         WHERE b.tenant_key = ? AND b.bot_id = ?",
        params![tenant_key, id.as_str()],
        |row| {
            Ok(Entry {
                bot_key: row.get(0)?,
                node_key: row.get(1)?,
                kind: kind(&row.get::<_, String>(2)?)?,
                stage: Stage::decode(row.get(3)?)?,
                has_window: row.get(4)?,
            })
        },
    )
}

/// Notes that nobody has told yet whether a bot is connected where it is now.
pub(super) fn disconnect(txn: &mut Txn, bot_key: i64) -> Result<()> {
    txn.execute(
        "UPDATE bot SET connection = ?, connection_detail = '' WHERE bot_key = ?",
        params![Connection::Disconnected.code(), bot_key],
    )?;
    Ok(())
}

/// Moves a bot to another stage. One that goes out of service for good loses what waits for it: those messages fail.
pub(super) fn stage_set(
    txn: &mut Txn,
    tenant_key: i64,
    id: &BotId,
    entry: Entry,
    stage: Stage,
    rule: &str,
) -> Result<()> {
    let version = desired::bump(txn, entry.node_key)?;
    txn.execute(
        "UPDATE bot SET stage = ?, stage_rule = ?, generation = generation + 1, version = ?, update_time = ? \
         WHERE bot_key = ?",
        params![stage.code(), rule, version, micros(txn.now), entry.bot_key],
    )?;
    txn.edit(Edit::PutBot(tenant_key, id.clone(), Entry { stage, ..entry }));
    let reason = match stage {
        Stage::Retired => RefuseReason::BotRetired,
        Stage::Banned => RefuseReason::BotBanned,
        _ => return Ok(()),
    };
    backoffs::forget(txn, entry.bot_key)?;
    refuse_waiting(txn, entry.bot_key, reason)
}

/// Ends what waits for a bot that will never send again.
fn refuse_waiting(txn: &mut Txn, bot_key: i64, reason: RefuseReason) -> Result<()> {
    let condition = "m.message_id IN \
        (SELECT message_id FROM ready WHERE bot_key = ?1 UNION ALL SELECT message_id FROM parked WHERE bot_key = ?1)";
    let waiting = facts::of_those(txn, condition, [bot_key])?;
    let refuse = |facts| Step::new(facts, life::after_refusal(reason));
    settle::apply(txn, waiting.into_iter().map(refuse).collect())
}
