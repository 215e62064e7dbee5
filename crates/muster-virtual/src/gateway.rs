//! A gateway in the process of the simulation, with a ledger of its own that nobody but the checks reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::bot::Connection;
use muster_domain::content::Content;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::{Address, BotId, MessageId};
use muster_gateway::{
    CallError, Event, Gateway, LinkProgress, LinkRequest, RecipientStatus, SendError, SendRequest, Sent, WebhookError,
    WebhookRequest, WebhookTarget,
};

use crate::receipts::{self, Mailbox};
use crate::storm::Weather;

/// A message that the network took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// When.
    pub(crate) at: Duration,
    /// From whose hands.
    pub(crate) agent: String,
    pub(crate) bot: BotId,
    pub(crate) recipient: Address,
    pub(crate) message: MessageId,
    /// What it says.
    pub(crate) body: String,
    /// What the network calls it.
    pub(crate) network_id: String,
}

impl Taken {
    /// The message's name at the server.
    pub(crate) fn name(&self) -> String {
        self.message.resource_name()
    }
}

/// What the network took, in order. Clones are the same ledger.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<Taken>>>);

impl Ledger {
    /// Everything that was taken so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.entries().clone()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gateway, as one agent reaches it.
pub(crate) struct VirtualGateway {
    pub(crate) agent: String,
    pub(crate) mailbox: Mailbox,
    pub(crate) weather: Weather,
    pub(crate) ledger: Ledger,
}

/// What becomes of one send.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It takes a while.
    Slow,
    /// Refused, for now.
    Refused(FailureReason),
    /// Taken, and the answer is lost.
    AnswerLost,
    /// Lost on the way, and nobody can tell.
    RequestLost,
    /// No answer for longer than anybody waits; taken at once.
    HangsTaken,
    /// No answer for longer than anybody waits; never taken.
    Hangs,
}

impl VirtualGateway {
    fn take(&self, bot: &BotId, request: &SendRequest<'_>) -> Sent {
        let body = match request.content {
            Content::Text { body } => body.clone(),
            _ => String::new(),
        };
        let message = request.message_id;
        self.weather.chronicle.event(&self.agent, format_args!("TAKEN {bot} {message} {body}"));
        let at = self.weather.time.now();
        let (agent, recipient) = (self.agent.clone(), request.recipient.clone());
        let mut entries = self.ledger.entries();
        let network_id = format!("net-{}", entries.len());
        self.mailbox.tells_of(bot, &recipient, &network_id);
        entries.push(Taken { at, agent, bot: bot.clone(), recipient, message, body, network_id: network_id.clone() });
        Sent { network_id }
    }

    async fn wait(&self, least_ms: u64, most_ms: u64) {
        tokio::time::sleep(self.weather.chance.millis(least_ms, most_ms)).await;
    }
}

#[async_trait]
impl Gateway for VirtualGateway {
    async fn send(&self, bot: &BotId, request: SendRequest<'_>) -> Result<Sent, SendError> {
        let Weather { chance, chronicle, .. } = &self.weather;
        self.wait(1, 30).await;
        if self.weather.strikes(self.weather.odds.gateway) {
            let fate = chance.pick(&[
                Fate::Slow,
                Fate::Refused(FailureReason::RateLimited),
                Fate::Refused(FailureReason::GatewayUnavailable),
                Fate::Refused(FailureReason::NotConnected),
                Fate::Refused(FailureReason::ContentRejected),
                Fate::AnswerLost,
                Fate::RequestLost,
                Fate::HangsTaken,
                Fate::Hangs,
            ]);
            chronicle.fault(&self.agent, "gateway", format_args!("{fate:?} {}", request.message_id));
            let unknown = || SendError::Unknown(Failure::new(FailureReason::OutcomeUnknown, "the answer was lost"));
            match fate {
                Fate::Slow => self.wait(200, 1_500).await,
                Fate::Refused(reason) => {
                    let mut failure = Failure::new(reason, "not now");
                    failure.retry_after = Some(chance.millis(100, 3_000));
                    return Err(SendError::NotSent(failure));
                }
                Fate::AnswerLost => {
                    self.take(bot, &request);
                    self.wait(1, 500).await;
                    return Err(unknown());
                }
                Fate::RequestLost => {
                    self.wait(1, 500).await;
                    return Err(unknown());
                }
                Fate::HangsTaken => {
                    self.take(bot, &request);
                    return std::future::pending().await;
                }
                Fate::Hangs => return std::future::pending().await,
            }
        }
        let sent = self.take(bot, &request);
        self.wait(1, 30).await;
        Ok(sent)
    }

    async fn probe(&self) -> Result<String, CallError> {
        Ok("1".to_owned())
    }

    async fn connection(&self, _bot: &BotId) -> Result<Connection, CallError> {
        self.wait(1, 10).await;
        Ok(Connection::Connected)
    }

    async fn ensure(&self, _bot: &BotId, _webhook: &WebhookTarget) -> Result<Connection, CallError> {
        self.wait(1, 10).await;
        Ok(Connection::Connected)
    }

    async fn link(&self, _bot: &BotId, _request: &LinkRequest) -> Result<LinkProgress, CallError> {
        Ok(LinkProgress::Linked { address: None })
    }

    async fn restart(&self, _bot: &BotId) -> Result<(), CallError> {
        Ok(())
    }

    async fn logout(&self, _bot: &BotId) -> Result<(), CallError> {
        Ok(())
    }

    async fn check_recipients(&self, _bot: &BotId, _addresses: &[Address]) -> Result<Vec<RecipientStatus>, CallError> {
        Ok(Vec::new())
    }

    async fn mark_read(&self, _bot: &BotId, _chat: &Address, _network_id: &str) -> Result<(), CallError> {
        Ok(())
    }

    fn read_webhook(&self, request: &WebhookRequest<'_>) -> Result<Vec<Event>, WebhookError> {
        Ok(vec![receipts::read(request.body).ok_or(WebhookError::Malformed)?])
    }
}
