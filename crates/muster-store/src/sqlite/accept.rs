//! Accepting messages: the one write that nearly all others follow from.

use std::time::Duration;

use muster_domain::bot::Stage;
use muster_domain::content::MediaSource;
use muster_domain::gate::{self, WaitReason};
use muster_domain::message::{Idempotency, MessageState, NewMessage};
use muster_domain::{MessageId, Timestamp};
use rusqlite::params;

use super::code::Code as _;
use super::directory::Entry;
use super::facts::Facts;
use super::queues::{self, Ready};
use super::txn::Txn;
use super::{body, expiry, micros, opt_outs};
use crate::{AcceptResult, Result, StoreError, chain_of};

/// A message on its way into the tables.
struct Accepted {
    facts: Facts,
    not_before: Option<Timestamp>,
    message: NewMessage,
}

/// Whether a full backlog refuses messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    /// It does.
    Apply,
    /// It does not: an operator asked for them, and they are no more than what was accepted before.
    Waived,
}

/// Accepts the messages of several callers, in their order. Fails only if the database does, and then for all of them.
pub(super) fn accept(
    txn: &mut Txn,
    bounds: Bounds,
    batches: Vec<(i64, Vec<NewMessage>)>,
) -> Result<Vec<Vec<AcceptResult>>> {
    let mut results = Vec::with_capacity(batches.len());
    let mut accepted = Vec::new();
    for (tenant_key, messages) in batches {
        let entries = txn.directory.bots(tenant_key, messages.iter().map(|message| &message.bot));
        let ids: Vec<MessageId> = messages.iter().map(|_| txn.issue_id()).collect();
        let mut keep = txn.prepare(
            "INSERT INTO idempotency (tenant_key, key, fingerprint, message_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?;
        let mut keep_key = |idempotency: &Idempotency, id: MessageId| -> Result<bool> {
            Ok(keep.execute(params![tenant_key, idempotency.key, idempotency.fingerprint, id.raw()])? == 1)
        };
        let mut answers = Vec::with_capacity(messages.len());
        for ((message, entry), id) in messages.into_iter().zip(entries).zip(ids) {
            let wanted = match entry {
                None => true,
                Some(entry) => is_wanted(txn, tenant_key, entry, &message)?,
            };
            let bot_key = match entry {
                None => Err(AcceptResult::BotUnknown),
                Some(entry) if entry.stage == Stage::Retired => Err(AcceptResult::BotRetired),
                Some(_) if !wanted => Err(AcceptResult::RecipientOptedOut),
                Some(entry) if bounds == Bounds::Waived => Ok(entry.bot_key),
                Some(entry) => room(txn, tenant_key, entry, &message).map(|()| entry.bot_key),
            };
            // A key that was used before has its first answer, whatever became of the bot since, and however much waits for it.
            if let Some(idempotency) = &message.idempotency
                && (bot_key.is_err() || !keep_key(idempotency, id)?)
                && let Some(first) = replayed(txn, tenant_key, idempotency)?
            {
                answers.push(first);
                continue;
            }
            answers.push(match bot_key {
                Err(refusal) => refusal,
                Ok(bot_key) => {
                    let admitted = admit(tenant_key, bot_key, id, message);
                    let (priority, state) = (admitted.facts.priority, admitted.facts.state);
                    txn.counts.borrow_mut().moved(tenant_key, bot_key, priority, None, state);
                    accepted.push(admitted);
                    AcceptResult::Accepted(id)
                }
            });
        }
        results.push(answers);
    }
    insert(txn, &accepted)?;
    for Accepted { facts, .. } in &accepted {
        txn.accepted(facts.tenant_key, facts.bot_key, facts.message_id);
    }
    Ok(results)
}

/// Whether anything may be sent to the recipient of a message.
fn is_wanted(txn: &Txn, tenant_key: i64, bot: Entry, message: &NewMessage) -> Result<bool> {
    let recipient = opt_outs::recipient(txn, tenant_key, bot.kind.network(), &message.recipient)?;
    Ok(gate::decide_recipient(recipient).is_ok())
}

/// Whether the bot's backlog takes a message.
fn room(txn: &Txn, tenant_key: i64, bot: Entry, message: &NewMessage) -> std::result::Result<(), AcceptResult> {
    let backlog = txn.counts.borrow().backlog(tenant_key, bot.bot_key, message.priority.code());
    let at_once = message.not_before.is_none_or(|time| time <= txn.now);
    let valid_for = || Duration::try_from(message.expire_time.duration_since(txn.now)).unwrap_or_default();
    backlog.admit(at_once.then(valid_for)).map_err(AcceptResult::BacklogFull)?;
    if !bot.has_window || !at_once {
        return Ok(());
    }
    match txn.directory.window(bot.bot_key) {
        Some(window) => backlog.admit_within(&window, txn.now, valid_for()).map_err(AcceptResult::BacklogFull),
        None => Ok(()),
    }
}

fn admit(tenant_key: i64, bot_key: i64, id: MessageId, message: NewMessage) -> Accepted {
    let facts = Facts {
        message_id: id.raw(),
        tenant_key,
        bot_key,
        priority: message.priority.code(),
        chain: chain_of(bot_key, &message.recipient, message.priority).cast_signed(),
        expire_time: micros(message.expire_time),
        state: MessageState::Waiting,
        attempt_no: 0,
        cancel_requested: false,
        opted_out: false,
        latest: None,
    };
    Accepted { facts, not_before: message.not_before, message }
}

/// The first answer to a key, if it was used before.
fn replayed(txn: &Txn, tenant_key: i64, idempotency: &Idempotency) -> Result<Option<AcceptResult>> {
    let sql = "SELECT message_id, fingerprint FROM idempotency WHERE tenant_key = ? AND key = ?";
    txn.first(sql, params![tenant_key, idempotency.key], |row| {
        let id = MessageId::from_raw(row.get(0)?);
        let id = id.ok_or_else(|| StoreError::Corrupt("an idempotency key names no message".into()))?;
        let same = row.get_ref(1)?.as_blob().is_ok_and(|fingerprint| fingerprint == idempotency.fingerprint);
        Ok(if same { AcceptResult::Replayed(id) } else { AcceptResult::KeyReused(id) })
    })
}

fn insert(txn: &Txn, accepted: &[Accepted]) -> Result<()> {
    let mut insert = txn.prepare(
        "INSERT INTO message (message_id, tenant_key, bot_key, priority, chain, expire_time, not_before, recipient, media_digest, body) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut at_once = Vec::with_capacity(accepted.len());
    for Accepted { facts, not_before, message } in accepted {
        let media_digest = match message.content.media().map(|media| &media.source) {
            Some(MediaSource::Stored(digest)) => Some(&digest.0[..]),
            Some(MediaSource::Url(_)) | None => None,
        };
        insert.execute(params![
            facts.message_id,
            facts.tenant_key,
            facts.bot_key,
            facts.priority,
            facts.chain,
            facts.expire_time,
            not_before.map(micros),
            message.recipient.as_str(),
            media_digest,
            body::encode(
                &message.content,
                message.reply_to.as_ref(),
                message.courtesy,
                message.idempotency.as_ref().map(|idempotency| idempotency.key.as_str()),
                message.on_uncertain,
            ),
        ])?;
        match not_before {
            Some(time) => queues::park(txn, facts, *time, WaitReason::NotBefore)?,
            None => at_once.push(facts),
        }
    }
    // In the order of the table: each bot's rows side by side.
    at_once.sort_unstable_by_key(|facts| (facts.bot_key, facts.priority, facts.message_id));
    queues::enter(txn, at_once.into_iter().map(Ready::from))?;
    expiry::watch(txn, accepted.iter().map(|accepted| (accepted.facts.message_id, accepted.facts.expire_time)))
}
