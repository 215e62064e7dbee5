//! A server that does nothing by itself: the test says each frame.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use muster_domain::content::MediaDigest;
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::agent_service_server::{AgentService, AgentServiceServer};
use muster_proto::agent_v1::server_frame::Body as ServerBody;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use url::Url;

use super::soon;

type Media = Arc<Mutex<HashMap<[u8; 32], Vec<u8>>>>;

pub(super) struct HandDriven {
    address: SocketAddr,
    sessions: mpsc::UnboundedReceiver<Conversation>,
    media: Media,
}

/// One session.
pub(super) struct Conversation {
    inbound: Streaming<wire::AgentFrame>,
    outbound: mpsc::Sender<Result<wire::ServerFrame, Status>>,
    pub(super) seq: u64,
    received: u64,
    /// Frames that were read while another one was waited for.
    waiting: Vec<AgentBody>,
    /// The latest sign of life.
    heartbeat: Option<wire::Heartbeat>,
}

struct Service {
    sessions: mpsc::UnboundedSender<Conversation>,
    media: Media,
}

#[tonic::async_trait]
impl AgentService for Service {
    type SessionStream = ReceiverStream<Result<wire::ServerFrame, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::AgentFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outbound, stream) = mpsc::channel(64);
        let inbound = request.into_inner();
        let _ = self.sessions.send(Conversation {
            inbound,
            outbound,
            seq: 0,
            received: 0,
            waiting: Vec::new(),
            heartbeat: None,
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type FetchMediaStream = BoxStream<'static, Result<wire::FetchMediaResponse, Status>>;

    async fn fetch_media(
        &self,
        request: Request<wire::FetchMediaRequest>,
    ) -> Result<Response<Self::FetchMediaStream>, Status> {
        let digest: [u8; 32] =
            request.into_inner().digest.try_into().map_err(|_| Status::invalid_argument("digest"))?;
        let bytes = self.media.lock().unwrap().get(&digest).cloned().ok_or_else(|| Status::not_found("gone"))?;
        let chunks: Vec<_> =
            bytes.chunks(3).map(|chunk| Ok(wire::FetchMediaResponse { data: chunk.to_vec().into() })).collect();
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }
}

impl HandDriven {
    pub(super) async fn start() -> HandDriven {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, sessions) = mpsc::unbounded_channel();
        let media = Media::default();
        let service = AgentServiceServer::new(Service { sessions: sender, media: Arc::clone(&media) });
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        HandDriven { address, sessions, media }
    }

    pub(super) fn url(&self) -> Url {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// The next session that an agent opens.
    pub(super) async fn session(&mut self) -> Conversation {
        soon("a session", self.sessions.recv()).await.unwrap()
    }

    /// Whether no agent opens a session for a while.
    pub(super) async fn stays_alone(&mut self, during: std::time::Duration) -> bool {
        tokio::time::timeout(during, self.sessions.recv()).await.is_err()
    }

    pub(super) fn put_media(&self, bytes: &[u8]) -> MediaDigest {
        let digest = MediaDigest::of(bytes);
        self.media.lock().unwrap().insert(digest.0, bytes.to_vec());
        digest
    }
}

impl Conversation {
    /// The next frame, heartbeats aside; `None` when the agent ended the stream.
    async fn read(&mut self) -> Option<AgentBody> {
        loop {
            if let Some(body) = self.read_one().await? {
                return Some(body);
            }
        }
    }

    /// The next frame; `Some(None)` for a heartbeat, which is answered, and `None` when the agent ended the stream.
    async fn read_one(&mut self) -> Option<Option<AgentBody>> {
        let frame = soon("a frame", self.inbound.message()).await.ok()??;
        assert_eq!(frame.seq, self.received + 1, "frames are numbered without gaps");
        assert!(frame.ack <= self.seq);
        self.received = frame.seq;
        let Some(AgentBody::Heartbeat(heartbeat)) = frame.body else { return frame.body.map(Some) };
        self.heartbeat = Some(heartbeat);
        self.send(ServerBody::HeartbeatAck(wire::HeartbeatAck::default())).await;
        Some(None)
    }

    /// Reads until a sign of life says something. Other frames wait for a later call.
    pub(super) async fn heartbeat(&mut self, says: impl Fn(&wire::Heartbeat) -> bool) {
        while !self.heartbeat.take().is_some_and(|heartbeat| says(&heartbeat)) {
            let body = self.read_one().await.expect("the stream lives");
            self.waiting.extend(body);
        }
    }

    /// The next frame that `pick` takes. Others wait for a later call.
    pub(super) async fn expect<T>(&mut self, what: &str, mut pick: impl FnMut(&AgentBody) -> Option<T>) -> T {
        if let Some(at) = self.waiting.iter().position(|body| pick(body).is_some()) {
            return pick(&self.waiting.remove(at)).unwrap();
        }
        loop {
            let body = self.read().await.unwrap_or_else(|| panic!("the stream ended before {what}"));
            match pick(&body) {
                Some(picked) => return picked,
                None => self.waiting.push(body),
            }
        }
    }

    pub(super) async fn send(&mut self, body: ServerBody) {
        self.seq += 1;
        let _ = self.outbound.send(Ok(wire::ServerFrame { seq: self.seq, ack: self.received, body: Some(body) })).await;
    }

    pub(super) async fn send_raw(&mut self, frame: wire::ServerFrame) {
        let _ = self.outbound.send(Ok(frame)).await;
    }

    pub(super) async fn hello(&mut self) -> wire::Hello {
        self.expect("Hello", |body| match body {
            AgentBody::Hello(hello) => Some(hello.clone()),
            _ => None,
        })
        .await
    }

    pub(super) async fn welcome(&mut self, report_committed: u64) {
        self.send(ServerBody::Welcome(welcome(report_committed))).await;
    }

    /// Declares gateway `g` with the bots `a` and `b`, and waits for the agent to apply it. The reports that the logins are
    /// up are taken and acknowledged.
    pub(super) async fn declare(&mut self, version: u64) {
        self.send(ServerBody::DesiredState(desired(version, true))).await;
        let status = self.desired_status().await;
        assert_eq!((status.version, status.errors.len()), (version, 0));
    }

    pub(super) async fn desired_status(&mut self) -> wire::DesiredStatus {
        self.expect("DesiredStatus", |body| match body {
            AgentBody::DesiredStatus(status) => Some(status.clone()),
            _ => None,
        })
        .await
    }

    /// Dispatches attempts, chosen with knowledge of reports up to `report_committed`, and waits for the acknowledgement.
    pub(super) async fn dispatch(&mut self, report_committed: u64, attempts: Vec<wire::Attempt>) {
        self.send(ServerBody::Dispatch(wire::Dispatch { attempts, report_committed })).await;
        let seq = self.seq;
        self.expect("DispatchAck", |body| match body {
            AgentBody::DispatchAck(ack) if ack.through_seq >= seq => Some(()),
            _ => None,
        })
        .await;
    }

    /// The next `count` outcomes, with their offsets; reports of other kinds are skipped. Nothing is acknowledged.
    pub(super) async fn outcomes(&mut self, count: usize) -> Vec<(u64, wire::OutcomeReport)> {
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            let reports = self.reports().await;
            for (offset, report) in (reports.first_offset..).zip(reports.reports) {
                if let Some(wire::report::Body::Outcome(outcome)) = report.body {
                    outcomes.push((offset, outcome));
                }
            }
        }
        outcomes
    }

    pub(super) async fn reports(&mut self) -> wire::Reports {
        self.expect("Reports", |body| match body {
            AgentBody::Reports(reports) => Some(reports.clone()),
            _ => None,
        })
        .await
    }

    pub(super) async fn acknowledge(&mut self, committed: u64) {
        self.send(ServerBody::ReportAck(wire::ReportAck { committed })).await;
    }

    /// The next grant.
    pub(super) async fn credit(&mut self) -> wire::Credit {
        self.expect("Credit", |body| match body {
            AgentBody::Credit(credit) => Some(*credit),
            _ => None,
        })
        .await
    }

    pub(super) async fn goodbye(&mut self) -> wire::goodbye::Reason {
        self.expect("Goodbye", |body| match body {
            AgentBody::Goodbye(goodbye) => Some(goodbye.reason()),
            _ => None,
        })
        .await
    }
}

pub(super) fn welcome(report_committed: u64) -> wire::Welcome {
    wire::Welcome {
        protocol: 1,
        epoch: 1,
        capabilities: Vec::new(),
        heartbeat_interval_ms: 100,
        stall_timeout_ms: 2_000,
        report_committed,
        drop: Vec::new(),
        receive_bytes_max: 4 * 1024 * 1024,
    }
}

/// The lineage of all desired states.
pub(super) const LINEAGE: u32 = 77;

/// Gateway `g` with the bots `a` and `b`.
pub(super) fn desired(version: u64, may_send: bool) -> wire::DesiredState {
    let bot = |id: &str| wire::DesiredBot {
        id: id.to_owned(),
        gateway: "g".to_owned(),
        may_send,
        connect: true,
        ..wire::DesiredBot::default()
    };
    wire::DesiredState {
        version,
        gateways: vec![wire::DesiredGateway { id: "g".to_owned(), kind: "null".to_owned() }],
        bots: vec![bot("a"), bot("b")],
        lineage: LINEAGE,
        ..wire::DesiredState::default()
    }
}
