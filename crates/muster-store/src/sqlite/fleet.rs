//! Changes to what is declared: nodes, gateways, bots, holds and stages.

use muster_domain::absence::AbsencePolicy;
use muster_domain::bot::{BotSpec, Connection, Hold, Stage};
use muster_domain::fleet::Fleet;
use muster_domain::gateway::GatewaySpec;
use muster_domain::node::{Cordon, NodeSpec};
use muster_domain::{Address, BotId, GatewayId, NodeId, Timestamp};
use rusqlite::params;
use sqlx::sqlite::SqlitePool;

use super::code::Code as _;
use super::desired::{self, Leaving};
use super::directory::{Edit, Entry, bot_id, kind};
use super::fence::Fence;
use super::nodes::{labels, labels_text};
use super::txn::Txn;
use super::{absences, away, bots, drains, micros, nodes, queues, sessions, windows};
use crate::{Expect, FleetWrite, Note, RequestKey, Result, StoreError};

/// See [`crate::Store::fleet_write`].
pub(super) fn write(
    txn: &mut Txn,
    tenant_key: i64,
    writes: Vec<FleetWrite>,
    request: Option<RequestKey>,
) -> Result<()> {
    if let Some(request) = request
        && seen(txn, tenant_key, &request)?
    {
        return Ok(());
    }
    for write in writes {
        match write {
            FleetWrite::PutNode(spec, expect) => put_node(txn, tenant_key, spec, expect)?,
            FleetWrite::PutGateway(spec, expect) => put_gateway(txn, tenant_key, spec, expect)?,
            FleetWrite::PutBot(spec, expect) => put_bot(txn, tenant_key, spec, expect)?,
            FleetWrite::SetCordon(id, cordon) => set_cordon(txn, tenant_key, &id, cordon)?,
            FleetWrite::BeginDrain(id, cordon, drain) => drains::begin(txn, tenant_key, &id, cordon, drain)?,
            FleetWrite::SetHold(id, hold) => set_hold(txn, tenant_key, &id, hold)?,
            FleetWrite::SetStage(id, stage, note) => set_stage(txn, tenant_key, &id, stage, note)?,
            FleetWrite::DeleteNode(id, expect) => delete_node(txn, tenant_key, &id, expect)?,
            FleetWrite::DeleteGateway(id, expect) => delete_gateway(txn, tenant_key, &id, expect)?,
        }
    }
    Ok(())
}

