//! Taking an agent's reports: outcomes, receipts, inbound messages, connections.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use muster_domain::bot::{Connection, Stage};
use muster_domain::failure::Failure;
use muster_domain::gate::WaitReason;
use muster_domain::message::{MessageState, Outcome};
use muster_domain::retry::{self, Next};
use muster_domain::{Address, BotId, Timestamp};
use rusqlite::params;

use super::code::{AttemptEnd, Code as _};
use super::facts::{self, Facts};
use super::fence::{self, Fence, Told};
use super::settle::{self, AttemptResult, Place, Step};
use super::txn::Txn;
use super::{bots, duration_us, inbound, micros, receipts, resolve, sessions};
use crate::{AttemptRef, Report, ReportBatch, ReportBody, ReportsApplied, Result, StoreError};

/// An outcome, as a step needs it.
struct OutcomeReport {
    attempt: AttemptRef,
    outcome: Outcome,
    queued: Duration,
    gateway: Duration,
}

/// See [`crate::Store::reports_apply`].
pub(super) fn apply(txn: &mut Txn, tenant_key: i64, fence: Fence, batch: ReportBatch) -> Result<ReportsApplied> {
    let Told { report_committed: taken, settle_after } = fence::check(txn, fence)?;
    if batch.first_offset > taken + 1 {
        return Err(StoreError::ReportGap { expected: taken + 1, got: batch.first_offset });
    }
    let known = usize::try_from(taken + 1 - batch.first_offset).unwrap_or(usize::MAX).min(batch.reports.len());
    let fresh: Vec<Report> = batch.reports.into_iter().skip(known).collect();
    let committed = taken + fresh.len() as u64;
    let mut applied = ReportsApplied { committed, ..ReportsApplied::default() };
    if fresh.is_empty() {
        return Ok(applied);
    }
    let (mut outcomes, mut received, mut inbounds) = (Vec::new(), Vec::new(), Vec::new());
    let mut connections = BTreeMap::new();
    for Report { time, body } in fresh {
        match body {
            ReportBody::Outcome { attempt, outcome, queued, gateway } => {
                outcomes.push(OutcomeReport { attempt, outcome, queued, gateway });
            }
            ReportBody::Receipt { bot, network_id, kind, failure } => {
                if let Some(entry) = txn.directory.bot(tenant_key, &bot) {
                    received.push(receipts::Receipt { bot_key: entry.bot_key, network_id, kind, time, failure });
                }
            }
            ReportBody::Inbound(message) => inbounds.push(message),
            // Only the latest one of a bot is of interest: observed state, not a log.
            ReportBody::Connection { bot, connection, detail, address, banned } => {
                connections.insert(bot, (time, connection, detail, address, banned));
            }
            ReportBody::Unknown => {}
        }
    }
    outcomes_apply(txn, fence, outcomes, &mut applied)?;
    // After the outcomes: a receipt may overtake the answer that names its message.
    receipts::apply(txn, &received)?;
    inbound::insert(txn, tenant_key, &inbounds)?;
    for (bot, (time, connection, detail, address, banned)) in connections {
        let wakes = connection_apply(txn, tenant_key, fence, &bot, time, connection, detail, address, banned)?;
        if wakes {
            applied.wake.push(bot);
        }
    }
    advance(txn, fence, taken, committed)?;
    if settle_after > 0 && committed >= settle_after {
        sessions::settle_unreceived(txn, fence)?;
        applied.wake.extend(sessions::bots_waiting(txn, fence.node_key)?);
    }
    applied.something_due = txn.something_due;
    applied.wake.sort();
    applied.wake.dedup();
    Ok(applied)
}

/// Notes how far the reports were taken.
fn advance(txn: &mut Txn, fence: Fence, from: u64, to: u64) -> Result<()> {
    let changed = txn.execute(
        "UPDATE node SET report_committed = ? WHERE node_key = ? AND epoch = ? AND report_committed = ?",
        params![to as i64, fence.node_key, fence.epoch, from as i64],
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Fenced) }
}

fn outcomes_apply(
    txn: &mut Txn,
    fence: Fence,
    outcomes: Vec<OutcomeReport>,
    applied: &mut ReportsApplied,
) -> Result<()> {
    let mut finished: HashMap<i64, u32> = HashMap::new();
    let mut steps: Vec<Step> = Vec::with_capacity(outcomes.len());
    let mut early = Vec::new();
    let mut stepped = HashSet::new();
    let known = facts::of(txn, outcomes.iter().map(|report| report.attempt.message_id.raw()))?;
    for (report, mut facts) in outcomes.into_iter().zip(known) {
        // Two outcomes of one message in one batch: the second one sees what the first one did.
        let key = report.attempt.message_id.raw();
        if !stepped.insert(key) {
            settle::apply(txn, std::mem::take(&mut steps))?;
            facts = facts::of_one(txn, key)?;
        }
        let Some(facts) = facts else { continue };
        *finished.entry(facts.bot_key).or_default() += 1;
        if let Outcome::Sent { network_id } = &report.outcome {
            early.push((facts.bot_key, network_id.clone()));
        }
        let wakes = facts.bot_key;
        if let Some(step) = step(txn, fence, facts, report)? {
            if step.place == Place::Ready {
                applied.wake.push(txn.directory.bot_id(wakes)?);
            }
            steps.push(step);
        }
    }
    settle::apply(txn, steps)?;
    receipts::apply_early(txn, &early)?;
    for (bot_key, count) in finished {
        applied.finished.push((txn.directory.bot_id(bot_key)?, count));
    }
    Ok(())
}

