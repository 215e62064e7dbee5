//! Nodes: what is declared about them, and what operators decide about them.

use std::time::Duration;

use muster_domain::drain::Drain;
use muster_domain::limits::NOTE_CHARS_MAX;
use muster_domain::node::{Cordon, Node, NodeSpec, NodeState};
use muster_domain::{MessageId, NodeId, TenantId, Timestamp, Violation};
use muster_proto::convert::v1::node::Update;
use muster_store::{AttemptAtNode, Expect, FleetWrite, RequestKey, UnderWayFilter};

use super::App;
use super::error::{Error, Reason, Result};

/// A node at a moment.
pub(crate) struct Seen {
    pub(crate) node: Node,
    /// Its state, and since when it is in that.
    pub(crate) state: (NodeState, Option<Timestamp>),
    /// When that was so.
    pub(crate) at: Timestamp,
}

/// Looks whether the agent of a node is there.
fn see(app: &App, tenant: &TenantId, node: Node) -> Seen {
    let silent_for = app.sessions.silent_for(tenant, &node.spec.id).unwrap_or_default();
    let at = app.store.now();
    Seen { state: node.state(silent_for, &app.patience, at), node, at }
}

/// Declares a node.
pub(crate) async fn create(app: &App, tenant: &TenantId, spec: NodeSpec, request: Option<RequestKey>) -> Result<Seen> {
    let id = spec.id.clone();
    app.store.fleet_write(tenant, vec![FleetWrite::PutNode(spec, Expect::Absent)], request).await?;
    get_seen(app, tenant, &id).await
}

/// One node.
pub(crate) async fn get(app: &App, tenant: &TenantId, id: &NodeId) -> Result<Node> {
    let node = app.store.node_get(tenant, id).await?;
    node.ok_or_else(|| Error::unknown(Reason::NodeUnknown, id.resource_name()))
}

/// One node with its state.
pub(crate) async fn get_seen(app: &App, tenant: &TenantId, id: &NodeId) -> Result<Seen> {
    Ok(see(app, tenant, get(app, tenant, id).await?))
}

/// Nodes by id, after `after`.
pub(crate) async fn list(app: &App, tenant: &TenantId, after: Option<&NodeId>, limit: u32) -> Result<Vec<Seen>> {
    let nodes = app.store.node_list(tenant, after, limit).await?;
    Ok(nodes.into_iter().map(|node| see(app, tenant, node)).collect())
}

/// Changes what is declared about a node.
pub(crate) async fn update(app: &App, tenant: &TenantId, update: &Update, request: Option<RequestKey>) -> Result<Seen> {
    let present = get(app, tenant, &update.id).await?;
    let expect = Expect::Generation(update.generation.unwrap_or(present.generation));
    let write = FleetWrite::PutNode(update.apply(&present.spec), expect);
    app.store.fleet_write(tenant, vec![write], request).await?;
    get_seen(app, tenant, &update.id).await
}

/// Removes a node that no gateway is on.
pub(crate) async fn delete(app: &App, tenant: &TenantId, id: NodeId, generation: Option<u64>) -> Result<()> {
    let expect = generation.map_or(Expect::Present, Expect::Generation);
    Ok(app.store.fleet_write(tenant, vec![FleetWrite::DeleteNode(id, expect)], None).await?)
}

/// Gives a node no new work.
pub(crate) async fn cordon(
    app: &App,
    tenant: &TenantId,
    id: &NodeId,
    cordon: Cordon,
    request: Option<RequestKey>,
) -> Result<Seen> {
    let violations = cordon.violations();
    if !violations.is_empty() {
        return Err(violations.into());
    }
    get(app, tenant, id).await?;
    app.store.fleet_write(tenant, vec![FleetWrite::SetCordon(id.clone(), Some(cordon))], request).await?;
    get_seen(app, tenant, id).await
}

/// Empties a node, within `deadline`: what is under way there ends or comes back, and nothing new goes there.
pub(crate) async fn drain(
    app: &App,
    tenant: &TenantId,
    id: &NodeId,
    cordon: Cordon,
    deadline: Duration,
    request: Option<RequestKey>,
) -> Result<Seen> {
    let drain = Drain::begin(cordon.since, deadline);
    let mut violations = cordon.violations();
    violations.extend(drain.as_ref().err().cloned());
    let (Ok(drain), true) = (drain, violations.is_empty()) else { return Err(violations.into()) };
    get(app, tenant, id).await?;
    app.store.fleet_write(tenant, vec![FleetWrite::BeginDrain(id.clone(), cordon, drain)], request).await?;
    app.sessions.desired_changed(tenant, [id]);
    get_seen(app, tenant, id).await
}

/// What was under way at a node when its drain began, and what it came to since.
pub(crate) async fn drained(
    app: &App,
    tenant: &TenantId,
    id: &NodeId,
    after: Option<MessageId>,
    limit: u32,
) -> Result<Vec<AttemptAtNode>> {
    get(app, tenant, id).await?;
    Ok(app.store.drain_list(tenant, id, after, limit).await?)
}

/// Attempts under way.
pub(crate) async fn under_way(
    app: &App,
    tenant: &TenantId,
    filter: &UnderWayFilter,
    after: Option<MessageId>,
    limit: u32,
) -> Result<Vec<AttemptAtNode>> {
    Ok(app.store.under_way(tenant, filter, after, limit).await?)
}

/// Lets a node take work again, and ends its drain. Who asks for it is checked and not kept, as with a hold.
pub(crate) async fn uncordon(
    app: &App,
    tenant: &TenantId,
    id: &NodeId,
    author: &str,
    request: Option<RequestKey>,
) -> Result<Seen> {
    if author.chars().count() > NOTE_CHARS_MAX {
        return Err(Violation::new("author", format!("must have at most {NOTE_CHARS_MAX} characters")).into());
    }
    if get(app, tenant, id).await?.cordon.is_some() {
        app.store.fleet_write(tenant, vec![FleetWrite::SetCordon(id.clone(), None)], request).await?;
    }
    app.sessions.desired_changed(tenant, [id]);
    // Also where there was nothing to end: a call that died between the two left its bots asleep.
    app.sessions.wake(tenant, id, app.store.bots_waiting(tenant, id).await?);
    get_seen(app, tenant, id).await
}
