//! Everything that a gateway does later, in one queue with one timer.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::time::DelayQueue;

use super::gateway::Gateway;
use super::instance::Instance;
use super::mailbox::MessageIndex;
use super::outbox::Delivery;

/// Something to be done at a time. Socket events carry the generation of the socket they were meant for.
pub(crate) enum Due {
    /// The next status of a message.
    Status(Arc<Instance>, MessageIndex),
    /// The recipient's answer to a message.
    Reply(Arc<Instance>, MessageIndex),
    /// The next code of a link.
    NextCode(Arc<Instance>, u64),
    /// The code is scanned by itself.
    Scan(Arc<Instance>, u64),
    /// The socket is logged in.
    Open(Arc<Instance>, u64),
    /// The network refuses the socket's credentials with this code.
    Refuse(Arc<Instance>, u64, u16),
    /// A webhook is posted, again or late.
    Post(Box<Delivery>),
    /// A webhook that was held back goes out at last.
    Release(Arc<Instance>),
}

/// The way into the queue.
pub(crate) struct Timeline(mpsc::UnboundedSender<(Instant, Due)>);

impl Timeline {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<(Instant, Due)>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Timeline(sender), receiver)
    }

    /// Does something after `wait`.
    pub(crate) fn after(&self, wait: Duration, due: Due) {
        // After the stop nobody waits any more.
        let _ = self.0.send((Instant::now() + wait, due));
    }
}

impl Gateway {
    /// Does what is due until the gateway stops. One task is enough: what has to wait for the ledger gets a task of its own.
    pub(super) async fn run_timeline(self: Arc<Self>, mut incoming: mpsc::UnboundedReceiver<(Instant, Due)>) {
        let mut queue = DelayQueue::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some((at, due)) = incoming.recv() => {
                    queue.insert_at(due, at);
                }
                Some(expired) = queue.next() => self.act(expired.into_inner()),
            }
        }
    }

    fn act(self: &Arc<Self>, due: Due) {
        match due {
            Due::Status(instance, index) => self.report_status(&instance, index),
            Due::Reply(instance, index) => {
                let gateway = self.clone();
                tokio::spawn(async move { gateway.reply(&instance, index).await });
            }
            Due::NextCode(instance, generation) => self.next_code_due(&instance, generation),
            Due::Scan(instance, generation) => self.scan_due(&instance, generation),
            Due::Open(instance, generation) => self.open_due(&instance, generation),
            Due::Refuse(instance, generation, code) => self.refuse_due(&instance, generation, code),
            Due::Post(delivery) => self.post(*delivery),
            Due::Release(instance) => self.release(&mut instance.lock()),
        }
    }
}
