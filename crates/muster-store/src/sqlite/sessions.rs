//! Sessions of agents: who may write for a node, and what becomes of the attempts of earlier sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::WaitReason;
use muster_domain::message::MessageState;
use muster_domain::{BotId, Epoch, MessageId};
use rusqlite::params;

use super::code::{AttemptEnd, Code as _};
use super::facts::{self, Facts};
use super::fence::Fence;
use super::micros;
use super::settle::{self, AttemptResult, Place, Step};
use super::txn::Txn;
use crate::{AttemptRef, Held, Result, SessionOpen, SessionOpened, SessionRef, StoreError};

/// What ids tell of the time of acceptance is as fine as this.
const ID_STEP: Duration = Duration::from_millis(1);

/// What the database knows of the node.
struct Known {
    node_key: i64,
    epoch: i64,
    journal_id: Option<Vec<u8>>,
    journal_opening: u64,
    process_id: Option<Vec<u8>>,
    report_committed: i64,
    desired_version: i64,
}

/// See [`crate::Store::session_open`].
pub(super) fn open(txn: &mut Txn, tenant_key: i64, open: SessionOpen) -> Result<SessionOpened> {
    let known = known(txn, tenant_key, &open)?;
    let same_journal = known.journal_id.as_deref() == Some(&open.journal_id[..]);
    if same_journal && is_forked(&known, &open) {
        return Err(StoreError::JournalForked(open.node.resource_name()));
    }
    let fence = Fence { node_key: known.node_key, epoch: known.epoch + 1 };
    let taken = if same_journal { known.report_committed } else { 0 };
    let restored = open.report_acknowledged as i64 > taken;
    let forgotten = open.forgotten.filter(|forgotten| forgotten.through as i64 > taken);
    let report_committed = forgotten.map_or(taken, |forgotten| forgotten.through.min(open.report_head) as i64);
    // Its reports may still tell what became of attempts that the agent does not hold any more.
    let settle_after = if open.report_head as i64 > report_committed { open.report_head as i64 } else { 0 };
    txn.execute(
        "UPDATE node SET epoch = ?, online = 1, online_time = ?, agent_version = ?, journal_id = ?, \
         journal_opening = ?, process_id = ?, report_committed = ?, settle_after = ? WHERE node_key = ? AND epoch \
         = ?",
        params![
            fence.epoch,
            micros(txn.now),
            open.agent_version,
            open.journal_id,
            open.journal_opening as i64,
            open.process_id,
            report_committed,
            settle_after,
            fence.node_key,
            known.epoch
        ],
    )?;
    let lost = !same_journal && known.journal_id.is_some();
    let mut uncertain =
        if lost { settle_lost(txn, fence, "the agent's journal was lost while it held the message")? } else { 0 };
    let Adopted { drop, cancel, held } = adopt(txn, fence, &open.held)?;
    if let Some(forgotten) = forgotten {
        uncertain += settle_forgotten(txn, fence, MessageId::floor(txn.now - forgotten.age + ID_STEP))?;
    }
    let mut returned = 0;
    if settle_after == 0 {
        returned = settle_unreceived(txn, fence)?;
    }
    Ok(SessionOpened {
        session: SessionRef { tenant: open.tenant, node: open.node, epoch: Epoch(fence.epoch as u64) },
        report_committed: report_committed as u64,
        drop,
        cancel,
        held,
        returned,
        uncertain,
        restored,
        bots_waiting: bots_waiting(txn, fence.node_key)?,
        desired_version: known.desired_version as u64,
    })
}

/// The journal went on in another process: this one has a copy, or an old state of it.
fn is_forked(known: &Known, open: &SessionOpen) -> bool {
    let other_process = known.process_id.as_deref() != Some(&open.process_id[..]);
    let is_older = open.journal_opening < known.journal_opening || (open.report_head as i64) < known.report_committed;
    is_older || (open.journal_opening == known.journal_opening && other_process)
}

fn known(txn: &Txn, tenant_key: i64, open: &SessionOpen) -> Result<Known> {
    let known = txn.first(
        "SELECT node_key, epoch, journal_id, journal_opening, process_id, report_committed, desired_version FROM node \
         WHERE tenant_key = ? AND node_id = ? AND removed = 0",
        params![tenant_key, open.node.as_str()],
        |row| {
            Ok(Known {
                node_key: row.get(0)?,
                epoch: row.get(1)?,
                journal_id: row.get(2)?,
                journal_opening: row.get::<_, i64>(3)? as u64,
                process_id: row.get(4)?,
                report_committed: row.get(5)?,
                desired_version: row.get(6)?,
            })
        },
    )?;
    known.ok_or_else(|| StoreError::NotFound(open.node.resource_name()))
}

/// What becomes of the attempts that an agent holds. The fields are those of [`SessionOpened`].
struct Adopted {
    drop: Vec<AttemptRef>,
    cancel: Vec<AttemptRef>,
    held: Vec<(BotId, u32)>,
}

