//! Sessions of agents: who may write for a node, and what becomes of the attempts of earlier sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::WaitReason;
use muster_domain::message::MessageState;
use muster_domain::{BotId, Epoch, MessageId};
use sqlx::Row as _;

use super::code::{AttemptEnd, Code as _};
use super::error::failed;
use super::facts::{self, FACTS, Facts};
use super::fence::Fence;
use super::settle::{self, AttemptResult, Place, Step};
use super::writer::Txn;
use super::{bulk, micros};
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
pub(super) async fn open(txn: &mut Txn, tenant_key: i64, open: SessionOpen) -> Result<SessionOpened> {
    let known = known(txn, tenant_key, &open).await?;
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
    sqlx::query(
        "UPDATE node SET epoch = ?, online = 1, online_time = ?, agent_version = ?, journal_id = ?, journal_opening = ?, \
         process_id = ?, report_committed = ?, settle_after = ? WHERE node_key = ? AND epoch = ?",
    )
    .bind(fence.epoch)
    .bind(micros(txn.now))
    .bind(open.agent_version.clone())
    .bind(open.journal_id.to_vec())
    .bind(open.journal_opening as i64)
    .bind(open.process_id.to_vec())
    .bind(report_committed)
    .bind(settle_after)
    .bind(fence.node_key)
    .bind(known.epoch)
    .execute(&mut txn.connection)
    .await
    .map_err(failed)?;
    let lost = !same_journal && known.journal_id.is_some();
    let mut uncertain =
        if lost { settle_lost(txn, fence, "the agent's journal was lost while it held the message").await? } else { 0 };
    let Adopted { drop, cancel, held } = adopt(txn, fence, &open.held).await?;
    if let Some(forgotten) = forgotten {
        uncertain += settle_forgotten(txn, fence, MessageId::floor(txn.now - forgotten.age + ID_STEP)).await?;
    }
    let mut returned = 0;
    if settle_after == 0 {
        returned = settle_unreceived(txn, fence).await?;
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
        bots_waiting: bots_waiting(txn, fence.node_key).await?,
        desired_version: known.desired_version as u64,
    })
}

/// The journal went on in another process: this one has a copy, or an old state of it.
fn is_forked(known: &Known, open: &SessionOpen) -> bool {
    let other_process = known.process_id.as_deref() != Some(&open.process_id[..]);
    let is_older = open.journal_opening < known.journal_opening || (open.report_head as i64) < known.report_committed;
    is_older || (open.journal_opening == known.journal_opening && other_process)
}

async fn known(txn: &mut Txn, tenant_key: i64, open: &SessionOpen) -> Result<Known> {
    let row = sqlx::query(
        "SELECT node_key, epoch, journal_id, journal_opening, process_id, report_committed, desired_version FROM node \
         WHERE tenant_key = ? AND node_id = ? AND removed = 0",
    )
    .bind(tenant_key)
    .bind(open.node.as_str().to_owned())
    .fetch_optional(&mut txn.connection)
    .await
    .map_err(failed)?
    .ok_or_else(|| StoreError::NotFound(open.node.resource_name()))?;
    Ok(Known {
        node_key: row.get(0),
        epoch: row.get(1),
        journal_id: row.get(2),
        journal_opening: row.get::<i64, _>(3) as u64,
        process_id: row.get(4),
        report_committed: row.get(5),
        desired_version: row.get(6),
    })
}

/// What becomes of the attempts that an agent holds. The fields are those of [`SessionOpened`].
struct Adopted {
    drop: Vec<AttemptRef>,
    cancel: Vec<AttemptRef>,
    held: Vec<(BotId, u32)>,
}

/// Takes what the agent holds into the new session, and says what of it is no longer the agent's and what is to be cancelled.
async fn adopt(txn: &mut Txn, fence: Fence, held: &[Held]) -> Result<Adopted> {
    let ids: Vec<i64> = held.iter().map(|held| held.attempt.message_id.raw()).collect();
    let facts = facts::by_id(txn, &ids).await?;
    let (mut kept, mut drop, mut cancel) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_bots: BTreeMap<i64, u32> = BTreeMap::new();
    for held in held {
        let attempt = held.attempt;
        let ours = facts.get(&attempt.message_id.raw()).filter(|facts| {
            facts.state == MessageState::Dispatched
                && facts.latest.is_some_and(|latest| latest.node_key == fence.node_key)
                && facts.attempt_no == i64::from(attempt.attempt_no)
        });
        match ours {
            Some(facts) => {
                kept.push(facts.message_id);
                *of_bots.entry(facts.bot_key).or_default() += 1;
                if facts.cancel_requested {
                    cancel.push(attempt);
                }
            }
            None => drop.push(attempt),
        }
    }
    bulk::execute(
        &mut txn.connection,
        "UPDATE flight SET holder_epoch = v.column2 FROM (VALUES",
        2,
        ") AS v WHERE flight.message_id = v.column1 AND EXISTS (SELECT 1 FROM node WHERE node_key = ? AND epoch = ?)",
        &kept,
        |query, id| query.bind(*id).bind(fence.epoch),
        |query| query.bind(fence.node_key).bind(fence.epoch),
    )
    .await?;
    let held =
        of_bots.into_iter().map(|(key, count)| Ok((txn.directory.bot_id(key)?, count))).collect::<Result<_>>()?;
    Ok(Adopted { drop, cancel, held })
}

