//! An agent that is driven by hand over the real stream.

use std::time::Duration;

use muster_proto::TENANT_METADATA;
use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::agent_service_client::AgentServiceClient;
use muster_proto::agent_v1::server_frame::Body;
use muster_proto::agent_v1::{self as wire, AgentFrame, ServerFrame, close};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::world::{LIMIT, World};

/// How long nothing must come, where nothing should.
const QUIET: Duration = Duration::from_millis(150);

pub(crate) const JOURNAL: [u8; 16] = [7; 16];

/// The other end of a session.
pub(crate) struct Agent {
    frames: mpsc::Sender<AgentFrame>,
    stream: Streaming<ServerFrame>,
    seq: u64,
    received: u64,
    next_offset: u64,
    /// What the server answered to Hello.
    pub(crate) welcome: wire::Welcome,
}

/// A Hello that nothing speaks against.
pub(crate) fn hello() -> wire::Hello {
    wire::Hello {
        node: "nodes/n".into(),
        agent_version: "test".into(),
        protocol_min: 1,
        protocol_max: 1,
        journal_id: JOURNAL.to_vec(),
        journal_opening: 1,
        process_id: [1; 16].to_vec(),
        credit: Some(credit(1_000)),
        receive_bytes_max: 4 * 1024 * 1024,
        ..Default::default()
    }
}

/// Credit for so many attempts, and more bytes than they need.
pub(crate) fn credit(attempts_total: u64) -> wire::Credit {
    wire::Credit { attempts_total, bytes_total: 1 << 30, per_bot: 1_000 }
}

pub(crate) fn sent(attempt: &wire::Attempt, network_id: &str) -> wire::report::Body {
    outcome(attempt, wire::Outcome::Sent, network_id)
}

pub(crate) fn outcome(attempt: &wire::Attempt, outcome: wire::Outcome, network_id: &str) -> wire::report::Body {
    wire::report::Body::Outcome(wire::OutcomeReport {
        attempt: attempt.r#ref,
        outcome: outcome.into(),
        network_id: network_id.to_owned(),
        ..Default::default()
    })
}

pub(crate) fn failed(attempt: &wire::Attempt, reason: wire::FailureReason, retry_after_ms: u64) -> wire::report::Body {
    wire::report::Body::Outcome(wire::OutcomeReport {
        attempt: attempt.r#ref,
        outcome: wire::Outcome::Failed.into(),
        failure: Some(wire::Failure { reason: reason.into(), detail: "HTTP 429".into(), retry_after_ms, scope: 0 }),
        ..Default::default()
    })
}

pub(crate) fn connected(bot: &str) -> wire::report::Body {
    wire::report::Body::Connection(wire::ConnectionReport {
        bot: bot.to_owned(),
        connection: wire::Connection::Connected.into(),
        ..Default::default()
    })
}

/// A stream that was opened, and nothing was said yet.
pub(crate) async fn stream(world: &World) -> (mpsc::Sender<AgentFrame>, Streaming<ServerFrame>) {
    stream_for(world, "default").await
}

async fn stream_for(world: &World, tenant: &str) -> (mpsc::Sender<AgentFrame>, Streaming<ServerFrame>) {
    let (frames, receiver) = mpsc::channel(1_024);
    let mut client = AgentServiceClient::new(world.channel.clone());
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().insert(TENANT_METADATA, tenant.parse().unwrap());
    let stream = client.session(request).await.unwrap().into_inner();
    (frames, stream)
}

/// Says something first, and returns what comes back.
pub(crate) async fn first_answer(world: &World, frame: AgentFrame) -> Body {
    let (frames, mut stream) = stream(world).await;
    frames.send(frame).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.seq, 1);
    answer.body.unwrap()
}

/// Says Hello, and returns the Close that comes back.
pub(crate) async fn refused_hello(world: &World, hello: wire::Hello) -> (close::Reason, wire::Close) {
    let frame = AgentFrame { seq: 1, ack: 0, body: Some(AgentBody::Hello(hello)) };
    match first_answer(world, frame).await {
        Body::Close(close) => (close.reason(), close),
        other => panic!("not refused: {other:?}"),
    }
}

impl Agent {
    pub(crate) async fn open(world: &World) -> Self {
        Self::open_with(world, hello()).await
    }

    pub(crate) async fn open_with(world: &World, hello: wire::Hello) -> Self {
        Self::open_for(world, "default", hello).await
    }

    /// The agent of a tenant's node.
    pub(crate) async fn open_for(world: &World, tenant: &str, hello: wire::Hello) -> Self {
        let (frames, stream) = stream_for(world, tenant).await;
        let mut agent =
            Agent { frames, stream, seq: 0, received: 0, next_offset: 1, welcome: wire::Welcome::default() };
        agent.send(AgentBody::Hello(hello)).await;
        match agent.next().await {
            Body::Welcome(welcome) => {
                agent.next_offset = welcome.report_committed + 1;
                agent.welcome = welcome;
            }
            other => panic!("no Welcome: {other:?}"),
        }
        agent
    }

    pub(crate) async fn send(&mut self, body: AgentBody) {
        self.send_frame(Some(body)).await;
    }

