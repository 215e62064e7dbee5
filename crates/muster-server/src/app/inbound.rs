//! Messages that people sent to bots.

use muster_domain::TenantId;
use muster_domain::inbound::{Inbound, InboundId};
use muster_store::InboundFilter;

use super::App;
use super::bots;
use super::error::{Error, Reason, Result};
use crate::session::Command;

/// One inbound message.
pub(crate) async fn get(app: &App, tenant: &TenantId, id: InboundId) -> Result<Inbound> {
    let inbound = app.store.inbound_get(tenant, id).await?;
    inbound.ok_or_else(|| Error::unknown(Reason::InboundMessageUnknown, id.resource_name()))
}

/// Inbound messages, the newest first, before `before`.
pub(crate) async fn list(
    app: &App,
    tenant: &TenantId,
    filter: &InboundFilter,
    before: Option<InboundId>,
    limit: u32,
) -> Result<Vec<Inbound>> {
    Ok(app.store.inbound_list(tenant, filter, before, limit).await?)
}

/// Shows the sender that a message was read.
pub(crate) async fn mark_read(app: &App, tenant: &TenantId, id: InboundId) -> Result<()> {
    let Inbound { id: _, received } = get(app, tenant, id).await?;
    let bot = bots::get(app, tenant, &received.bot).await?;
    bots::refuse_retired(&bot)?;
    let command = Command::MarkRead { chat: received.sender, network_id: received.network_id };
    bots::command(app, tenant, &bot, command).await.map(|_| ())
}
