//! Tenants. A removed one keeps its key, for the rows that name it.

use muster_domain::TenantId;
use muster_domain::bot::Stage;
use muster_domain::tenant::{Tenant, TenantSpec};
use rusqlite::params;

use super::code::Code as _;
use super::directory::Edit;
use super::txn::Txn;
use super::{micros, time};
use crate::{Result, StoreError};

/// See [`crate::Store::tenant_put`].
pub(super) fn put(txn: &mut Txn, spec: TenantSpec) -> Result<Tenant> {
    let now = micros(txn.now);
    let (key, create_time) = txn
        .first(
            "INSERT INTO tenant (tenant_id, weight, on_uncertain, create_time, update_time) VALUES (?1, ?2, ?3, ?4, ?4) \
             ON CONFLICT (tenant_id) DO UPDATE SET weight = excluded.weight, on_uncertain = excluded.on_uncertain, removed = 0, \
             update_time = excluded.update_time \
             RETURNING tenant_key, create_time",
            params![spec.id.as_str(), spec.weight, spec.on_uncertain.code(), now],
            |row| Ok((row.get(0)?, time(row.get(1)?))),
        )?
        .ok_or_else(|| StoreError::Failed("a tenant was not written".into()))?;
    let tenant = Tenant { spec, create_time, update_time: time(now) };
    txn.edit(Edit::PutTenant(key, tenant.clone()));
    Ok(tenant)
}

/// See [`crate::Store::tenant_delete`].
pub(super) fn delete(txn: &mut Txn, key: i64, id: TenantId) -> Result<()> {
    let in_use = |user: String| StoreError::InUse { resource: id.resource_name(), user };
    if id == TenantId::default_tenant() {
        return Err(in_use("callers that name no tenant".into()));
    }
    let bot = "SELECT 'bots/' || bot_id FROM bot WHERE tenant_key = ? AND stage <> ? ORDER BY bot_id LIMIT 1";
    if let Some(user) = txn.value_opt(bot, params![key, Stage::Retired.code()])? {
        return Err(in_use(user));
    }
    for sql in [
        "SELECT 'gateways/' || gateway_id FROM gateway WHERE tenant_key = ? AND removed = 0 ORDER BY gateway_id LIMIT 1",
        "SELECT 'nodes/' || node_id FROM node WHERE tenant_key = ? AND removed = 0 ORDER BY node_id LIMIT 1",
    ] {
        if let Some(user) = txn.value_opt(sql, [key])? {
            return Err(in_use(user));
        }
    }
    txn.execute("UPDATE tenant SET removed = 1, update_time = ? WHERE tenant_key = ?", params![micros(txn.now), key])?;
    txn.edit(Edit::RemoveTenant(id));
    Ok(())
}