/// Whether the request was carried out before.
fn seen(txn: &Txn, tenant_key: i64, request: &RequestKey) -> Result<bool> {
    let known: Option<Vec<u8>> = txn.value_opt(
        "SELECT fingerprint FROM request WHERE tenant_key = ? AND request_id = ?",
        params![tenant_key, request.request_id],
    )?;
    if let Some(known) = known {
        return if known == request.fingerprint { Ok(true) } else { Err(StoreError::RequestIdReused) };
    }
    txn.execute(
        "INSERT INTO request (tenant_key, request_id, fingerprint, create_time) VALUES (?, ?, ?, ?)",
        params![tenant_key, request.request_id, request.fingerprint, micros(txn.now)],
    )?;
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

fn put_node(txn: &mut Txn, tenant_key: i64, spec: NodeSpec, expect: Expect) -> Result<()> {
    let found: Option<i64> = txn.value_opt(
        "SELECT generation FROM node WHERE tenant_key = ? AND node_id = ? AND removed = 0",
        params![tenant_key, spec.id.as_str()],
    )?;
    check(expect, found, || spec.id.resource_name())?;
    let now = micros(txn.now);
    let node_key: i64 = txn.value(
        "INSERT INTO node (tenant_key, node_id, display_name, labels, generation, desired_lineage, create_time, update_time) \
         VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (tenant_key, node_id) DO UPDATE SET display_name = \
         excluded.display_name, labels = excluded.labels, generation = generation + 1, removed = 0, update_time = \
         excluded.update_time RETURNING node_key",
        params![tenant_key, spec.id.as_str(), spec.display_name, labels_text(&spec.labels), txn.lineage(), now, now],
    )?;
    txn.edit(Edit::PutNode(node_key, spec.id));
    Ok(())
}

pub(super) fn set_cordon(txn: &mut Txn, tenant_key: i64, id: &NodeId, cordon: Option<Cordon>) -> Result<()> {
    let node_key = node_key(txn, tenant_key, id)?;
    txn.execute(
        "UPDATE node SET cordon_reason = ?1, cordon_author = ?2, cordon_time = iif(?3 IS NULL, NULL, \
         coalesce(cordon_time, ?3)), generation = generation + 1, update_time = ?4 WHERE node_key = ?5",
        params![
            cordon.as_ref().map(|cordon| cordon.reason.as_str()),
            cordon.as_ref().map(|cordon| cordon.author.as_str()),
            cordon.as_ref().map(|cordon| micros(cordon.since)),
            micros(txn.now),
            node_key
        ],
    )?;
    if cordon.is_none() { drains::end(txn, node_key) } else { Ok(()) }
}

/// The key of a node, for a resource that is put on it.
pub(super) fn node_key(txn: &Txn, tenant_key: i64, id: &NodeId) -> Result<i64> {
    txn.value_opt(
        "SELECT node_key FROM node WHERE tenant_key = ? AND node_id = ? AND removed = 0",
        params![tenant_key, id.as_str()],
    )?
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
fn gateway_row(txn: &Txn, tenant_key: i64, id: &GatewayId) -> Result<Option<GatewayRow>> {
    let sql =
        "SELECT gateway_key, node_key, generation, kind, removed FROM gateway WHERE tenant_key = ? AND gateway_id = ?";
    txn.first(sql, params![tenant_key, id.as_str()], |row| {
        Ok(GatewayRow {
            gateway_key: row.get(0)?,
            node_key: row.get(1)?,
            generation: row.get(2)?,
            kind: kind(&row.get::<_, String>(3)?)?,
            removed: row.get(4)?,
        })
    })
}

/// A gateway that is there.
fn gateway_present(txn: &Txn, tenant_key: i64, id: &GatewayId) -> Result<GatewayRow> {
    let found = gateway_row(txn, tenant_key, id)?.filter(|row| !row.removed);
    found.ok_or_else(|| StoreError::NotFound(id.resource_name()))
}

fn put_gateway(txn: &mut Txn, tenant_key: i64, spec: GatewaySpec, expect: Expect) -> Result<()> {
    let found = gateway_row(txn, tenant_key, &spec.id)?;
    let present = found.as_ref().filter(|row| !row.removed);
    check(expect, present.map(|row| row.generation), || spec.id.resource_name())?;
    // Its bots are identities of the network that its kind speaks to, and what waits for them names addresses there.
    if present.is_some_and(|row| row.kind != spec.kind) {
        return Err(StoreError::Fixed { resource: spec.id.resource_name(), field: "kind" });
    }
    let target = node_key(txn, tenant_key, &spec.node)?;
    let version = desired::bump(txn, target)?;
    let now = micros(txn.now);
    txn.execute(
        "INSERT INTO gateway (tenant_key, gateway_id, kind, node_key, display_name, labels, generation, version, \
         create_time, update_time) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (tenant_key, gateway_id) DO \
         UPDATE SET kind = excluded.kind, node_key = excluded.node_key, removed = 0, display_name = \
         excluded.display_name, labels = excluded.labels, generation = generation + 1, version = \
         excluded.version, update_time = excluded.update_time",
        params![
            tenant_key,
            spec.id.as_str(),
            spec.kind.as_str(),
            target,
            spec.display_name,
            labels_text(&spec.labels),
            version,
            now,
            now
        ],
    )?;
    desired::arrive(txn, target, Leaving::Gateway, spec.id.as_str())?;
    match found {
        Some(found) if found.node_key != target => move_gateway(txn, tenant_key, &spec.id, &found, target, version),
        _ => Ok(()),
    }
}

/// Takes a gateway's bots along to its new node. What waits for them follows; attempts under way end where they are.
fn move_gateway(
    txn: &mut Txn,
    tenant_key: i64,
    id: &GatewayId,
    found: &GatewayRow,
    target: i64,
    version: i64,
) -> Result<()> {
    let left = desired::bump(txn, found.node_key)?;
    desired::depart(txn, found.node_key, Leaving::Gateway, id.as_str(), left)?;
    let moved = txn.all(
        "UPDATE bot SET node_key = ?, version = ?, connection = ?, connection_detail = '' WHERE gateway_key = ? \
         RETURNING bot_id, bot_key, stage, sending_window IS NOT NULL",
        params![target, version, Connection::Disconnected.code(), found.gateway_key],
        |row| {
            let entry = Entry {
                bot_key: row.get(1)?,
                node_key: target,
                kind: found.kind,
                stage: Stage::decode(row.get(2)?)?,
                has_window: row.get(3)?,
            };
            Ok((bot_id(&row.get::<_, String>(0)?)?, entry))
        },
    )?;
    for (bot, entry) in moved {
        away::note(txn, found.node_key, entry.bot_key)?;
        queues::release_moved(txn, entry.bot_key)?;
        desired::depart(txn, found.node_key, Leaving::Bot, bot.as_str(), left)?;
        desired::arrive(txn, target, Leaving::Bot, bot.as_str())?;
        txn.edit(Edit::PutBot(tenant_key, bot, entry));
    }
    Ok(())
}

/// A bot's keys, and what of it cannot change.
struct BotRow {
    bot_key: i64,
    node_key: i64,
    generation: i64,
    stage: Stage,
    network: String,
}

fn bot_row(txn: &Txn, tenant_key: i64, id: &BotId) -> Result<Option<BotRow>> {
    let sql = "SELECT bot_key, node_key, generation, stage, network FROM bot WHERE tenant_key = ? AND bot_id = ?";
    txn.first(sql, params![tenant_key, id.as_str()], |row| {
        Ok(BotRow {
            bot_key: row.get(0)?,
            node_key: row.get(1)?,
            generation: row.get(2)?,
            stage: Stage::decode(row.get(3)?)?,
            network: row.get(4)?,
        })
    })
}

fn put_bot(txn: &mut Txn, tenant_key: i64, spec: BotSpec, expect: Expect) -> Result<()> {
    let found = bot_row(txn, tenant_key, &spec.id)?;
    check(expect, found.as_ref().map(|row| row.generation), || spec.id.resource_name())?;
    let gateway = gateway_present(txn, tenant_key, &spec.gateway)?;
    let network = gateway.kind.network().as_str();
    if found.as_ref().is_some_and(|row| row.network != network) {
        return Err(StoreError::Fixed { resource: spec.id.resource_name(), field: "network" });
    }
    check_address(txn, tenant_key, &spec, gateway.kind)?;
    if let Some(standby) = spec.absence.standby_gateway() {
        let standby = gateway_present(txn, tenant_key, standby)?;
        if standby.kind.network().as_str() != network {
            return Err(StoreError::Fixed { resource: spec.id.resource_name(), field: "network" });
        }
    }
    let version = desired::bump(txn, gateway.node_key)?;
    let now = micros(txn.now);
    let address = spec.address.as_ref().map(muster_domain::Address::as_str);
    let (on_node_absent, absent_after, standby) = absences::columns(&spec.absence);
    let (bot_key, stage) = match found {
        None => {
            let stage = Stage::Provisioning;
            let bot_key = txn.value(
                "INSERT INTO bot (tenant_key, bot_id, gateway_key, node_key, network, address, display_name, \
                 labels, generation, version, stage, stage_rule, connection, create_time, update_time, on_node_absent, \
                 absent_after, standby_gateway) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, 'DECLARED', ?, ?, ?, ?, ?, ?) \
                 RETURNING bot_key",
                params![
                    tenant_key,
                    spec.id.as_str(),
                    gateway.gateway_key,
                    gateway.node_key,
                    network,
                    address,
                    spec.display_name,
                    labels_text(&spec.labels),
                    version,
                    stage.code(),
                    Connection::Unlinked.code(),
                    now,
                    now,
                    on_node_absent,
                    absent_after,
                    standby
                ],
            )?;
            (bot_key, stage)
        }
        Some(BotRow { bot_key, node_key: before, stage, .. }) => {
            absences::moved_by_hand(txn, bot_key, gateway.gateway_key)?;
            txn.execute(
                "UPDATE bot SET gateway_key = ?, node_key = ?, network = ?, address = ?, display_name = ?, labels = ?, \
                 generation = generation + 1, version = ?, update_time = ?, on_node_absent = ?, absent_after = ?, \
                 standby_gateway = ? WHERE bot_key = ?",
                params![
                    gateway.gateway_key,
                    gateway.node_key,
                    network,
                    address,
                    spec.display_name,
                    labels_text(&spec.labels),
                    version,
                    now,
                    on_node_absent,
                    absent_after,
                    standby,
                    bot_key
                ],
            )?;
            if before != gateway.node_key {
                let left = desired::bump(txn, before)?;
                desired::depart(txn, before, Leaving::Bot, spec.id.as_str(), left)?;
                bots::disconnect(txn, bot_key)?;
                away::note(txn, before, bot_key)?;
                queues::release_moved(txn, bot_key)?;
            }
            (bot_key, stage)
        }
    };
    windows::declare(txn, bot_key, spec.sending_window.as_ref())?;
    desired::arrive(txn, gateway.node_key, Leaving::Bot, spec.id.as_str())?;
    let has_window = spec.sending_window.is_some();
    txn.edit(Edit::PutWindow(bot_key, spec.sending_window));
    txn.edit(Edit::PutBot(
        tenant_key,
        spec.id,
        Entry { bot_key, node_key: gateway.node_key, kind: gateway.kind, stage, has_window },
    ));
    Ok(())
}

/// Moves a bot to another gateway, and leaves everything else that is declared of it.
pub(super) fn move_bot(
    txn: &mut Txn,
    tenant_key: i64,
    bot_key: i64,
    id: BotId,
    gateway: &GatewayId,
    absence: &AbsencePolicy,
) -> Result<()> {
    let sql = "SELECT address, display_name, labels, sending_window FROM bot WHERE bot_key = ?";
    let spec = txn.first(sql, [bot_key], |row| {
        Ok(BotSpec {
            id: id.clone(),
            gateway: gateway.clone(),
            address: row.get::<_, Option<String>>(0)?.as_deref().map(Address::from_stored),
            display_name: row.get(1)?,
            labels: labels(&row.get::<_, String>(2)?),
            absence: absence.clone(),
            sending_window: row.get::<_, Option<String>>(3)?.as_deref().map(windows::read).transpose()?,
        })
    })?;
    let spec = spec.ok_or_else(|| StoreError::NotFound(id.resource_name()))?;
    put_bot(txn, tenant_key, spec, Expect::Present)
}

/// An address has one owner among the bots that are not retired.
fn check_address(txn: &Txn, tenant_key: i64, spec: &BotSpec, kind: muster_domain::gateway::GatewayKind) -> Result<()> {
    let Some(address) = &spec.address else { return Ok(()) };
    // The stage of retired bots stands in the text: that is how the partial index of addresses is found.
    let owner: Option<String> = txn.value_opt(
        "SELECT bot_id FROM bot WHERE tenant_key = ? AND network = ? AND address = ? AND stage <> 9 AND bot_id <> ?",
        params![tenant_key, kind.network().as_str(), address.as_str(), spec.id.as_str()],
    )?;
    match owner {
        Some(owner) => Err(StoreError::AddressTaken(spec.id.resource_name(), format!("bots/{owner}"))),
        None => Ok(()),
    }
}

fn set_hold(txn: &mut Txn, tenant_key: i64, id: &BotId, hold: Option<Hold>) -> Result<()> {
    let entry = bots::entry(txn, tenant_key, id)?.ok_or_else(|| StoreError::NotFound(id.resource_name()))?;
    let version = desired::bump(txn, entry.node_key)?;
    txn.execute(
        "UPDATE bot SET hold_reason = ?, hold_author = ?, hold_since = ?, hold_until = ?, generation = generation \
         + 1, version = ?, update_time = ? WHERE bot_key = ?",
        params![
            hold.as_ref().map(|hold| hold.reason.as_str()),
            hold.as_ref().map(|hold| hold.author.as_str()),
            hold.as_ref().map(|hold| micros(hold.since)),
            hold.as_ref().and_then(|hold| hold.until).map(micros),
            version,
            micros(txn.now),
            entry.bot_key
        ],
    )?;
    Ok(())
}

fn set_stage(txn: &mut Txn, tenant_key: i64, id: &BotId, stage: Stage, note: Note) -> Result<()> {
    let entry = bots::entry(txn, tenant_key, id)?.ok_or_else(|| StoreError::NotFound(id.resource_name()))?;
    let rule = match (note.facts.as_str(), note.author.as_str()) {
        ("", "") => note.rule,
        (facts, "") => format!("{}: {facts}", note.rule),
        ("", author) => format!("{} by {author}", note.rule),
        (facts, author) => format!("{} by {author}: {facts}", note.rule),
    };
    bots::stage_set(txn, tenant_key, id, entry, stage, &rule)
}

fn delete_node(txn: &mut Txn, tenant_key: i64, id: &NodeId, expect: Expect) -> Result<()> {
    let sql = "SELECT node_key, generation FROM node WHERE tenant_key = ? AND node_id = ? AND removed = 0";
    let found = txn.first(sql, params![tenant_key, id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (node_key, generation): (i64, i64) = found.ok_or_else(|| StoreError::NotFound(id.resource_name()))?;
    check(expect, Some(generation), || id.resource_name())?;
    let user: Option<String> =
        txn.value_opt("SELECT gateway_id FROM gateway WHERE node_key = ? AND removed = 0 LIMIT 1", params![node_key])?;
    if let Some(user) = user {
        return Err(StoreError::InUse { resource: id.resource_name(), user: format!("gateways/{user}") });
    }
    // The epoch goes on: an agent that still has a session is fenced, and one of a node declared anew begins behind it.
    let epoch: i64 = txn.value(
        "UPDATE node SET removed = 1, online = 0, epoch = epoch + 1, cordon_reason = NULL, cordon_author = NULL, \
         cordon_time = NULL, update_time = ? WHERE node_key = ? RETURNING epoch",
        params![micros(txn.now), node_key],
    )?;
    drains::end(txn, node_key)?;
    // Its reports are not taken any more, so what is under way there would never end.
    let why = "the node was removed while it held the message";
    sessions::settle_lost(txn, Fence { node_key, epoch }, why)?;
    Ok(())
}

fn delete_gateway(txn: &mut Txn, tenant_key: i64, id: &GatewayId, expect: Expect) -> Result<()> {
    let found = gateway_present(txn, tenant_key, id)?;
    check(expect, Some(found.generation), || id.resource_name())?;
    let user: Option<String> = txn.value_opt(
        "SELECT bot_id FROM bot WHERE gateway_key = ? AND stage <> ? LIMIT 1",
        params![found.gateway_key, Stage::Retired.code()],
    )?;
    if let Some(user) = user {
        return Err(StoreError::InUse { resource: id.resource_name(), user: format!("bots/{user}") });
    }
    let standby: Option<String> = txn.value_opt(
        "SELECT bot_id FROM bot WHERE tenant_key = ? AND standby_gateway = ? AND stage <> ? LIMIT 1",
        params![tenant_key, id.as_str(), Stage::Retired.code()],
    )?;
    if let Some(user) = standby {
        return Err(StoreError::InUse { resource: id.resource_name(), user: format!("bots/{user}") });
    }
    let version = desired::bump(txn, found.node_key)?;
    desired::depart(txn, found.node_key, Leaving::Gateway, id.as_str(), version)?;
    txn.execute(
        "UPDATE gateway SET removed = 1, update_time = ? WHERE gateway_key = ?",
        params![micros(txn.now), found.gateway_key],
    )?;
    Ok(())
}

/// See [`crate::Store::fleet`].
pub(super) async fn snapshot(readers: &SqlitePool, tenant_key: i64, now: Timestamp) -> Result<Fleet> {
    let mut fleet = Fleet::default();
    for node in nodes::node_list(readers, tenant_key, None, "", u32::MAX).await? {
        fleet.nodes.insert(node.spec.id.clone(), node.spec);
    }
    for gateway in nodes::gateway_list(readers, tenant_key, None, None, "", u32::MAX).await? {
        fleet.gateways.insert(gateway.spec.id.clone(), gateway.spec);
    }
    for bot in bots::list(readers, tenant_key, &crate::BotFilter::default(), None, u32::MAX, now).await? {
        if bot.stage != Stage::Retired {
            fleet.bots.insert(bot.spec.id.clone(), bot.spec);
        }
    }
    Ok(fleet)
}
