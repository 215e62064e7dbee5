//! Removing what is no longer kept.

use std::time::Duration;

use muster_domain::MessageId;
use muster_domain::limits::IDEMPOTENCY_KEPT;
use muster_domain::message::MessageState;
use rusqlite::params;

use super::code::Code as _;
use super::txn::Txn;
use super::{body, micros};
use crate::{Result, RetentionPolicy};

/// How long receipts without a message are kept: an outcome that they belong to comes within the reach of an agent's journal.
const EARLY_RECEIPTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// See [`crate::Store::retention_run`].
pub(super) fn run(txn: &mut Txn, policy: &RetentionPolicy, limit: u32) -> Result<u64> {
    let mut removed = messages(txn, policy.messages, limit)?;
    let floor = |age: Duration| MessageId::floor(txn.now - age).raw();
    let before = |age: Duration| micros(txn.now - age);
    removed += keys(txn, floor(IDEMPOTENCY_KEPT), limit)?;
    let rules: [(&'static str, i64); 5] = [
        (
            "DELETE FROM inbound WHERE inbound_id IN (SELECT inbound_id FROM inbound WHERE inbound_id < ? LIMIT ?)",
            floor(policy.inbound),
        ),
        (
            // The latest change stays: it is where the numbers go on.
            "DELETE FROM change WHERE last_seq IN (SELECT last_seq FROM change WHERE last_seq < coalesce( \
             (SELECT last_seq FROM change WHERE time >= ? ORDER BY last_seq LIMIT 1), (SELECT max(last_seq) FROM change)) \
             ORDER BY last_seq LIMIT ?)",
            before(policy.changes),
        ),
        (
            "DELETE FROM request WHERE (tenant_key, request_id) IN (SELECT tenant_key, request_id FROM request WHERE create_time < ? LIMIT ?)",
            before(IDEMPOTENCY_KEPT),
        ),
        (
            "DELETE FROM early_receipt WHERE (bot_key, network_id, kind) IN \
             (SELECT bot_key, network_id, kind FROM early_receipt WHERE time < ? LIMIT ?)",
            before(EARLY_RECEIPTS_KEPT),
        ),
        (
            "DELETE FROM media WHERE digest IN (SELECT digest FROM media kept WHERE create_time < ? \
             AND NOT EXISTS (SELECT 1 FROM message m WHERE m.media_digest = kept.digest) LIMIT ?)",
            before(policy.media),
        ),
    ];
    for (sql, bound) in rules {
        removed += txn.execute(sql, params![bound, limit])?;
    }
    txn.execute("DELETE FROM media_owner WHERE digest NOT IN (SELECT digest FROM media)", [])?;
    Ok(removed)
}

/// Removes messages in a final state, with what belongs to them. Those that wait or are under way stay, however old.
fn messages(txn: &mut Txn, age: Duration, limit: u32) -> Result<u64> {
    let over: Vec<(i64, i64, MessageState)> = txn.all(
        "SELECT message_id, bot_key, state FROM settled WHERE message_id < ? ORDER BY message_id LIMIT ?",
        params![MessageId::floor(txn.now - age).raw(), limit],
        |row| Ok((row.get(0)?, row.get(1)?, MessageState::decode(row.get(2)?)?)),
    )?;
    for (message_id, bot_key, state) in &over {
        for sql in [
            "DELETE FROM attempt WHERE message_id = ?",
            "DELETE FROM resolution WHERE message_id = ?",
            "DELETE FROM replay WHERE message_id = ?",
            "DELETE FROM settled WHERE message_id = ?",
        ] {
            txn.execute(sql, [message_id])?;
        }
        let message =
            txn.first("DELETE FROM message WHERE message_id = ? RETURNING tenant_key, body", [message_id], |row| {
                Ok((row.get(0)?, body::decode(row.get_ref(1)?.as_blob().unwrap_or_default())?))
            })?;
        if let Some((tenant_key, body::Body { idempotency_key: Some(key), .. })) = message {
            leave_key(txn, *message_id, tenant_key, &key)?;
        }
        txn.gone(*bot_key, *state);
    }
    Ok(over.len() as u64)
}

/// Hands the key of a message that goes over to [`keys`]. A key stays for as long as its message does, and for its own time at
/// least. It is found by its message, so that no index by age has to be kept while messages are accepted.
fn leave_key(txn: &Txn, message_id: i64, tenant_key: i64, key: &str) -> Result<()> {
    txn.execute(
        "INSERT INTO orphaned_key (message_id, tenant_key, key) VALUES (?, ?, ?)",
        params![message_id, tenant_key, key],
    )
    .map(drop)
}

/// Removes keys whose message is gone and was accepted before the id `floor`.
fn keys(txn: &Txn, floor: i64, limit: u32) -> Result<u64> {
    let over: Vec<(i64, i64, String)> = txn.all(
        "DELETE FROM orphaned_key WHERE message_id IN (SELECT message_id FROM orphaned_key WHERE message_id < ? \
         ORDER BY message_id LIMIT ?) RETURNING message_id, tenant_key, key",
        params![floor, limit],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (message_id, tenant_key, key) in &over {
        txn.execute(
            "DELETE FROM idempotency WHERE tenant_key = ? AND key = ? AND message_id = ?",
            params![tenant_key, key, message_id],
        )?;
    }
    Ok(over.len() as u64)
}
