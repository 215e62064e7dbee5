//! What the network says later about sent messages.

use muster_domain::Timestamp;
use muster_domain::failure::Failure;
use muster_domain::message::{MessageState, ReceiptKind};
use rusqlite::params;

use super::code::Code;
use super::txn::Txn;
use super::{micros, time};
use crate::Result;

/// A receipt with the key of its bot.
pub(super) struct Receipt {
    pub(super) bot_key: i64,
    pub(super) network_id: String,
    pub(super) kind: ReceiptKind,
    pub(super) time: Timestamp,
    pub(super) failure: Option<Failure>,
}

/// A message that receipts move.
struct Target {
    message_id: i64,
    tenant_key: i64,
    bot_key: i64,
    state: MessageState,
    acknowledge_time: Option<i64>,
    deliver_time: Option<i64>,
    read_time: Option<i64>,
    reason: Option<i64>,
    detail: Option<String>,
}

/// Applies receipts in any order and any number; those whose message is not known yet are kept for it.
pub(super) fn apply(txn: &mut Txn, receipts: &[Receipt]) -> Result<()> {
    for receipt in receipts {
        match target(txn, receipt)? {
            Some(target) => merge(txn, target, receipt)?,
            None => keep(txn, receipt)?,
        }
    }
    Ok(())
}

/// Applies receipts that came before the outcomes of their messages: those of `sent`, by bot and the network's id.
pub(super) fn apply_early(txn: &mut Txn, sent: &[(i64, String)]) -> Result<()> {
    if sent.is_empty() || !txn.value("SELECT EXISTS (SELECT 1 FROM early_receipt)", [])? {
        return Ok(());
    }
    let mut early = Vec::new();
    for (bot_key, network_id) in sent {
        early.extend(txn.all(
            "DELETE FROM early_receipt WHERE bot_key = ? AND network_id = ? RETURNING kind, time, reason, detail",
            params![bot_key, network_id],
            |row| {
                let failure = match row.get(2)? {
                    Some(reason) => {
                        Some(Failure::new(Code::decode(reason)?, row.get::<_, Option<String>>(3)?.unwrap_or_default()))
                    }
                    None => None,
                };
                let (kind, time) = (ReceiptKind::decode(row.get(0)?)?, time(row.get(1)?));
                Ok(Receipt { bot_key: *bot_key, network_id: network_id.clone(), kind, time, failure })
            },
        )?);
    }
    apply(txn, &early)
}

fn target(txn: &Txn, receipt: &Receipt) -> Result<Option<Target>> {
    txn.first(
        "SELECT message_id, tenant_key, bot_key, state, acknowledge_time, deliver_time, read_time, reason, detail \
         FROM settled WHERE bot_key = ? AND network_id = ?",
        params![receipt.bot_key, receipt.network_id],
        |row| {
            Ok(Target {
                message_id: row.get(0)?,
                tenant_key: row.get(1)?,
                bot_key: row.get(2)?,
                state: MessageState::decode(row.get(3)?)?,
                acknowledge_time: row.get(4)?,
                deliver_time: row.get(5)?,
                read_time: row.get(6)?,
                reason: row.get(7)?,
                detail: row.get(8)?,
            })
        },
    )
}

fn merge(txn: &mut Txn, mut target: Target, receipt: &Receipt) -> Result<()> {
    let time = micros(receipt.time);
    let earliest = |known: Option<i64>| Some(known.map_or(time, |known| known.min(time)));
    match receipt.kind {
        ReceiptKind::Acknowledged => target.acknowledge_time = earliest(target.acknowledge_time),
        ReceiptKind::Delivered => target.deliver_time = earliest(target.deliver_time),
        ReceiptKind::Read => target.read_time = earliest(target.read_time),
        ReceiptKind::Failed => {}
    }
    let before = target.state;
    target.state = before.after_receipt(receipt.kind);
    if target.state != before {
        let failure = receipt.failure.as_ref().filter(|_| target.state == MessageState::Failed);
        target.reason = failure.map(|failure| failure.reason.code());
        target.detail = failure.map(|failure| failure.detail.clone());
        // Neither of the two waits: its priority counts no more.
        txn.moved(target.tenant_key, target.bot_key, 0, target.message_id, before, target.state);
    }
    txn.execute(
        "UPDATE settled SET state = ?2, acknowledge_time = ?3, deliver_time = ?4, read_time = ?5, reason = ?6, \
         detail = ?7 WHERE message_id = ?1",
        params![
            target.message_id,
            target.state.code(),
            target.acknowledge_time,
            target.deliver_time,
            target.read_time,
            target.reason,
            target.detail,
        ],
    )
    .map(drop)
}

fn keep(txn: &Txn, receipt: &Receipt) -> Result<()> {
    txn.execute(
        "INSERT INTO early_receipt (bot_key, network_id, kind, time, reason, detail) VALUES (?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO NOTHING",
        params![
            receipt.bot_key,
            receipt.network_id,
            receipt.kind.code(),
            micros(receipt.time),
            receipt.failure.as_ref().map(|failure| failure.reason.code()),
            receipt.failure.as_ref().map(|failure| failure.detail.as_str()),
        ],
    )
    .map(drop)
}
