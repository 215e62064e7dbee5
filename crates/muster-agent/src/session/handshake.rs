//! Hello and Welcome.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::desired::DesiredVersion;
use muster_domain::limits::FRAME_BYTES_MAX;
use muster_domain::message::AttemptRef;
use muster_proto::TENANT_METADATA;
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_service_client::AgentServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::{Credits, End, Sessions};
use crate::journal::record::Forgotten;
use crate::journal::state::AnsweredFor;

/// The revision of the protocol that this agent speaks.
const PROTOCOL: u32 = 1;

/// How long connecting and the server's answer to Hello may take, in all.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Frames that wait for the line. One goes out while the next is made: more would only age.
const LINE_FRAMES: usize = 2;

/// A session that the server welcomed.
pub(super) struct Opened {
    pub(super) welcome: wire::Welcome,
    pub(super) frames: mpsc::Sender<wire::AgentFrame>,
    pub(super) inbound: Streaming<wire::ServerFrame>,
    pub(super) credits: Credits,
}

impl Sessions {
    /// Opens a session.
    pub(super) async fn open(&self) -> Result<Opened, End> {
        let attempt = tokio::time::timeout(OPEN_TIMEOUT, self.try_open());
        attempt.await.unwrap_or_else(|_| Err(End::Lost("the server did not answer in time".to_owned())))
    }

    async fn try_open(&self) -> Result<Opened, End> {
        let credits = {
            let load = self.journal.read(|state| state.load());
            Credits::new(self.capacity, Arc::clone(self.lanes.bots()), load, *self.journal.is_full().borrow())
        };
        let hello = self.hello(&credits);
        let (frames, line) = mpsc::channel(LINE_FRAMES);
        let hello = wire::AgentFrame { seq: 1, ack: 0, body: Some(wire::agent_frame::Body::Hello(hello)) };
        if frames.send(hello).await.is_err() {
            return Err(End::Lost("the line is closed".to_owned()));
        }
        let mut client = AgentServiceClient::new(self.channel.clone()).max_decoding_message_size(FRAME_BYTES_MAX);
        let lost = |status: tonic::Status| End::Lost(status.message().to_owned());
        let mut request = Request::new(ReceiverStream::new(line));
        // The id of a tenant is a DNS label: always a legal value.
        if let Ok(tenant) = self.tenant.as_str().parse() {
            request.metadata_mut().insert(TENANT_METADATA, tenant);
        }
        let mut inbound = client.session(request).await.map_err(lost)?.into_inner();
        let first = inbound.message().await.map_err(lost)?;
        let Some(first) = first else {
            return Err(End::Lost("the server ended the stream without a word".to_owned()));
        };
        let welcome = match first.body {
            Some(wire::server_frame::Body::Welcome(welcome)) => welcome,
            Some(wire::server_frame::Body::Close(close)) => return Err(End::Closed(close)),
            _ => return Err(End::ServerFault("the first frame is neither Welcome nor Close".to_owned())),
        };
        self.check(&first.seq, &welcome)?;
        Ok(Opened { welcome, frames, inbound, credits })
    }

    fn hello(&self, credits: &Credits) -> wire::Hello {
        let DesiredVersion { version: desired_version, lineage: desired_lineage } = *self.applied.borrow();
        let identity = self.journal.identity();
        let (held, report_head, report_acknowledged, forgotten) = self.journal.read(|state| {
            let held = state.answered_for();
            let held = held.map(|AnsweredFor { attempt, started, reported_at }| wire::HeldAttempt {
                attempt: Some(attempt.into()),
                started,
                report_offset: reported_at.unwrap_or(0),
            });
            (held.collect(), state.head(), state.acknowledged(), state.forgotten())
        });
        let forgotten = forgotten.map(|Forgotten { through, stamp }| wire::ForgottenOutcomes {
            through,
            age_ms: u64::try_from(stamp.age(self.journal.now()).as_millis()).unwrap_or(u64::MAX),
        });
        wire::Hello {
            node: self.node.to_string(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            capabilities: Vec::new(),
            journal_id: identity.journal_id.to_vec(),
            journal_opening: identity.opening,
            process_id: self.process_id.to_vec(),
            report_head,
            held,
            desired_version,
            credit: Some(credits.frame()),
            receive_bytes_max: u32::try_from(FRAME_BYTES_MAX).unwrap_or(u32::MAX),
            report_acknowledged,
            forgotten,
            desired_lineage,
        }
    }

    /// Whether a session can be held on these terms.
    fn check(&self, seq: &u64, welcome: &wire::Welcome) -> Result<(), End> {
        let fault = |why: &str| Err(End::ServerFault(why.to_owned()));
        if *seq != 1 {
            return fault("the first frame is not number 1");
        }
        if welcome.protocol != PROTOCOL {
            return fault("the server chose a revision of the protocol that was not offered");
        }
        if welcome.heartbeat_interval_ms == 0 || welcome.stall_timeout_ms == 0 || welcome.receive_bytes_max == 0 {
            return fault("Welcome names no heartbeat interval, stall timeout or frame size");
        }
        let head = self.journal.read(|state| state.head());
        if welcome.report_committed > head {
            return Err(End::JournalBehind { committed: welcome.report_committed, head });
        }
        Ok(())
    }
}

/// Held attempts that the server takes back.
pub(super) fn dropped(welcome: &wire::Welcome) -> Vec<AttemptRef> {
    welcome.drop.iter().filter_map(|attempt| AttemptRef::try_from(*attempt).ok()).collect()
}
