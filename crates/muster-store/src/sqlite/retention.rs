//! Removing what is no longer kept.

use std::time::Duration;

use muster_domain::MessageId;
use muster_domain::limits::IDEMPOTENCY_KEPT;
use muster_domain::message::MessageState;
use rusqlite::params;

use super::code::Code as _;
use super::micros;
use super::txn::Txn;
use crate::{Result, RetentionPolicy};

/// How long receipts without a message are kept: an outcome that they belong to comes within the reach of an agent's journal.
const EARLY_RECEIPTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// See [`crate::Store::retention_run`].
pub(super) fn run(txn: &mut Txn, policy: &RetentionPolicy, limit: u32) -> Result<u64> {
    let mut removed = messages(txn, policy.messages, limit)?;
    let floor = |age: Duration| MessageId::floor(txn.now - age).raw();
    let before = |age: Duration| micros(txn.now - age);
    let rules: [(&'static str, i64); 6] = [
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
            "DELETE FROM idempotency WHERE (tenant_key, key) IN (SELECT tenant_key, key FROM idempotency WHERE message_id < ? LIMIT ?)",
            floor(IDEMPOTENCY_KEPT.max(policy.messages)),
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
            "DELETE FROM message WHERE message_id = ?",
        ] {
            txn.execute(sql, [message_id])?;
        }
        txn.gone(*bot_key, *state);
    }
    Ok(over.len() as u64)
}
