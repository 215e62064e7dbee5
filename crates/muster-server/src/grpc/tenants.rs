//! `muster.v1.TenantService`.

use std::sync::Arc;

use muster_domain::TenantId;
use muster_proto::convert::v1::{fingerprint, tenant};
use muster_proto::v1::tenant_service_server::TenantService;
use muster_proto::v1::{
    DeleteTenantRequest, DeleteTenantResponse, GetTenantRequest, GetTenantResponse, ListTenantsRequest,
    ListTenantsResponse, PutTenantRequest, PutTenantResponse,
};
use tonic::{Request, Response, Status};

use super::caller;
use super::page::Page;
use crate::app::error::Error;
use crate::app::{App, tenants};

pub(super) struct Tenants(pub(super) Arc<App>);

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn put_tenant(&self, request: Request<PutTenantRequest>) -> Result<Response<PutTenantResponse>, Status> {
        caller::operator(&self.0, request.metadata()).await?;
        let declared = tenant::declared(request.into_inner().tenant.unwrap_or_default());
        let spec = declared.map_err(|violation| Error::from(violation.below("tenant")))?;
        let put = tenants::put(&self.0, spec).await?;
        Ok(Response::new(PutTenantResponse { tenant: Some(tenant::write(&put)) }))
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<GetTenantResponse>, Status> {
        caller::operator(&self.0, request.metadata()).await?;
        let found = tenants::get(&self.0, &name(&request.get_ref().name)?).await?;
        Ok(Response::new(GetTenantResponse { tenant: Some(tenant::write(&found)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        caller::operator(&self.0, request.metadata()).await?;
        let ListTenantsRequest { page_size, page_token } = request.into_inner();
        let check = fingerprint::of("ListTenants", &ListTenantsRequest::default());
        let page = Page::read(page_size, &page_token, check, |id| TenantId::new(id).ok()).map_err(Error::from)?;
        let mut rows = tenants::list(&self.0, page.after.as_ref(), page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |tenant| tenant.spec.id.to_string());
        let tenants = rows.iter().map(tenant::write).collect();
        Ok(Response::new(ListTenantsResponse { tenants, next_page_token }))
    }

    async fn delete_tenant(
        &self,
        request: Request<DeleteTenantRequest>,
    ) -> Result<Response<DeleteTenantResponse>, Status> {
        caller::operator(&self.0, request.metadata()).await?;
        tenants::delete(&self.0, name(&request.get_ref().name)?).await?;
        Ok(Response::new(DeleteTenantResponse {}))
    }
}

fn name(text: &str) -> Result<TenantId, Error> {
    TenantId::from_resource_name(text).map_err(|violation| violation.below("name").into())
}
