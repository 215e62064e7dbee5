//! Accepting messages: the one write that nearly all others follow from.

use std::collections::HashMap;

use muster_domain::bot::Stage;
use muster_domain::content::MediaSource;
use muster_domain::gate::WaitReason;
use muster_domain::message::{MessageState, NewMessage};
use sqlx::Row as _;

use super::code::Code as _;
use super::writer::Txn;
use super::{body, bulk, expiry, micros, queues};
use crate::{AcceptResult, Result, chain_of};

/// A message on its way into the tables.
struct Row {
    message_id: i64,
    tenant_key: i64,
    bot_key: i64,
    priority: i64,
    chain: i64,
    expire_time: i64,
    not_before: Option<i64>,
    recipient: String,
    body: Vec<u8>,
    media_digest: Option<Vec<u8>>,
}

/// A key that is new, with the message it stands for.
struct KeyRow {
    tenant_key: i64,
    key: String,
    fingerprint: [u8; 16],
    message_id: i64,
}

/// Accepts the messages of several callers, in their order. Fails only if the database does, and then for all of them.
pub(super) async fn accept(txn: &mut Txn, batches: Vec<(i64, Vec<NewMessage>)>) -> Result<Vec<Vec<AcceptResult>>> {
    let mut known = known_keys(txn, &batches).await?;
    let mut results = Vec::with_capacity(batches.len());
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    for (tenant_key, messages) in batches {
        let entries = txn.directory.bots(tenant_key, messages.iter().map(|message| &message.bot));
        let mut answers = Vec::with_capacity(messages.len());
        for (message, entry) in messages.into_iter().zip(entries) {
            if let Some(idempotency) = &message.idempotency
                && let Some((id, fingerprint)) = known.get(&(tenant_key, idempotency.key.clone()))
            {
                let same = *fingerprint == idempotency.fingerprint;
                answers.push(if same { AcceptResult::Replayed(*id) } else { AcceptResult::KeyReused(*id) });
                continue;
            }
            let Some(entry) = entry else {
                answers.push(AcceptResult::BotUnknown);
                continue;
            };
            if entry.stage == Stage::Retired {
                answers.push(AcceptResult::BotRetired);
                continue;
            }
            let id = txn.issue_id();
            if let Some(idempotency) = &message.idempotency {
                known.insert((tenant_key, idempotency.key.clone()), (id, idempotency.fingerprint));
                let (key, fingerprint) = (idempotency.key.clone(), idempotency.fingerprint);
                keys.push(KeyRow { tenant_key, key, fingerprint, message_id: id.raw() });
            }
            rows.push(row(tenant_key, entry.bot_key, id.raw(), &message));
            answers.push(AcceptResult::Accepted(id));
        }
        results.push(answers);
    }
    insert(txn, &rows, &keys).await?;
    Ok(results)
}

fn row(tenant_key: i64, bot_key: i64, message_id: i64, message: &NewMessage) -> Row {
    let key = message.idempotency.as_ref().map(|idempotency| idempotency.key.as_str());
    let media_digest = match message.content.media().map(|media| &media.source) {
        Some(MediaSource::Stored(digest)) => Some(digest.0.to_vec()),
        Some(MediaSource::Url(_)) | None => None,
    };
    Row {
        message_id,
        tenant_key,
        bot_key,
        priority: message.priority.code(),
        chain: chain_of(bot_key, &message.recipient, message.priority).cast_signed(),
        expire_time: micros(message.expire_time),
        not_before: message.not_before.map(micros),
        recipient: message.recipient.as_str().to_owned(),
        body: body::encode(&message.content, message.reply_to.as_ref(), message.courtesy, key),
        media_digest,
    }
}

/// Keys of the messages that were used before.
async fn known_keys(
    txn: &mut Txn,
    batches: &[(i64, Vec<NewMessage>)],
) -> Result<HashMap<(i64, String), (muster_domain::MessageId, [u8; 16])>> {
    let asked: Vec<(i64, &str)> = batches
        .iter()
        .flat_map(|(tenant_key, messages)| {
            messages.iter().filter_map(|message| Some((*tenant_key, message.idempotency.as_ref()?.key.as_str())))
        })
        .collect();
    let found = bulk::fetch(
        &mut txn.connection,
        "SELECT tenant_key, key, fingerprint, message_id FROM idempotency WHERE (tenant_key, key) IN (VALUES",
        2,
        ")",
        &asked,
        |query, (tenant_key, key)| query.bind(*tenant_key).bind((*key).to_owned()),
    )
    .await?;
    let mut known = HashMap::with_capacity(asked.len());
    for row in found {
        let fingerprint = row.get::<&[u8], _>(2).try_into().unwrap_or_default();
        if let Some(id) = muster_domain::MessageId::from_raw(row.get(3)) {
            known.insert((row.get(0), row.get(1)), (id, fingerprint));
        }
    }
    Ok(known)
}

async fn insert(txn: &mut Txn, rows: &[Row], keys: &[KeyRow]) -> Result<()> {
    let now = micros(txn.now);
    let connection = &mut txn.connection;
    bulk::insert(
        connection,
        "INSERT INTO idempotency (tenant_key, key, fingerprint, message_id) VALUES",
        4,
        keys,
        |query, row| {
            query.bind(row.tenant_key).bind(row.key.clone()).bind(row.fingerprint.to_vec()).bind(row.message_id)
        },
    )
    .await?;
    bulk::insert(
        connection,
        "INSERT INTO message (message_id, tenant_key, bot_key, priority, chain, expire_time, not_before, recipient, media_digest, body) VALUES",
        10,
        rows,
        |query, row| {
            let query = query.bind(row.message_id).bind(row.tenant_key).bind(row.bot_key).bind(row.priority);
            let query = query.bind(row.chain).bind(row.expire_time).bind(row.not_before).bind(row.recipient.clone());
            query.bind(row.media_digest.clone()).bind(row.body.clone())
        },
    )
    .await?;
    let (later, mut at_once): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.not_before.is_some());
    // In the order of the table: each bot's rows side by side.
    at_once.sort_unstable_by_key(|row| (row.bot_key, row.priority, row.message_id));
    queues::insert_ready(txn, &at_once, |row| (row.bot_key, row.priority, row.message_id, 0)).await?;
    bulk::insert(
        &mut txn.connection,
        "INSERT INTO parked (wake_time, message_id, bot_key, priority, chain, attempt_no, reason, since, blocks) VALUES",
        9,
        &later,
        |query, row| {
            let query =
                query.bind(row.not_before).bind(row.message_id).bind(row.bot_key).bind(row.priority).bind(row.chain);
            query.bind(0i64).bind(WaitReason::NotBefore.code()).bind(now).bind(0i64)
        },
    )
    .await?;
    expiry::watch(txn, rows.iter().map(|row| (row.message_id, row.expire_time))).await?;
    for row in rows {
        txn.moved(row.tenant_key, row.bot_key, row.message_id, None, MessageState::Waiting);
    }
    Ok(())
}
