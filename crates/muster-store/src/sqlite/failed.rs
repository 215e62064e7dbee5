//! What was not sent: counted and listed from one index, which holds nothing else.

use muster_domain::message::{Message, MessageState};
use muster_domain::replay::Cause;
use muster_domain::{MessageId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::code::Code as _;
use super::directory::Directory;
use super::error::failed;
use super::messages;
use crate::{FailedBy, FailedFilter, FailedGroup, FailedKey, Result, StoreError};

/// The cause of a row: the state, and the reason of the failed ones.
pub(super) fn cause(state: i64, reason: Option<i64>) -> Result<Cause> {
    match (MessageState::decode(state)?, reason) {
        (MessageState::Expired, _) => Ok(Cause::Expired),
        (_, Some(reason)) => Ok(Cause::Failed(super::code::Code::decode(reason)?)),
        (state, None) => Err(StoreError::Corrupt(format!("a message is {state} without a reason"))),
    }
}

/// The condition of a filter on `s`, after `s.tenant_key = ?`; `None` if it names what does not exist. Numbers only: no text
/// of a caller becomes a part of a statement.
pub(super) fn condition(directory: &Directory, tenant_key: i64, filter: &FailedFilter) -> Option<String> {
    let FailedFilter { causes, bot, node, accepted_from, accepted_until } = filter;
    let mut condition = String::from("s.state >= 5 AND s.state <= 6");
    let mut and = |text: String| {
        condition.push_str(" AND ");
        condition.push_str(&text);
    };
    if let Some(from) = accepted_from {
        and(format!("s.message_id >= {}", MessageId::floor(*from).raw()));
    }
    if let Some(until) = accepted_until {
        and(format!("s.message_id < {}", MessageId::floor(*until).raw()));
    }
    if let Some(bot) = bot {
        and(format!("s.bot_key = {}", directory.bot(tenant_key, bot)?.bot_key));
    }
    if let Some(node) = node {
        let keys: Vec<String> = directory.node_keys(node).iter().map(i64::to_string).collect();
        and(format!("s.node_key IN ({})", if keys.is_empty() { "NULL".to_owned() } else { keys.join(", ") }));
    }
    if !causes.is_empty() {
        let any = causes.iter().map(|cause| match cause {
            Cause::Expired => "s.state = 6".to_owned(),
            Cause::Failed(reason) => format!("(s.state = 5 AND s.reason = {})", reason.code()),
        });
        and(format!("({})", any.collect::<Vec<_>>().join(" OR ")));
    }
    Some(condition)
}

/// See [`crate::Store::failed_count`].
pub(super) async fn count(
    readers: &SqlitePool,
    directory: &Directory,
    tenant_key: i64,
    filter: &FailedFilter,
    by: FailedBy,
) -> Result<Vec<FailedGroup>> {
    let Some(condition) = condition(directory, tenant_key, filter) else { return Ok(Vec::new()) };
    let key = match by {
        FailedBy::Cause => "s.state, iif(s.state = 6, NULL, s.reason)".to_owned(),
        FailedBy::Bot => "s.bot_key, NULL".to_owned(),
        FailedBy::Node => "s.node_key, NULL".to_owned(),
        FailedBy::Day => format!("s.message_id / {}, NULL", MessageId::PER_DAY),
    };
    let sql = format!(
        "SELECT {key}, count(*), count(r.message_id), min(s.message_id), max(s.message_id) FROM settled s INDEXED BY \
         settled_failed LEFT JOIN replay r ON r.message_id = s.message_id WHERE s.tenant_key = ? AND {condition} GROUP BY 1, 2 \
         ORDER BY 3 DESC"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant_key).fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(|row| group(row, directory, by)).collect()
}

fn group(row: &SqliteRow, directory: &Directory, by: FailedBy) -> Result<FailedGroup> {
    let key: Option<i64> = row.get(0);
    let number = key.unwrap_or_default();
    let id = |raw| MessageId::from_raw(raw).ok_or_else(|| StoreError::Corrupt("a message has no id".into()));
    Ok(FailedGroup {
        key: match by {
            FailedBy::Cause => FailedKey::Cause(cause(number, row.get(1))?),
            FailedBy::Bot => FailedKey::Bot(directory.bot_id(number)?),
            FailedBy::Node => FailedKey::Node(key.map(|key| directory.node_id(key)).transpose()?),
            FailedBy::Day => FailedKey::Day(day(number)),
        },
        count: row.get::<i64, _>(2).max(0) as u64,
        replayed: row.get::<i64, _>(3).max(0) as u64,
        oldest: id(row.get(4))?,
        newest: id(row.get(5))?,
    })
}

/// The beginning of a day, counted from the first one that ids know.
fn day(number: i64) -> Timestamp {
    let first = MessageId::from_raw(number.saturating_mul(MessageId::PER_DAY).max(1));
    first.map_or(Timestamp::UNIX_EPOCH, MessageId::accept_time)
}

/// See [`crate::Store::failed_list`].
pub(super) async fn list(
    readers: &SqlitePool,
    directory: &Directory,
    tenant_key: i64,
    filter: &FailedFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Vec<Message>> {
    let Some(condition) = condition(directory, tenant_key, filter) else { return Ok(Vec::new()) };
    let before = before.map_or(i64::MAX, MessageId::raw);
    let sql = format!(
        "SELECT s.message_id FROM settled s INDEXED BY settled_failed WHERE s.tenant_key = ? AND s.message_id < ? \
         AND {condition} ORDER BY s.message_id DESC LIMIT ?"
    );
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(tenant_key).bind(before).bind(limit);
    let ids: Vec<i64> = query.fetch_all(readers).await.map_err(failed)?;
    messages::these(readers, tenant_key, &ids).await
}
