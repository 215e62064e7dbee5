//! The queues of waiting messages: what can leave, and what waits for a time of its own.

use muster_domain::Timestamp;
use muster_domain::gate::WaitReason;

use super::code::Code as _;
use super::facts::Facts;
use super::writer::Txn;
use super::{bulk, micros};
use crate::{Result, StoreError};

/// A message that is parked, until when, and why.
pub(super) type Parking<'a> = (&'a Facts, Timestamp, WaitReason);

/// Puts messages into their bots' queues.
pub(super) async fn enter(txn: &mut Txn, rows: &[&Facts]) -> Result<()> {
    insert_ready(txn, rows, |facts| (facts.bot_key, facts.priority, facts.message_id, facts.attempt_no)).await
}

/// Puts rows into the bots' queues: bot, priority, message, attempts so far.
pub(super) async fn insert_ready<R>(
    txn: &mut Txn,
    rows: &[R],
    columns: impl Fn(&R) -> (i64, i64, i64, i64),
) -> Result<()> {
    let head = "INSERT INTO ready (bot_key, priority, message_id, attempt_no) VALUES";
    bulk::insert(&mut txn.connection, head, 4, rows, |query, row| {
        let (bot_key, priority, message_id, attempt_no) = columns(row);
        query.bind(bot_key).bind(priority).bind(message_id).bind(attempt_no)
    })
    .await
    .map(|_| ())
}

/// Parks messages until a time. They block the later ones of their chain, unless the time is the client's own.
pub(super) async fn park(txn: &mut Txn, rows: &[Parking<'_>]) -> Result<()> {
    let now = micros(txn.now);
    bulk::insert(
        &mut txn.connection,
        "INSERT INTO parked (wake_time, message_id, bot_key, priority, chain, attempt_no, reason, since, blocks) VALUES",
        9,
        rows,
        |query, (facts, until, reason)| {
            let query = query.bind(micros(*until)).bind(facts.message_id).bind(facts.bot_key).bind(facts.priority);
            let query = query.bind(facts.chain).bind(facts.attempt_no).bind(reason.code()).bind(now);
            query.bind(i64::from(*reason != WaitReason::NotBefore))
        },
    )
    .await
    .map(|_| ())
}

/// Takes waiting messages out of the queues.
pub(super) async fn leave(txn: &mut Txn, leaving: &[&Facts]) -> Result<()> {
    let wanted = leaving.len() as u64;
    let mut removed = bulk::execute(
        &mut txn.connection,
        "DELETE FROM ready WHERE (bot_key, priority, message_id) IN (VALUES",
        3,
        ")",
        leaving,
        |query, facts| query.bind(facts.bot_key).bind(facts.priority).bind(facts.message_id),
        |query| query,
    )
    .await?;
    if removed < wanted {
        removed += bulk::execute(
            &mut txn.connection,
            "DELETE FROM parked WHERE (bot_key, message_id) IN (VALUES",
            2,
            ")",
            leaving,
            |query, facts| query.bind(facts.bot_key).bind(facts.message_id),
            |query| query,
        )
        .await?;
    }
    if removed == wanted { Ok(()) } else { Err(StoreError::misplaced(wanted - removed, wanted)) }
}

/// Lets go what waits behind an earlier message of these chains: its time has come. What another one still blocks is
/// parked again by the next claim.
pub(super) async fn release(txn: &mut Txn, chains: &[i64]) -> Result<()> {
    let now = micros(txn.now);
    let released = bulk::execute(
        &mut txn.connection,
        "UPDATE parked SET wake_time = v.column2 FROM (VALUES",
        2,
        ") AS v WHERE parked.chain = v.column1 AND parked.blocks = 1 AND parked.reason = ?",
        chains,
        |query, chain| query.bind(*chain).bind(now),
        |query| query.bind(WaitReason::ChainBlocked.code()),
    )
    .await?;
    txn.something_due |= released > 0;
    Ok(())
}
