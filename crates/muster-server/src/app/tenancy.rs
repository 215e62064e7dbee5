//! The one place that decides for which tenant a call acts.

use muster_domain::TenantId;

/// The tenant of an operator's call. Until callers are authenticated, all of them act for the same one.
pub(crate) fn of_caller() -> TenantId {
    TenantId::default_tenant()
}

/// The tenant of a node's agent. Until agents are authenticated, all nodes belong to the same one.
pub(crate) fn of_agent() -> TenantId {
    TenantId::default_tenant()
}
