//! Bots by id, in memory: what nearly every request asks for first.
//!
//! The writer changes it after the commit that it follows from, and before the caller is answered.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use muster_domain::bot::Stage;
use muster_domain::gateway::GatewayKind;
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::tenant::{Tenant, TenantSpec};
use muster_domain::window::SendingWindow;
use muster_domain::{BotId, NodeId, TenantId};
use sqlx::{Row as _, SqliteConnection};

use super::code::Code as _;
use super::error::failed;
use super::{time, windows};
use crate::{BotRoute, Result, StoreError};

/// Bots by id. A bot takes about 200 bytes.
pub(super) struct Directory {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    tenants: BTreeMap<TenantId, (i64, Tenant)>,
    /// By key, the removed ones too: rows name them.
    tenant_ids: HashMap<i64, TenantId>,
    by_id: HashMap<(i64, BotId), Entry>,
    ids: HashMap<i64, (BotId, i64)>,
    nodes: HashMap<i64, NodeId>,
    /// Of bots that have one.
    windows: HashMap<i64, Arc<SendingWindow>>,
}

/// Where a bot is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) bot_key: i64,
    pub(super) node_key: i64,
    pub(super) kind: GatewayKind,
    pub(super) stage: Stage,
    /// It has a sending window.
    pub(super) has_window: bool,
}

/// A change that follows from a commit.
pub(super) enum Edit {
    PutTenant(i64, Tenant),
    RemoveTenant(TenantId),
    PutNode(i64, NodeId),
    PutBot(i64, BotId, Entry),
    PutWindow(i64, Option<SendingWindow>),
}

impl Directory {
    /// Reads everything from the database.
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self> {
        let directory = Directory { entries: RwLock::default() };
        let mut edits = Vec::new();
        let tenants = sqlx::query(
            "SELECT tenant_key, tenant_id, weight, create_time, update_time, removed, on_uncertain FROM tenant",
        );
        for row in tenants.fetch_all(&mut *connection).await.map_err(failed)? {
            let id = tenant_id(row.get(1))?;
            let spec =
                TenantSpec { id: id.clone(), weight: row.get(2), on_uncertain: OnUncertain::decode(row.get(6))? };
            edits.push(Edit::PutTenant(
                row.get(0),
                Tenant { spec, create_time: time(row.get(3)), update_time: time(row.get(4)) },
            ));
            if row.get(5) {
                edits.push(Edit::RemoveTenant(id));
            }
        }
        let nodes =
            sqlx::query("SELECT node_key, node_id FROM node").fetch_all(&mut *connection).await.map_err(failed)?;
        for row in nodes {
            edits.push(Edit::PutNode(row.get(0), node_id(row.get(1))?));
        }
        let bots = sqlx::query(
            "SELECT b.tenant_key, b.bot_id, b.bot_key, b.node_key, g.kind, b.stage, b.sending_window FROM bot b JOIN gateway g \
             USING (gateway_key)",
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
        for row in bots {
            let window = row.get::<Option<&str>, _>(6).map(windows::read).transpose()?;
            let entry = Entry {
                bot_key: row.get(2),
                node_key: row.get(3),
                kind: kind(row.get(4))?,
                stage: Stage::decode(row.get(5))?,
                has_window: window.is_some(),
            };
            if window.is_some() {
                edits.push(Edit::PutWindow(entry.bot_key, window));
            }
            edits.push(Edit::PutBot(row.get(0), bot_id(row.get(1))?, entry));
        }
        directory.apply(edits);
        Ok(directory)
    }

    /// The key of a tenant.
    pub(super) fn tenant(&self, tenant: &TenantId) -> Result<i64> {
        let key = self.read().tenants.get(tenant).map(|(key, _)| *key);
        key.ok_or_else(|| StoreError::NotFound(tenant.resource_name()))
    }

    /// The tenant of a key.
    pub(super) fn tenant_id(&self, key: i64) -> Result<TenantId> {
        let found = self.read().tenant_ids.get(&key).cloned();
        found.ok_or_else(|| StoreError::Corrupt(format!("there is no tenant with key {key}")))
    }

    /// A tenant.
    pub(super) fn tenant_get(&self, id: &TenantId) -> Option<Tenant> {
        self.read().tenants.get(id).map(|(_, tenant)| tenant.clone())
    }

    /// A tenant's weight; one that is gone has the least.
    pub(super) fn weight(&self, tenant_key: i64) -> u32 {
        let entries = self.read();
        let tenant = entries.tenant_ids.get(&tenant_key).and_then(|id| entries.tenants.get(id));
        tenant.map_or(1, |(_, tenant)| tenant.spec.weight)
    }

    /// Tenants by id, after `after`.
    pub(super) fn tenant_list(&self, after: Option<&TenantId>, limit: usize) -> Vec<Tenant> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.read();
        let found = entries.tenants.range::<TenantId, _>((from, Bound::Unbounded));
        found.take(limit).map(|(_, (_, tenant))| tenant.clone()).collect()
    }

