//! Evolution API v2, the unofficial WhatsApp gateway, as of 2.3.x with what 2.4 adds.
//!
//! An instance of the product bears the id of its bot. Three rules shape the adapter:
//! - `201 PENDING` means "handed to the socket", and an error may follow a message that went out. What a status and a body
//!   say about a send is decided in `errors` and `send` and nowhere else.
//! - `state: open` is not health. The adapter reports it as the product tells it; the supervisor draws the conclusions.
//! - Courtesies are calls of their own before the send, not the `delay` of the send itself: while such a send blocks, a
//!   lost line would leave a message in doubt that nobody had sent yet.
//!
//! | file | subject |
//! |---|---|
//! | `client` | one HTTP request, and whether its bytes may have left |
//! | `errors` | what an error answer says |
//! | `send` | a message: courtesies, body, verdict |
//! | `instance` | set-up, link, login and restart of an instance |
//! | `chat` | recipients and read marks |
//! | `webhook` | what the product posts to us |
//! | `close` | why a login ended |
//! | `jid` | addresses as the product spells them |

mod chat;
mod client;
mod close;
mod errors;
mod instance;
mod jid;
mod send;
mod webhook;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::bot::Connection;
use muster_domain::{Address, BotId};
use url::Url;

use self::client::Client;
use crate::contract::{
    CallError, Event, Gateway, LinkProgress, LinkRequest, RecipientStatus, SendError, SendRequest, Sent, WebhookError,
    WebhookRequest, WebhookTarget,
};
use crate::registry::ConfigError;
use crate::secret::Secret;

/// How the product is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvolutionConfig {
    /// Where it listens, such as `http://127.0.0.1:8080`. A path is kept as a prefix of every route.
    pub base_url: Url,
    /// The global key (`AUTHENTICATION_API_KEY`): the only one that can create instances.
    pub api_key: Secret,
    /// Longest call apart from sends, which carry their own bound.
    pub call_timeout: Duration,
    /// Longest wait for a connection. Within it nothing has been sent, so it must be the shorter one.
    pub connect_timeout: Duration,
}

/// The adapter. Holds connections to the product and no state of bots or messages.
#[derive(Debug)]
pub struct EvolutionGateway {
    client: Client,
}

impl EvolutionGateway {
    /// Checks the configuration. Calls nothing yet.
    pub fn new(config: EvolutionConfig) -> Result<Self, ConfigError> {
        Ok(EvolutionGateway { client: Client::new(config)? })
    }
}

#[async_trait]
impl Gateway for EvolutionGateway {
    async fn send(&self, bot: &BotId, request: SendRequest<'_>) -> Result<Sent, SendError> {
        send::send(&self.client, bot, request).await
    }

    async fn probe(&self) -> Result<String, CallError> {
        instance::probe(&self.client).await
    }

    async fn connection(&self, bot: &BotId) -> Result<Connection, CallError> {
        instance::connection(&self.client, bot).await
    }

    async fn ensure(&self, bot: &BotId, webhook: &WebhookTarget) -> Result<Connection, CallError> {
        instance::ensure(&self.client, bot, webhook).await
    }

    async fn link(&self, bot: &BotId, request: &LinkRequest) -> Result<LinkProgress, CallError> {
        instance::link(&self.client, bot, request).await
    }

    async fn restart(&self, bot: &BotId) -> Result<(), CallError> {
        instance::restart(&self.client, bot).await
    }

    async fn logout(&self, bot: &BotId) -> Result<(), CallError> {
        instance::logout(&self.client, bot).await
    }

    async fn check_recipients(&self, bot: &BotId, addresses: &[Address]) -> Result<Vec<RecipientStatus>, CallError> {
        chat::check_recipients(&self.client, bot, addresses).await
    }

    async fn mark_read(&self, bot: &BotId, chat: &Address, network_id: &str) -> Result<(), CallError> {
        chat::mark_read(&self.client, bot, chat, network_id, self.client.call_timeout()).await
    }

    fn read_webhook(&self, request: &WebhookRequest<'_>) -> Result<Vec<Event>, WebhookError> {
        webhook::read(request)
    }
}
