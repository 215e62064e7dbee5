//! `muster.v1.GatewayService`.

use std::sync::Arc;

use muster_domain::{GatewayId, NodeId};
use muster_proto::convert::v1::{etag, fingerprint, gateway};
use muster_proto::v1::gateway_service_server::GatewayService;
use muster_proto::v1::{
    CreateGatewayRequest, CreateGatewayResponse, DeleteGatewayRequest, DeleteGatewayResponse, GetGatewayRequest,
    GetGatewayResponse, ListGatewaysRequest, ListGatewaysResponse, UpdateGatewayRequest, UpdateGatewayResponse,
};
use tonic::{Request, Response, Status};

use super::caller;
use super::page::Page;
use super::{keep, request_key};
use crate::app::error::Error;
use crate::app::{App, gateways};

pub(super) struct Gateways(pub(super) Arc<App>);

#[tonic::async_trait]
impl GatewayService for Gateways {
    async fn create_gateway(
        &self,
        request: Request<CreateGatewayRequest>,
    ) -> Result<Response<CreateGatewayResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let CreateGatewayRequest { gateway_id, gateway, request_id } = request.into_inner();
        let gateway = gateway.unwrap_or_default();
        let call = || labelled(&format!("CreateGateway/{gateway_id}"), &gateway);
        let key = request_key(&request_id, call).map_err(Error::from)?;
        let id = GatewayId::new(&gateway_id).map_err(|violation| violation.below("gateway_id"));
        let spec = gateway::declared(id, gateway, "gateway").map_err(Error::from)?;
        let gateway = gateways::create(&self.0, &tenant, spec, key).await?;
        Ok(Response::new(CreateGatewayResponse { gateway: Some(gateway::write(&gateway)) }))
    }

    async fn get_gateway(&self, request: Request<GetGatewayRequest>) -> Result<Response<GetGatewayResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let gateway = gateways::get(&self.0, &tenant, &id).await?;
        Ok(Response::new(GetGatewayResponse { gateway: Some(gateway::write(&gateway)) }))
    }

    async fn list_gateways(
        &self,
        request: Request<ListGatewaysRequest>,
    ) -> Result<Response<ListGatewaysResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ListGatewaysRequest { node, page_size, page_token } = request.into_inner();
        let mut found = Vec::new();
        let on = (!node.is_empty()).then(|| NodeId::from_resource_name(&node)).transpose();
        let on = keep(&mut found, "node", on);
        let check = fingerprint::of("ListGateways", &ListGatewaysRequest { node, ..Default::default() });
        let page = Page::read(page_size, &page_token, check, |id| GatewayId::new(id).ok());
        let page = page.map_err(|violation| found.push(violation)).ok();
        let (Some(on), Some(page)) = (on, page) else { return Err(Error::from(found).into()) };
        let mut rows = gateways::list(&self.0, &tenant, on.as_ref(), page.after.as_ref(), page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |gateway| gateway.spec.id.to_string());
        let gateways = rows.iter().map(gateway::write).collect();
        Ok(Response::new(ListGatewaysResponse { gateways, next_page_token }))
    }

    async fn update_gateway(
        &self,
        request: Request<UpdateGatewayRequest>,
    ) -> Result<Response<UpdateGatewayResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let UpdateGatewayRequest { gateway, update_mask, request_id } = request.into_inner();
        let paths = update_mask.clone().unwrap_or_default().paths.join(",");
        let call = || labelled(&format!("UpdateGateway/{paths}"), &gateway.clone().unwrap_or_default());
        let key = request_key(&request_id, call).map_err(Error::from)?;
        let update = gateway::update(gateway, update_mask).map_err(Error::from)?;
        let gateway = gateways::update(&self.0, &tenant, &update, key).await?;
        Ok(Response::new(UpdateGatewayResponse { gateway: Some(gateway::write(&gateway)) }))
    }

    async fn delete_gateway(
        &self,
        request: Request<DeleteGatewayRequest>,
    ) -> Result<Response<DeleteGatewayResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let generation = etag::read(&request.get_ref().etag).map_err(Error::from)?;
        gateways::delete(&self.0, &tenant, id, generation).await?;
        Ok(Response::new(DeleteGatewayResponse {}))
    }
}

fn name(text: &str) -> Result<GatewayId, Error> {
    GatewayId::from_resource_name(text).map_err(|violation| violation.below("name").into())
}

/// The fingerprint of a call that carries a gateway.
fn labelled(call: &str, gateway: &muster_proto::v1::Gateway) -> [u8; 16] {
    let mut gateway = gateway.clone();
    let labels = std::mem::take(&mut gateway.labels).into_iter().collect();
    fingerprint::with_labels(call, &gateway, &labels)
}
