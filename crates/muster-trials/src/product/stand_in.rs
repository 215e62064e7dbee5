//! A stand-in for an agent: speaks the agents' protocol to a real server, and sends nothing.
//!
//! It has no journal on disk and does no work, so that a thousand of them fit beside the server that is measured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use muster_domain::desired::DesiredVersion;
use muster_proto::agent_v1::agent_frame::Body as Up;
use muster_proto::agent_v1::agent_service_client::AgentServiceClient;
use muster_proto::agent_v1::report::Body as Fact;
use muster_proto::agent_v1::server_frame::Body as Down;
use muster_proto::agent_v1::{
    AgentFrame, Connection, ConnectionReport, Credit, DesiredStatus, Dispatch, DispatchAck, Heartbeat, Hello, Outcome,
    OutcomeReport, Report, Reports, ServerFrame,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Frames that may wait for the stream.
const QUEUE_FRAMES: usize = 256;

/// Attempts and bytes that it takes at a time. Generous: nothing here may hold the server back.
const CREDIT_ATTEMPTS: u64 = 4_096;
const CREDIT_BYTES: u64 = 4 * 1024 * 1024;
const CREDIT_PER_BOT: u32 = 64;

/// Largest frame that it reads, in bytes: what tonic reads by default.
const FRAME_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Reports of one frame.
const REPORTS_PER_FRAME: usize = 256;

/// What outlives a session.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    node: String,
    id: [u8; 16],
    openings: u64,
    /// The desired state that was applied.
    desired: DesiredVersion,
    /// Offset of the latest report.
    reported: u64,
    /// Offset up to which the server acknowledged reports.
    acknowledged: u64,
    /// Bots whose connection is to be reported up when the next session begins.
    unreported: Vec<String>,
}

impl Journal {
    /// A fresh one, of a node with these bots.
    pub(crate) fn new(node: String, bots: impl Iterator<Item = String>) -> Self {
        let unreported = bots.collect();
        let desired = DesiredVersion::default();
        Self { node, id: rand::random(), openings: 0, desired, reported: 0, acknowledged: 0, unreported }
    }
}

/// What a stand-in saw.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Observation {
    /// The server has committed everything that was reported.
    Settled,
    /// So many attempts came, at this moment.
    Dispatched(usize, Instant),
}

/// A session that runs until it is dropped or fails.
pub(crate) struct StandIn<'j> {
    journal: &'j mut Journal,
    frames: Streaming<ServerFrame>,
    outbox: Outbox,
    heartbeat: Duration,
    attempts_total: u64,
    bytes_total: u64,
}

/// The sending half, which numbers its frames.
struct Outbox {
    sender: mpsc::Sender<AgentFrame>,
    seq: u64,
    /// The highest frame of the server that was read.
    ack: u64,
}

impl Outbox {
    async fn send(&mut self, body: Up) -> Result<()> {
        self.seq += 1;
        let frame = AgentFrame { seq: self.seq, ack: self.ack, body: Some(body) };
        self.sender.send(frame).await.context("the server ended the session")
    }
}

impl<'j> StandIn<'j> {
    /// Opens a session.
    pub(crate) async fn connect(server: Channel, journal: &'j mut Journal) -> Result<Self> {
        let (sender, sent) = mpsc::channel(QUEUE_FRAMES);
        let mut outbox = Outbox { sender, seq: 0, ack: 0 };
        journal.openings += 1;
        let hello = Hello {
            node: journal.node.clone(),
            agent_version: "stand-in".to_owned(),
            protocol_min: 1,
            protocol_max: 1,
            journal_id: journal.id.to_vec(),
            journal_opening: journal.openings,
            process_id: rand::random::<[u8; 16]>().to_vec(),
            report_head: journal.reported,
            report_acknowledged: journal.acknowledged,
            desired_version: journal.desired.version,
            desired_lineage: journal.desired.lineage,
            credit: Some(credit(0, 0)),
            receive_bytes_max: FRAME_BYTES_MAX,
            ..Hello::default()
        };
        outbox.send(Up::Hello(hello)).await?;
        let mut client = AgentServiceClient::new(server);
        let mut frames = client.session(ReceiverStream::new(sent)).await.context("open a session")?.into_inner();
        let first = frames.message().await?.context("the server ended the session at once")?;
        let welcome = match first.body {
            Some(Down::Welcome(welcome)) => welcome,
            Some(Down::Close(close)) => bail!("the server refused the session: {}", close.message),
            _ => bail!("the server's first frame is no Welcome"),
        };
        outbox.ack = first.seq;
        let bots = std::mem::take(&mut journal.unreported);
        // It remembers that it reported, not what: what the server did not take is told as places without a report.
        let lost = journal.reported.saturating_sub(welcome.report_committed);
        journal.reported = welcome.report_committed;
        journal.acknowledged = welcome.report_committed;
        let mut session = Self {
            journal,
            frames,
            outbox,
            heartbeat: Duration::from_millis(u64::from(welcome.heartbeat_interval_ms).max(100)),
            attempts_total: 0,
            bytes_total: 0,
        };
        for _ in 0..lost {
            session.report(vec![None]).await?;
        }
        for bots in bots.chunks(REPORTS_PER_FRAME) {
            session.report(bots.iter().cloned().map(connected).map(Some).collect()).await?;
        }
        Ok(session)
    }

