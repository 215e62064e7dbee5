//! What operators decide about uncertain messages, and what is reported against it later.

use muster_domain::MessageId;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::MessageState;
use muster_domain::resolution::{Resolution, ResolutionRecord};
use rusqlite::params;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::attempts;
use super::code::{AttemptEnd, Code as _};
use super::error::failed;
use super::facts::{self, Facts};
use super::settle::{self, AttemptResult, Place, Step};
use super::txn::Txn;
use super::{micros, time};
use crate::{ResolveResult, Result};

/// See [`crate::Store::message_resolve`].
pub(super) fn resolve(
    txn: &mut Txn,
    tenant_key: i64,
    id: MessageId,
    resolution: Resolution,
    reason: &str,
) -> Result<ResolveResult> {
    let found = facts::of_one(txn, id.raw())?.filter(|facts| facts.tenant_key == tenant_key);
    let Some(facts) = found else { return Ok(ResolveResult::NotFound) };
    if facts.state != MessageState::Uncertain {
        return Ok(ResolveResult::NotUncertain(facts.state));
    }
    if resolution == Resolution::Resend {
        if facts.cancel_requested {
            return Ok(ResolveResult::CancelRequested);
        }
        if facts.expire_time <= micros(txn.now) {
            return Ok(ResolveResult::Expired);
        }
    }
    keep_attempt(txn, &facts)?;
    // Two decisions about one message in one commit: only the last one counts.
    txn.execute(
        "INSERT OR REPLACE INTO resolution (message_id, time, resolution, attempt_no, reason) VALUES (?, ?, ?, ?, ?)",
        params![facts.message_id, micros(txn.now), resolution.code(), facts.attempt_no, reason],
    )?;
    let step = match resolution {
        Resolution::Sent => Step::finish(facts, MessageState::Sent, None, None),
        Resolution::Resend => {
            Step { facts, to: MessageState::Waiting, place: Place::Ready, attempt: None, failure: None }
        }
        Resolution::Drop => {
            let why = "an operator dropped the message without knowing whether it was sent";
            let failure = Failure::new(FailureReason::OutcomeUnknown, why);
            Step::finish(facts, MessageState::Failed, None, Some(failure))
        }
    };
    settle::apply(txn, vec![step])?;
    Ok(ResolveResult::Resolved)
}

/// Keeps the attempt as uncertain: the state of its message does not tell that any more.
fn keep_attempt(txn: &Txn, facts: &Facts) -> Result<()> {
    txn.execute(
        "INSERT OR IGNORE INTO attempt (message_id, attempt_no, node_key, epoch, dispatch_time, outcome_time, outcome, reason, \
         detail, queued_us, gateway_us) SELECT message_id, attempt_no, node_key, epoch, dispatch_time, \
         coalesce(outcome_time, dispatch_time), ?2, reason, detail, queued_us, gateway_us FROM settled \
         WHERE message_id = ?1 AND node_key IS NOT NULL",
        params![facts.message_id, AttemptEnd::Uncertain.code()],
    )
    .map(drop)
}

/// See [`crate::Store::message_resolutions`].
pub(super) async fn list(readers: &SqlitePool, tenant_key: i64, id: MessageId) -> Result<Vec<ResolutionRecord>> {
    let rows = sqlx::query(
        "SELECT d.resolution, d.attempt_no, d.time, d.reason, d.conflict FROM resolution d JOIN message m USING (message_id) \
         WHERE d.message_id = ? AND m.tenant_key = ? ORDER BY d.time",
    )
    .bind(id.raw())
    .bind(tenant_key)
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    let record = |row: &sqlx::sqlite::SqliteRow| {
        Ok(ResolutionRecord {
            resolution: Resolution::decode(row.get(0))?,
            attempt_no: row.get(1),
            time: time(row.get(2)),
            reason: row.get(3),
            conflict: row.get(4),
        })
    };
    rows.iter().map(record).collect()
}

