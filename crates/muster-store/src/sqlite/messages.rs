//! Messages: reading their rows, and taking them back.

use std::collections::HashMap;

use muster_domain::failure::Failure;
use muster_domain::gate::WaitReason;
use muster_domain::message::{Idempotency, Message, MessageState, Parked, Priority, ReceiptTimes};
use muster_domain::{Address, MessageId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::bots::push_any;
use super::code::Code;
use super::directory::{Directory, bot_id};
use super::error::failed;
use super::settle::{self, Step};
use super::writer::Txn;
use super::{body, time, time_opt};
use crate::{AcceptResult, AttemptRef, CancelResult, MessageFilter, Result, StoreError};

const MESSAGE: &str = "SELECT m.message_id, b.bot_id, c.recipient, c.body, m.priority, m.not_before, m.expire_time, m.state, \
    m.attempt_no, m.cancel_requested, m.dispatch_time, m.outcome_time, m.acknowledge_time, m.deliver_time, m.read_time, m.reason, \
    m.detail, m.network_id, p.reason, p.since, p.wake_time FROM message m JOIN content c USING (message_id) JOIN bot b USING (bot_key) \
    LEFT JOIN parked p ON p.message_id = m.message_id WHERE m.tenant_key = ";

fn message(row: &SqliteRow) -> Result<Message> {
    let body = body::decode(row.get(3))?;
    let failure = match row.get::<Option<i64>, _>(15) {
        Some(reason) => Some(Failure::new(Code::decode(reason)?, row.get::<Option<&str>, _>(16).unwrap_or_default())),
        None => None,
    };
    let parked = match row.get::<Option<i64>, _>(18) {
        Some(reason) => {
            Some(Parked { reason: WaitReason::decode(reason)?, since: time(row.get(19)), until: time(row.get(20)) })
        }
        None => None,
    };
    Ok(Message {
        id: MessageId::from_raw(row.get(0)).ok_or_else(|| StoreError::Corrupt("a message has no id".into()))?,
        bot: bot_id(row.get(1))?,
        recipient: Address::from_stored(row.get(2)),
        content: body.content,
        priority: Priority::decode(row.get(4))?,
        not_before: time_opt(row.get(5)),
        expire_time: time(row.get(6)),
        idempotency_key: body.idempotency_key,
        reply_to: body.reply_to,
        courtesy: body.courtesy,
        state: MessageState::decode(row.get(7))?,
        attempt_no: row.get::<i64, _>(8) as u32,
        cancel_requested: row.get(9),
        dispatch_time: time_opt(row.get(10)),
        outcome_time: time_opt(row.get(11)),
        receipts: ReceiptTimes {
            acknowledge_time: time_opt(row.get(12)),
            deliver_time: time_opt(row.get(13)),
            read_time: time_opt(row.get(14)),
        },
        failure,
        network_id: row.get(17),
        parked,
    })
}

/// See [`crate::Store::message_repeats`].
pub(super) async fn repeats(
    readers: &SqlitePool,
    tenant_key: i64,
    asked: &[Idempotency],
) -> Result<Vec<Option<AcceptResult>>> {
    let mut query =
        QueryBuilder::<Sqlite>::new("SELECT key, fingerprint, message_id FROM idempotency WHERE tenant_key = ");
    query.push_bind(tenant_key).push(" AND key IN (");
    let mut list = query.separated(", ");
    for idempotency in asked {
        list.push_bind(&idempotency.key);
    }
    query.push(")");
    let rows = query.build().fetch_all(readers).await.map_err(failed)?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in &rows {
        let id = MessageId::from_raw(row.get(2)).ok_or_else(|| StoreError::Corrupt("a key has no message".into()))?;
        known.insert(row.get::<&str, _>(0), (row.get::<&[u8], _>(1), id));
    }
    let answer = |idempotency: &Idempotency| {
        let (fingerprint, id) = known.get(&*idempotency.key)?;
        let same = *fingerprint == idempotency.fingerprint;
        Some(if same { AcceptResult::Replayed(*id) } else { AcceptResult::KeyReused(*id) })
    };
    Ok(asked.iter().map(answer).collect())
}

pub(super) async fn get(readers: &SqlitePool, tenant_key: i64, id: MessageId) -> Result<Option<Message>> {
    let mut query = QueryBuilder::<Sqlite>::new(MESSAGE);
    query.push_bind(tenant_key).push(" AND m.message_id = ").push_bind(id.raw());
    let row = query.build().fetch_optional(readers).await.map_err(failed)?;
    row.as_ref().map(message).transpose()
}

pub(super) async fn list(
    readers: &SqlitePool,
    directory: &Directory,
    tenant_key: i64,
    filter: &MessageFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Vec<Message>> {
    let mut query = QueryBuilder::<Sqlite>::new(MESSAGE);
    query.push_bind(tenant_key);
    if let Some(bot) = &filter.bot {
        let Some(entry) = directory.bot(tenant_key, bot) else { return Ok(Vec::new()) };
        query.push(" AND m.bot_key = ").push_bind(entry.bot_key);
    }
    // The partial index of the troubled states is only found when the condition shows that it applies.
    if !filter.states.is_empty() && filter.states.iter().all(|state| state.code() >= MessageState::Failed.code()) {
        query.push(" AND m.state >= 5");
    }
    push_any(&mut query, "m.state", filter.states.iter().map(|state| state.code()));
    if !filter.recipients.is_empty() {
        query.push(" AND c.recipient IN (");
        let mut list = query.separated(", ");
        for recipient in &filter.recipients {
            list.push_bind(recipient.as_str().to_owned());
        }
        query.push(")");
    }
    // Ids tell the time of acceptance, and are what the rows are ordered by.
    if let Some(from) = filter.accepted_from {
        query.push(" AND m.message_id >= ").push_bind(MessageId::floor(from).raw());
    }
    if let Some(until) = filter.accepted_until {
        query.push(" AND m.message_id < ").push_bind(MessageId::floor(until).raw());
    }
    if let Some(before) = before {
        query.push(" AND m.message_id < ").push_bind(before.raw());
    }
    query.push(" ORDER BY m.message_id DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(message).collect()
}

pub(super) async fn queue_ahead(readers: &SqlitePool, tenant_key: i64, id: MessageId) -> Result<u64> {
    let ahead: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM message m JOIN ready r ON r.bot_key = m.bot_key \
         AND (r.priority, r.message_id) < (m.priority, m.message_id) WHERE m.message_id = ? AND m.tenant_key = ?",
    )
    .bind(id.raw())
    .bind(tenant_key)
    .fetch_one(readers)
    .await
    .map_err(failed)?;
    Ok(ahead as u64)
}

/// See [`crate::Store::message_cancel`].
pub(super) async fn cancel(txn: &mut Txn, tenant_key: i64, id: MessageId) -> Result<CancelResult> {
    let facts = settle::facts(txn, &[id.raw()]).await?.remove(&id.raw()).filter(|facts| facts.tenant_key == tenant_key);
    let Some(facts) = facts else { return Ok(CancelResult::NotFound) };
    match facts.state {
        MessageState::Waiting => {
            settle::apply(txn, vec![Step::finish(facts, MessageState::Cancelled, None, None)], None).await?;
            Ok(CancelResult::Cancelled)
        }
        MessageState::Dispatched => {
            sqlx::query("UPDATE message SET cancel_requested = 1 WHERE message_id = ? AND state = 1")
                .bind(id.raw())
                .execute(&mut txn.connection)
                .await
                .map_err(failed)?;
            let node = txn.directory.node_id(facts.node_key.unwrap_or_default())?;
            Ok(CancelResult::Requested(node, AttemptRef { message_id: id, attempt_no: facts.attempt_no as u32 }))
        }
        state => Ok(CancelResult::Final(state)),
    }
}
