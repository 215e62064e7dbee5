//! The one way out of a session: frames leave in the order in which they were put in, each with its number.
//!
//! Putting a frame in never waits. What the agent does not read piles up here, in sight of the session, which then stops
//! asking the store for more and ends when nothing moves for too long.

use std::collections::VecDeque;
use std::time::Duration;

use muster_proto::agent_v1::ServerFrame;
use muster_proto::agent_v1::server_frame::Body;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Frames that are handed to the transport ahead of what the agent reads.
pub(super) const WIRE_FRAMES: usize = 16;

/// Frames that wait for the transport before the session stops making more.
const QUEUED_MAX: usize = 64;

/// How long the last frame of a session may take to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The frames on their way out.
pub(super) struct Outbox {
    wire: mpsc::Sender<Box<ServerFrame>>,
    queue: VecDeque<Body>,
    next_seq: u64,
    received: u64,
    stuck_since: Option<Instant>,
    /// Dispatch frames whose attempts the agent has not called durable.
    unacknowledged: VecDeque<(u64, Instant)>,
    sent_commands: Vec<(u64, u64)>,
}

/// The other side of the stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Outbox {
    /// An outbox in front of the transport.
    pub(super) fn new(wire: mpsc::Sender<Box<ServerFrame>>) -> Self {
        Outbox {
            wire,
            queue: VecDeque::new(),
            next_seq: 1,
            received: 0,
            stuck_since: None,
            unacknowledged: VecDeque::new(),
            sent_commands: Vec::new(),
        }
    }

    /// Notes the number of the latest frame that was received, for the hint in each frame.
    pub(super) fn received(&mut self, seq: u64) {
        self.received = seq;
    }

    /// Puts a frame in.
    pub(super) fn push(&mut self, body: Body) {
        self.queue.push_back(body);
        self.flush();
    }

    /// Waits until frames that are stuck can move; never returns while none is.
    pub(super) async fn writable(&self) -> Result<(), Gone> {
        if self.queue.is_empty() {
            return std::future::pending().await;
        }
        // Only the session writes, so that the place is still free when it flushes.
        self.wire.reserve().await.map(drop).map_err(|_| Gone)
    }

    /// Hands to the transport what it takes.
    pub(super) fn flush(&mut self) {
        while !self.queue.is_empty() {
            let Ok(permit) = self.wire.try_reserve() else {
                self.stuck_since.get_or_insert_with(Instant::now);
                return;
            };
            let Some(body) = self.queue.pop_front() else { return };
            let seq = self.next_seq;
            self.next_seq += 1;
            self.stuck_since = None;
            match &body {
                Body::Dispatch(_) => self.unacknowledged.push_back((seq, Instant::now())),
                Body::Command(command) => self.sent_commands.push((seq, command.command_id)),
                _ => {}
            }
            permit.send(Box::new(ServerFrame { seq, ack: self.received, body: Some(body) }));
        }
    }

    /// Frames of commands that left since the last call, with the ids of the commands.
    pub(super) fn take_sent_commands(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.sent_commands)
    }

    /// The agent has the attempts of all Dispatch frames up to `through_seq`.
    pub(super) fn acknowledged(&mut self, through_seq: u64) {
        while self.unacknowledged.front().is_some_and(|(seq, _)| *seq <= through_seq) {
            self.unacknowledged.pop_front();
        }
    }

    /// The number of the latest frame that left.
    pub(super) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// More frames wait than should.
    pub(super) fn is_crowded(&self) -> bool {
        self.queue.len() >= QUEUED_MAX
    }

    /// Frames wait at all.
    pub(super) fn is_stuck(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How long the agent has not read what waits for it.
    pub(super) fn stuck_for(&self) -> Duration {
        self.stuck_since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// How long the oldest Dispatch has not been acknowledged.
    pub(super) fn unacknowledged_for(&self) -> Duration {
        self.unacknowledged.front().map(|(_, sent)| sent.elapsed()).unwrap_or_default()
    }

    /// Sends a last frame, in front of what waits: that is the next session's business.
    pub(super) async fn close(mut self, body: Body) {
        self.queue.clear();
        self.push(body);
        if self.is_stuck() && tokio::time::timeout(CLOSE_TIMEOUT, self.writable()).await.is_ok() {
            self.flush();
        }
    }
}
