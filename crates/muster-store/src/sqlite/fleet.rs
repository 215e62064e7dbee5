//! Changes to what is declared: nodes, gateways, bots, holds and stages.

use muster_domain::bot::{BotSpec, Connection, Hold, Stage};
use muster_domain::fleet::Fleet;
use muster_domain::gateway::GatewaySpec;
use muster_domain::node::NodeSpec;
use muster_domain::{BotId, GatewayId, NodeId};
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use super::code::Code as _;
use super::desired::{self, Leaving};
use super::directory::{Edit, Entry, bot_id, kind};
use super::error::failed;
use super::fence::Fence;
use super::nodes::labels_text;
use super::writer::Txn;
use super::{away, bots, micros, nodes, sessions};
use crate::{Expect, FleetWrite, Note, RequestKey, Result, StoreError};

/// See [`crate::Store::fleet_write`].
pub(super) async fn write(
    txn: &mut Txn,
    tenant_key: i64,
    writes: Vec<FleetWrite>,
    request: Option<RequestKey>,
) -> Result<()> {
    if let Some(request) = request
        && seen(txn, tenant_key, &request).await?
    {
        return Ok(());
    }
    for write in writes {
        match write {
            FleetWrite::PutNode(spec, expect) => put_node(txn, tenant_key, spec, expect).await?,
            FleetWrite::PutGateway(spec, expect) => put_gateway(txn, tenant_key, spec, expect).await?,
            FleetWrite::PutBot(spec, expect) => put_bot(txn, tenant_key, spec, expect).await?,
            FleetWrite::SetHold(id, hold) => set_hold(txn, tenant_key, &id, hold).await?,
            FleetWrite::SetStage(id, stage, note) => set_stage(txn, tenant_key, &id, stage, note).await?,
            FleetWrite::DeleteNode(id, expect) => delete_node(txn, tenant_key, &id, expect).await?,
            FleetWrite::DeleteGateway(id, expect) => delete_gateway(txn, tenant_key, &id, expect).await?,
        }
    }
    Ok(())
}

/// Whether the request was carried out before.
async fn seen(txn: &mut Txn, tenant_key: i64, request: &RequestKey) -> Result<bool> {
    let known: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT fingerprint FROM request WHERE tenant_key = ? AND request_id = ?")
            .bind(tenant_key)
            .bind(request.request_id.clone())
            .fetch_optional(&mut txn.connection)
            .await
            .map_err(failed)?;
    if let Some(known) = known {
        return if known == request.fingerprint { Ok(true) } else { Err(StoreError::RequestIdReused) };
    }
    sqlx::query("INSERT INTO request (tenant_key, request_id, fingerprint, create_time) VALUES (?, ?, ?, ?)")
        .bind(tenant_key)
        .bind(request.request_id.clone())
        .bind(request.fingerprint.to_vec())
        .bind(micros(txn.now))
        .execute(&mut txn.connection)
        .await
        .map_err(failed)?;
    Ok(false)
}

/// Checks what is there against what the caller expects. Tells whether something is there.
fn check(expect: Expect, generation: Option<i64>, name: impl FnOnce() -> String) -> Result<bool> {
    match (expect, generation) {
        (Expect::Absent, Some(_)) => Err(StoreError::Exists(name())),
        (Expect::Present | Expect::Generation(_), None) => Err(StoreError::NotFound(name())),
        (Expect::Generation(wanted), Some(found)) if wanted != found as u64 => Err(StoreError::Stale(name())),
        (_, found) => Ok(found.is_some()),
    }
}

