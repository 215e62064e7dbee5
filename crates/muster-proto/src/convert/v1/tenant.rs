//! Tenants.

use muster_domain::limits::TENANT_WEIGHT_DEFAULT;
use muster_domain::tenant::{Tenant, TenantSpec};
use muster_domain::{TenantId, Violation};

use super::message::{on_uncertain, write_on_uncertain};
use super::time::write_timestamp;
use crate::v1 as wire;

/// Reads a declared tenant; output-only fields are ignored. Paths are those of the resource.
///
/// # Errors
/// What is wrong with its name, its weight or its policy.
pub fn declared(tenant: wire::Tenant) -> Result<TenantSpec, Violation> {
    let id = TenantId::from_resource_name(&tenant.name).map_err(|violation| violation.below("name"))?;
    let weight = if tenant.weight == 0 { TENANT_WEIGHT_DEFAULT } else { tenant.weight };
    let on_uncertain = on_uncertain(tenant.on_uncertain).map_err(|violation| violation.below("on_uncertain"))?;
    let spec = TenantSpec { id, weight, on_uncertain: on_uncertain.unwrap_or_default() };
    spec.check().map(|()| spec)
}

/// Writes a tenant.
pub fn write(tenant: &Tenant) -> wire::Tenant {
    let Tenant { spec: TenantSpec { id, weight, on_uncertain }, create_time, update_time } = tenant;
    wire::Tenant {
        name: id.resource_name(),
        weight: *weight,
        create_time: Some(write_timestamp(*create_time)),
        update_time: Some(write_timestamp(*update_time)),
        on_uncertain: write_on_uncertain(*on_uncertain).into(),
    }
}
