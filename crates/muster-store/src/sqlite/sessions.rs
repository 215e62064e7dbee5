//! Sessions of agents: who may write for a node, and what becomes of the attempts of earlier sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::desired::{self, DesiredVersion};
use muster_domain::gate::WaitReason;
use muster_domain::life;
use muster_domain::session::{self, Forked, KnownJournal, SaidJournal};
use muster_domain::{BotId, Epoch, MessageId, NodeId};
use rusqlite::params;

use super::code::Code as _;
use super::facts::{self, Facts};
use super::fence::Fence;
use super::settle::{self, Step};
use super::txn::Txn;
use super::{away, micros};
use crate::{AttemptRef, Held, Result, SessionOpen, SessionOpened, SessionRef, StoreError};

/// What ids tell of the time of acceptance is as fine as this.
const ID_STEP: Duration = Duration::from_millis(1);

/// What the database knows of the node.
struct Known {
    node_key: i64,
    epoch: i64,
    journal: KnownJournal,
    desired: desired::Known,
}

/// See [`crate::Store::session_open`].
pub(super) fn open(txn: &mut Txn, tenant_key: i64, open: SessionOpen) -> Result<SessionOpened> {
    let known = known(txn, tenant_key, &open)?;
    let said = SaidJournal {
        journal_id: open.journal_id,
        opening: open.journal_opening,
        process_id: open.process_id,
        report_head: open.report_head,
        report_acknowledged: open.report_acknowledged,
        forgotten_through: open.forgotten.map(|forgotten| forgotten.through),
    };
    let terms = session::terms(&known.journal, &said);
    let terms = terms.map_err(|Forked| StoreError::JournalForked(open.node.resource_name()))?;
    let fence = Fence { node_key: known.node_key, epoch: known.epoch + 1 };
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
            terms.report_committed as i64,
            terms.settle_after.unwrap_or(0) as i64,
            fence.node_key,
            known.epoch
        ],
    )?;
    let mut uncertain = 0;
    if terms.is_lost {
        uncertain += settle_lost(txn, fence, "the agent's journal was lost while it held the message")?;
    }
    let Adopted { drop, cancel, held } = adopt(txn, fence, &open.held, terms.report_committed)?;
    if let Some(forgotten) = open.forgotten.filter(|_| terms.has_forgotten) {
        uncertain += settle_forgotten(txn, fence, MessageId::floor(txn.now - forgotten.age + ID_STEP))?;
    }
    let mut returned = Returned::default();
    if terms.settle_after.is_none() {
        returned = settle_unreceived(txn, fence)?;
    }
    Ok(SessionOpened {
        session: SessionRef { tenant: open.tenant, node: open.node, epoch: Epoch(fence.epoch as u64) },
        report_committed: terms.report_committed,
        drop,
        cancel,
        held,
        returned: returned.count,
        uncertain,
        restored: terms.is_restored,
        bots_waiting: bots_waiting(txn, fence.node_key)?,
        elsewhere: returned.elsewhere,
        desired_version: known.desired.latest.version,
        desired_base: desired::base_version(&known.desired, open.desired),
    })
}

fn known(txn: &Txn, tenant_key: i64, open: &SessionOpen) -> Result<Known> {
    let known = txn.first(
        "SELECT node_key, epoch, journal_id, journal_opening, process_id, report_committed, desired_version, \
         desired_lineage, applied_version FROM node \
         WHERE tenant_key = ? AND node_id = ? AND removed = 0",
        params![tenant_key, open.node.as_str()],
        |row| {
            Ok(Known {
                node_key: row.get(0)?,
                epoch: row.get(1)?,
                journal: KnownJournal {
                    journal_id: row.get(2)?,
                    opening: row.get::<_, i64>(3)? as u64,
                    process_id: row.get(4)?,
                    report_committed: row.get::<_, i64>(5)? as u64,
                },
                desired: desired::Known {
                    latest: DesiredVersion { version: row.get::<_, i64>(6)? as u64, lineage: row.get(7)? },
                    applied_version: row.get::<_, i64>(8)? as u64,
                },
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

/// Takes what the agent holds into the new session, whose reports go on behind `report_committed`. Says what of it is no longer
/// the agent's, and what is to be cancelled.
fn adopt(txn: &Txn, fence: Fence, held: &[Held], report_committed: u64) -> Result<Adopted> {
    let mut adopt = txn.prepare("UPDATE flight SET holder_epoch = ? WHERE message_id = ?")?;
    let (mut drop, mut cancel) = (Vec::new(), Vec::new());
    let mut of_bots: BTreeMap<i64, u32> = BTreeMap::new();
    let now = micros(txn.now);
    let ids = held.iter().map(|held| held.attempt.message_id.raw());
    for (held, facts) in held.iter().zip(facts::of(txn, ids)?) {
        let attempt = held.attempt;
        let is_ours = |facts: &Facts| {
            let by_its_node = facts.is_of(fence.node_key);
            session::is_still_held(
                &facts.life(now),
                attempt.attempt_no,
                by_its_node,
                held.reported_at,
                report_committed,
            )
        };
        let ours = facts.filter(is_ours);
        match ours {
            Some(facts) => {
                adopt.execute(params![fence.epoch, facts.message_id])?;
                *of_bots.entry(facts.bot_key).or_default() += 1;
                if facts.cancel_requested || facts.opted_out {
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

/// Attempts that never arrived.
#[derive(Default)]
pub(super) struct Returned {
    count: u64,
    /// Those of their bots that have left the node, with where they are now.
    pub(super) elsewhere: Vec<(NodeId, BotId)>,
}

/// Attempts of earlier sessions that the agent neither holds nor reported: it never received them, so they wait again.
/// Opens the node's queues.
pub(super) fn settle_unreceived(txn: &mut Txn, fence: Fence) -> Result<Returned> {
    let earlier = earlier(txn, fence)?;
    let elsewhere = away::elsewhere(txn, fence, earlier.iter().map(|facts| facts.bot_key))?;
    let count = settle_each(txn, earlier, life::after_return)?;
    txn.execute(
        "UPDATE node SET settle_after = 0 WHERE node_key = ? AND epoch = ?",
        params![fence.node_key, fence.epoch],
    )?;
    Ok(Returned { count, elsewhere })
}

/// Attempts of earlier sessions of which nobody can tell any more what became of them, and why.
pub(super) fn settle_lost(txn: &mut Txn, fence: Fence, why: &'static str) -> Result<u64> {
    let earlier = earlier(txn, fence)?;
    settle_each(txn, earlier, |facts| life::after_loss(facts, why))
}

/// Takes the same step with each of these messages. Returns how many there are.
fn settle_each(txn: &mut Txn, messages: Vec<Facts>, step: impl Fn(&life::Facts) -> life::Step) -> Result<u64> {
    let now = micros(txn.now);
    let steps = messages.into_iter().map(|facts| {
        let step = step(&facts.life(now));
        Step::new(facts, step)
    });
    let steps: Vec<Step> = steps.collect();
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
    let affected = facts::of_those(txn, condition, params)?;
    settle_each(txn, affected, |facts| life::after_loss(facts, why))
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