async fn put_node(txn: &mut Txn, tenant_key: i64, spec: NodeSpec, expect: Expect) -> Result<()> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT generation FROM node WHERE tenant_key = ? AND node_id = ? AND removed = 0")
            .bind(tenant_key)
            .bind(spec.id.as_str().to_owned())
            .fetch_optional(&mut txn.connection)
            .await
            .map_err(failed)?;
    check(expect, found, || spec.id.resource_name())?;
    let now = micros(txn.now);
    let node_key: i64 = sqlx::query_scalar(
        "INSERT INTO node (tenant_key, node_id, display_name, labels, generation, create_time, update_time) VALUES (?, ?, ?, ?, 1, ?, ?) \
         ON CONFLICT (tenant_key, node_id) DO UPDATE SET display_name = excluded.display_name, labels = excluded.labels, \
         generation = generation + 1, removed = 0, update_time = excluded.update_time RETURNING node_key",
    )
    .bind(tenant_key)
    .bind(spec.id.as_str().to_owned())
    .bind(spec.display_name)
    .bind(labels_text(&spec.labels))
    .bind(now)
    .bind(now)
    .fetch_one(&mut txn.connection)
    .await
    .map_err(failed)?;
    txn.edit(Edit::PutNode(node_key, spec.id));
    Ok(())
}

/// The key of a node, for a resource that is put on it.
async fn node_key(txn: &mut Txn, tenant_key: i64, id: &NodeId) -> Result<i64> {
    sqlx::query_scalar("SELECT node_key FROM node WHERE tenant_key = ? AND node_id = ? AND removed = 0")
        .bind(tenant_key)
        .bind(id.as_str().to_owned())
        .fetch_optional(&mut txn.connection)
        .await
        .map_err(failed)?
        .ok_or_else(|| StoreError::NotFound(id.resource_name()))
}

/// A gateway's keys and generation.
struct GatewayRow {
    gateway_key: i64,
    node_key: i64,
    generation: i64,
    kind: muster_domain::gateway::GatewayKind,
    removed: bool,
}

/// A gateway that is there, or was: what its retired bots name stays.
async fn gateway_row(txn: &mut Txn, tenant_key: i64, id: &GatewayId) -> Result<Option<GatewayRow>> {
    let row = sqlx::query(
        "SELECT gateway_key, node_key, generation, kind, removed FROM gateway WHERE tenant_key = ? AND gateway_id = ?",
    )
    .bind(tenant_key)
    .bind(id.as_str().to_owned())
    .fetch_optional(&mut txn.connection)
    .await
    .map_err(failed)?;
    row.map(|row| {
        Ok(GatewayRow {
            gateway_key: row.get(0),
            node_key: row.get(1),
            generation: row.get(2),
            kind: kind(row.get(3))?,
            removed: row.get(4),
        })
    })
    .transpose()
}

/// A gateway that is there.
async fn gateway_present(txn: &mut Txn, tenant_key: i64, id: &GatewayId) -> Result<GatewayRow> {
    let found = gateway_row(txn, tenant_key, id).await?.filter(|row| !row.removed);
    found.ok_or_else(|| StoreError::NotFound(id.resource_name()))
}

async fn put_gateway(txn: &mut Txn, tenant_key: i64, spec: GatewaySpec, expect: Expect) -> Result<()> {
    let found = gateway_row(txn, tenant_key, &spec.id).await?;
    let present = found.as_ref().filter(|row| !row.removed);
    check(expect, present.map(|row| row.generation), || spec.id.resource_name())?;
    // Its bots are identities of the network that its kind speaks to, and what waits for them names addresses there.
    if present.is_some_and(|row| row.kind != spec.kind) {
        return Err(StoreError::Fixed { resource: spec.id.resource_name(), field: "kind" });
    }
    let target = node_key(txn, tenant_key, &spec.node).await?;
    let version = desired::bump(txn, target).await?;
    let now = micros(txn.now);
    sqlx::query(
        "INSERT INTO gateway (tenant_key, gateway_id, kind, node_key, display_name, labels, generation, version, create_time, update_time) \
         VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (tenant_key, gateway_id) DO UPDATE SET kind = excluded.kind, node_key = excluded.node_key, removed = 0, \
         display_name = excluded.display_name, labels = excluded.labels, generation = generation + 1, version = excluded.version, \
         update_time = excluded.update_time",
    )
    .bind(tenant_key)
    .bind(spec.id.as_str().to_owned())
    .bind(spec.kind.as_str())
    .bind(target)
    .bind(spec.display_name)
    .bind(labels_text(&spec.labels))
    .bind(version)
    .bind(now)
    .bind(now)
    .execute(&mut txn.connection)
    .await
    .map_err(failed)?;
    desired::arrive(txn, target, Leaving::Gateway, spec.id.as_str()).await?;
    match found {
        Some(found) if found.node_key != target => {
            move_gateway(txn, tenant_key, &spec.id, &found, target, version).await
        }
        _ => Ok(()),
    }
}