    /// Whether the server has committed everything that was reported.
    pub(crate) fn is_settled(&self) -> bool {
        self.journal.acknowledged == self.journal.reported
    }

    /// Goes on with the session, and returns at the next thing that is worth telling.
    pub(crate) async fn next(&mut self) -> Result<Observation> {
        loop {
            let frame = match tokio::time::timeout(self.heartbeat, self.frames.message()).await {
                Ok(frame) => frame?.context("the server ended the session")?,
                Err(_) => {
                    self.beat().await?;
                    continue;
                }
            };
            self.outbox.ack = frame.seq;
            match frame.body.context("a frame without a body")? {
                Down::Dispatch(dispatch) => return self.dispatched(frame.seq, dispatch).await,
                Down::ReportAck(ack) => {
                    self.journal.acknowledged = ack.committed;
                    if self.is_settled() {
                        return Ok(Observation::Settled);
                    }
                }
                Down::DesiredState(state) if !state.more => {
                    self.journal.desired = DesiredVersion { version: state.version, lineage: state.lineage };
                    let status = DesiredStatus { version: state.version, errors: Vec::new() };
                    self.outbox.send(Up::DesiredStatus(status)).await?;
                }
                Down::Close(close) => bail!("the server closed the session: {}", close.message),
                _ => {}
            }
        }
    }

    async fn dispatched(&mut self, seq: u64, dispatch: Dispatch) -> Result<Observation> {
        let (at, count) = (Instant::now(), dispatch.attempts.len());
        self.outbox.send(Up::DispatchAck(DispatchAck { through_seq: seq })).await?;
        let sent = dispatch.attempts.into_iter().map(|attempt| {
            Some(Fact::Outcome(OutcomeReport {
                network_id: format!("stand-in-{}", attempt.r#ref.map_or(0, |id| id.message_id)),
                attempt: attempt.r#ref,
                outcome: Outcome::Sent.into(),
                ..OutcomeReport::default()
            }))
        });
        let sent = sent.collect();
        self.report(sent).await?;
        self.attempts_total += count as u64;
        // Bytes are never what is short: twice the grant for every attempt that came.
        self.bytes_total += count as u64 * (CREDIT_BYTES / CREDIT_ATTEMPTS);
        self.outbox.send(Up::Credit(credit(self.attempts_total, self.bytes_total))).await?;
        Ok(Observation::Dispatched(count, at))
    }

    async fn report(&mut self, facts: Vec<Option<Fact>>) -> Result<()> {
        if facts.is_empty() {
            return Ok(());
        }
        let first_offset = self.journal.reported + 1;
        self.journal.reported += facts.len() as u64;
        let reports = facts.into_iter().map(|body| Report { age_ms: 0, body }).collect();
        self.outbox.send(Up::Reports(Reports { first_offset, reports })).await
    }

    async fn beat(&mut self) -> Result<()> {
        let heartbeat = Heartbeat {
            held: 0,
            report_head: self.journal.reported,
            desired_version: self.journal.desired.version,
            journal_free_bytes: u64::MAX,
        };
        self.outbox.send(Up::Heartbeat(heartbeat)).await
    }
}

fn credit(attempts_done: u64, bytes_done: u64) -> Credit {
    Credit {
        attempts_total: attempts_done + CREDIT_ATTEMPTS,
        bytes_total: bytes_done + CREDIT_BYTES,
        per_bot: CREDIT_PER_BOT,
    }
}

fn connected(bot: String) -> Fact {
    Fact::Connection(ConnectionReport { bot, connection: Connection::Connected.into(), ..ConnectionReport::default() })
}
