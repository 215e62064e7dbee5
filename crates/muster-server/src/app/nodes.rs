//! Nodes.

use muster_domain::node::{Node, NodeSpec};
use muster_domain::{NodeId, TenantId};
use muster_proto::convert::v1::node::Update;
use muster_store::{Expect, FleetWrite, RequestKey};

use super::App;
use super::error::{Error, Reason, Result};

/// Declares a node.
pub(crate) async fn create(app: &App, tenant: &TenantId, spec: NodeSpec, request: Option<RequestKey>) -> Result<Node> {
    let id = spec.id.clone();
    app.store.fleet_write(tenant, vec![FleetWrite::PutNode(spec, Expect::Absent)], request).await?;
    get(app, tenant, &id).await
}

/// One node.
pub(crate) async fn get(app: &App, tenant: &TenantId, id: &NodeId) -> Result<Node> {
    let node = app.store.node_get(tenant, id).await?;
    node.ok_or_else(|| Error::unknown(Reason::NodeUnknown, id.resource_name()))
}

/// Nodes by id, after `after`.
pub(crate) async fn list(app: &App, tenant: &TenantId, after: Option<&NodeId>, limit: u32) -> Result<Vec<Node>> {
    Ok(app.store.node_list(tenant, after, limit).await?)
}

/// Changes what is declared about a node.
pub(crate) async fn update(app: &App, tenant: &TenantId, update: &Update, request: Option<RequestKey>) -> Result<Node> {
    let present = get(app, tenant, &update.id).await?;
    let expect = Expect::Generation(update.generation.unwrap_or(present.generation));
    let write = FleetWrite::PutNode(update.apply(&present.spec), expect);
    app.store.fleet_write(tenant, vec![write], request).await?;
    get(app, tenant, &update.id).await
}

/// Removes a node that no gateway is on.
pub(crate) async fn delete(app: &App, tenant: &TenantId, id: NodeId, generation: Option<u64>) -> Result<()> {
    let expect = generation.map_or(Expect::Present, Expect::Generation);
    Ok(app.store.fleet_write(tenant, vec![FleetWrite::DeleteNode(id, expect)], None).await?)
}