/// Attempts of earlier sessions that the agent neither holds nor reported: it never received them, so they wait again.
/// Returns how many, and opens the node's queues.
pub(super) async fn settle_unreceived(txn: &mut Txn, fence: Fence) -> Result<u64> {
    let now = txn.now;
    let steps: Vec<Step> = earlier(txn, fence)
        .await?
        .into_iter()
        .map(|facts| {
            let attempt = AttemptResult::untimed(&facts, AttemptEnd::NotReceived);
            Step::wait_again(facts, now, Place::Ready, attempt, None)
        })
        .collect();
    let count = steps.len() as u64;
    settle::apply(txn, steps).await?;
    sqlx::query("UPDATE node SET settle_after = 0 WHERE node_key = ? AND epoch = ?")
        .bind(fence.node_key)
        .bind(fence.epoch)
        .execute(&mut txn.connection)
        .await
        .map_err(failed)?;
    Ok(count)
}

/// Attempts of earlier sessions of which nobody can tell any more what became of them, and why.
pub(super) async fn settle_lost(txn: &mut Txn, fence: Fence, why: &'static str) -> Result<u64> {
    let failure = Failure::new(FailureReason::OutcomeUnknown, why);
    let steps: Vec<Step> = earlier(txn, fence)
        .await?
        .into_iter()
        .map(|facts| {
            let attempt = AttemptResult::untimed(&facts, AttemptEnd::Uncertain);
            Step::finish(facts, MessageState::Uncertain, Some(attempt), Some(failure.clone()))
        })
        .collect();
    let count = steps.len() as u64;
    settle::apply(txn, steps).await?;
    Ok(count)
}

/// Messages of the node that were accepted before `until` and may have been sent without anybody knowing any more: attempts
/// that the agent does not hold, and whatever could have left. Those that wait for a time of their own could not.
async fn settle_forgotten(txn: &mut Txn, fence: Fence, until: MessageId) -> Result<u64> {
    let sql = format!(
        "{FACTS} m.message_id IN (SELECT message_id FROM flight WHERE node_key = ?1 AND holder_epoch < ?2 AND message_id < ?3 \
         UNION ALL SELECT r.message_id FROM ready r JOIN bot b USING (bot_key) WHERE b.node_key = ?1 AND r.message_id < ?3 \
         UNION ALL SELECT p.message_id FROM parked p JOIN bot b USING (bot_key) WHERE b.node_key = ?1 AND p.message_id < ?3 \
         AND NOT (p.reason = ?4 AND p.wake_time > ?5))"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(fence.node_key)
        .bind(fence.epoch)
        .bind(until.raw())
        .bind(WaitReason::NotBefore.code())
        .bind(micros(txn.now))
        .fetch_all(&mut txn.connection)
        .await
        .map_err(failed)?;
    let why = "the server was restored from a backup, and the agent does not remember whether it sent the message";
    let failure = Failure::new(FailureReason::OutcomeUnknown, why);
    let step = |facts: Facts| {
        let under_way = facts.state == MessageState::Dispatched;
        let attempt = under_way.then(|| AttemptResult::untimed(&facts, AttemptEnd::Uncertain));
        Step::finish(facts, MessageState::Uncertain, attempt, Some(failure.clone()))
    };
    let steps: Vec<Step> = rows.iter().map(|row| Facts::read(row).map(step)).collect::<Result<_>>()?;
    let count = steps.len() as u64;
    settle::apply(txn, steps).await?;
    Ok(count)
}

/// Dispatched attempts of the node's earlier sessions.
async fn earlier(txn: &mut Txn, fence: Fence) -> Result<Vec<Facts>> {
    let sql =
        format!("{FACTS} m.message_id IN (SELECT message_id FROM flight WHERE node_key = ? AND holder_epoch < ?)");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(fence.node_key)
        .bind(fence.epoch)
        .fetch_all(&mut txn.connection)
        .await
        .map_err(failed)?;
    rows.iter().map(Facts::read).collect()
}

/// Bots of the node that have messages in their queues.
pub(super) async fn bots_waiting(txn: &mut Txn, node_key: i64) -> Result<Vec<BotId>> {
    let keys: Vec<i64> = sqlx::query_scalar(
        "SELECT bot_key FROM bot WHERE node_key = ? AND EXISTS (SELECT 1 FROM ready r WHERE r.bot_key = bot.bot_key)",
    )
    .bind(node_key)
    .fetch_all(&mut txn.connection)
    .await
    .map_err(failed)?;
    keys.into_iter().map(|key| txn.directory.bot_id(key)).collect()
}

/// See [`crate::Store::session_close`].
pub(super) async fn close(txn: &mut Txn, fence: Fence) -> Result<()> {
    sqlx::query("UPDATE node SET online = 0, online_time = ? WHERE node_key = ? AND epoch = ?")
        .bind(micros(txn.now))
        .bind(fence.node_key)
        .bind(fence.epoch)
        .execute(&mut txn.connection)
        .await
        .map_err(failed)?;
    Ok(())
}
