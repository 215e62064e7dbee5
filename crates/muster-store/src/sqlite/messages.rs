//! Messages: reading their rows, and taking them back.

use std::collections::HashMap;

use muster_domain::failure::Failure;
use muster_domain::gate::WaitReason;
use muster_domain::life::{self, Cancel};
use muster_domain::message::{Idempotency, Message, MessageState, Parked, Priority, ReceiptTimes};
use muster_domain::{Address, MessageId};
use rusqlite::params;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::bots::push_any;
use super::code::Code;
use super::directory::{Directory, bot_id};
use super::error::failed;
use super::facts;
use super::settle::{self, Step};
use super::txn::Txn;
use super::{body, micros, time, time_opt};
use crate::{AcceptResult, AttemptRef, CancelResult, MessageFilter, Result, StoreError};

/// The columns of a message. What became of it is told by `s`, an attempt under way by `f`, and the latest one that was kept
/// apart by `a`.
const COLUMNS: &str = "SELECT m.message_id, b.bot_id, m.recipient, m.body, m.priority, m.not_before, m.expire_time, \
    coalesce(s.state, f.message_id IS NOT NULL), coalesce(s.attempt_no, f.attempt_no, a.attempt_no, 0), \
    coalesce(s.cancel_requested, f.cancel_requested, 0), coalesce(s.dispatch_time, f.dispatch_time, a.dispatch_time), \
    coalesce(s.outcome_time, iif(f.message_id IS NULL, a.outcome_time, NULL)), s.acknowledge_time, s.deliver_time, s.read_time, \
    iif(s.state IS NULL AND f.message_id IS NULL, a.reason, s.reason), iif(s.state IS NULL, a.detail, s.detail), s.network_id, \
    p.reason, p.since, p.wake_time FROM message m JOIN bot b USING (bot_key) ";

/// Where a message may be. The filter of a list may ask for one of them only.
const PLACES: &str = " LEFT JOIN parked p ON p.bot_key = m.bot_key AND p.message_id = m.message_id \
    LEFT JOIN attempt a ON a.message_id = m.message_id \
    AND a.attempt_no = (SELECT max(x.attempt_no) FROM attempt x WHERE x.message_id = m.message_id) WHERE m.tenant_key = ";

const SETTLED: &str = "JOIN settled s ON s.message_id = m.message_id ";
const SETTLED_OR_NOT: &str = "LEFT JOIN settled s ON s.message_id = m.message_id ";
const IN_FLIGHT: &str = "JOIN flight f ON f.message_id = m.message_id ";
const IN_FLIGHT_OR_NOT: &str = "LEFT JOIN flight f ON f.message_id = m.message_id ";

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
        on_uncertain: body.on_uncertain,
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
    let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
    query.push(SETTLED_OR_NOT).push(IN_FLIGHT_OR_NOT).push(PLACES);
    query.push_bind(tenant_key).push(" AND m.message_id = ").push_bind(id.raw());
    let row = query.build().fetch_optional(readers).await.map_err(failed)?;
    row.as_ref().map(message).transpose()
}

/// The messages with these ids, the newest first.
pub(super) async fn these(readers: &SqlitePool, tenant_key: i64, ids: &[i64]) -> Result<Vec<Message>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
    query.push(SETTLED_OR_NOT).push(IN_FLIGHT_OR_NOT).push(PLACES).push_bind(tenant_key);
    push_any(&mut query, "m.message_id", ids.iter().copied());
    query.push(" ORDER BY m.message_id DESC");
    let rows = query.build().fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(message).collect()
}

pub(super) async fn list(
    readers: &SqlitePool,
    directory: &Directory,
    tenant_key: i64,
    filter: &MessageFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Vec<Message>> {
    let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
    let all = |wanted: fn(&MessageState) -> bool| !filter.states.is_empty() && filter.states.iter().all(wanted);
    // Each place is a table of its own: a list of what is in one of them does not look at the others.
    query.push(if all(|state| state.is_final()) { SETTLED } else { SETTLED_OR_NOT });
    query.push(if all(|state| *state == MessageState::Dispatched) { IN_FLIGHT } else { IN_FLIGHT_OR_NOT });
    query.push(PLACES).push_bind(tenant_key);
    if let Some(bot) = &filter.bot {
        let Some(entry) = directory.bot(tenant_key, bot) else { return Ok(Vec::new()) };
        query.push(" AND m.bot_key = ").push_bind(entry.bot_key);
    }
    if all(|state| state.is_final()) {
        // The partial index of the troubled states is only found when the condition shows that it applies.
        if all(|state| state.code() >= MessageState::Failed.code()) {
            query.push(" AND s.state >= 5 AND s.tenant_key = ").push_bind(tenant_key);
        }
        push_any(&mut query, "s.state", filter.states.iter().map(|state| state.code()));
    } else {
        let state = "coalesce(s.state, f.message_id IS NOT NULL)";
        push_any(&mut query, state, filter.states.iter().map(|state| state.code()));
    }
    if !filter.recipients.is_empty() {
        query.push(" AND m.recipient IN (");
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

/// See [`crate::Store::message_cancel`].
pub(super) fn cancel(txn: &mut Txn, tenant_key: i64, id: MessageId) -> Result<CancelResult> {
    let found = facts::of_one(txn, id.raw())?.filter(|facts| facts.tenant_key == tenant_key);
    let Some(facts) = found else { return Ok(CancelResult::NotFound) };
    match life::after_cancel(&facts.life(micros(txn.now))) {
        Cancel::Step(step) => {
            settle::apply(txn, vec![Step::new(facts, step)])?;
            Ok(CancelResult::Cancelled)
        }
        Cancel::Ask => {
            txn.execute("UPDATE flight SET cancel_requested = 1 WHERE message_id = ?", params![id.raw()])?;
            txn.under_way.forget(id.raw());
            let node = txn.directory.node_id(facts.latest.map_or(0, |latest| latest.node_key))?;
            Ok(CancelResult::Requested(node, AttemptRef { message_id: id, attempt_no: facts.attempt_no as u32 }))
        }
        Cancel::TooLate => Ok(CancelResult::Final(facts.state)),
    }
}
