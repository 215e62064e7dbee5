//! Sending once more what was not sent: what may be, told by [`muster_domain::replay`], and the new messages.

use std::collections::{BTreeMap, HashMap};

use muster_domain::bot::Stage;
use muster_domain::life::AttemptEnd;
use muster_domain::message::{NewMessage, Priority};
use muster_domain::replay::{Cause, Facts, Refusal, decide};
use muster_domain::{Address, MessageId};
use rusqlite::params;
use sqlx::SqlitePool;

use super::accept::{self, Bounds};
use super::code::Code as _;
use super::error::failed as failed_read;
use super::txn::Txn;
use super::{body, failed};
use crate::{AcceptResult, Replay, ReplayPart, Result, StoreError};

/// A message that was not sent.
struct Candidate {
    message_id: i64,
    bot_key: i64,
    cause: Cause,
    may_have_been_sent: bool,
    is_replayed: bool,
}

/// See [`crate::Store::failed_replay`].
pub(super) fn replay(txn: &mut Txn, tenant_key: i64, asked: Replay) -> Result<ReplayPart> {
    let Some(condition) = failed::condition(&txn.directory, tenant_key, &asked.filter) else {
        return Ok(ReplayPart::default());
    };
    let found = candidates(txn, tenant_key, &condition, &asked)?;
    let is_last = found.len() < asked.limit as usize;
    let mut part = ReplayPart::default();
    let mut counts: BTreeMap<(i64, Cause, Option<Refusal>), u64> = BTreeMap::new();
    let mut chosen = Vec::new();
    let mut in_service = HashMap::new();
    let mut looked_at = None;
    let mut is_cut = false;
    for candidate in found {
        let bot_in_service = match in_service.get(&candidate.bot_key) {
            Some(known) => *known,
            None => {
                let stage: i64 = txn.value("SELECT stage FROM bot WHERE bot_key = ?", [candidate.bot_key])?;
                let known = !matches!(Stage::decode(stage)?, Stage::Retired | Stage::Banned);
                in_service.insert(candidate.bot_key, known);
                known
            }
        };
        let Candidate { message_id, bot_key, cause, may_have_been_sent, is_replayed } = candidate;
        let facts = Facts { cause, may_have_been_sent, is_replayed, bot_in_service };
        let verdict = decide(&facts, asked.force);
        if verdict.is_ok() {
            if chosen.len() == asked.replays_max as usize {
                is_cut = true;
                break;
            }
            chosen.push(message_id);
        }
        looked_at = MessageId::from_raw(message_id);
        *counts.entry((bot_key, cause, verdict.err())).or_default() += 1;
    }
    for ((bot_key, cause, refusal), count) in counts {
        part.counts.push((txn.directory.bot_id(bot_key)?, cause, refusal.map_or(Ok(()), Err), count));
    }
    if !asked.dry_run {
        part.replayed = send_again(txn, tenant_key, &chosen, &asked)?;
    }
    part.next = if is_last || is_cut { None } else { looked_at };
    Ok(part)
}

fn candidates(txn: &Txn, tenant_key: i64, condition: &str, asked: &Replay) -> Result<Vec<Candidate>> {
    let sql = format!(
        "SELECT s.message_id, s.bot_key, s.state, s.reason, s.network_id IS NOT NULL OR EXISTS (SELECT 1 FROM attempt a WHERE \
         a.message_id = s.message_id AND a.outcome IN ({sent}, {uncertain})), EXISTS (SELECT 1 FROM replay r WHERE \
         r.message_id = s.message_id) FROM settled s INDEXED BY settled_failed WHERE s.tenant_key = ? AND s.message_id > ? \
         AND {condition} ORDER BY s.message_id LIMIT ?",
        sent = AttemptEnd::Sent.code(),
        uncertain = AttemptEnd::Uncertain.code(),
    );
    txn.all(&sql, params![tenant_key, asked.after.map_or(0, MessageId::raw), asked.limit], |row| {
        Ok(Candidate {
            message_id: row.get(0)?,
            bot_key: row.get(1)?,
            cause: failed::cause(row.get(2)?, row.get(3)?)?,
            may_have_been_sent: row.get(4)?,
            is_replayed: row.get(5)?,
        })
    })
}

/// Accepts a new message for each, in their order, and links the two.
fn send_again(txn: &mut Txn, tenant_key: i64, chosen: &[i64], asked: &Replay) -> Result<Vec<(MessageId, MessageId)>> {
    let mut messages = Vec::with_capacity(chosen.len());
    for message_id in chosen {
        let found = txn.first(
            "SELECT bot_key, recipient, priority, body FROM message WHERE message_id = ?",
            [message_id],
            |row| {
                let body = body::decode(row.get_ref(3)?.as_blob().unwrap_or_default())?;
                Ok(NewMessage {
                    bot: txn.directory.bot_id(row.get(0)?)?,
                    recipient: Address::from_stored(row.get_ref(1)?.as_str().unwrap_or_default()),
                    content: body.content,
                    priority: Priority::decode(row.get(2)?)?,
                    not_before: None,
                    expire_time: txn.now + asked.validity,
                    idempotency: None,
                    reply_to: body.reply_to,
                    courtesy: body.courtesy,
                    on_uncertain: body.on_uncertain,
                })
            },
        )?;
        messages.push(found.ok_or_else(|| StoreError::Corrupt("a settled message is gone".into()))?);
    }
    let accepted = accept::accept(txn, Bounds::Waived, vec![(tenant_key, messages)])?.pop().unwrap_or_default();
    let mut pairs = Vec::with_capacity(chosen.len());
    for (message_id, result) in chosen.iter().zip(accepted) {
        let AcceptResult::Accepted(replay) = result else { continue };
        txn.execute("INSERT INTO replay (message_id, replay_id) VALUES (?, ?)", params![message_id, replay.raw()])?;
        pairs.extend(MessageId::from_raw(*message_id).map(|message| (message, replay)));
    }
    Ok(pairs)
}

/// See [`crate::Store::message_replays`].
pub(super) async fn of(
    readers: &SqlitePool,
    tenant_key: i64,
    id: MessageId,
) -> Result<(Option<MessageId>, Option<MessageId>)> {
    let row: Option<(Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT (SELECT r.message_id FROM replay r WHERE r.replay_id = m.message_id), \
         (SELECT r.replay_id FROM replay r WHERE r.message_id = m.message_id) FROM message m \
         WHERE m.message_id = ? AND m.tenant_key = ?",
    )
    .bind(id.raw())
    .bind(tenant_key)
    .fetch_optional(readers)
    .await
    .map_err(failed_read)?;
    let (of, by) = row.unwrap_or_default();
    Ok((of.and_then(MessageId::from_raw), by.and_then(MessageId::from_raw)))
}
