//! What the network says later about sent messages.

use std::collections::HashMap;

use muster_domain::Timestamp;
use muster_domain::failure::Failure;
use muster_domain::message::{MessageState, ReceiptKind};
use sqlx::Row as _;

use super::code::Code;
use super::error::failed;
use super::writer::Txn;
use super::{bulk, micros, time};
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
    before: MessageState,
    state: MessageState,
    acknowledge_time: Option<i64>,
    deliver_time: Option<i64>,
    read_time: Option<i64>,
    reason: Option<i64>,
    detail: Option<String>,
}

/// Applies receipts in any order and any number; those whose message is not known yet are kept for it.
pub(super) async fn apply(txn: &mut Txn, receipts: Vec<Receipt>) -> Result<()> {
    if receipts.is_empty() {
        return Ok(());
    }
    let mut targets = targets(txn, &receipts).await?;
    let mut early = Vec::new();
    for receipt in receipts {
        match targets.get_mut(&(receipt.bot_key, receipt.network_id.clone())) {
            Some(target) => merge(target, &receipt),
            None => early.push(receipt),
        }
    }
    write(txn, targets.into_values().collect()).await?;
    keep(txn, &early).await
}

/// Applies receipts that came before the outcomes of their messages.
pub(super) async fn apply_early(txn: &mut Txn, sent: Vec<(i64, String)>) -> Result<()> {
    if sent.is_empty() || !any_early(txn).await? {
        return Ok(());
    }
    let rows = bulk::fetch(
        &mut txn.connection,
        "DELETE FROM early_receipt WHERE (bot_key, network_id) IN (VALUES",
        2,
        ") RETURNING bot_key, network_id, kind, time, reason, detail",
        &sent,
        |query, (bot_key, network_id)| query.bind(*bot_key).bind(network_id.clone()),
    )
    .await?;
    let mut receipts = Vec::with_capacity(rows.len());
    for row in rows {
        let failure = match row.get::<Option<i64>, _>(4) {
            Some(reason) => {
                Some(Failure::new(Code::decode(reason)?, row.get::<Option<&str>, _>(5).unwrap_or_default()))
            }
            None => None,
        };
        receipts.push(Receipt {
            bot_key: row.get(0),
            network_id: row.get(1),
            kind: ReceiptKind::decode(row.get(2))?,
            time: time(row.get(3)),
            failure,
        });
    }
    Box::pin(apply(txn, receipts)).await
}

async fn any_early(txn: &mut Txn) -> Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM early_receipt)")
        .fetch_one(&mut txn.connection)
        .await
        .map_err(failed)
}

async fn targets(txn: &mut Txn, receipts: &[Receipt]) -> Result<HashMap<(i64, String), Target>> {
    let rows = bulk::fetch(
        &mut txn.connection,
        "SELECT s.message_id, s.tenant_key, s.bot_key, s.state, s.acknowledge_time, s.deliver_time, s.read_time, s.reason, s.detail, \
         s.network_id FROM (VALUES",
        2,
        ") AS v CROSS JOIN settled s ON s.bot_key = v.column1 AND s.network_id = v.column2",
        receipts,
        |query, receipt| query.bind(receipt.bot_key).bind(receipt.network_id.clone()),
    )
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let state = MessageState::decode(row.get(3))?;
        let target = Target {
            message_id: row.get(0),
            tenant_key: row.get(1),
            bot_key: row.get(2),
            before: state,
            state,
            acknowledge_time: row.get(4),
            deliver_time: row.get(5),
            read_time: row.get(6),
            reason: row.get(7),
            detail: row.get(8),
        };
        found.insert((target.bot_key, row.get(9)), target);
    }
    Ok(found)
}

fn merge(target: &mut Target, receipt: &Receipt) {
    let earliest =
        |present: Option<i64>| Some(present.map_or(micros(receipt.time), |present| present.min(micros(receipt.time))));
    match receipt.kind {
        ReceiptKind::Acknowledged => target.acknowledge_time = earliest(target.acknowledge_time),
        ReceiptKind::Delivered => target.deliver_time = earliest(target.deliver_time),
        ReceiptKind::Read => target.read_time = earliest(target.read_time),
        ReceiptKind::Failed => {}
    }
    let after = target.state.after_receipt(receipt.kind);
    if after == target.state {
        return;
    }
    target.state = after;
    let failure = receipt.failure.as_ref().filter(|_| after == MessageState::Failed);
    target.reason = failure.map(|failure| failure.reason.code());
    target.detail = failure.map(|failure| failure.detail.clone());
}

async fn write(txn: &mut Txn, targets: Vec<Target>) -> Result<()> {
    bulk::execute(
        &mut txn.connection,
        "UPDATE settled SET state = v.column2, acknowledge_time = v.column3, deliver_time = v.column4, read_time = v.column5, \
         reason = v.column6, detail = v.column7 FROM (VALUES",
        7,
        ") AS v WHERE settled.message_id = v.column1",
        &targets,
        |query, target| {
            let query = query.bind(target.message_id).bind(target.state.code()).bind(target.acknowledge_time);
            let query = query.bind(target.deliver_time).bind(target.read_time).bind(target.reason);
            query.bind(target.detail.clone())
        },
        |query| query,
    )
    .await?;
    for target in &targets {
        if target.state != target.before {
            txn.moved(target.tenant_key, target.bot_key, target.message_id, Some(target.before), target.state);
        }
    }
    Ok(())
}

async fn keep(txn: &mut Txn, receipts: &[Receipt]) -> Result<()> {
    bulk::execute(
        &mut txn.connection,
        "INSERT INTO early_receipt (bot_key, network_id, kind, time, reason, detail) VALUES",
        6,
        "ON CONFLICT DO NOTHING",
        receipts,
        |query, receipt| {
            let query = query.bind(receipt.bot_key).bind(receipt.network_id.clone()).bind(receipt.kind.code());
            let query =
                query.bind(micros(receipt.time)).bind(receipt.failure.as_ref().map(|failure| failure.reason.code()));
            query.bind(receipt.failure.as_ref().map(|failure| failure.detail.clone()))
        },
        |query| query,
    )
    .await
    .map(|_| ())
}
