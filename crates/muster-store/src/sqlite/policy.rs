//! What policies decide about uncertain messages: at once, or once nobody has told more of them for a while.

use std::time::Duration;

use muster_domain::on_uncertain::{OnUncertain, Verdict};
use muster_domain::resolution::{DecidedBy, Resolution};
use rusqlite::params;

use super::code::Code as _;
use super::facts::{self, Facts};
use super::txn::Txn;
use super::{body, micros, resolve};
use crate::{ResolveResult, Result};

/// Decides about messages that became uncertain just now, or notes them for later.
pub(super) fn look(txn: &mut Txn, message_ids: &[i64]) -> Result<()> {
    for message_id in message_ids {
        let Some(facts) = facts::of_one(txn, *message_id)? else { continue };
        match verdict(txn, *message_id, false)? {
            Verdict::Leave => {}
            Verdict::Wait => {
                txn.execute(
                    "INSERT OR REPLACE INTO undecided (message_id, since) VALUES (?, ?)",
                    params![message_id, micros(txn.now)],
                )?;
            }
            Verdict::Resolve(resolution) => drop(decide(txn, facts, resolution)?),
        }
    }
    Ok(())
}

/// Decides about messages that have been uncertain for `wait`, at most `limit` of them. Returns the bots that have work by it.
pub(super) fn due(txn: &mut Txn, limit: u32, wait: Duration) -> Result<Vec<i64>> {
    let due: Vec<i64> = txn.all(
        "DELETE FROM undecided WHERE message_id IN (SELECT message_id FROM undecided WHERE since <= ? ORDER BY since LIMIT ?) \
         RETURNING message_id",
        params![micros(txn.now - wait), limit],
        |row| Ok(row.get(0)?),
    )?;
    let mut bots = Vec::new();
    for message_id in due {
        let Some(facts) = facts::of_one(txn, message_id)? else { continue };
        let bot_key = facts.bot_key;
        if let Verdict::Resolve(resolution) = verdict(txn, message_id, true)?
            && decide(txn, facts, resolution)?
        {
            bots.push(bot_key);
        }
    }
    Ok(bots)
}

/// When the next message will have been uncertain for `wait`.
pub(super) fn next(txn: &Txn, wait: Duration) -> Result<Option<i64>> {
    let since: Option<i64> = txn.value("SELECT min(since) FROM undecided", [])?;
    Ok(since.map(|since| since.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))))
}

fn verdict(txn: &Txn, message_id: i64, has_waited: bool) -> Result<Verdict> {
    let policy = txn.first("SELECT body FROM message WHERE message_id = ?", [message_id], |row| {
        Ok(body::decode(row.get_ref(0)?.as_blob().unwrap_or_default())?.on_uncertain)
    })?;
    let policy = policy.unwrap_or_default();
    let resends = match policy {
        OnUncertain::Resend => resends(txn, message_id)?,
        OnUncertain::Hold | OnUncertain::Drop => 0,
    };
    Ok(policy.decide(has_waited, resends))
}

/// How often the policy had a message sent again.
fn resends(txn: &Txn, message_id: i64) -> Result<u32> {
    txn.value(
        "SELECT count(*) FROM resolution WHERE message_id = ? AND resolution = ? AND decided_by = ?",
        params![message_id, Resolution::Resend.code(), DecidedBy::Policy.code()],
    )
}

/// Carries the decision out, and tells whether it could: a message that is not uncertain any more, or that may not leave again,
/// stays as it is.
fn decide(txn: &mut Txn, facts: Facts, resolution: Resolution) -> Result<bool> {
    Ok(resolve::decide(txn, facts, resolution, DecidedBy::Policy, "")? == ResolveResult::Resolved)
}