    /// Where a bot is.
    pub(super) fn bot(&self, tenant_key: i64, id: &BotId) -> Option<Entry> {
        self.read().by_id.get(&(tenant_key, id.clone())).copied()
    }

    /// Where several bots are.
    pub(super) fn bots<'a>(&self, tenant_key: i64, ids: impl Iterator<Item = &'a BotId>) -> Vec<Option<Entry>> {
        let entries = self.read();
        ids.map(|id| entries.by_id.get(&(tenant_key, id.clone())).copied()).collect()
    }

    /// When a bot may send, if that is not at any time.
    pub(super) fn window(&self, bot_key: i64) -> Option<Arc<SendingWindow>> {
        self.read().windows.get(&bot_key).cloned()
    }

    /// The id of a bot's key.
    pub(super) fn bot_id(&self, key: i64) -> Result<BotId> {
        let found = self.read().ids.get(&key).map(|(id, _)| id.clone());
        found.ok_or_else(|| StoreError::Corrupt(format!("there is no bot with key {key}")))
    }

    /// The node of a bot's key.
    pub(super) fn node_of(&self, key: i64) -> Option<i64> {
        self.read().ids.get(&key).map(|(_, node_key)| *node_key)
    }

    /// The keys that stand for a node's id, over all tenants.
    pub(super) fn node_keys(&self, id: &NodeId) -> Vec<i64> {
        self.read().nodes.iter().filter(|(_, known)| *known == id).map(|(key, _)| *key).collect()
    }

    /// The id of a node's key.
    pub(super) fn node_id(&self, key: i64) -> Result<NodeId> {
        self.read()
            .nodes
            .get(&key)
            .cloned()
            .ok_or_else(|| StoreError::Corrupt(format!("there is no node with key {key}")))
    }

    /// A bot's place, for requests that name it.
    pub(super) fn route(&self, tenant_key: i64, id: &BotId) -> Result<Option<BotRoute>> {
        let Some(entry) = self.bot(tenant_key, id) else { return Ok(None) };
        Ok(Some(BotRoute { node: self.node_id(entry.node_key)?, network: entry.kind.network(), stage: entry.stage }))
    }

    /// Makes the changes that follow from a commit.
    pub(super) fn apply(&self, edits: Vec<Edit>) {
        if edits.is_empty() {
            return;
        }
        let mut entries = self.entries.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for edit in edits {
            match edit {
                Edit::PutTenant(key, tenant) => {
                    entries.tenant_ids.insert(key, tenant.spec.id.clone());
                    entries.tenants.insert(tenant.spec.id.clone(), (key, tenant));
                }
                Edit::RemoveTenant(id) => {
                    entries.tenants.remove(&id);
                }
                Edit::PutNode(key, id) => {
                    entries.nodes.insert(key, id);
                }
                Edit::PutWindow(bot_key, Some(window)) => {
                    entries.windows.insert(bot_key, Arc::new(window));
                }
                Edit::PutWindow(bot_key, None) => {
                    entries.windows.remove(&bot_key);
                }
                Edit::PutBot(tenant_key, id, entry) => {
                    entries.ids.insert(entry.bot_key, (id.clone(), entry.node_key));
                    entries.by_id.insert((tenant_key, id), entry);
                }
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn corrupt(violation: muster_domain::Violation) -> StoreError {
    StoreError::Corrupt(format!("an id cannot be read: {violation}"))
}

fn tenant_id(text: &str) -> Result<TenantId> {
    TenantId::new(text).map_err(corrupt)
}

pub(super) fn node_id(text: &str) -> Result<NodeId> {
    NodeId::new(text).map_err(corrupt)
}

pub(super) fn bot_id(text: &str) -> Result<BotId> {
    BotId::new(text).map_err(corrupt)
}

pub(super) fn gateway_id(text: &str) -> Result<muster_domain::GatewayId> {
    muster_domain::GatewayId::new(text).map_err(corrupt)
}

pub(super) fn kind(text: &str) -> Result<GatewayKind> {
    GatewayKind::parse(text).ok_or_else(|| StoreError::Corrupt(format!("there is no kind of gateway {text:?}")))
}
