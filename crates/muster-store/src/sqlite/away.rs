//! Bots that moved while attempts of theirs were under way: nothing may overtake what the node they left still holds.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_domain::{BotId, NodeId};
use rusqlite::params;

use super::claim::Candidate;
use super::fence::Fence;
use super::micros;
use super::txn::Txn;
use crate::Result;

/// When a message is looked at again that waits for an attempt at another node. The end of that attempt lets it go earlier.
const RECHECK: Duration = Duration::from_secs(60);

/// Notes for a bot that leaves a node whether attempts of its are under way there.
pub(super) fn note(txn: &Txn, node_key: i64, bot_key: i64) -> Result<()> {
    txn.execute(
        "UPDATE bot SET away = 1 WHERE bot_key = ?1 \
         AND EXISTS (SELECT 1 FROM flight f WHERE f.node_key = ?2 AND f.bot_key = ?1)",
        params![bot_key, node_key],
    )
    .map(drop)
}

/// Those of the bots that are not at the node, with where they are: whoever serves them there has to be told that they have
/// work.
pub(super) fn elsewhere(txn: &Txn, fence: Fence, bots: impl IntoIterator<Item = i64>) -> Result<Vec<(NodeId, BotId)>> {
    let mut elsewhere = BTreeSet::new();
    for bot_key in bots {
        if let Some(node_key) = txn.directory.node_of(bot_key).filter(|node_key| *node_key != fence.node_key) {
            elsewhere.insert((txn.directory.node_id(node_key)?, txn.directory.bot_id(bot_key)?));
        }
    }
    Ok(elsewhere.into_iter().collect())
}

/// Blocks the candidates of a bot whose chain has an earlier attempt under way at another node. Forgets that the bot was
/// away once there is none.
pub(super) fn block(txn: &Txn, fence: Fence, bot_key: i64, candidates: &mut [Candidate]) -> Result<()> {
    // Bots move rarely and attempts under way are few: there is no index for this.
    let elsewhere: Vec<(i64, i64, i64)> = txn.all(
        "SELECT m.message_id, m.chain, m.expire_time FROM flight f CROSS JOIN message m ON m.message_id = f.message_id \
         WHERE f.bot_key = ? AND f.node_key <> ?",
        params![bot_key, fence.node_key],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    if elsewhere.is_empty() {
        return txn.execute("UPDATE bot SET away = 0 WHERE bot_key = ?", [bot_key]).map(drop);
    }
    let soonest = micros(txn.now + RECHECK);
    for (message_id, chain, expire_time) in elsewhere {
        for candidate in candidates.iter_mut() {
            if candidate.facts.chain == chain && candidate.facts.message_id > message_id {
                candidate.chain_until = candidate.chain_until.max(Some(expire_time.max(soonest)));
            }
        }
    }
    Ok(())
}
