//! The sending half of a session: the one place that numbers frames.
//!
//! A frame is made when the line can take it, not before: what is more urgent goes first, and reports gather while the
//! previous frame goes out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use muster_domain::desired::DesiredVersion;
use muster_domain::limits::REPORTS_UNACKNOWLEDGED_MAX;
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_frame::Body;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::{End, Shared};
use crate::clock::Stamp;
use crate::journal::Journal;
use crate::journal::record::Report;
use crate::journal::state::State;

/// Reports in one frame: enough to fill a commit of the server, few enough for the next frame to follow soon.
const REPORTS_PER_FRAME_MAX: u64 = 512;

/// Bytes of a frame that are not reports: envelope and offsets, with room.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// Bytes around one report: its age, its tag and its length.
const REPORT_OVERHEAD_BYTES: usize = 24;

/// When reports are sent and none is acknowledged for this many stall timeouts, a lost wake-up is assumed somewhere.
const STALLED_AFTER: u32 = 4;

/// Sends what has to be sent.
pub(super) struct Sender {
    /// `None` once Goodbye was sent.
    frames: Option<mpsc::Sender<wire::AgentFrame>>,
    outgoing: mpsc::Receiver<Body>,
    shared: Arc<Shared>,
    journal: Journal,
    applied: watch::Receiver<DesiredVersion>,
    heartbeat: tokio::time::Interval,
    head: watch::Receiver<u64>,
    committed: watch::Receiver<u64>,
    seq: u64,
    /// Offset of the latest report that was sent.
    sent: u64,
    /// Largest frame that the server reads.
    frame_bytes_max: usize,
    stall_timeout: Duration,
    /// What was acknowledged when it last moved, and when that was.
    progress: (u64, Instant),
}

impl Sender {
    pub(super) fn new(
        welcome: &wire::Welcome,
        frames: mpsc::Sender<wire::AgentFrame>,
        outgoing: mpsc::Receiver<Body>,
        shared: Arc<Shared>,
        journal: Journal,
        applied: watch::Receiver<DesiredVersion>,
    ) -> Self {
        let interval = Duration::from_millis(welcome.heartbeat_interval_ms.into());
        let mut heartbeat = tokio::time::interval_at(Instant::now() + interval, interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Sender {
            frames: Some(frames),
            outgoing,
            head: journal.head(),
            committed: shared.committed.subscribe(),
            shared,
            journal,
            applied,
            heartbeat,
            seq: 1,
            sent: welcome.report_committed,
            frame_bytes_max: usize::try_from(welcome.receive_bytes_max).unwrap_or(usize::MAX),
            stall_timeout: Duration::from_millis(welcome.stall_timeout_ms.into()),
            progress: (welcome.report_committed, Instant::now()),
        }
    }

    /// Sends until the session ends. Goodbye is the last frame.
    pub(super) async fn run(&mut self) -> End {
        let patience = STALLED_AFTER * self.stall_timeout;
        while let Some(frames) = self.frames.clone() {
            let Ok(Ok(place)) = tokio::time::timeout(patience, frames.reserve()).await else {
                return End::Lost("the line takes no more frames".to_owned());
            };
            let body = match self.next().await {
                Ok(body) => body,
                Err(end) => return end,
            };
            if matches!(body, Body::Goodbye(_)) {
                self.frames = None;
            }
            self.seq += 1;
            let ack = self.shared.received_seq.load(Ordering::Relaxed);
            place.send(wire::AgentFrame { seq: self.seq, ack, body: Some(body) });
        }
        End::Stopped
    }

    /// The next thing to send.
    async fn next(&mut self) -> Result<Body, End> {
        loop {
            let has_reports = self.has_sendable();
            tokio::select! {
                biased;
                Some(body) = self.outgoing.recv() => return Ok(body),
                _ = self.heartbeat.tick() => {
                    self.check_progress()?;
                    return Ok(Body::Heartbeat(self.digest()));
                }
                () = std::future::ready(()), if has_reports => return Ok(Body::Reports(self.reports())),
                changed = self.head.changed() => {
                    if changed.is_err() || self.journal.has_failed() {
                        return Err(End::JournalFailed);
                    }
                }
                _ = self.committed.changed() => {}
            }
        }
    }

    fn has_sendable(&self) -> bool {
        self.sent < *self.head.borrow() && self.sendable() > 0
    }

    /// Reports that may be sent ahead of their acknowledgement.
    fn sendable(&self) -> u64 {
        REPORTS_UNACKNOWLEDGED_MAX.saturating_sub(self.sent.saturating_sub(*self.committed.borrow()))
    }

    fn reports(&mut self) -> wire::Reports {
        let first_offset = self.sent + 1;
        let room = self.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES);
        let count = usize::try_from(self.sendable().min(REPORTS_PER_FRAME_MAX)).unwrap_or(usize::MAX);
        let gathered = self.journal.read(|state| gather(state, first_offset, count, room));
        let now = self.journal.now();
        self.sent += gathered.len() as u64;
        let reports =
            gathered.into_iter().map(|report| report.map_or_else(forgotten, |(stamp, body)| dated(stamp, &body, now)));
        wire::Reports { first_offset, reports: reports.collect() }
    }

    fn digest(&self) -> wire::Heartbeat {
        let (held, report_head) = self.journal.read(|state| (state.held().len(), state.head()));
        wire::Heartbeat {
            held: u32::try_from(held).unwrap_or(u32::MAX),
            report_head,
            desired_version: self.applied.borrow().version,
            journal_free_bytes: self.journal.free_bytes(),
        }
    }

    /// Whether acknowledgements move while reports wait for them.
    fn check_progress(&mut self) -> Result<(), End> {
        let committed = *self.committed.borrow();
        if committed > self.progress.0 || committed >= self.sent {
            self.progress = (committed, Instant::now());
        } else if self.progress.1.elapsed() > STALLED_AFTER * self.stall_timeout {
            return Err(End::ServerFault("reports are not acknowledged".to_owned()));
        }
        Ok(())
    }
}

/// Reports from `first` on, `count` at the most and as many as fit into a frame. A report that neither waits nor is remembered, because the server
/// knew it once and does not any more, is `None`: its place is kept, its content is gone. So is one that fits no frame.
fn gather(state: &State, first: u64, count: usize, room: usize) -> Vec<Option<(Stamp, Bytes)>> {
    let said = |report: &Report| (report.stamp, report.body.clone());
    let mut gathered = Vec::new();
    let mut taken = 0;
    let known = (first..=state.acknowledged()).map(|offset| state.remembered_at(offset));
    for report in known.chain(state.pending_from(first).map(Some)).take(count) {
        let bytes = report.map_or(0, |report| report.body.len()) + REPORT_OVERHEAD_BYTES;
        if bytes > room {
            tracing::error!(bytes, "a report is larger than the frames that the server reads; it is left out");
            gathered.push(None);
            continue;
        }
        taken += bytes;
        if taken > room {
            break;
        }
        gathered.push(report.map(said));
    }
    gathered
}

/// Keeps the place of a report whose content is gone.
fn forgotten() -> wire::Report {
    wire::Report { age_ms: 0, body: Some(wire::report::Body::Forgotten(wire::ForgottenReport {})) }
}

/// A report as the wire carries it now.
fn dated(stamp: Stamp, body: &[u8], now: Stamp) -> wire::Report {
    // What was written was encoded here: it can be decoded. If not, its place is kept all the same.
    let mut report = wire::Report::decode(body).unwrap_or_else(|_| forgotten());
    report.age_ms = u64::try_from(stamp.age(now).as_millis()).unwrap_or(u64::MAX);
    report
}
