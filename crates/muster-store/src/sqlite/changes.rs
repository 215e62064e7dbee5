//! The log of changes, for watchers.

use muster_domain::message::MessageState;
use muster_domain::{BotId, MessageId};
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::code::Code as _;
use super::directory::Directory;
use super::error::failed;
use super::time;
use crate::{Changes, MessageChange, Result, StoreError};

/// Rows that one call looks at for each row that it may return, so that a filter cannot make it read the whole log.
const LOOK_FACTOR: i64 = 20;

pub(super) async fn since(
    readers: &SqlitePool,
    directory: &Directory,
    tenant_key: i64,
    cursor: u64,
    bot: Option<&BotId>,
    limit: u32,
) -> Result<Changes> {
    let oldest: i64 =
        sqlx::query_scalar("SELECT coalesce(min(seq), 1) - 1 FROM change").fetch_one(readers).await.map_err(failed)?;
    // Zero asks for whatever is kept; any other cursor for everything after it.
    let from = if cursor == 0 { oldest } else { cursor as i64 };
    if from < oldest {
        return Err(StoreError::CursorTooOld { oldest: oldest as u64 });
    }
    let bot_key = match bot {
        Some(bot) => directory
            .bot(tenant_key, bot)
            .map(|entry| entry.bot_key)
            .ok_or_else(|| StoreError::NotFound(bot.resource_name()))?,
        None => 0,
    };
    let look = i64::from(limit) * if bot_key == 0 { 1 } else { LOOK_FACTOR };
    let rows = sqlx::query(
        "SELECT seq, message_id, bot_key, state, time, tenant_key FROM change WHERE seq > ? AND seq <= ? ORDER BY seq",
    )
    .bind(from)
    .bind(from + look)
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    let mut changes = Changes { changes: Vec::new(), cursor: from as u64 };
    for row in rows {
        if changes.changes.len() == limit as usize {
            break;
        }
        changes.cursor = row.get::<i64, _>(0) as u64;
        let key: i64 = row.get(2);
        if row.get::<i64, _>(5) != tenant_key || (bot_key != 0 && key != bot_key) {
            continue;
        }
        let Some(message_id) = MessageId::from_raw(row.get(1)) else { continue };
        let bot = directory.bot_id(key)?;
        changes.changes.push(MessageChange {
            message_id,
            bot,
            state: MessageState::decode(row.get(3))?,
            time: time(row.get(4)),
        });
    }
    Ok(changes)
}

pub(super) async fn head(readers: &SqlitePool) -> Result<u64> {
    let head: i64 =
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM change").fetch_one(readers).await.map_err(failed)?;
    Ok(head as u64)
}
