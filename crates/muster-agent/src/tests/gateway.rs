//! A gateway that does what the text of a message says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use muster_domain::bot::Connection;
use muster_domain::content::Content;
use muster_domain::failure::{Failure, FailureReason, Scope};
use muster_domain::message::ReceiptKind;
use muster_domain::reconnect::CloseReason;
use muster_domain::{Address, BotId};
use muster_gateway::{
    CallError, Event, Gateway, LinkProgress, LinkRequest, RecipientStatus, SendError, SendRequest, Sent, WebhookError,
    WebhookRequest, WebhookTarget,
};
use tokio::sync::Semaphore;

/// The gateway. Texts: `ok`, `retry` (refused, comes again), `refuse` (refused for good), `down` (not connected), `unknown`,
/// `hang` (answers `ok` once [`Scripted::release`] was called), `lost` (hangs likewise, and then is unknown), `flaky N` (refused N
/// times, comes again, and then `ok`).
pub(super) struct Scripted {
    sent: Mutex<Vec<(String, i64)>>,
    taken: Mutex<Vec<i64>>,
    calls: Mutex<Vec<String>>,
    pub(super) webhook: Mutex<Option<WebhookTarget>>,
    pub(super) connection: Mutex<Connection>,
    released: Semaphore,
    pub(super) is_away: AtomicBool,
    /// The bytes of media that came with sends.
    pub(super) media: Mutex<Vec<Vec<u8>>>,
}

impl Default for Scripted {
    fn default() -> Self {
        Scripted {
            sent: Mutex::default(),
            taken: Mutex::default(),
            calls: Mutex::default(),
            webhook: Mutex::default(),
            connection: Mutex::new(Connection::Connected),
            released: Semaphore::new(0),
            is_away: AtomicBool::new(false),
            media: Mutex::default(),
        }
    }
}

impl Scripted {
    /// Messages that reached the gateway, with their bots, in order.
    pub(super) fn sent(&self) -> Vec<i64> {
        self.sent.lock().unwrap().iter().map(|(_, message)| *message).collect()
    }

    /// Messages that the gateway took, in order.
    pub(super) fn taken(&self) -> Vec<i64> {
        self.taken.lock().unwrap().clone()
    }

    /// Other calls, in order.
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// Lets so many hanging sends go on.
    pub(super) fn release(&self, count: usize) {
        self.released.add_permits(count);
    }

    fn called<T>(&self, call: &'static str, answer: T) -> Result<T, CallError> {
        self.calls.lock().unwrap().push(call.to_owned());
        if self.is_away.load(Ordering::Relaxed) {
            return Err(CallError { call, failure: Failure::new(FailureReason::GatewayUnavailable, "away") });
        }
        Ok(answer)
    }
}

#[async_trait]
impl Gateway for Scripted {
    async fn send(&self, bot: &BotId, request: SendRequest<'_>) -> Result<Sent, SendError> {
        let text = match request.content {
            Content::Text { body } => body.as_str(),
            _ => "ok",
        };
        if let Some(bytes) = request.media {
            self.media.lock().unwrap().push(bytes.to_vec());
        }
        let message = request.message_id.raw();
        let tries = self.sent().iter().filter(|sent| **sent == message).count();
        self.sent.lock().unwrap().push((bot.to_string(), message));
        let not_sent = |reason, detail| Err(SendError::NotSent(Failure::new(reason, detail)));
        match text.split_once(' ').unwrap_or((text, "0")) {
            ("retry", _) => {
                let busy = Failure::new(FailureReason::RateLimited, "busy").of(Scope::Recipient);
                return Err(SendError::NotSent(busy));
            }
            ("limited", _) => return not_sent(FailureReason::RateLimited, "slow down"),
            ("refuse", _) => return not_sent(FailureReason::ContentRejected, "no"),
            ("down", _) => return not_sent(FailureReason::NotConnected, "closed"),
            ("unknown", _) => return Err(SendError::Unknown(Failure::new(FailureReason::OutcomeUnknown, "reset"))),
            ("flaky", times) if tries < times.parse().unwrap() => return not_sent(FailureReason::RateLimited, "later"),
            ("lost", _) => {
                self.released.acquire().await.unwrap().forget();
                return Err(SendError::Unknown(Failure::new(FailureReason::OutcomeUnknown, "reset")));
            }
            ("hang", _) => self.released.acquire().await.unwrap().forget(),
            _ => {}
        }
        self.taken.lock().unwrap().push(message);
        Ok(Sent { network_id: format!("id-{message}") })
    }

