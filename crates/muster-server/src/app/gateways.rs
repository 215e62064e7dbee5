//! Gateways.

use muster_domain::gateway::{Gateway, GatewaySpec};
use muster_domain::{GatewayId, Network, NodeId, TenantId};
use muster_proto::convert::v1::gateway::Update;
use muster_store::{Expect, FleetWrite, RequestKey};

use super::App;
use super::error::{Error, Reason, Result};

/// Declares a gateway.
pub(crate) async fn create(
    app: &App,
    tenant: &TenantId,
    spec: GatewaySpec,
    request: Option<RequestKey>,
) -> Result<Gateway> {
    let (id, node) = (spec.id.clone(), spec.node.clone());
    app.store.fleet_write(tenant, vec![FleetWrite::PutGateway(spec, Expect::Absent)], request).await?;
    app.sessions.desired_changed(tenant, [&node]);
    get(app, tenant, &id).await
}

/// One gateway.
pub(crate) async fn get(app: &App, tenant: &TenantId, id: &GatewayId) -> Result<Gateway> {
    let gateway = app.store.gateway_get(tenant, id).await?;
    gateway.ok_or_else(|| Error::unknown(Reason::GatewayUnknown, id.resource_name()))
}

/// The network that a gateway speaks to.
pub(crate) async fn network(app: &App, tenant: &TenantId, id: &GatewayId) -> Result<Network> {
    Ok(get(app, tenant, id).await?.spec.kind.network())
}

/// Gateways by id, after `after`; of one node, if it is named.
pub(crate) async fn list(
    app: &App,
    tenant: &TenantId,
    node: Option<&NodeId>,
    after: Option<&GatewayId>,
    limit: u32,
) -> Result<Vec<Gateway>> {
    Ok(app.store.gateway_list(tenant, node, after, limit).await?)
}

/// Changes what is declared about a gateway. A new node takes all its bots along.
pub(crate) async fn update(
    app: &App,
    tenant: &TenantId,
    update: &Update,
    request: Option<RequestKey>,
) -> Result<Gateway> {
    let present = get(app, tenant, &update.id).await?;
    let expect = Expect::Generation(update.generation.unwrap_or(present.generation));
    let write = FleetWrite::PutGateway(update.apply(&present.spec), expect);
    app.store.fleet_write(tenant, vec![write], request).await?;
    let after = get(app, tenant, &update.id).await?;
    app.sessions.desired_changed(tenant, [&present.spec.node, &after.spec.node]);
    Ok(after)
}

/// Removes a gateway that no bot uses.
pub(crate) async fn delete(app: &App, tenant: &TenantId, id: GatewayId, generation: Option<u64>) -> Result<()> {
    let present = get(app, tenant, &id).await?;
    let expect = generation.map_or(Expect::Present, Expect::Generation);
    app.store.fleet_write(tenant, vec![FleetWrite::DeleteGateway(id, expect)], None).await?;
    app.sessions.desired_changed(tenant, [&present.spec.node]);
    Ok(())
}
