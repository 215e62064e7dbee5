//! `muster.v1.NodeService`.

use std::sync::Arc;

use muster_domain::limits::DRAIN_DEADLINE_DEFAULT;
use muster_domain::node::Cordon;
use muster_domain::{BotId, NodeId};
use muster_proto::convert::v1::{etag, fingerprint, node, time};
use muster_proto::v1::node_service_server::NodeService;
use muster_proto::v1::{
    CordonNodeRequest, CordonNodeResponse, CreateNodeRequest, CreateNodeResponse, DeleteNodeRequest,
    DeleteNodeResponse, DrainNodeRequest, DrainNodeResponse, GetNodeRequest, GetNodeResponse,
    ListAttemptsUnderWayRequest, ListAttemptsUnderWayResponse, ListDrainedAttemptsRequest, ListDrainedAttemptsResponse,
    ListNodesRequest, ListNodesResponse, UncordonNodeRequest, UncordonNodeResponse, UpdateNodeRequest,
    UpdateNodeResponse,
};
use muster_store::{AttemptAtNode, UnderWayFilter};
use tonic::{Request, Response, Status};

use super::caller;
use super::page::Page;
use super::request_key;
use crate::app::error::Error;
use crate::app::{App, nodes};

pub(super) struct Nodes(pub(super) Arc<App>);

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn create_node(&self, request: Request<CreateNodeRequest>) -> Result<Response<CreateNodeResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let CreateNodeRequest { node_id, node, request_id } = request.into_inner();
        let node = node.unwrap_or_default();
        let key =
            request_key(&request_id, || labelled(&format!("CreateNode/{node_id}"), &node)).map_err(Error::from)?;
        let id = NodeId::new(&node_id).map_err(|violation| violation.below("node_id"));
        let spec = node::declared(id, node, "node").map_err(Error::from)?;
        let node = nodes::create(&self.0, &tenant, spec, key).await?;
        Ok(Response::new(CreateNodeResponse { node: Some(write(&node)) }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<GetNodeResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let node = nodes::get_seen(&self.0, &tenant, &id).await?;
        Ok(Response::new(GetNodeResponse { node: Some(write(&node)) }))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ListNodesRequest { page_size, page_token } = request.into_inner();
        let check = fingerprint::of("ListNodes", &ListNodesRequest::default());
        let page = Page::read(page_size, &page_token, check, |id| NodeId::new(id).ok()).map_err(Error::from)?;
        let mut rows = nodes::list(&self.0, &tenant, page.after.as_ref(), page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |seen| seen.node.spec.id.to_string());
        let nodes = rows.iter().map(write).collect();
        Ok(Response::new(ListNodesResponse { nodes, next_page_token }))
    }

    async fn update_node(&self, request: Request<UpdateNodeRequest>) -> Result<Response<UpdateNodeResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let UpdateNodeRequest { node, update_mask, request_id } = request.into_inner();
        let paths = update_mask.clone().unwrap_or_default().paths.join(",");
        let call = || labelled(&format!("UpdateNode/{paths}"), &node.clone().unwrap_or_default());
        let key = request_key(&request_id, call).map_err(Error::from)?;
        let update = node::update(node, update_mask).map_err(Error::from)?;
        let node = nodes::update(&self.0, &tenant, &update, key).await?;
        Ok(Response::new(UpdateNodeResponse { node: Some(write(&node)) }))
    }

    async fn delete_node(&self, request: Request<DeleteNodeRequest>) -> Result<Response<DeleteNodeResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let generation = etag::read(&request.get_ref().etag).map_err(Error::from)?;
        nodes::delete(&self.0, &tenant, id, generation).await?;
        Ok(Response::new(DeleteNodeResponse {}))
    }

    async fn cordon_node(&self, request: Request<CordonNodeRequest>) -> Result<Response<CordonNodeResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let request = request.into_inner();
        let key = request_key(&request.request_id, || fingerprint::of("CordonNode", &request)).map_err(Error::from)?;
        let CordonNodeRequest { name: node, reason, author, request_id: _ } = request;
        let cordon = Cordon { reason, author, since: self.0.store.now() };
        let node = nodes::cordon(&self.0, &tenant, &name(&node)?, cordon, key).await?;
        Ok(Response::new(CordonNodeResponse { node: Some(write(&node)) }))
    }

    async fn drain_node(&self, request: Request<DrainNodeRequest>) -> Result<Response<DrainNodeResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let request = request.into_inner();
        let key = request_key(&request.request_id, || fingerprint::of("DrainNode", &request)).map_err(Error::from)?;
        let DrainNodeRequest { name: node, reason, author, deadline, request_id: _ } = request;
        let deadline = deadline.map(time::duration).transpose();
        let deadline = deadline.map_err(|violation| Error::from(violation.below("deadline")))?;
        let cordon = Cordon { reason, author, since: self.0.store.now() };
        let deadline = deadline.unwrap_or(DRAIN_DEADLINE_DEFAULT);
        let node = nodes::drain(&self.0, &tenant, &name(&node)?, cordon, deadline, key).await?;
        Ok(Response::new(DrainNodeResponse { node: Some(write(&node)) }))
    }

    async fn list_drained_attempts(
        &self,
        request: Request<ListDrainedAttemptsRequest>,
    ) -> Result<Response<ListDrainedAttemptsResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ListDrainedAttemptsRequest { name: node, page_size, page_token } = request.into_inner();
        let id = name(&node)?;
        let only = ListDrainedAttemptsRequest { name: node, ..Default::default() };
        let check = fingerprint::of("ListDrainedAttempts", &only);
        let page = Page::read(page_size, &page_token, check, |id| id.parse().ok()).map_err(Error::from)?;
        let mut rows = nodes::drained(&self.0, &tenant, &id, page.after, page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |row| row.attempt.message_id.to_string());
        let attempts = rows.iter().map(attempt_at_node).collect();
        Ok(Response::new(ListDrainedAttemptsResponse { attempts, next_page_token }))
    }

    async fn list_attempts_under_way(
        &self,
        request: Request<ListAttemptsUnderWayRequest>,
    ) -> Result<Response<ListAttemptsUnderWayResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ListAttemptsUnderWayRequest { node, bot, page_size, page_token } = request.into_inner();
        let (mut filter, mut found) = (UnderWayFilter::default(), Vec::new());
        if !node.is_empty() {
            let id = NodeId::from_resource_name(&node).map_err(|violation| found.push(violation.below("node")));
            filter.node = id.ok();
        }
        if !bot.is_empty() {
            filter.bot = BotId::from_resource_name(&bot).map_err(|violation| found.push(violation.below("bot"))).ok();
        }
        let only = ListAttemptsUnderWayRequest { node, bot, ..Default::default() };
        let check = fingerprint::of("ListAttemptsUnderWay", &only);
        let page = match Page::read(page_size, &page_token, check, |id| id.parse().ok()) {
            Ok(page) if found.is_empty() => page,
            page => {
                found.extend(page.err());
                return Err(Error::from(found).into());
            }
        };
        let mut rows = nodes::under_way(&self.0, &tenant, &filter, page.after, page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |row| row.attempt.message_id.to_string());
        let attempts = rows.iter().map(attempt_at_node).collect();
        Ok(Response::new(ListAttemptsUnderWayResponse { attempts, next_page_token }))
    }

    async fn uncordon_node(
        &self,
        request: Request<UncordonNodeRequest>,
    ) -> Result<Response<UncordonNodeResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let request = request.into_inner();
        let key =
            request_key(&request.request_id, || fingerprint::of("UncordonNode", &request)).map_err(Error::from)?;
        let id = name(&request.name)?;
        let node = nodes::uncordon(&self.0, &tenant, &id, &request.author, key).await?;
        Ok(Response::new(UncordonNodeResponse { node: Some(write(&node)) }))
    }
}

fn write(seen: &nodes::Seen) -> muster_proto::v1::Node {
    node::write(&seen.node, seen.state, seen.at)
}

fn attempt_at_node(row: &AttemptAtNode) -> muster_proto::v1::AttemptAtNode {
    let AttemptAtNode { attempt, bot, node, dispatch_time, end } = row;
    muster_proto::v1::AttemptAtNode {
        message: attempt.message_id.resource_name(),
        attempt_no: attempt.attempt_no,
        bot: bot.resource_name(),
        node: node.resource_name(),
        dispatch_time: Some(time::write_timestamp(*dispatch_time)),
        outcome: node::write_end(*end).into(),
    }
}

fn name(text: &str) -> Result<NodeId, Error> {
    NodeId::from_resource_name(text).map_err(|violation| violation.below("name").into())
}

/// The fingerprint of a call that carries a node.
fn labelled(call: &str, node: &muster_proto::v1::Node) -> [u8; 16] {
    let mut node = node.clone();
    let labels = std::mem::take(&mut node.labels).into_iter().collect();
    fingerprint::with_labels(call, &node, &labels)
}
