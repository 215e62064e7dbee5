//! Messages that were not sent: counted, listed, and sent once more.

use std::collections::HashMap;

use muster_domain::message::Message;
use muster_domain::{MessageId, TenantId, Timestamp};
use muster_store::{FailedBy, FailedFilter, FailedGroup, Replay, ReplayPart};

use super::App;
use super::error::Result;

/// How many there are, by what they have in common.
pub(crate) async fn count(
    app: &App,
    tenant: &TenantId,
    filter: &FailedFilter,
    by: FailedBy,
) -> Result<Vec<FailedGroup>> {
    Ok(app.store.failed_count(tenant, filter, by).await?)
}

/// Those before `before`, the newest first.
pub(crate) async fn list(
    app: &App,
    tenant: &TenantId,
    filter: &FailedFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Vec<Message>> {
    Ok(app.store.failed_list(tenant, filter, before, limit).await?)
}

/// Sends a part of them once more, and wakes the bots that have work by it.
pub(crate) async fn replay(app: &App, tenant: &TenantId, asked: Replay, now: Timestamp) -> Result<ReplayPart> {
    let (due, is_dry_run) = (now + asked.validity, asked.dry_run);
    let part = app.store.failed_replay(tenant, asked).await?;
    if is_dry_run || part.replayed.is_empty() {
        return Ok(part);
    }
    let mut nodes = HashMap::new();
    for (bot, _, verdict, _) in &part.counts {
        if verdict.is_ok()
            && let Some(route) = app.store.bot_route(tenant, bot).await?
        {
            nodes.entry(route.node).or_insert_with(Vec::new).push(bot.clone());
        }
    }
    for (node, bots) in nodes {
        app.sessions.wake(tenant, &node, bots);
    }
    app.wake.by(due);
    Ok(part)
}