    /// Sends a frame with the next number; without a body it is one that the server does not know.
    pub(crate) async fn send_frame(&mut self, body: Option<AgentBody>) -> u64 {
        self.seq += 1;
        self.send_raw(AgentFrame { seq: self.seq, ack: self.received, body }).await;
        self.seq
    }

    pub(crate) async fn send_raw(&mut self, frame: AgentFrame) {
        // The server may have closed the stream; what it said is then read by `next`.
        let _ = self.frames.send(frame).await;
    }

    /// The next frame; its number must follow the one before.
    pub(crate) async fn next(&mut self) -> Body {
        self.next_frame().await.expect("the stream lives").expect("the stream goes on")
    }

    async fn next_frame(&mut self) -> Result<Option<Body>, Status> {
        let frame = tokio::time::timeout(LIMIT, self.stream.message()).await.expect("a frame comes")?;
        let Some(frame) = frame else { return Ok(None) };
        assert_eq!(frame.seq, self.received + 1, "frames are numbered without gaps");
        self.received = frame.seq;
        Ok(frame.body)
    }

    /// The next frame that `pick` wants; desired states and acknowledgements before it are passed over.
    pub(crate) async fn wait<T>(&mut self, mut pick: impl FnMut(Body) -> Result<T, Body>) -> T {
        loop {
            match pick(self.next().await) {
                Ok(found) => return found,
                Err(Body::DesiredState(_) | Body::ReportAck(_) | Body::HeartbeatAck(_)) => {}
                Err(other) => panic!("something else came: {other:?}"),
            }
        }
    }

    pub(crate) async fn dispatch(&mut self) -> wire::Dispatch {
        self.wait(|body| if let Body::Dispatch(dispatch) = body { Ok(dispatch) } else { Err(body) }).await
    }

    /// The next `count` attempts, in their order, acknowledged.
    pub(crate) async fn attempts(&mut self, count: usize) -> Vec<wire::Attempt> {
        let mut attempts = Vec::new();
        while attempts.len() < count {
            attempts.extend(self.dispatch().await.attempts);
        }
        assert_eq!(attempts.len(), count, "no more than asked for");
        self.acknowledge().await;
        attempts
    }

    /// Calls everything durable that came so far.
    pub(crate) async fn acknowledge(&mut self) {
        let ack = wire::DispatchAck { through_seq: self.received };
        self.send(AgentBody::DispatchAck(ack)).await;
    }

    pub(crate) async fn command(&mut self) -> wire::Command {
        self.wait(|body| if let Body::Command(command) = body { Ok(command) } else { Err(body) }).await
    }

    pub(crate) async fn desired(&mut self) -> wire::DesiredState {
        loop {
            if let Body::DesiredState(state) = self.next().await {
                return state;
            }
        }
    }

    /// Nothing but acknowledgements and desired states comes for a while.
    pub(crate) async fn quiet(&mut self) {
        while let Ok(frame) = tokio::time::timeout(QUIET, self.stream.message()).await {
            let frame = frame.expect("the stream lives").expect("the stream goes on");
            self.received = frame.seq;
            match frame.body {
                Some(Body::DesiredState(_) | Body::ReportAck(_)) => {}
                other => panic!("something came: {other:?}"),
            }
        }
    }

    /// Reports something, and waits until it is acknowledged.
    pub(crate) async fn report(&mut self, bodies: Vec<wire::report::Body>) {
        let last = self.next_offset + bodies.len() as u64 - 1;
        self.report_only(bodies).await;
        loop {
            match self.next().await {
                Body::ReportAck(ack) if ack.committed >= last => return,
                Body::ReportAck(_) | Body::DesiredState(_) => {}
                other => panic!("something else came: {other:?}"),
            }
        }
    }

    /// Reports something, and waits for nothing.
    pub(crate) async fn report_only(&mut self, bodies: Vec<wire::report::Body>) {
        let reports: Vec<_> = bodies.into_iter().map(|body| wire::Report { age_ms: 0, body: Some(body) }).collect();
        let first_offset = self.next_offset;
        self.next_offset += reports.len() as u64;
        self.send(AgentBody::Reports(wire::Reports { first_offset, reports })).await;
    }

    pub(crate) async fn report_connected(&mut self, bots: &[&str]) {
        self.report(bots.iter().map(|bot| connected(bot)).collect()).await;
    }

    pub(crate) async fn heartbeat(&mut self) -> wire::HeartbeatAck {
        self.send(AgentBody::Heartbeat(wire::Heartbeat::default())).await;
        loop {
            if let Body::HeartbeatAck(ack) = self.next().await {
                return ack;
            }
        }
    }

    /// The last frame of the server, and the end of the stream behind it.
    pub(crate) async fn closed(&mut self) -> (close::Reason, wire::Close) {
        let close = loop {
            if let Body::Close(close) = self.next().await {
                break close;
            }
        };
        assert_eq!(self.next_frame().await.unwrap(), None);
        (close.reason(), close)
    }

    /// The stream ends without a Close.
    pub(crate) async fn ended(&mut self) {
        while let Some(body) = self.next_frame().await.unwrap() {
            assert!(!matches!(body, Body::Close(_)), "closed: {body:?}");
        }
    }

    /// Breaks the stream.
    pub(crate) fn gone(self) {
        drop(self);
    }
}
