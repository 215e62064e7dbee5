//! `muster.v1.FleetService`.

use std::sync::Arc;

use muster_proto::convert::v1::fleet;
use muster_proto::v1::fleet_service_server::FleetService;
use muster_proto::v1::{ApplyFleetRequest, ApplyFleetResponse};
use tonic::{Request, Response, Status};

use super::caller;
use crate::app::error::Error;
use crate::app::{self, App};

pub(super) struct Fleets(pub(super) Arc<App>);

#[tonic::async_trait]
impl FleetService for Fleets {
    async fn apply_fleet(&self, request: Request<ApplyFleetRequest>) -> Result<Response<ApplyFleetResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ApplyFleetRequest { nodes, gateways, bots, prune, validate_only } = request.into_inner();
        let draft = fleet::declared(nodes, gateways, bots).map_err(Error::from)?;
        let applied = app::fleet::apply(&self.0, &tenant, draft, prune, validate_only).await?;
        let differences = applied.differences.into_iter().map(fleet::write_difference).collect();
        let unchanged = u32::try_from(applied.unchanged).unwrap_or(u32::MAX);
        Ok(Response::new(ApplyFleetResponse { differences, unchanged }))
    }
}
