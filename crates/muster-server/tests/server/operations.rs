//! What operators of the server itself rely on.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::v1;
use muster_server::{Config, ServeError};
use muster_store::sqlite::SqliteStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::StatusExt as _;

use crate::agent::Agent;
use crate::world::{World, refused};

#[tokio::test]
async fn every_service_is_healthy_and_shows_itself() {
    let world = World::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(world.channel.clone());
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let ServerReflectionResponse { message_response: Some(MessageResponse::ListServicesResponse(list)), .. } =
        answers.message().await.unwrap().unwrap()
    else {
        panic!("no list of services")
    };
    let ours: Vec<_> =
        list.service.into_iter().map(|service| service.name).filter(|name| name.starts_with("muster.")).collect();
    assert_eq!(ours.len(), 11, "{ours:?}");
    let mut health = HealthClient::new(world.channel.clone());
    for service in ours.into_iter().chain([String::new()]) {
        let request = tonic_health::pb::HealthCheckRequest { service };
        assert_eq!(health.check(request).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_are_told_to_come_back() {
    let world = World::start_with(Config { calls_max: 1, ..Config::default() }).await;
    world.declare(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let mut bots = world.bots();
    let call = tokio::spawn(async move { bots.unlink_bot(v1::UnlinkBotRequest { name: "a".into() }).await });
    let command = agent.command().await;
    let refusal = world.bots().get_bot(v1::GetBotRequest { name: "a".into() }).await;
    let status = refused(refusal, Code::ResourceExhausted, "OVERLOADED");
    let retry = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(retry > Duration::ZERO);
    let done =
        muster_proto::agent_v1::CommandUpdate { command_id: command.command_id, r#final: true, ..Default::default() };
    agent.send(muster_proto::agent_v1::agent_frame::Body::CommandUpdate(done)).await;
    call.await.unwrap().unwrap();
    world.bot("a").await;
}

#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let world = World::start().await;
    let mut request = Request::new(v1::ListNodesRequest::default());
    request.metadata_mut().insert("x-request-id", "from-the-caller".parse().unwrap());
    let answer = world.nodes().list_nodes(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "from-the-caller");
    let mut request = Request::new(v1::GetNodeRequest { name: "x".into() });
    request.metadata_mut().insert("x-request-id", "not an id".parse().unwrap());
    let refusal = world.nodes().get_node(request).await.unwrap_err();
    let id = refusal.metadata().get("x-request-id").unwrap().to_str().unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&directory.path().join("muster.db")).await.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config { stall_timeout: Duration::from_millis(1), ..Config::default() };
    let error = muster_server::serve(config, store, listener, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, ServeError::Config { key: "stall_timeout", .. }));
    assert!(error.to_string().starts_with("stall_timeout must be"));
}

/// What was logged by our own crates, in all its fields.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_address_and_no_text_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("muster_server=trace,muster_store=trace")
        .with_writer(move || writer.clone())
        .finish();
    // The runtime of the test has one thread, which everything runs on.
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    world.send_text("a", "+5511900000001", "a secret").await;
    world.send(crate::world::text("a", "+5511900000001", "")).await.unwrap_err();
    let attempt = agent.attempts(1).await.remove(0);
    agent.report(vec![crate::agent::sent(&attempt, "N0")]).await;
    agent.gone();
    world.stop().await;
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("session opened"), "{logged}");
    for secret in ["+5511900000001", "a secret", "N0"] {
        assert!(!logged.contains(secret), "{logged}");
    }
}

#[tokio::test]
async fn a_stopping_server_waits_for_no_idle_stream() {
    let world = World::with_bots(&["a"]).await;
    let (frames, receiver) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    frames.send(v1::SendMessagesRequest { messages: vec![crate::world::text("a", "r", "x")] }).await.unwrap();
    let mut answers = world.messages().send_messages(stream).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    world.shutdown.cancel();
    refused(answers.message().await, Code::Unavailable, "SERVER_STOPPING");
    drop((frames, answers));
    world.stop().await;
}