/// Takes a gateway's bots along to its new node. What waits for them follows; attempts under way end where they are.
async fn move_gateway(
    txn: &mut Txn,
    tenant_key: i64,
    id: &GatewayId,
    found: &GatewayRow,
    target: i64,
    version: i64,
) -> Result<()> {
    let left = desired::bump(txn, found.node_key).await?;
    desired::depart(txn, found.node_key, Leaving::Gateway, id.as_str(), left).await?;
    let moved = sqlx::query(
        "UPDATE bot SET node_key = ?, version = ?, connection = ?, connection_detail = '' WHERE gateway_key = ? \
         RETURNING bot_id, bot_key, stage",
    )
    .bind(target)
    .bind(version)
    .bind(Connection::Disconnected.code())
    .bind(found.gateway_key)
    .fetch_all(&mut txn.connection)
    .await
    .map_err(failed)?;
    let keys: Vec<i64> = moved.iter().map(|row| row.get(1)).collect();
    away::note(txn, found.node_key, &keys).await?;
    for row in moved {
        let bot = bot_id(row.get(0))?;
        desired::depart(txn, found.node_key, Leaving::Bot, bot.as_str(), left).await?;
        desired::arrive(txn, target, Leaving::Bot, bot.as_str()).await?;
        let entry =
            Entry { bot_key: row.get(1), node_key: target, kind: found.kind, stage: Stage::decode(row.get(2))? };
        txn.edit(Edit::PutBot(tenant_key, bot, entry));
    }
    Ok(())
}

async fn put_bot(txn: &mut Txn, tenant_key: i64, spec: BotSpec, expect: Expect) -> Result<()> {
    let row = sqlx::query(
        "SELECT bot_key, node_key, generation, stage, network FROM bot WHERE tenant_key = ? AND bot_id = ?",
    )
    .bind(tenant_key)
    .bind(spec.id.as_str().to_owned())
    .fetch_optional(&mut txn.connection)
    .await
    .map_err(failed)?;
    let generation = row.as_ref().map(|row| row.get::<i64, _>(2));
    check(expect, generation, || spec.id.resource_name())?;
    let gateway = gateway_present(txn, tenant_key, &spec.gateway).await?;
    let network = gateway.kind.network().as_str();
    if row.as_ref().is_some_and(|row| row.get::<&str, _>(4) != network) {
        return Err(StoreError::Fixed { resource: spec.id.resource_name(), field: "network" });
    }
    check_address(txn, tenant_key, &spec, gateway.kind).await?;
    let version = desired::bump(txn, gateway.node_key).await?;
    let now = micros(txn.now);
    let address = spec.address.as_ref().map(|address| address.as_str().to_owned());
    let (bot_key, stage) = match &row {
        None => {
            let stage = Stage::Provisioning;
            let bot_key = sqlx::query_scalar(
                "INSERT INTO bot (tenant_key, bot_id, gateway_key, node_key, network, address, display_name, labels, generation, version, \
                 stage, stage_rule, connection, create_time, update_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, 'DECLARED', ?, ?, ?) \
                 RETURNING bot_key",
            )
            .bind(tenant_key)
            .bind(spec.id.as_str().to_owned())
            .bind(gateway.gateway_key)
            .bind(gateway.node_key)
            .bind(network)
            .bind(address)
            .bind(spec.display_name)
            .bind(labels_text(&spec.labels))
            .bind(version)
            .bind(stage.code())
            .bind(Connection::Unlinked.code())
            .bind(now)
            .bind(now)
            .fetch_one(&mut txn.connection)
            .await
            .map_err(failed)?;
            (bot_key, stage)
        }
        Some(row) => {
            let (bot_key, before) = (row.get::<i64, _>(0), row.get::<i64, _>(1));
            sqlx::query(
                "UPDATE bot SET gateway_key = ?, node_key = ?, network = ?, address = ?, display_name = ?, labels = ?, \
                 generation = generation + 1, version = ?, update_time = ? WHERE bot_key = ?",
            )
            .bind(gateway.gateway_key)
            .bind(gateway.node_key)
            .bind(network)
            .bind(address)
            .bind(spec.display_name)
            .bind(labels_text(&spec.labels))
            .bind(version)
            .bind(now)
            .bind(bot_key)
            .execute(&mut txn.connection)
            .await
            .map_err(failed)?;
            if before != gateway.node_key {
                let left = desired::bump(txn, before).await?;
                desired::depart(txn, before, Leaving::Bot, spec.id.as_str(), left).await?;
                bots::disconnect(txn, bot_key).await?;
                away::note(txn, before, &[bot_key]).await?;
            }
            (bot_key, Stage::decode(row.get(3))?)
        }
    };
    desired::arrive(txn, gateway.node_key, Leaving::Bot, spec.id.as_str()).await?;
    txn.edit(Edit::PutBot(
        tenant_key,
        spec.id,
        Entry { bot_key, node_key: gateway.node_key, kind: gateway.kind, stage },
    ));
    Ok(())
}

