//! Clients that send while everything around them breaks, and never give up on a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use muster_domain::MessageId;
use muster_proto::v1::content::{Kind, Text};
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::send_result::Result as SendAnswer;
use muster_proto::v1::{CancelMessageRequest, Content, Message, Priority, SendMessageRequest, SendMessagesRequest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::plan::BOTS;
use super::timeline::Timeline;
use crate::product::Fleet;

/// Clients that send at the same time.
pub(super) const SENDERS: u64 = 4;

/// Recipients of each bot. Few, so that many messages wait behind each other.
const RECIPIENTS: u64 = 8;

/// How long a call may take before the client tries again, without knowing what became of it.
const CALL_PATIENCE: Duration = Duration::from_secs(2);

/// Longest pause before the same key is tried again, in milliseconds.
const RETRY_PAUSE_MS_MAX: u64 = 200;

/// Longest pause before the next message, in milliseconds.
const PAUSE_MS_MAX: u64 = 60;

/// Messages of one streamed frame.
const FRAME: u64 = 8;

/// One key in so many is used again after it was acknowledged: the answer must be the first one.
const REPEAT_ONE_IN: u32 = 10;

/// One message in so many is taken back, wherever it is by then.
const CANCEL_ONE_IN: u32 = 20;

/// Message ids that were acknowledged, and how often a key was repeated.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) acknowledged: Vec<MessageId>,
    pub(super) repeated: u64,
}

/// One client. Sends until `stop`, and then until the last key is acknowledged.
pub(super) struct Sender {
    number: u64,
    seed: u64,
    /// Pauses and repetitions. How many are drawn depends on what breaks, so messages are drawn apart from them.
    rng: StdRng,
    client: MessageServiceClient<Channel>,
    timeline: Arc<Timeline>,
    sent: Sent,
    /// Messages that all senders got acknowledged so far, for the progress.
    tally: Arc<AtomicU64>,
}

impl Sender {
    pub(super) fn new(
        number: u64,
        seed: u64,
        server: &str,
        timeline: Arc<Timeline>,
        tally: Arc<AtomicU64>,
    ) -> Result<Self> {
        let channel = Endpoint::from_shared(server.to_owned())?.connect_timeout(CALL_PATIENCE).connect_lazy();
        let rng = StdRng::seed_from_u64(seed ^ (number << 32));
        Ok(Self {
            number,
            seed,
            rng,
            client: MessageServiceClient::new(channel),
            timeline,
            sent: Sent::default(),
            tally,
        })
    }

    pub(super) async fn run(mut self, stop: Arc<AtomicBool>) -> Sent {
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            // One of the clients streams frames, the others call.
            let count = if self.number == 0 { FRAME } else { 1 };
            let messages: Vec<Message> = (next..next + count).map(|number| self.message(number)).collect();
            next += count;
            let names = self.send(&messages).await;
            if self.rng.random_ratio(1, REPEAT_ONE_IN) {
                self.repeat(&messages, &names).await;
            }
            if self.rng.random_ratio(1, CANCEL_ONE_IN) {
                self.cancel(&names).await;
            }
            self.tally.fetch_add(names.len() as u64, Ordering::Relaxed);
            self.acknowledge(&names);
            let pause = self.rng.random_range(0..PAUSE_MS_MAX * count);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.sent
    }

    /// A message of its own for every number; the same number of the same seed gives the same message.
    fn message(&self, number: u64) -> Message {
        let mut rng = StdRng::seed_from_u64(self.seed ^ (self.number << 32) ^ (number << 40));
        let bot = rng.random_range(0..BOTS);
        let recipient = 10_000_000 + bot as u64 * 100 + rng.random_range(0..RECIPIENTS);
        let priorities = [Priority::Conversation, Priority::Campaign, Priority::Automation];
        let body = format!("campaign {}, sender {}, message {number}", self.seed, self.number);
        Message {
            bot: format!("bots/{}", Fleet::bot(bot)),
            recipient: format!("+55219{recipient:08}"),
            content: Some(Content { kind: Some(Kind::Text(Text { body })) }),
            priority: priorities[rng.random_range(0..priorities.len())].into(),
            idempotency_key: format!("chaos-{}-{}-{number}", self.seed, self.number),
            ..Message::default()
        }
    }

    /// Sends with the same keys until the server has acknowledged all of them.
    async fn send(&mut self, messages: &[Message]) -> Vec<String> {
        loop {
            match tokio::time::timeout(CALL_PATIENCE, self.call(messages)).await {
                Ok(Ok(names)) => return names,
                Ok(Err(status)) if !is_passing(&status) => {
                    let facts = format!("a good message was refused: {}: {}", status.code(), status.message());
                    self.timeline.violation("CONDUCT", facts);
                    return Vec::new();
                }
                // Nobody knows what became of the call: the key decides.
                Ok(Err(_)) | Err(_) => {
                    let pause = self.rng.random_range(1..RETRY_PAUSE_MS_MAX);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }

    async fn call(&mut self, messages: &[Message]) -> Result<Vec<String>, Status> {
        let name = |message: Option<Message>| message.map(|message| message.name).ok_or_else(|| incomplete("message"));
        match messages {
            [message] => {
                let request = SendMessageRequest { message: Some(message.clone()) };
                Ok(vec![name(self.client.send_message(request).await?.into_inner().message)?])
            }
            messages => {
                let request = SendMessagesRequest { messages: messages.to_vec() };
                let mut answers = self.client.send_messages(tokio_stream::once(request)).await?.into_inner();
                let answer = answers.message().await?.ok_or_else(|| incomplete("stream"))?;
                let results = answer.results.into_iter().map(|result| match result.result {
                    Some(SendAnswer::Name(name)) => Ok(name),
                    Some(SendAnswer::Refusal(refusal)) => Err(Status::new(Code::from(refusal.code), refusal.reason)),
                    None => Err(incomplete("result")),
                });
                results.collect()
            }
        }
    }

    /// Sends acknowledged keys again: the answer must name the same messages.
    async fn repeat(&mut self, messages: &[Message], names: &[String]) {
        let again = self.send(messages).await;
        if again != names {
            let facts = format!("a key that was acknowledged as {names:?} was acknowledged again as {again:?}");
            self.timeline.violation("P1", facts);
        }
        self.sent.repeated += names.len() as u64;
    }

    /// Asks for messages to be taken back. Whether that still works is the server's to say, and nobody asks twice.
    async fn cancel(&mut self, names: &[String]) {
        for name in names {
            let request = CancelMessageRequest { name: name.clone() };
            // A refusal says that the message has left; no answer says nothing.
            let _ = tokio::time::timeout(CALL_PATIENCE, self.client.cancel_message(request)).await;
        }
    }

    fn acknowledge(&mut self, names: &[String]) {
        for name in names {
            match MessageId::from_resource_name(name) {
                Ok(id) => self.sent.acknowledged.push(id),
                Err(_) => self.timeline.violation("CONDUCT", format!("`{name}` is no name of a message")),
            }
        }
    }
}

/// Whether an error says something about the moment and not about the message.
pub(super) fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
    )
}

fn incomplete(what: &str) -> Status {
    Status::unavailable(format!("the answer lacks its {what}"))
}