/// The step that follows from an outcome; none when the message has gone another way meanwhile and the outcome cannot move it.
fn step(txn: &mut Txn, fence: Fence, facts: Facts, report: OutcomeReport) -> Result<Option<Step>> {
    // An attempt belongs to the node that got it: what another one says of it is a mistake or a copied journal.
    let current = facts.attempt_no == i64::from(report.attempt.attempt_no)
        && facts.latest.is_some_and(|latest| latest.node_key == fence.node_key);
    let open = matches!(facts.state, MessageState::Dispatched | MessageState::Uncertain) && current;
    let timed = |end, network_id| AttemptResult {
        attempt_no: i64::from(report.attempt.attempt_no),
        end,
        network_id,
        queued_us: Some(duration_us(report.queued)),
        gateway_us: Some(duration_us(report.gateway)),
    };
    let now = txn.now;
    Ok(match report.outcome {
        // The truth beats what was believed: a message that was thought not received and waits again was sent after all, and so
        // was one of which nobody knew, or about which an operator decided otherwise, whichever of its attempts says so.
        Outcome::Sent { network_id } => {
            let sent = timed(AttemptEnd::Sent, Some(network_id));
            let expected = open && facts.state == MessageState::Dispatched;
            let overruled = !expected && resolve::sent_after_all(txn, &facts, &sent)?;
            let unsettled = matches!(facts.state, MessageState::Waiting | MessageState::Uncertain);
            (expected || overruled || unsettled).then(|| Step::finish(facts, MessageState::Sent, Some(sent), None))
        }
        // An operator knew that already, and decided.
        Outcome::Uncertain(_)
            if facts.state == MessageState::Waiting
                && resolve::wants_resend(txn, facts.message_id, i64::from(report.attempt.attempt_no))? =>
        {
            None
        }
        // Whether it waits again or not, nobody may send it again before this is settled.
        Outcome::Uncertain(failure)
            if (open && facts.state == MessageState::Dispatched) || facts.state == MessageState::Waiting =>
        {
            Some(Step::finish(facts, MessageState::Uncertain, Some(timed(AttemptEnd::Uncertain, None)), Some(failure)))
        }
        Outcome::Failed(failure) if !open => {
            resolve::not_sent_after_all(txn, &facts, i64::from(report.attempt.attempt_no), &failure)?;
            None
        }
        _ if !open => None,
        Outcome::Uncertain(_) => None,
        Outcome::Failed(failure) => Some(after_failure(txn, facts, timed(AttemptEnd::Failed, None), failure)?),
        Outcome::HandedBack(reason) => {
            Some(Step::wait_again(facts, now, Place::Ready, timed(AttemptEnd::from(reason), None), None))
        }
        Outcome::Expired => {
            Some(Step::finish(facts, MessageState::Expired, Some(timed(AttemptEnd::Expired, None)), None))
        }
        Outcome::Cancelled => {
            Some(Step::finish(facts, MessageState::Cancelled, Some(timed(AttemptEnd::Cancelled, None)), None))
        }
    })
}

fn after_failure(txn: &mut Txn, facts: Facts, attempt: AttemptResult, failure: Failure) -> Result<Step> {
    // Handbacks are attempts too, but no failures: they do not use up the tries.
    let failures: i64 = txn.value(
        "SELECT count(*) FROM attempt WHERE message_id = ? AND outcome = ?",
        params![facts.message_id, AttemptEnd::Failed.code()],
    )?;
    Ok(match retry::after_failure(&failure, failures as u32 + 1) {
        Next::RetryAfter(wait) => {
            let place = Place::Parked { until: txn.now + wait, reason: WaitReason::RetryBackoff };
            Step::wait_again(facts, txn.now, place, attempt, Some(failure))
        }
        Next::GiveUp => Step::finish(facts, MessageState::Failed, Some(attempt), Some(failure)),
        Next::Hold => Step::finish(facts, MessageState::Uncertain, Some(attempt), Some(failure)),
    })
}

/// Notes a bot's connection. Tells whether its messages may leave now.
#[expect(clippy::too_many_arguments, reason = "the fields of one report")]
fn connection_apply(
    txn: &mut Txn,
    tenant_key: i64,
    fence: Fence,
    bot: &BotId,
    time: Timestamp,
    connection: Connection,
    detail: String,
    address: Option<Address>,
    banned: bool,
) -> Result<bool> {
    let found = bots::entry(txn, tenant_key, bot)?;
    let Some(entry) = found.filter(|entry| entry.node_key == fence.node_key) else { return Ok(false) };
    let stage = entry.stage.after_connection(connection, banned);
    txn.execute(
        "UPDATE bot SET connection = ?, connection_detail = ?, connection_time = CASE WHEN connection = ? THEN \
         connection_time ELSE ? END, update_time = ? WHERE bot_key = ? AND EXISTS (SELECT 1 FROM node WHERE \
         node_key = ? AND epoch = ?)",
        params![
            connection.code(),
            detail,
            connection.code(),
            micros(time),
            micros(txn.now),
            entry.bot_key,
            fence.node_key,
            fence.epoch
        ],
    )?;
    if let Some(address) = address {
        // An address that another bot owns is left to an operator: it is never taken away from its owner.
        txn.execute(
            "UPDATE OR IGNORE bot SET address = ? WHERE bot_key = ? AND address IS NULL",
            params![address.as_str(), entry.bot_key],
        )?;
    }
    if stage != entry.stage {
        let rule =
            if stage == Stage::Banned { format!("BAN: {detail}") } else { format!("LINK: {}", connection.as_str()) };
        bots::stage_set(txn, tenant_key, bot, entry, stage, &rule)?;
    }
    Ok(matches!(connection, Connection::Connected | Connection::Silent))
}
