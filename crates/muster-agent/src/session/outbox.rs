//! What waits to be sent in a session, reports aside: those wait in the journal.

use muster_proto::agent_v1::agent_frame::Body;
use tokio::sync::mpsc;

/// Frames that may wait. Each answers a frame of the server or a command, so this many means that the line is stuck.
const WAITING_MAX: usize = 4_096;

/// The sending end. Clones feed the same session.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(mpsc::Sender<Body>);

impl Outbox {
    /// An outbox and what comes out of it.
    pub(crate) fn new() -> (Outbox, mpsc::Receiver<Body>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Outbox(sender), receiver)
    }

    /// Sends a frame in its turn. It is lost when the session has ended, or when the line is stuck for so long that it is
    /// about to be ended: what has to arrive is in the journal.
    pub(crate) fn send(&self, body: Body) {
        if self.0.try_send(body).is_err() {
            tracing::debug!("a frame was not sent: the session has ended or is stuck");
        }
    }
}
