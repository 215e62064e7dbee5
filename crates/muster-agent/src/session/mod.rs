//! The agent's session with the server: one stream at a time, opened again whenever it ends.
//!
//! The stream is disposable. What was accepted is in the journal and goes on in the lanes whether or not a session is open;
//! what is to be reported waits in the journal and is sent from where the server's last commit stands.

mod backoff;
mod credit;
mod handshake;
mod intake;
mod outbox;
mod reader;
mod sender;
pub(crate) mod verdict;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use muster_domain::desired::DesiredVersion;
use muster_domain::{NodeId, TenantId};
use muster_proto::agent_v1 as wire;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use self::backoff::Backoff;
pub(crate) use self::credit::Capacity;
use self::credit::Credits;
use self::handshake::Opened;
use self::intake::{Arrival, Intake, IntakeEnd, Underway};
pub(crate) use self::outbox::Outbox;
use self::reader::Reader;
use self::sender::Sender;
use crate::command::Commands;
use crate::desired::Desired;
use crate::error::{AgentError, Refusal};
use crate::journal::{AppendError, Journal};
use crate::lane::{Lanes, Phase};

/// How long the server may take to answer Drain. It answers in its next turn; a server that does not is treated as one that
/// has answered.
const DRAIN_ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last reports may take to be acknowledged once everything else is done.
const LAST_REPORTS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server may take to end the stream after Goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// What sessions work with.
pub(crate) struct Sessions {
    pub(crate) node: NodeId,
    pub(crate) tenant: TenantId,
    pub(crate) channel: Channel,
    pub(crate) journal: Journal,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) desired: Arc<tokio::sync::Mutex<Desired>>,
    /// The desired state that is applied.
    pub(crate) applied: watch::Receiver<DesiredVersion>,
    pub(crate) commands: Commands,
    pub(crate) capacity: Capacity,
    pub(crate) drain_deadline: Duration,
    /// When the drain that has begun is over.
    pub(crate) drain_until: OnceLock<tokio::time::Instant>,
    /// Random, from the start of this process.
    pub(crate) process_id: [u8; 16],
    /// Cancelled once the server says that the node is not declared: what is held from before is not started without its word
    /// then.
    pub(crate) undeclared: CancellationToken,
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The line broke, or was never there.
    Lost(String),
    /// The server ended it.
    Closed(wire::Close),
    /// The server gave no sign, or broke the protocol.
    ServerFault(String),
    /// The journal has no room for what was dispatched.
    JournalFull,
    /// The journal cannot be written any more.
    JournalFailed,
    /// The server has reports that the journal does not have.
    JournalBehind { committed: u64, head: u64 },
    /// The agent was told to stop, and said goodbye.
    Stopped,
}

/// Why there is no session, as far as the agent goes on without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Lost,
    ServerFault,
    JournalFull,
    Undeclared,
    Closed(wire::close::Reason),
}

impl Obstacle {
    /// For people, beside what exactly happened.
    fn told(self) -> &'static str {
        match self {
            Obstacle::Lost => "no session with the server: what is held goes on, reports are kept",
            Obstacle::ServerFault => "the session was ended: the server broke the protocol or gave no sign",
            Obstacle::JournalFull => "the session was ended: the journal has no room for what the server dispatched",
            Obstacle::Undeclared => "the server does not know this node: waiting until it is declared",
            Obstacle::Closed(_) => "the server ended the session",
        }
    }
}

/// What the halves of a session share.
struct Shared {
    /// Highest frame that arrived.
    received_seq: AtomicU64,
    /// Reports that the server acknowledged in this session.
    committed: watch::Sender<u64>,
    /// The server will not dispatch any more.
    drain_acknowledged: Notify,
}

