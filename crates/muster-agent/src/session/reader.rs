//! The reading half of a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use muster_domain::Violation;
use muster_domain::message::AttemptRef;
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::server_frame::Body;
use muster_proto::convert::agent_v1::Attempt;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Streaming;

use super::intake::{Arrival, Arrived, Dispatch, Underway};
use super::{Credits, End, Outbox, Shared};
use crate::command::SessionCommands;
use crate::journal::Journal;
use crate::journal::state::Load;

/// Reads frames and hands them to those who act.
pub(super) struct Reader {
    pub(super) inbound: Streaming<wire::ServerFrame>,
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Journal,
    pub(super) outbox: Outbox,
    pub(super) arrivals: mpsc::UnboundedSender<Arrival>,
    pub(super) desired: mpsc::UnboundedSender<wire::DesiredState>,
    pub(super) commands: SessionCommands,
    pub(super) credits: Credits,
    pub(super) underway: Arc<Underway>,
    pub(super) stall_timeout: Duration,
}

impl Reader {
    /// Reads until the session ends.
    pub(super) async fn run(&mut self) -> End {
        loop {
            let frame = match tokio::time::timeout(self.stall_timeout, self.inbound.message()).await {
                Err(_) => return End::ServerFault("the server gave no sign in time".to_owned()),
                Ok(Err(status)) => return End::Lost(status.message().to_owned()),
                Ok(Ok(None)) => return End::Lost("the server ended the stream".to_owned()),
                Ok(Ok(Some(frame))) => frame,
            };
            let expected = self.shared.received_seq.load(Ordering::Relaxed) + 1;
            if frame.seq != expected {
                return End::ServerFault(format!("frame {expected} was expected, {} came", frame.seq));
            }
            self.shared.received_seq.store(expected, Ordering::Relaxed);
            if let Err(end) = self.take(frame) {
                return end;
            }
        }
    }

    /// Reads to the end of the stream, and does nothing about what comes.
    pub(super) async fn run_out(&mut self) {
        while let Ok(Some(_)) = self.inbound.message().await {}
    }

    fn take(&mut self, frame: wire::ServerFrame) -> Result<(), End> {
        match frame.body {
            Some(Body::Dispatch(dispatch)) => self.dispatch(frame.seq, dispatch)?,
            Some(Body::ReportAck(ack)) => self.committed(ack.committed)?,
            Some(Body::HeartbeatAck(ack)) => self.committed(ack.report_committed)?,
            Some(Body::Cancel(cancel)) => {
                let attempts = cancel.attempts.into_iter().filter_map(|attempt| AttemptRef::try_from(attempt).ok());
                let _ = self.arrivals.send(Arrival::Cancel(attempts.collect()));
            }
            Some(Body::DesiredState(state)) => {
                let _ = self.desired.send(state);
            }
            Some(Body::Command(command)) => self.commands.take(command),
            Some(Body::DrainAck(_)) => self.shared.drain_acknowledged.notify_one(),
            Some(Body::Close(close)) => return Err(End::Closed(close)),
            // All frames of this agent belong to the revision that both speak: a session cannot do without any of them.
            Some(Body::Unsupported(wire::Unsupported { seq })) => {
                return Err(End::ServerFault(format!(
                    "the server does not know frame {seq} of this agent: upgrade the server"
                )));
            }
            Some(Body::Welcome(_)) => return Err(End::ServerFault("a second Welcome came".to_owned())),
            None => {
                let seq = frame.seq;
                tracing::warn!(seq, "refused a frame of the server that this agent does not know: upgrade the agent");
                self.outbox.send(wire::agent_frame::Body::Unsupported(wire::Unsupported { seq }));
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, seq: u64, dispatch: wire::Dispatch) -> Result<(), End> {
        let mut attempts = Vec::with_capacity(dispatch.attempts.len());
        for attempt in dispatch.attempts {
            let arrived = read_attempt(attempt)?;
            let weight = arrived.weight();
            if !self.credits.receive(weight) {
                return Err(End::ServerFault("more attempts came than were granted".to_owned()));
            }
            self.underway.add(weight);
            attempts.push(arrived);
        }
        let report_committed = dispatch.report_committed;
        let dispatch = Dispatch { seq, report_committed, arrived: self.journal.now(), attempts };
        let _ = self.arrivals.send(Arrival::Dispatch(dispatch));
        Ok(())
    }

    /// The server has committed reports.
    fn committed(&mut self, through: u64) -> Result<(), End> {
        let (head, acknowledged) = self.journal.read(|state| (state.head(), state.acknowledged()));
        if through > head {
            return Err(End::ServerFault(format!("report {through} was acknowledged, the latest is {head}")));
        }
        self.shared.committed.send_if_modified(|committed| {
            let is_news = through > *committed;
            *committed = through.max(*committed);
            is_news
        });
        if through > acknowledged {
            self.journal.acknowledge(through);
        }
        self.grant();
        Ok(())
    }

    fn grant(&mut self) {
        let (held, underway) = (self.journal.read(|state| state.load()), self.underway.load());
        let load = Load { attempts: held.attempts + underway.attempts, bytes: held.bytes + underway.bytes };
        if let Some(credit) = self.credits.grant(load, *self.journal.is_full().borrow()) {
            self.outbox.send(wire::agent_frame::Body::Credit(credit));
        }
    }
}

/// Reads one attempt. One that does not even say which it is cannot be answered: the server is at fault.
fn read_attempt(attempt: wire::Attempt) -> Result<Arrived, End> {
    let named = attempt.r#ref.ok_or_else(|| Violation::new("ref", "must be set")).and_then(AttemptRef::try_from);
    let named = named.map_err(|violation| End::ServerFault(format!("an attempt has no name: {violation}")))?;
    let body = Bytes::from(attempt.encode_to_vec());
    match Attempt::try_from(attempt) {
        Ok(attempt) => Ok(Arrived::Good { attempt: Box::new(attempt), body }),
        Err(violation) => Ok(Arrived::Bad { attempt: named, why: violation.to_string() }),
    }
}
