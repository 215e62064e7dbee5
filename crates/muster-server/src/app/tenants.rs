//! Tenants.

use muster_domain::TenantId;
use muster_domain::tenant::{Tenant, TenantSpec};

use super::App;
use super::error::{Error, Reason, Result};

/// Declares or changes a tenant.
pub(crate) async fn put(app: &App, spec: TenantSpec) -> Result<Tenant> {
    Ok(app.store.tenant_put(spec).await?)
}

/// One tenant.
pub(crate) async fn get(app: &App, id: &TenantId) -> Result<Tenant> {
    let tenant = app.store.tenant_get(id).await?;
    tenant.ok_or_else(|| Error::unknown(Reason::TenantUnknown, id.resource_name()))
}

/// Tenants by id, after `after`.
pub(crate) async fn list(app: &App, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>> {
    Ok(app.store.tenant_list(after, limit).await?)
}

/// Removes a tenant that has nothing any more.
pub(crate) async fn delete(app: &App, id: TenantId) -> Result<()> {
    Ok(app.store.tenant_delete(id).await?)
}