impl Sessions {
    /// Holds sessions until the agent is told to stop, or until none can be held without somebody acting.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) -> Result<(), AgentError> {
        let mut backoff = Backoff::default();
        let mut told = None;
        loop {
            if self.journal.has_failed() {
                return Err(AgentError::JournalFailed);
            }
            let began = tokio::time::Instant::now();
            let opening = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                opened = self.open() => opened,
            };
            let end = match opening {
                Ok(opened) => {
                    told = None;
                    self.hold(opened, shutdown).await
                }
                Err(end) => end,
            };
            let lasted = began.elapsed();
            let (obstacle, why, asked) = match end {
                End::Stopped => return Ok(()),
                End::JournalFailed => return Err(AgentError::JournalFailed),
                End::JournalBehind { committed, head } => return Err(AgentError::JournalBehind { committed, head }),
                End::Closed(close) => self.closed(close)?,
                End::Lost(why) => (Obstacle::Lost, why, Duration::ZERO),
                End::ServerFault(why) => (Obstacle::ServerFault, why, Duration::ZERO),
                End::JournalFull => (Obstacle::JournalFull, String::new(), Duration::ZERO),
            };
            // Once while it stays the same: a server may be away for days.
            if told.replace(obstacle) == Some(obstacle) {
                tracing::debug!(?obstacle, %why, "still no session with the server");
            } else {
                tracing::warn!(node = %self.node, ?obstacle, %why, "{}", obstacle.told());
            }
            if shutdown.is_cancelled() {
                return Ok(());
            }
            let longest = if obstacle == Obstacle::Undeclared { backoff::LONGEST_UNDECLARED } else { backoff::LONGEST };
            let wait = backoff.next(lasted, asked, longest, rand::random());
            tracing::debug!(wait_ms = wait.as_millis(), "the next session is tried after a wait");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// What follows from a Close: a wait of the length that the server asks for, or the end of the agent. A node that is not
    /// declared is waited for, although somebody has to act: operators start agents before they declare a fleet.
    fn closed(&self, close: wire::Close) -> Result<(Obstacle, String, Duration), AgentError> {
        use wire::close::Reason;
        let reason = close.reason();
        let message = close.message;
        let asked = Duration::from_millis(close.retry_after_ms.into());
        if reason == Reason::NodeUnknown {
            self.undeclared.cancel();
            return Ok((Obstacle::Undeclared, message, asked));
        }
        if !close.permanent {
            return Ok((Obstacle::Closed(reason), message, asked));
        }
        tracing::error!(reason = reason.as_str_name(), %message, "the server refuses this agent until somebody acts");
        let reason = match reason {
            Reason::DuplicateIdentity => Refusal::DuplicateIdentity,
            Reason::JournalForked => Refusal::JournalForked,
            Reason::ProtocolUnsupported => Refusal::ProtocolUnsupported,
            _ => Refusal::Other,
        };
        Err(AgentError::Refused { node: self.node.clone(), reason, message })
    }

