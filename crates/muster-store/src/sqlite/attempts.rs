//! The attempts of a message: kept for its trace, and read.

use std::time::Duration;

use muster_domain::failure::Failure;
use muster_domain::life::AttemptEnd;
use muster_domain::message::{Attempt, HandbackReason, MessageState, Outcome};
use muster_domain::{Epoch, MessageId};
use rusqlite::params;
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::code::Code;
use super::directory::node_id;
use super::error::failed;
use super::settle::{AttemptResult, Step};
use super::txn::Txn;
use super::{micros, time, time_opt};
use crate::{AttemptRecord, Result};

/// Attempts that are kept apart, the one under way, and the one that settled the message.
const ATTEMPTS: &str = "SELECT a.attempt_no, n.node_id, a.epoch, a.dispatch_time, a.outcome_time, a.outcome, a.reason, a.detail, \
    a.network_id, a.queued_us, a.gateway_us, NULL FROM attempt a JOIN node n USING (node_key) JOIN message m USING (message_id) \
    WHERE m.message_id = ?1 AND m.tenant_key = ?2 \
    UNION ALL \
    SELECT f.attempt_no, n.node_id, f.epoch, f.dispatch_time, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1 \
    FROM flight f JOIN node n USING (node_key) JOIN message m USING (message_id) WHERE m.message_id = ?1 AND m.tenant_key = ?2 \
    UNION ALL \
    SELECT s.attempt_no, n.node_id, s.epoch, s.dispatch_time, s.outcome_time, NULL, s.reason, s.detail, s.network_id, s.queued_us, \
    s.gateway_us, s.state FROM settled s JOIN node n USING (node_key) WHERE s.message_id = ?1 AND s.tenant_key = ?2 \
    AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.message_id = s.message_id AND a.attempt_no = s.attempt_no) \
    ORDER BY 1";

pub(super) async fn list(readers: &SqlitePool, tenant_key: i64, id: MessageId) -> Result<Vec<AttemptRecord>> {
    let rows = sqlx::query(ATTEMPTS).bind(id.raw()).bind(tenant_key).fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(record).collect()
}

fn record(row: &SqliteRow) -> Result<AttemptRecord> {
    let failure = match row.get::<Option<i64>, _>(6) {
        Some(reason) => Some(Failure::new(Code::decode(reason)?, row.get::<Option<&str>, _>(7).unwrap_or_default())),
        None => None,
    };
    let end = match row.get::<Option<i64>, _>(5) {
        Some(code) => Some(AttemptEnd::decode(code)?),
        None => {
            let state = MessageState::decode(row.get::<Option<i64>, _>(11).unwrap_or_default())?;
            latest_end(state, row.get::<Option<&str>, _>(8).is_some())
        }
    };
    let unknown = || Failure::new(muster_domain::failure::FailureReason::Internal, "");
    let network_id: Option<String> = row.get(8);
    let outcome = end.and_then(|end| {
        Some(match end {
            AttemptEnd::Sent => Outcome::Sent { network_id: network_id.unwrap_or_default() },
            AttemptEnd::Failed => Outcome::Failed(failure.unwrap_or_else(unknown)),
            AttemptEnd::Uncertain => Outcome::Uncertain(failure.unwrap_or_else(unknown)),
            AttemptEnd::Expired => Outcome::Expired,
            AttemptEnd::Cancelled => Outcome::Cancelled,
            AttemptEnd::Draining => Outcome::HandedBack(HandbackReason::Draining),
            AttemptEnd::ChainBroken => Outcome::HandedBack(HandbackReason::ChainBroken),
            AttemptEnd::BotUnavailable => Outcome::HandedBack(HandbackReason::BotUnavailable),
            AttemptEnd::WindowClosed => Outcome::HandedBack(HandbackReason::WindowClosed),
            AttemptEnd::NotReceived => return None,
        })
    });
    let micros = |value: Option<i64>| value.map(|value| Duration::from_micros(value.max(0) as u64));
    let attempt = Attempt {
        attempt_no: row.get::<i64, _>(0) as u32,
        node: node_id(row.get(1))?,
        epoch: Epoch(row.get::<i64, _>(2) as u64),
        dispatch_time: time(row.get(3)),
        outcome_time: time_opt(row.get(4)),
        outcome,
        queued: micros(row.get(9)),
        gateway: micros(row.get(10)),
    };
    Ok(if end == Some(AttemptEnd::NotReceived) {
        AttemptRecord::NotReceived(attempt)
    } else {
        AttemptRecord::Tried(attempt)
    })
}

/// What the latest attempt came to, as far as the state of its message tells, and whether the network has a name for it.
pub(super) fn latest_end(state: MessageState, is_named: bool) -> Option<AttemptEnd> {
    match state {
        MessageState::Waiting | MessageState::Dispatched => None,
        MessageState::Sent | MessageState::Delivered | MessageState::Read => Some(AttemptEnd::Sent),
        // The gateway took it, and the network refused it later.
        MessageState::Failed if is_named => Some(AttemptEnd::Sent),
        MessageState::Failed => Some(AttemptEnd::Failed),
        MessageState::Expired => Some(AttemptEnd::Expired),
        MessageState::Cancelled => Some(AttemptEnd::Cancelled),
        MessageState::Uncertain => Some(AttemptEnd::Uncertain),
    }
}

/// Keeps an attempt that another one will follow, or whose end the message's state does not tell.
pub(super) fn keep(txn: &Txn, step: &Step, attempt: &AttemptResult) -> Result<()> {
    let (facts, end) = (&step.facts, step.end());
    txn.execute(
        "INSERT OR REPLACE INTO attempt (message_id, attempt_no, node_key, epoch, dispatch_time, outcome_time, \
         outcome, reason, detail, network_id, queued_us, gateway_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            facts.message_id,
            facts.attempt_no,
            facts.latest.map(|latest| latest.node_key),
            facts.latest.map(|latest| latest.epoch),
            facts.latest.map(|latest| latest.dispatch_time),
            micros(txn.now),
            attempt.end.code(),
            end.reason,
            end.detail,
            end.network_id,
            end.queued_us,
            end.gateway_us,
        ],
    )
    .map(drop)
}

/// Corrects an attempt that came to something else than was believed, if it is kept.
pub(super) fn correct(txn: &Txn, step: &Step, attempt: &AttemptResult) -> Result<()> {
    rewrite(txn, step.facts.message_id, attempt, step.failure.as_ref())
}

/// Corrects an attempt that was sent after all and does not lead its message, if it is kept.
pub(super) fn sent_after_all(txn: &Txn, message_id: i64, attempt: &AttemptResult) -> Result<()> {
    rewrite(txn, message_id, attempt, None)
}

fn rewrite(txn: &Txn, message_id: i64, attempt: &AttemptResult, failure: Option<&Failure>) -> Result<()> {
    txn.execute(
        "UPDATE attempt SET outcome_time = ?3, outcome = ?4, reason = ?5, detail = ?6, network_id = ?7, queued_us \
         = ?8, gateway_us = ?9 WHERE message_id = ?1 AND attempt_no = ?2",
        params![
            message_id,
            attempt.attempt_no,
            micros(txn.now),
            attempt.end.code(),
            failure.map(|failure| failure.reason.code()),
            failure.map(|failure| failure.detail.as_str()),
            attempt.network_id,
            attempt.queued_us,
            attempt.gateway_us,
        ],
    )
    .map(drop)
}
