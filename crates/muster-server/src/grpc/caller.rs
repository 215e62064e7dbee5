//! Who calls, by the metadata of the request.

use muster_domain::{TenantId, Violation};
use muster_proto::TENANT_METADATA;
use tonic::metadata::MetadataMap;

use crate::app::error::Result;
use crate::app::{App, tenancy};

/// The tenant that a call acts for.
pub(super) async fn tenant(app: &App, metadata: &MetadataMap) -> Result<TenantId> {
    let named = metadata.get(TENANT_METADATA).map(|value| {
        let text = value.to_str().map_err(|_| Violation::new("", "must be ASCII"));
        text.and_then(TenantId::new).map_err(|violation| violation.below(TENANT_METADATA))
    });
    tenancy::of_caller(app, named.transpose()?).await
}

/// Refuses a call that is not the operator's.
pub(super) async fn operator(app: &App, metadata: &MetadataMap) -> Result<()> {
    tenancy::check_operator(&tenant(app, metadata).await?)
}
