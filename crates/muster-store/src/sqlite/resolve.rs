//! What is decided about uncertain messages, and what is reported against it later.

use muster_domain::MessageId;
use muster_domain::life::{self, AttemptEnd, Decision, Undecidable};
use muster_domain::resolution::{DecidedBy, Resolution, ResolutionRecord};
use rusqlite::params;
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::attempts;
use super::code::Code as _;
use super::error::failed;
use super::facts::{self, Facts};
use super::settle::{self, AttemptResult, Step};
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
    decide(txn, facts, resolution, DecidedBy::Operator, reason)
}

/// Carries a decision about a message out, if it can be, and keeps it.
pub(super) fn decide(
    txn: &mut Txn,
    facts: Facts,
    resolution: Resolution,
    decided_by: DecidedBy,
    reason: &str,
) -> Result<ResolveResult> {
    let step = match life::after_decision(&facts.life(micros(txn.now)), resolution) {
        Ok(step) => step,
        Err(Undecidable::NotUncertain) => return Ok(ResolveResult::NotUncertain(facts.state)),
        Err(Undecidable::CancelRequested) => return Ok(ResolveResult::CancelRequested),
        Err(Undecidable::Expired) => return Ok(ResolveResult::Expired),
    };
    keep_attempt(txn, &facts)?;
    // Two decisions about one message in one commit: only the last one counts.
    txn.execute(
        "INSERT OR REPLACE INTO resolution (message_id, time, resolution, decided_by, attempt_no, reason) \
         VALUES (?, ?, ?, ?, ?, ?)",
        params![facts.message_id, micros(txn.now), resolution.code(), decided_by.code(), facts.attempt_no, reason],
    )?;
    settle::apply(txn, vec![Step::new(facts, step)])?;
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
        "SELECT d.resolution, d.attempt_no, d.time, d.reason, d.conflict, d.decided_by FROM resolution d JOIN message m USING (message_id) \
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
            decided_by: DecidedBy::decode(row.get(5))?,
        })
    };
    rows.iter().map(record).collect()
}

/// The latest decision about a message.
pub(super) fn latest(txn: &Txn, message_id: i64) -> Result<Option<Decision>> {
    txn.first(
        "SELECT resolution, attempt_no FROM resolution WHERE message_id = ? ORDER BY time DESC LIMIT 1",
        [message_id],
        |row| Ok(Decision { resolution: Resolution::decode(row.get(0)?)?, attempt_no: row.get(1)? }),
    )
}

/// Notes what was reported against the latest decision. The first such report stays.
pub(super) fn contradict(txn: &Txn, message_id: i64, conflict: &str) -> Result<()> {
    txn.execute(
        "UPDATE resolution SET conflict = coalesce(conflict, ?2) WHERE message_id = ?1 \
         AND time = (SELECT max(time) FROM resolution WHERE message_id = ?1)",
        params![message_id, conflict],
    )
    .map(drop)
}

/// A report agrees with who took the message for sent, and names it for its receipts.
pub(super) fn name(txn: &Txn, message_id: i64, attempt: &AttemptResult) -> Result<()> {
    let named = txn.execute(
        "UPDATE settled SET network_id = ?2, queued_us = ?3, gateway_us = ?4 WHERE message_id = ?1 AND network_id IS NULL",
        params![message_id, attempt.network_id, attempt.queued_us, attempt.gateway_us],
    )?;
    if named > 0 { attempts::sent_after_all(txn, message_id, attempt) } else { Ok(()) }
}
