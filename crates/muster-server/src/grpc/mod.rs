//! The gRPC services: thin. Each method reads its request, calls one use case, and writes the answer.

mod agent;
mod bots;
mod caller;
mod contacts;
mod failures;
mod fleet;
mod gateways;
mod inbound;
pub(crate) mod layers;
mod media;
mod messages;
mod nodes;
mod page;
mod qr;
pub(crate) mod status;
mod tenants;
mod transport;
mod unread;

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use muster_domain::Violation;
use muster_domain::limits::FRAME_BYTES_MAX;
use muster_proto::agent_v1::agent_service_server::AgentServiceServer;
use muster_proto::convert::v1::request_id;
use muster_proto::v1::bot_service_server::BotServiceServer;
use muster_proto::v1::contact_service_server::ContactServiceServer;
use muster_proto::v1::failure_service_server::FailureServiceServer;
use muster_proto::v1::fleet_service_server::{self, FleetServiceServer};
use muster_proto::v1::gateway_service_server::GatewayServiceServer;
use muster_proto::v1::inbound_service_server::InboundServiceServer;
use muster_proto::v1::media_service_server::MediaServiceServer;
use muster_proto::v1::message_service_server::MessageServiceServer;
use muster_proto::v1::node_service_server::NodeServiceServer;
use muster_proto::v1::tenant_service_server::TenantServiceServer;
use muster_store::RequestKey;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::{Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::app::App;
use crate::session;

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers with a stream that ends when its caller does not read it.
fn stream<T>(answers: impl Stream<Item = Result<T, Status>> + Send + 'static) -> Response<Answers<T>> {
    let mut response = Response::new(answers.boxed() as Answers<T>);
    response.extensions_mut().insert(unread::ToBeRead);
    response
}

/// Bytes of one declared fleet: 100,000 bots with addresses, names and a few labels.
const FLEET_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one message that a method reads, by the path of the call.
fn request_bytes_max(path: &str) -> usize {
    match path.trim_start_matches('/').split('/').next() {
        Some(fleet_service_server::SERVICE_NAME) => FLEET_BYTES_MAX,
        _ => FRAME_BYTES_MAX,
    }
}

/// All services, and the reporter of their health.
pub(crate) async fn routes(
    app: &Arc<App>,
    sessions: &Arc<session::Context>,
    running: &TaskTracker,
) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let agent = agent::Agents { app: Arc::clone(app), sessions: Arc::clone(sessions), running: running.clone() };
    let agent = AgentServiceServer::new(agent).max_decoding_message_size(FRAME_BYTES_MAX);
    let bots = BotServiceServer::new(bots::Bots(Arc::clone(app)));
    let contacts = ContactServiceServer::new(contacts::Contacts(Arc::clone(app)));
    let failures = FailureServiceServer::new(failures::Failures(Arc::clone(app)));
    let fleet = FleetServiceServer::new(fleet::Fleets(Arc::clone(app))).max_decoding_message_size(FLEET_BYTES_MAX);
    let gateways = GatewayServiceServer::new(gateways::Gateways(Arc::clone(app)));
    let inbound = InboundServiceServer::new(inbound::InboundMessages(Arc::clone(app)));
    let media = MediaServiceServer::new(media::Media(Arc::clone(app)));
    let messages = MessageServiceServer::new(messages::Messages(Arc::clone(app)));
    let messages = messages.max_decoding_message_size(FRAME_BYTES_MAX);
    let nodes = NodeServiceServer::new(nodes::Nodes(Arc::clone(app)));
    let tenants = TenantServiceServer::new(tenants::Tenants(Arc::clone(app)));

    let (reporter, health) = tonic_health::server::health_reporter();
    let mut routes = RoutesBuilder::default();
    serve(&mut routes, &reporter, agent).await;
    serve(&mut routes, &reporter, bots).await;
    serve(&mut routes, &reporter, contacts).await;
    serve(&mut routes, &reporter, failures).await;
    serve(&mut routes, &reporter, fleet).await;
    serve(&mut routes, &reporter, gateways).await;
    serve(&mut routes, &reporter, inbound).await;
    serve(&mut routes, &reporter, media).await;
    serve(&mut routes, &reporter, messages).await;
    serve(&mut routes, &reporter, nodes).await;
    serve(&mut routes, &reporter, tenants).await;
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(muster_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    routes.add_service(health);
    routes.add_service(descriptors().build_v1()?);
    routes.add_service(descriptors().build_v1alpha()?);
    Ok((routes.routes(), reporter))
}

/// Adds a service, and reports it as healthy.
async fn serve<S>(routes: &mut RoutesBuilder, reporter: &HealthReporter, service: S)
where
    S: tower::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    routes.add_service(service);
    reporter.set_service_status(S::NAME, ServingStatus::Serving).await;
}

/// Reads the key that makes a call safe to repeat.
fn request_key(id: &str, fingerprint: impl FnOnce() -> [u8; 16]) -> Result<Option<RequestKey>, Violation> {
    Ok(request_id(id)?.map(|id| RequestKey { request_id: id.to_owned(), fingerprint: fingerprint() }))
}

/// Takes a part of a request that was read, or notes what is wrong with it.
fn keep<T>(found: &mut Vec<Violation>, field: &str, read: Result<T, Violation>) -> Option<T> {
    read.map_err(|violation| found.push(violation.below(field))).ok()
}
