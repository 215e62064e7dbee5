//! The log of changes, for watchers: one row for each commit that changed the state of a message.
//!
//! A message changes its state four or five times, and each change is looked at once, if ever. So a commit writes its changes
//! as one value, column by column, in a few bytes each.

use futures::TryStreamExt as _;
use muster_domain::message::MessageState;
use muster_domain::{BotId, MessageId, Timestamp};
use prost::Message as _;
use rusqlite::params;
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::code::Code as _;
use super::directory::Directory;
use super::error::failed;
use super::txn::Txn;
use super::{micros, time};
use crate::{Changes, MessageChange, Result, StoreError};

/// Changes that one call looks at for each one that it may return, so that a filter cannot make it read the whole log.
const LOOK_FACTOR: u64 = 20;

/// A change of a message's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) tenant_key: i64,
    pub(super) message_id: i64,
    pub(super) bot_key: i64,
    pub(super) state: MessageState,
}

/// The changes of a commit as one column.
#[derive(Clone, PartialEq, prost::Message)]
struct Columns {
    /// Each less the one before it, the first one less zero: messages of a commit lie close together.
    #[prost(sint64, repeated, tag = "1")]
    message_id_steps: Vec<i64>,
    #[prost(int64, repeated, tag = "2")]
    bot_keys: Vec<i64>,
    #[prost(bytes = "vec", tag = "3")]
    states: Vec<u8>,
    /// One for all, or one for each.
    #[prost(int64, repeated, tag = "4")]
    tenant_keys: Vec<i64>,
}

fn encode(changes: &[Change]) -> Vec<u8> {
    let mut before = 0;
    let steps = changes.iter().map(|change| change.message_id - std::mem::replace(&mut before, change.message_id));
    let message_id_steps = steps.collect();
    let mut tenant_keys: Vec<i64> = changes.iter().map(|change| change.tenant_key).collect();
    if tenant_keys.windows(2).all(|pair| pair[0] == pair[1]) {
        tenant_keys.truncate(1);
    }
    Columns {
        message_id_steps,
        bot_keys: changes.iter().map(|change| change.bot_key).collect(),
        states: changes.iter().map(|change| change.state.code() as u8).collect(),
        tenant_keys,
    }
    .encode_to_vec()
}

fn decode(bytes: &[u8]) -> Result<Vec<Change>> {
    let corrupt = || StoreError::Corrupt("a row of the log of changes cannot be read".into());
    let columns = Columns::decode(bytes).map_err(|_| corrupt())?;
    let count = columns.message_id_steps.len();
    let one_tenant = columns.tenant_keys.len() == 1;
    if columns.bot_keys.len() != count
        || columns.states.len() != count
        || !(one_tenant || columns.tenant_keys.len() == count)
    {
        return Err(corrupt());
    }
    let mut message_id = 0i64;
    (0..count)
        .map(|at| {
            message_id = message_id.checked_add(columns.message_id_steps[at]).ok_or_else(corrupt)?;
            Ok(Change {
                tenant_key: columns.tenant_keys[if one_tenant { 0 } else { at }],
                message_id,
                bot_key: columns.bot_keys[at],
                state: MessageState::decode(i64::from(columns.states[at]))?,
            })
        })
        .collect()
}

/// Writes the changes of a commit behind `head`, the number of the latest change. Returns the new one.
pub(super) fn append(txn: &Txn, head: u64, changes: &[Change]) -> Result<u64> {
    if changes.is_empty() {
        return Ok(head);
    }
    let last = head + changes.len() as u64;
    txn.execute(
        "INSERT INTO change (last_seq, first_seq, time, changes) VALUES (?, ?, ?, ?)",
        params![last as i64, head as i64 + 1, micros(txn.now), encode(changes)],
    )?;
    Ok(last)
}

/// A row of the log.
struct Commit {
    first_seq: u64,
    time: Timestamp,
    changes: Vec<Change>,
}

fn commit(row: &SqliteRow) -> Result<Commit> {
    Ok(Commit { first_seq: row.get::<i64, _>(0) as u64, time: time(row.get(1)), changes: decode(row.get(2))? })
}

/// See [`crate::Store::changes_since`].
pub(super) async fn since(
    readers: &SqlitePool,
    directory: &Directory,
    tenant_key: i64,
    cursor: u64,
    bot: Option<&BotId>,
    limit: u32,
) -> Result<Changes> {
    let bot_key = match bot {
        Some(bot) => {
            let entry = directory.bot(tenant_key, bot).ok_or_else(|| StoreError::NotFound(bot.resource_name()))?;
            Some(entry.bot_key)
        }
        None => None,
    };
    let look = u64::from(limit) * if bot_key.is_some() { LOOK_FACTOR } else { 1 };
    let mut found = Changes { changes: Vec::new(), cursor };
    let mut rows =
        sqlx::query("SELECT first_seq, time, changes FROM change WHERE last_seq > ? ORDER BY last_seq LIMIT ?")
            .bind(cursor as i64)
            .bind(look as i64)
            .fetch(readers);
    let mut looked = 0;
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let commit = commit(&row)?;
        // Zero asks for whatever is kept; any other cursor for everything after it. A row that does not follow tells that
        // others were between: only the oldest ones are ever removed.
        if commit.first_seq > found.cursor + 1 && found.cursor > 0 {
            return Err(StoreError::CursorTooOld { oldest: commit.first_seq - 1 });
        }
        for (change, seq) in commit.changes.iter().zip(commit.first_seq..) {
            if seq <= found.cursor {
                continue;
            }
            if found.changes.len() == limit as usize || looked == look {
                return Ok(found);
            }
            looked += 1;
            found.cursor = seq;
            if change.tenant_key == tenant_key && bot_key.is_none_or(|bot_key| bot_key == change.bot_key) {
                found.changes.push(shown(directory, change, commit.time)?);
            }
        }
    }
    Ok(found)
}

fn shown(directory: &Directory, change: &Change, time: Timestamp) -> Result<MessageChange> {
    let message_id = MessageId::from_raw(change.message_id);
    Ok(MessageChange {
        message_id: message_id.ok_or_else(|| StoreError::Corrupt("a change names no message".into()))?,
        bot: directory.bot_id(change.bot_key)?,
        state: change.state,
        time,
    })
}

/// See [`crate::Store::changes_head`].
pub(super) async fn head(readers: &SqlitePool) -> Result<u64> {
    let head: i64 =
        sqlx::query_scalar("SELECT coalesce(max(last_seq), 0) FROM change").fetch_one(readers).await.map_err(failed)?;
    Ok(head as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        (1i64..3, 1i64..i64::MAX, 1i64..500, 0..MessageState::ALL.len()).prop_map(
            |(tenant_key, message_id, bot_key, state)| Change {
                tenant_key,
                message_id,
                bot_key,
                state: MessageState::ALL[state],
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(changes in prop::collection::vec(change(), 1..50)) {
            prop_assert_eq!(decode(&encode(&changes)).unwrap(), changes);
        }

        #[test]
        fn damage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }
    }
}