    /// One session from Welcome to its end.
    async fn hold(&self, opened: Opened, shutdown: &CancellationToken) -> End {
        let Opened { welcome, frames, inbound, credits } = opened;
        tracing::info!(node = %self.node, epoch = welcome.epoch, "a session with the server is open");
        let acknowledged = self.journal.read(|state| state.acknowledged());
        if welcome.report_committed > acknowledged {
            self.journal.acknowledge(welcome.report_committed);
        } else if welcome.report_committed < acknowledged {
            let report_committed = welcome.report_committed;
            tracing::warn!(
                report_committed,
                acknowledged,
                "the server has fewer reports than it acknowledged, as if restored from a backup: what is remembered is told \
                 again"
            );
            self.lanes.bots().tell_again();
        }

        let shared = Arc::new(Shared {
            received_seq: AtomicU64::new(1),
            committed: watch::Sender::new(welcome.report_committed),
            drain_acknowledged: Notify::new(),
        });
        let (outbox, outgoing) = Outbox::new();
        let (arrivals, arriving) = tokio::sync::mpsc::unbounded_channel();
        let (desired, desired_frames) = tokio::sync::mpsc::unbounded_channel();
        let underway = Arc::new(Underway::default());
        let commands = self.commands.session(outbox.clone());

        let _ = arrivals.send(Arrival::Drop(handshake::dropped(&welcome)));
        let _ = arrivals.send(Arrival::Confirmed);
        let intake = Intake {
            journal: self.journal.clone(),
            lanes: Arc::clone(&self.lanes),
            outbox: outbox.clone(),
            underway: Arc::clone(&underway),
        };
        let mut intake = std::pin::pin!(intake.run(arriving));
        let mut intake_has_ended = false;
        let mut reader = Reader {
            inbound,
            shared: Arc::clone(&shared),
            journal: self.journal.clone(),
            outbox: outbox.clone(),
            arrivals,
            desired,
            commands,
            credits,
            underway,
            stall_timeout: Duration::from_millis(welcome.stall_timeout_ms.into()),
        };
        let applied = self.applied.clone();
        let mut sender = Sender::new(&welcome, frames, outgoing, Arc::clone(&shared), self.journal.clone(), applied);
        let end = tokio::select! {
            end = reader.run() => end,
            end = sender.run() => end,
            end = &mut intake => {
                intake_has_ended = true;
                intake_end(end)
            }
            end = desired_states(&self.desired, desired_frames, &outbox) => end,
            () = self.drain(shutdown, &shared, &outbox) => End::Stopped,
        };
        if let Some(reason) = goodbye(&end, &self.journal) {
            outbox.send(wire::agent_frame::Body::Goodbye(wire::Goodbye { reason: reason.into() }));
            // The stream ends when the server has read it; a server that does not is left alone.
            let farewell = async {
                sender.run().await;
                reader.run_out().await;
            };
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, farewell).await;
        }
        drop(reader);
        // Whatever the intake is doing is finished, and nothing more: the next Hello says what is held.
        if !intake_has_ended {
            intake.await;
        }
        end
    }

    /// Waits for the signal to stop, and then empties the agent as far as that goes: what is not started is handed back, what
    /// is started ends, and every report is acknowledged.
    async fn drain(&self, shutdown: &CancellationToken, shared: &Shared, outbox: &Outbox) {
        shutdown.cancelled().await;
        let deadline = *self.drain_until.get_or_init(|| tokio::time::Instant::now() + self.drain_deadline);
        let deadline_ms = u32::try_from(self.drain_deadline.as_millis()).unwrap_or(u32::MAX);
        tracing::info!(deadline_ms, "the agent stops: handing back what is not started");
        self.lanes.enter(Phase::Draining);
        outbox.send(wire::agent_frame::Body::Drain(wire::Drain { deadline_ms }));
        if tokio::time::timeout(DRAIN_ACK_TIMEOUT, shared.drain_acknowledged.notified()).await.is_err() {
            tracing::warn!("the server did not answer Drain");
        }
        let mut head = self.journal.head();
        let emptied =
            async { while self.journal.read(|state| state.held().len()) > 0 && head.changed().await.is_ok() {} };
        if tokio::time::timeout_at(deadline, emptied).await.is_err() {
            tracing::warn!("some sends did not end in time: their outcome is told at the next start");
        }
        self.lanes.enter(Phase::Stopping);
        let mut committed = shared.committed.subscribe();
        let reported = committed.wait_for(|committed| *committed >= *head.borrow());
        if tokio::time::timeout(LAST_REPORTS_TIMEOUT, reported).await.is_err() {
            tracing::warn!("some reports were not acknowledged: they are sent at the next start");
        }
    }
}

/// How a session says goodbye, if there is anybody to say it to.
fn goodbye(end: &End, journal: &Journal) -> Option<wire::goodbye::Reason> {
    use wire::goodbye::Reason;
    match end {
        End::Lost(_) | End::Closed(_) => None,
        End::ServerFault(_) => Some(Reason::ServerFault),
        End::JournalFull | End::JournalFailed | End::JournalBehind { .. } => Some(Reason::Stopped),
        End::Stopped => {
            let is_empty = journal.read(|state| state.held().len() == 0 && state.pending_count() == 0);
            Some(if is_empty { Reason::Drained } else { Reason::Stopped })
        }
    }
}

fn intake_end(end: IntakeEnd) -> End {
    match end {
        IntakeEnd::SessionEnded => End::Lost("the session's reader ended".to_owned()),
        IntakeEnd::Refused(AppendError::Full) => End::JournalFull,
        IntakeEnd::Refused(AppendError::Closed) => End::JournalFailed,
    }
}

/// Applies what the server wants the node to look like.
async fn desired_states(
    desired: &tokio::sync::Mutex<Desired>,
    mut frames: tokio::sync::mpsc::UnboundedReceiver<wire::DesiredState>,
    outbox: &Outbox,
) -> End {
    desired.lock().await.begin();
    while let Some(frame) = frames.recv().await {
        match desired.lock().await.take(frame).await {
            Ok(Some(status)) => outbox.send(wire::agent_frame::Body::DesiredStatus(status)),
            Ok(None) => {}
            Err(mismatch) => return End::ServerFault(mismatch.to_string()),
        }
    }
    std::future::pending().await
}
