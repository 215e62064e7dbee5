//! A running server, and the calls that tests make of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::IdStart;
use muster_proto::v1::bot_service_client::BotServiceClient;
use muster_proto::v1::failure_service_client::FailureServiceClient;
use muster_proto::v1::fleet_service_client::FleetServiceClient;
use muster_proto::v1::gateway_service_client::GatewayServiceClient;
use muster_proto::v1::inbound_service_client::InboundServiceClient;
use muster_proto::v1::media_service_client::MediaServiceClient;
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::node_service_client::NodeServiceClient;
use muster_proto::v1::{self, content::Kind, content::Text};
use muster_server::{Config, ServeError};
use muster_store::sqlite::SqliteStore;
use muster_store::{Clock, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::agent::Agent;

/// How long anything may take that should happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A server with a store of its own.
pub(crate) struct World {
    address: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), ServeError>>,
    directory: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub(crate) async fn start_with(config: Config) -> Self {
        Self::start_by(config, Clock::system()).await
    }

    /// A world whose database reads the time from `clock`.
    pub(crate) async fn start_by(config: Config, clock: Clock) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, clock).await
    }

    async fn start_in(directory: TempDir, config: Config, clock: Clock) -> Self {
        let database = directory.path().join("muster.db");
        let store = SqliteStore::open_by(&database, clock, IdStart::from_entropy(rand::random())).await.unwrap();
        let store = Arc::new(store);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(muster_server::serve(config, store.clone(), listener, shutdown.clone()));
        let channel = endpoint(address).connect().await.unwrap();
        World { address, channel, store, shutdown, serving, directory }
    }

    /// A world with the node `n`, its gateway `g` of the kind NULL, and these bots.
    pub(crate) async fn with_bots(bots: &[&str]) -> Self {
        let world = Self::start().await;
        world.declare(bots).await;
        world
    }

    /// For another connection.
    pub(crate) fn endpoint(&self) -> Endpoint {
        endpoint(self.address)
    }

    pub(crate) async fn declare(&self, bots: &[&str]) {
        self.fleet().apply_fleet(fleet(bots)).await.unwrap();
    }

    /// The agent of the node `n`, with every bot connected.
    pub(crate) async fn agent(&self, bots: &[&str]) -> Agent {
        let mut agent = Agent::open(self).await;
        agent.report_connected(bots).await;
        agent
    }

    pub(crate) async fn stop(self) {
        self.stopped().await;
    }

    /// Another server with the store of this one, which is stopped.
    pub(crate) async fn restarted(self) -> Self {
        Self::start_in(self.stopped().await, Config::default(), Clock::system()).await
    }

    async fn stopped(self) -> TempDir {
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.serving).await.unwrap().unwrap().unwrap();
        self.store.close().await;
        self.directory
    }

    pub(crate) fn bots(&self) -> BotServiceClient<Channel> {
        BotServiceClient::new(self.channel.clone())
    }

    pub(crate) fn failures(&self) -> FailureServiceClient<Channel> {
        FailureServiceClient::new(self.channel.clone())
    }

    pub(crate) fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
    }

    pub(crate) fn gateways(&self) -> GatewayServiceClient<Channel> {
        GatewayServiceClient::new(self.channel.clone())
    }

    pub(crate) fn inbound(&self) -> InboundServiceClient<Channel> {
        InboundServiceClient::new(self.channel.clone())
    }

    pub(crate) fn media(&self) -> MediaServiceClient<Channel> {
        MediaServiceClient::new(self.channel.clone())
    }

    pub(crate) fn messages(&self) -> MessageServiceClient<Channel> {
        MessageServiceClient::new(self.channel.clone())
    }

    pub(crate) fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn send(&self, message: v1::Message) -> Result<v1::Message, Status> {
        let request = v1::SendMessageRequest { message: Some(message) };
        Ok(self.messages().send_message(request).await?.into_inner().message.unwrap())
    }

    pub(crate) async fn send_text(&self, bot: &str, recipient: &str, body: &str) -> v1::Message {
        self.send(text(bot, recipient, body)).await.unwrap()
    }

    /// Sends frame after frame, and reads all answers.
    pub(crate) async fn send_frames(
        &self,
        frames: Vec<Vec<v1::Message>>,
    ) -> Result<Vec<v1::SendMessagesResponse>, Status> {
        let frames = frames.into_iter().map(|messages| v1::SendMessagesRequest { messages });
        let mut stream = self.messages().send_messages(tokio_stream::iter(frames)).await?.into_inner();
        let mut answers = Vec::new();
        while let Some(answer) = stream.message().await? {
            answers.push(answer);
        }
        Ok(answers)
    }

    pub(crate) async fn message(&self, name: &str) -> v1::Message {
        let request = v1::GetMessageRequest { name: name.to_owned() };
        self.messages().get_message(request).await.unwrap().into_inner().message.unwrap()
    }

    pub(crate) async fn node(&self) -> v1::Node {
        let request = v1::GetNodeRequest { name: "nodes/n".to_owned() };
        self.nodes().get_node(request).await.unwrap().into_inner().node.unwrap()
    }

    pub(crate) async fn bot(&self, id: &str) -> v1::Bot {
        let request = v1::GetBotRequest { name: format!("bots/{id}") };
        self.bots().get_bot(request).await.unwrap().into_inner().bot.unwrap()
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

pub(crate) fn fleet(bots: &[&str]) -> v1::ApplyFleetRequest {
    v1::ApplyFleetRequest {
        nodes: vec![v1::Node { name: "nodes/n".into(), ..Default::default() }],
        gateways: vec![v1::Gateway {
            name: "gateways/g".into(),
            kind: v1::GatewayKind::Null.into(),
            node: "nodes/n".into(),
            ..Default::default()
        }],
        bots: bots.iter().map(|id| bot(id)).collect(),
        ..Default::default()
    }
}

pub(crate) fn bot(id: &str) -> v1::Bot {
    v1::Bot { name: format!("bots/{id}"), gateway: "gateways/g".into(), ..Default::default() }
}

pub(crate) fn text(bot: &str, recipient: &str, body: &str) -> v1::Message {
    v1::Message {
        bot: format!("bots/{bot}"),
        recipient: recipient.to_owned(),
        content: Some(v1::Content { kind: Some(Kind::Text(Text { body: body.to_owned() })) }),
        ..Default::default()
    }
}

/// Waits until something holds.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "it did not come to that");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Checks code and reason of an error, and that it names its domain.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = answer.expect_err("the call should be refused");
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("an error carries ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "muster"));
    status
}

/// The fields that a status complains about.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().map(|bad| bad.field_violations.iter().map(|v| v.field.clone()).collect()).unwrap_or_default()
}