/// Takes what the agent holds into the new session, and says what of it is no longer the agent's and what is to be cancelled.
fn adopt(txn: &Txn, fence: Fence, held: &[Held]) -> Result<Adopted> {
    let mut adopt = txn.prepare("UPDATE flight SET holder_epoch = ? WHERE message_id = ?")?;
    let (mut drop, mut cancel) = (Vec::new(), Vec::new());
    let mut of_bots: BTreeMap<i64, u32> = BTreeMap::new();
    let ids = held.iter().map(|held| held.attempt.message_id.raw());
    for (held, facts) in held.iter().zip(facts::of(txn, ids)?) {
        let attempt = held.attempt;
        let ours = facts.filter(|facts| {
            facts.state == MessageState::Dispatched
                && facts.latest.is_some_and(|latest| latest.node_key == fence.node_key)
                && facts.attempt_no == i64::from(attempt.attempt_no)
        });
        match ours {
            Some(facts) => {
                adopt.execute(params![fence.epoch, facts.message_id])?;
                *of_bots.entry(facts.bot_key).or_default() += 1;
                if facts.cancel_requested {
                    cancel.push(attempt);
                }
            }
            None => drop.push(attempt),
        }
    }
    let held =
        of_bots.into_iter().map(|(key, count)| Ok((txn.directory.bot_id(key)?, count))).collect::<Result<_>>()?;
    Ok(Adopted { drop, cancel, held })
}

/// Attempts of earlier sessions that the agent neither holds nor reported: it never received them, so they wait again.
/// Returns how many, and opens the node's queues.
pub(super) fn settle_unreceived(txn: &mut Txn, fence: Fence) -> Result<u64> {
    let now = txn.now;
    let steps: Vec<Step> = earlier(txn, fence)?
        .into_iter()
        .map(|facts| {
            let attempt = AttemptResult::untimed(&facts, AttemptEnd::NotReceived);
            Step::wait_again(facts, now, Place::Ready, attempt, None)
        })
        .collect();
    let count = steps.len() as u64;
    settle::apply(txn, steps)?;
    txn.execute(
        "UPDATE node SET settle_after = 0 WHERE node_key = ? AND epoch = ?",
        params![fence.node_key, fence.epoch],
    )?;
    Ok(count)
}

/// Attempts of earlier sessions of which nobody can tell any more what became of them, and why.
pub(super) fn settle_lost(txn: &mut Txn, fence: Fence, why: &'static str) -> Result<u64> {
    let failure = Failure::new(FailureReason::OutcomeUnknown, why);
    let steps: Vec<Step> = earlier(txn, fence)?
        .into_iter()
        .map(|facts| {
            let attempt = AttemptResult::untimed(&facts, AttemptEnd::Uncertain);
            Step::finish(facts, MessageState::Uncertain, Some(attempt), Some(failure.clone()))
        })
        .collect();
    let count = steps.len() as u64;
    settle::apply(txn, steps)?;
    Ok(count)
}

/// Messages of the node that were accepted before `until` and may have been sent without anybody knowing any more: attempts
/// that the agent does not hold, and whatever could have left. Those that wait for a time of their own could not.
fn settle_forgotten(txn: &mut Txn, fence: Fence, until: MessageId) -> Result<u64> {
    let condition = "m.message_id IN (SELECT message_id FROM flight WHERE node_key = ?1 AND holder_epoch < ?2 AND message_id < ?3 \
        UNION ALL SELECT r.message_id FROM ready r JOIN bot b USING (bot_key) WHERE b.node_key = ?1 AND r.message_id < ?3 \
        UNION ALL SELECT p.message_id FROM parked p JOIN bot b USING (bot_key) WHERE b.node_key = ?1 AND p.message_id < ?3 \
        AND NOT (p.reason = ?4 AND p.wake_time > ?5))";
    let now = micros(txn.now);
    let params = params![fence.node_key, fence.epoch, until.raw(), WaitReason::NotBefore.code(), now];
    let why = "the server was restored from a backup, and the agent does not remember whether it sent the message";
    let failure = Failure::new(FailureReason::OutcomeUnknown, why);
    let step = |facts: Facts| {
        let under_way = facts.state == MessageState::Dispatched;
        let attempt = under_way.then(|| AttemptResult::untimed(&facts, AttemptEnd::Uncertain));
        Step::finish(facts, MessageState::Uncertain, attempt, Some(failure.clone()))
    };
    let steps: Vec<Step> = facts::of_those(txn, condition, params)?.into_iter().map(step).collect();
    let count = steps.len() as u64;
    settle::apply(txn, steps)?;
    Ok(count)
}

/// Dispatched attempts of the node's earlier sessions.
fn earlier(txn: &Txn, fence: Fence) -> Result<Vec<Facts>> {
    let condition = "m.message_id IN (SELECT message_id FROM flight WHERE node_key = ? AND holder_epoch < ?)";
    facts::of_those(txn, condition, params![fence.node_key, fence.epoch])
}

/// Bots of the node that have messages in their queues.
pub(super) fn bots_waiting(txn: &Txn, node_key: i64) -> Result<Vec<BotId>> {
    let sql =
        "SELECT bot_key FROM bot WHERE node_key = ? AND EXISTS (SELECT 1 FROM ready r WHERE r.bot_key = bot.bot_key)";
    txn.all(sql, [node_key], |row| txn.directory.bot_id(row.get(0)?))
}

/// See [`crate::Store::session_close`].
pub(super) fn close(txn: &mut Txn, fence: Fence) -> Result<()> {
    txn.execute(
        "UPDATE node SET online = 0, online_time = ? WHERE node_key = ? AND epoch = ?",
        params![micros(txn.now), fence.node_key, fence.epoch],
    )?;
    Ok(())
}
