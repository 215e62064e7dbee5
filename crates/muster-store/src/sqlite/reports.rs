//! Taking an agent's reports: outcomes, receipts, inbound messages, connections.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use muster_domain::bot::{Connection, Stage};
use muster_domain::life::{self, AttemptEnd, Decision, Effect, Follows, Past, Place, Said};
use muster_domain::message::{MessageState, Outcome};
use muster_domain::{Address, BotId, Timestamp};
use rusqlite::params;

use super::code::Code as _;
use super::facts::{self, Facts};
use super::fence::{self, Fence};
use super::opt_outs::{self, Refused, Signal};
use super::settle::{self, Step, Told};
use super::txn::Txn;
use super::{attempts, away, backoffs, bots, duration_us, inbound, micros, receipts, resolve, sessions};
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
    let fence::Told { report_committed: taken, settle_after, cordoned: _ } = fence::check(txn, fence)?;
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
    let mut unwanted = Vec::new();
    let mut connections = BTreeMap::new();
    for Report { time, body } in fresh {
        match body {
            ReportBody::Outcome { attempt, outcome, queued, gateway } => {
                if let Outcome::Failed(failure) = &outcome {
                    unwanted.extend(Signal::of(failure, Refused::Message(attempt.message_id)));
                }
                outcomes.push(OutcomeReport { attempt, outcome, queued, gateway });
            }
            ReportBody::Receipt { bot, network_id, kind, failure } => {
                if let Some(entry) = txn.directory.bot(tenant_key, &bot) {
                    let refused = || Refused::Named { bot_key: entry.bot_key, network_id: network_id.clone() };
                    unwanted.extend(failure.as_ref().and_then(|failure| Signal::of(failure, refused())));
                    received.push(receipts::Receipt { bot_key: entry.bot_key, network_id, kind, time, failure });
                }
            }
            ReportBody::Inbound(message) => inbounds.push(message),
            // Only the latest one of a bot is of interest: observed state, not a log.
            ReportBody::Connection { bot, connection, detail, address, banned } => {
                connections.insert(bot, (time, connection, detail, address, banned));
            }
            ReportBody::Empty => {}
        }
    }
    outcomes_apply(txn, fence, outcomes, &mut applied)?;
    // After the outcomes: a receipt may overtake the answer that names its message.
    receipts::apply(txn, &received)?;
    applied.cancel = inbound::insert(txn, tenant_key, &inbounds)?;
    for signal in unwanted {
        applied.cancel.extend(opt_outs::by_network(txn, tenant_key, signal)?);
    }
    for (bot, (time, connection, detail, address, banned)) in connections {
        let wakes = connection_apply(txn, tenant_key, fence, &bot, time, connection, detail, address, banned)?;
        if wakes {
            applied.wake.push(bot);
        }
    }
    advance(txn, fence, taken, committed)?;
    if settle_after > 0 && committed >= settle_after {
        applied.elsewhere.extend(sessions::settle_unreceived(txn, fence)?.elsewhere);
        applied.wake.extend(sessions::bots_waiting(txn, fence.node_key)?);
    }
    applied.something_due = txn.something_due;
    applied.wake.sort();
    applied.wake.dedup();
    applied.elsewhere.sort();
    applied.elsewhere.dedup();
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
    // Attempts that were under way when the first refusal came do not count: that there is none yet is enough to know.
    let refused_before = backoffs::any(txn)?;
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
        let bot_key = facts.bot_key;
        let is_under_way = facts.state == MessageState::Dispatched
            && facts.is_of(fence.node_key)
            && facts.attempt_no == i64::from(report.attempt.attempt_no);
        // What a bot left at another node was at another gateway, and tells nothing of the one that it is at.
        let is_here = txn.directory.node_of(bot_key) == Some(fence.node_key);
        let refusals = match is_under_way && is_here {
            true => note_refusals(txn, &facts, &report.outcome, refused_before, applied)?,
            false => 0,
        };
        let busy = is_under_way.then(|| busy(&report)).flatten();
        let step = step(txn, fence, facts, report, refusals)?;
        if let Some(took) = busy {
            let ended = step.as_ref().is_some_and(|step| step.to != MessageState::Waiting);
            txn.counts.get_mut().attempted(bot_key, took, ended);
        }
        if let Some(step) = step {
            if step.place == Place::Ready {
                match away::elsewhere(txn, fence, [bot_key])?.pop() {
                    None => applied.wake.push(txn.directory.bot_id(bot_key)?),
                    left => applied.elsewhere.extend(left),
                }
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

/// For how long an attempt kept its bot busy; `None` if the gateway was not called.
fn busy(report: &OutcomeReport) -> Option<Duration> {
    match report.outcome {
        Outcome::Sent { .. } | Outcome::Failed(_) | Outcome::Uncertain(_) => Some(report.gateway),
        Outcome::HandedBack(_) | Outcome::Expired | Outcome::Cancelled => None,
    }
}

/// Tells the back-offs of its bot and gateway what an attempt came to that was under way. Returns how often the one that a
/// refusal speaks of was refused in a row.
fn note_refusals(
    txn: &mut Txn,
    facts: &Facts,
    outcome: &Outcome,
    refused_before: bool,
    applied: &mut ReportsApplied,
) -> Result<u32> {
    if refused_before {
        for bot_key in backoffs::tried(txn, facts, outcome)? {
            applied.wake.push(txn.directory.bot_id(bot_key)?);
        }
    }
    match outcome {
        Outcome::Failed(failure) => backoffs::refused(txn, facts, failure),
        _ => Ok(0),
    }
}

/// The step that follows from an outcome, if one does. What else follows is noted at once.
fn step(txn: &Txn, fence: Fence, facts: Facts, report: OutcomeReport, refusals: u32) -> Result<Option<Step>> {
    let OutcomeReport { attempt, outcome, queued, gateway } = report;
    let said = Said { attempt_no: attempt.attempt_no, by_its_node: facts.is_of(fence.node_key), outcome: &outcome };
    let past = Rows { txn, message_id: facts.message_id, refusals };
    let life = facts.life(micros(txn.now));
    let Effect { follows, conflict } = life::after_outcome(&life, said, &past)?;
    let told = Told {
        attempt_no: attempt.attempt_no.into(),
        network_id: if let Outcome::Sent { network_id } = outcome { Some(network_id) } else { None },
        queued_us: duration_us(queued),
        gateway_us: duration_us(gateway),
    };
    if let Some(conflict) = conflict {
        resolve::contradict(txn, facts.message_id, &conflict)?;
    }
    Ok(match follows {
        Follows::Nothing => None,
        Follows::Step(step) if facts.opted_out => Some(Step::told(facts, life::after_opt_out(&life, step), told)),
        Follows::Step(step) => Some(Step::told(facts, step, told)),
        Follows::SentBeside => {
            attempts::sent_after_all(txn, facts.message_id, &told.came_to(AttemptEnd::Sent))?;
            None
        }
        Follows::Named => {
            resolve::name(txn, facts.message_id, &told.came_to(AttemptEnd::Sent))?;
            None
        }
    })
}

/// What happened to a message earlier, as rows tell it.
struct Rows<'a> {
    txn: &'a Txn,
    message_id: i64,
    refusals: u32,
}

impl Past for Rows<'_> {
    type Error = StoreError;

    fn decision(&self) -> Result<Option<Decision>> {
        resolve::latest(self.txn, self.message_id)
    }

    fn failures(&self) -> Result<u32> {
        self.txn.value(
            "SELECT count(*) FROM attempt WHERE message_id = ? AND outcome = ?",
            params![self.message_id, AttemptEnd::Failed.code()],
        )
    }

    fn refusals(&self) -> u32 {
        self.refusals
    }
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
    let was = Connection::decode(txn.value("SELECT connection FROM bot WHERE bot_key = ?", [entry.bot_key])?)?;
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
    let connected = matches!(connection, Connection::Connected | Connection::Silent);
    if connected && !matches!(was, Connection::Connected | Connection::Silent) {
        backoffs::connected(txn, entry.bot_key)?;
    }
    Ok(connected)
}