/// An address has one owner among the bots that are not retired.
async fn check_address(
    txn: &mut Txn,
    tenant_key: i64,
    spec: &BotSpec,
    kind: muster_domain::gateway::GatewayKind,
) -> Result<()> {
    let Some(address) = &spec.address else { return Ok(()) };
    let owner: Option<String> = sqlx::query_scalar(
        "SELECT bot_id FROM bot WHERE tenant_key = ? AND network = ? AND address = ? AND stage <> ? AND bot_id <> ?",
    )
    .bind(tenant_key)
    .bind(kind.network().as_str())
    .bind(address.as_str().to_owned())
    .bind(Stage::Retired.code())
    .bind(spec.id.as_str().to_owned())
    .fetch_optional(&mut txn.connection)
    .await
    .map_err(failed)?;
    match owner {
        Some(owner) => Err(StoreError::AddressTaken(spec.id.resource_name(), format!("bots/{owner}"))),
        None => Ok(()),
    }
}

async fn set_hold(txn: &mut Txn, tenant_key: i64, id: &BotId, hold: Option<Hold>) -> Result<()> {
    let entry = bots::entry(txn, tenant_key, id).await?.ok_or_else(|| StoreError::NotFound(id.resource_name()))?;
    let version = desired::bump(txn, entry.node_key).await?;
    sqlx::query(
        "UPDATE bot SET hold_reason = ?, hold_author = ?, hold_since = ?, hold_until = ?, generation = generation + 1, version = ?, \
         update_time = ? WHERE bot_key = ?",
    )
    .bind(hold.as_ref().map(|hold| hold.reason.clone()))
    .bind(hold.as_ref().map(|hold| hold.author.clone()))
    .bind(hold.as_ref().map(|hold| micros(hold.since)))
    .bind(hold.as_ref().and_then(|hold| hold.until).map(micros))
    .bind(version)
    .bind(micros(txn.now))
    .bind(entry.bot_key)
    .execute(&mut txn.connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn set_stage(txn: &mut Txn, tenant_key: i64, id: &BotId, stage: Stage, note: Note) -> Result<()> {
    let entry = bots::entry(txn, tenant_key, id).await?.ok_or_else(|| StoreError::NotFound(id.resource_name()))?;
    let rule = match (note.facts.as_str(), note.author.as_str()) {
        ("", "") => note.rule,
        (facts, "") => format!("{}: {facts}", note.rule),
        ("", author) => format!("{} by {author}", note.rule),
        (facts, author) => format!("{} by {author}: {facts}", note.rule),
    };
    bots::stage_set(txn, tenant_key, id, entry, stage, &rule).await
}

async fn delete_node(txn: &mut Txn, tenant_key: i64, id: &NodeId, expect: Expect) -> Result<()> {
    let row = sqlx::query("SELECT node_key, generation FROM node WHERE tenant_key = ? AND node_id = ? AND removed = 0")
        .bind(tenant_key)
        .bind(id.as_str().to_owned())
        .fetch_optional(&mut txn.connection)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Err(StoreError::NotFound(id.resource_name())) };
    check(expect, Some(row.get(1)), || id.resource_name())?;
    let node_key: i64 = row.get(0);
    let user: Option<String> =
        sqlx::query_scalar("SELECT gateway_id FROM gateway WHERE node_key = ? AND removed = 0 LIMIT 1")
            .bind(node_key)
            .fetch_optional(&mut txn.connection)
            .await
            .map_err(failed)?;
    if let Some(user) = user {
        return Err(StoreError::InUse { resource: id.resource_name(), user: format!("gateways/{user}") });
    }
    // The epoch goes on: an agent that still has a session is fenced, and one of a node declared anew begins behind it.
    let epoch: i64 = sqlx::query_scalar(
        "UPDATE node SET removed = 1, online = 0, epoch = epoch + 1, update_time = ? WHERE node_key = ? RETURNING epoch",
    )
    .bind(micros(txn.now))
    .bind(node_key)
    .fetch_one(&mut txn.connection)
    .await
    .map_err(failed)?;
    // Its reports are not taken any more, so what is under way there would never end.
    let why = "the node was removed while it held the message";
    sessions::settle_lost(txn, Fence { node_key, epoch }, why).await?;
    Ok(())
}

async fn delete_gateway(txn: &mut Txn, tenant_key: i64, id: &GatewayId, expect: Expect) -> Result<()> {
    let found = gateway_present(txn, tenant_key, id).await?;
    check(expect, Some(found.generation), || id.resource_name())?;
    let user: Option<String> =
        sqlx::query_scalar("SELECT bot_id FROM bot WHERE gateway_key = ? AND stage <> ? LIMIT 1")
            .bind(found.gateway_key)
            .bind(Stage::Retired.code())
            .fetch_optional(&mut txn.connection)
            .await
            .map_err(failed)?;
    if let Some(user) = user {
        return Err(StoreError::InUse { resource: id.resource_name(), user: format!("bots/{user}") });
    }
    let version = desired::bump(txn, found.node_key).await?;
    desired::depart(txn, found.node_key, Leaving::Gateway, id.as_str(), version).await?;
    sqlx::query("UPDATE gateway SET removed = 1, update_time = ? WHERE gateway_key = ?")
        .bind(micros(txn.now))
        .bind(found.gateway_key)
        .execute(&mut txn.connection)
        .await
        .map_err(failed)?;
    Ok(())
}

/// See [`crate::Store::fleet`].
pub(super) async fn snapshot(readers: &SqlitePool, tenant_key: i64) -> Result<Fleet> {
    let mut fleet = Fleet::default();
    for node in nodes::node_list(readers, tenant_key, None, "", u32::MAX).await? {
        fleet.nodes.insert(node.spec.id.clone(), node.spec);
    }
    for gateway in nodes::gateway_list(readers, tenant_key, None, None, "", u32::MAX).await? {
        fleet.gateways.insert(gateway.spec.id.clone(), gateway.spec);
    }
    for bot in bots::list(readers, tenant_key, &crate::BotFilter::default(), None, u32::MAX).await? {
        if bot.stage != Stage::Retired {
            fleet.bots.insert(bot.spec.id.clone(), bot.spec);
        }
    }
    Ok(fleet)
}
