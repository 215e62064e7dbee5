//! The one place that decides for which tenant a call acts.

use muster_domain::TenantId;

use super::App;
use super::error::{Error, Reason, Result};

/// The tenant of a call or of an agent's session: the one that it names, or the default one. Until callers are authenticated, all
/// of them are believed; that the tenant exists is looked up.
pub(crate) async fn of_caller(app: &App, named: Option<TenantId>) -> Result<TenantId> {
    let default = TenantId::default_tenant();
    let Some(id) = named.filter(|named| *named != default) else { return Ok(default) };
    if app.store.tenant_get(&id).await?.is_some() {
        return Ok(id);
    }
    let name = id.resource_name();
    let message = format!(
        "{name} does not exist. Declare it with `muster tenant put {id}`, or name another one: --tenant, MUSTER_TENANT, or \
         `tenant` in an agent's configuration"
    );
    Err(Error::new(Reason::TenantUnknown, message).about(name))
}

/// Lets only the operator of the server through: whoever acts for the default tenant.
pub(crate) fn check_operator(caller: &TenantId) -> Result<()> {
    if *caller == TenantId::default_tenant() {
        return Ok(());
    }
    Err(Error::new(Reason::OperatorOnly, "only callers of the tenant `default` may see tenants or change them"))
}