    async fn probe(&self) -> Result<String, CallError> {
        self.called("probe", "1".to_owned())
    }

    async fn connection(&self, _bot: &BotId) -> Result<Connection, CallError> {
        self.called("connection", *self.connection.lock().unwrap())
    }

    async fn ensure(&self, bot: &BotId, webhook: &WebhookTarget) -> Result<Connection, CallError> {
        if bot.as_str() == "a" {
            *self.webhook.lock().unwrap() = Some(webhook.clone());
        }
        self.called("ensure", *self.connection.lock().unwrap())
    }

    async fn link(&self, _bot: &BotId, request: &LinkRequest) -> Result<LinkProgress, CallError> {
        let pairing_code = request.pairing_address.as_ref().map(|_| "ABCD-1234".to_owned());
        self.called("link", LinkProgress::Code { qr: "1@qr".to_owned(), pairing_code })
    }

    async fn restart(&self, _bot: &BotId) -> Result<(), CallError> {
        self.called("restart", ())
    }

    async fn logout(&self, _bot: &BotId) -> Result<(), CallError> {
        self.called("logout", ())
    }

    async fn check_recipients(&self, _bot: &BotId, addresses: &[Address]) -> Result<Vec<RecipientStatus>, CallError> {
        let exists =
            |address: &Address| RecipientStatus { address: address.clone(), exists: true, network_address: None };
        self.called("check_recipients", addresses.iter().map(exists).collect())
    }

    async fn mark_read(&self, _bot: &BotId, _chat: &Address, _network_id: &str) -> Result<(), CallError> {
        self.called("mark_read", ())
    }

    /// Bodies: `receipt ID`, `inbound ID`, `echo ID TEXT`, `closed`, `connected`, `linked`, `nothing`; anything else is malformed.
    fn read_webhook(&self, request: &WebhookRequest<'_>) -> Result<Vec<Event>, WebhookError> {
        if !request.headers.iter().any(|(name, value)| name == "x-secret" && value == request.secret) {
            return Err(WebhookError::Forged);
        }
        let body = std::str::from_utf8(request.body).map_err(|_| WebhookError::Malformed)?;
        let event = match body.split_once(' ').unwrap_or((body, "")) {
            ("receipt", id) => {
                Event::Receipt { network_id: id.to_owned(), kind: ReceiptKind::Delivered, failure: None }
            }
            ("inbound", id) => Event::Inbound {
                network_id: id.to_owned(),
                sender: Address::from_stored("+5511900000002"),
                participant: None,
                sender_name: "Ana".to_owned(),
                content: Content::Text { body: "hi".to_owned() },
                reply_to: None,
                time: None,
            },
            ("echo", said) => {
                let (network_id, body) = said.split_once(' ').unwrap();
                Event::Echo {
                    network_id: network_id.to_owned(),
                    recipient: Address::from_stored("+5511900000001"),
                    content: Some(Content::Text { body: body.to_owned() }),
                }
            }
            ("closed", _) => Event::Closed { reason: CloseReason::Lost, detail: "408".to_owned() },
            ("connected", _) => Event::Connected { address: Some(Address::from_stored("+5511900000009")) },
            ("nothing", _) => return Ok(Vec::new()),
            ("other", _) => return Err(WebhookError::OtherBot),
            _ => return Err(WebhookError::Malformed),
        };
        Ok(vec![event])
    }
}