/// The latest decision about a message.
struct Latest {
    time: i64,
    resolution: Resolution,
    attempt_no: i64,
}

fn latest(txn: &Txn, message_id: i64) -> Result<Option<Latest>> {
    txn.first(
        "SELECT time, resolution, attempt_no FROM resolution WHERE message_id = ? ORDER BY time DESC LIMIT 1",
        [message_id],
        |row| Ok(Latest { time: row.get(0)?, resolution: Resolution::decode(row.get(1)?)?, attempt_no: row.get(2)? }),
    )
}

/// Notes what was reported against a decision. The first such report stays.
fn contradict(txn: &Txn, message_id: i64, decision: &Latest, conflict: &str) -> Result<()> {
    txn.execute(
        "UPDATE resolution SET conflict = coalesce(conflict, ?) WHERE message_id = ? AND time = ?",
        params![conflict, message_id, decision.time],
    )
    .map(drop)
}

/// A late report says that `attempt` was sent. Notes it with what an operator decided meanwhile, and tells whether that decision
/// alone is why the message is not sent: then it is, by this report.
pub(super) fn sent_after_all(txn: &Txn, facts: &Facts, attempt: &AttemptResult) -> Result<bool> {
    use MessageState::{Delivered, Dispatched, Failed, Read, Sent, Waiting};
    let Some(decision) = latest(txn, facts.message_id)? else { return Ok(false) };
    // The attempts that the decision is about, and whatever came of a message that has not left since.
    let concerned = attempt.attempt_no <= decision.attempt_no
        || facts.state == Waiting
        || (decision.resolution == Resolution::Drop && facts.state == Failed);
    if !concerned {
        return Ok(false);
    }
    if decision.resolution == Resolution::Sent {
        confirm(txn, facts, attempt)?;
        return Ok(false);
    }
    contradict(txn, facts.message_id, &decision, &format!("attempt {} was sent", attempt.attempt_no))?;
    if matches!(facts.state, Dispatched | Sent | Delivered | Read) {
        // Another attempt is under way or was sent too: that one leads the message, and the trace tells of both.
        let step = Step::finish(facts.clone(), Sent, Some(attempt.clone()), None);
        attempts::correct(txn, &step, attempt)?;
        return Ok(false);
    }
    Ok(true)
}

/// The report agrees with the operator, and names the message for its receipts.
fn confirm(txn: &Txn, facts: &Facts, attempt: &AttemptResult) -> Result<()> {
    let named = txn.execute(
        "UPDATE settled SET network_id = ?2, queued_us = ?3, gateway_us = ?4 WHERE message_id = ?1 AND network_id IS NULL",
        params![facts.message_id, attempt.network_id, attempt.queued_us, attempt.gateway_us],
    )?;
    if named > 0 {
        let step = Step::finish(facts.clone(), MessageState::Sent, Some(attempt.clone()), None);
        attempts::correct(txn, &step, attempt)?;
    }
    Ok(())
}

/// A late report says that an attempt was not sent. Notes it where an operator took the message for sent; the message stays
/// sent, because the operator may have seen it in the chat.
pub(super) fn not_sent_after_all(txn: &Txn, facts: &Facts, attempt_no: i64, failure: &Failure) -> Result<()> {
    match latest(txn, facts.message_id)? {
        Some(decision) if decision.resolution == Resolution::Sent && attempt_no <= decision.attempt_no => {
            let conflict = format!("attempt {attempt_no} was not sent: {}", failure.reason.as_str());
            contradict(txn, facts.message_id, &decision, &conflict)
        }
        _ => Ok(()),
    }
}

/// Whether an operator wants the message sent again although this attempt may have been sent.
pub(super) fn wants_resend(txn: &Txn, message_id: i64, attempt_no: i64) -> Result<bool> {
    let decision = latest(txn, message_id)?;
    Ok(decision.is_some_and(|decision| decision.resolution == Resolution::Resend && attempt_no <= decision.attempt_no))
}
