//! Bots that moved while attempts of theirs were under way: nothing may overtake what the node they left still holds.

use std::time::Duration;

use sqlx::Row as _;

use super::claim::Candidate;
use super::error::failed;
use super::fence::Fence;
use super::micros;
use super::writer::Txn;
use crate::Result;

/// When a message is looked at again that waits for an attempt at another node. The end of that attempt lets it go earlier.
const RECHECK: Duration = Duration::from_secs(60);

/// Notes for bots that leave a node whether attempts of theirs are under way there.
pub(super) async fn note(txn: &mut Txn, node_key: i64, bot_keys: &[i64]) -> Result<()> {
    let sql = "UPDATE bot SET away = 1 WHERE bot_key = ? AND EXISTS (SELECT 1 FROM flight f WHERE f.node_key = ? AND f.bot_key = bot.bot_key)";
    for bot_key in bot_keys {
        sqlx::query(sql).bind(*bot_key).bind(node_key).execute(&mut txn.connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Blocks the candidates of a bot whose chain has an earlier attempt under way at another node. Forgets that the bot was
/// away once there is none.
pub(super) async fn block(txn: &mut Txn, fence: Fence, bot_key: i64, candidates: &mut [Candidate]) -> Result<()> {
    // Bots move rarely and attempts under way are few: there is no index for this.
    let rows = sqlx::query(
        "SELECT m.message_id, m.chain, m.expire_time FROM flight f CROSS JOIN message m ON m.message_id = f.message_id \
         WHERE f.bot_key = ? AND f.node_key <> ?",
    )
    .bind(bot_key)
    .bind(fence.node_key)
    .fetch_all(&mut txn.connection)
    .await
    .map_err(failed)?;
    if rows.is_empty() {
        let back = sqlx::query("UPDATE bot SET away = 0 WHERE bot_key = ?").bind(bot_key);
        return back.execute(&mut txn.connection).await.map(|_| ()).map_err(failed);
    }
    let soonest = micros(txn.now + RECHECK);
    for row in &rows {
        let (message_id, chain, expire_time): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        for candidate in candidates.iter_mut() {
            if candidate.facts.chain == chain && candidate.facts.message_id > message_id {
                candidate.chain_until = candidate.chain_until.max(Some(expire_time.max(soonest)));
            }
        }
    }
    Ok(())
}
