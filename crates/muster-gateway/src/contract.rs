//! The contract between the agent and a gateway product.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_domain::bot::Connection;
use muster_domain::content::{Content, Courtesy};
use muster_domain::failure::Failure;
use muster_domain::message::ReceiptKind;
use muster_domain::reconnect::CloseReason;
use muster_domain::{Address, BotId, MessageId, Timestamp};

/// A gateway product that the agent can reach.
///
/// Calls are bounded in time by the adapter. None of them retries: a second try is a decision that belongs to others.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Hands one message to the network. The one call whose failure has to say whether the message may have left.
    async fn send(&self, bot: &BotId, request: SendRequest<'_>) -> Result<Sent, SendError>;

    /// Whether the gateway answers at all, and its version. Needs no credential.
    async fn probe(&self) -> Result<String, CallError>;

    /// The bot's login as the gateway sees it. Not proof of health: gateways report logins whose every send fails.
    async fn connection(&self, bot: &BotId) -> Result<Connection, CallError>;

    /// Makes the bot known to the gateway if it is not, points its webhooks at `webhook`, and brings an existing login up.
    /// Idempotent: called whenever a bot is declared and whenever the agent starts.
    async fn ensure(&self, bot: &BotId, webhook: &WebhookTarget) -> Result<Connection, CallError>;

    /// Starts a link, or asks for the present code of one that runs. The code changes; later ones come as [`Event::Link`].
    async fn link(&self, bot: &BotId, request: &LinkRequest) -> Result<LinkProgress, CallError>;

    /// Brings a lost connection back up without a new link.
    async fn restart(&self, bot: &BotId) -> Result<(), CallError>;

    /// Removes the login: the device is unlinked, and only a new link brings it back.
    async fn logout(&self, bot: &BotId) -> Result<(), CallError>;

    /// Which addresses exist on the network. Costs standing with the network: for a person's question, never for lists.
    async fn check_recipients(&self, bot: &BotId, addresses: &[Address]) -> Result<Vec<RecipientStatus>, CallError>;

    /// Marks an inbound message as read.
    async fn mark_read(&self, bot: &BotId, chat: &Address, network_id: &str) -> Result<(), CallError>;

    /// Reads a webhook of this product. `Err` tells the caller to refuse the request: forged, or no webhook of the product.
    /// An authentic webhook about something that is not used here gives no events.
    fn read_webhook(&self, request: &WebhookRequest<'_>) -> Result<Vec<Event>, WebhookError>;
}

/// One message to hand over.
#[derive(Debug, Clone, Copy)]
pub struct SendRequest<'a> {
    /// Muster's id, for gateways that take one of ours.
    pub message_id: MessageId,
    /// The recipient.
    pub recipient: &'a Address,
    /// What it says.
    pub content: &'a Content,
    /// The bytes of a stored medium, if the content has one.
    pub media: Option<&'a Bytes>,
    /// The network's id of the inbound message that this one answers.
    pub reply_to: Option<&'a str>,
    /// What is done around a reply, before it leaves.
    pub courtesy: Courtesy,
    /// How long the call may take, courtesies aside.
    pub timeout: Duration,
}

/// A message that the gateway took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The network's id, by which receipts name the message.
    pub network_id: String,
}

/// A message that the gateway did not take, or may have taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Provably not sent.
    #[error("{0}")]
    NotSent(Failure),
    /// Bytes of the request left, and no verdict came back that can be trusted.
    #[error("may have been sent: {0}")]
    Unknown(Failure),
}

impl SendError {
    /// Why, whichever of the two it is.
    pub fn failure(&self) -> &Failure {
        match self {
            SendError::NotSent(failure) | SendError::Unknown(failure) => failure,
        }
    }

    /// Why, whichever of the two it is.
    pub fn into_failure(self) -> Failure {
        match self {
            SendError::NotSent(failure) | SendError::Unknown(failure) => failure,
        }
    }
}

/// A call other than a send that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed: {failure}")]
pub struct CallError {
    /// Which call, in the words of the product.
    pub call: &'static str,
    /// Why.
    pub failure: Failure,
}

/// Where the gateway should post its webhooks for a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTarget {
    /// Full address, with the path that names gateway and bot.
    pub url: String,
    /// Shared secret that the gateway repeats in a header.
    pub secret: String,
}

/// A webhook as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct WebhookRequest<'a> {
    /// The bot that the path names.
    pub bot: &'a BotId,
    /// The secret that was agreed with the gateway.
    pub secret: &'a str,
    /// Headers, names in lower case.
    pub headers: &'a [(String, String)],
    /// The raw body.
    pub body: &'a [u8],
}

/// Why a webhook is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The shared secret is missing or wrong.
    #[error("the webhook does not carry the agreed secret")]
    Forged,
    /// The body is not what the product sends.
    #[error("the body is no webhook of this product")]
    Malformed,
    /// The body names another bot than the path.
    #[error("the webhook is about another bot than its path names")]
    OtherBot,
}

/// How a link is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkRequest {
    /// Asks for a pairing code to be typed on the phone with this number, beside the QR code.
    pub pairing_address: Option<Address>,
}

/// Where a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkProgress {
    /// A code waits to be scanned or typed.
    Code {
        /// The text of the QR code.
        qr: String,
        /// The code to type instead, if one was asked for.
        pairing_code: Option<String>,
    },
    /// The gateway is still preparing a code; it comes as [`Event::Link`].
    Preparing,
    /// The bot is linked.
    Linked {
        /// The bot's own address, where the gateway tells it.
        address: Option<Address>,
    },
    /// Nobody linked in time.
    Expired,
}

/// Whether a recipient exists on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientStatus {
    /// The address that was asked about.
    pub address: Address,
    /// Whether it can be reached.
    pub exists: bool,
    /// The address under which the network knows it, if that differs.
    pub network_address: Option<Address>,
}

/// Something that a gateway tells by webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What became of a message that was sent.
    Receipt {
        /// The network's id of the message.
        network_id: String,
        /// What the network says.
        kind: ReceiptKind,
        /// Why it was refused, if it was.
        failure: Option<Failure>,
    },
    /// The network confirms that a message left the bot: also for messages whose HTTP answer was lost.
    Echo {
        /// The network's id of the message.
        network_id: String,
        /// The recipient.
        recipient: Address,
        /// What it says, as far as it has a form here: the address of a medium is the network's own.
        content: Option<Content>,
    },
    /// Somebody wrote to the bot.
    Inbound {
        /// The network's id of the message.
        network_id: String,
        /// Who wrote; in a group, the group.
        sender: Address,
        /// The person within a group.
        participant: Option<Address>,
        /// The name that the network shows.
        sender_name: String,
        /// What it says.
        content: Content,
        /// The network's id of the message that it answers.
        reply_to: Option<String>,
        /// When the network says that it was sent.
        time: Option<Timestamp>,
    },
    /// The login came up.
    Connected {
        /// The bot's own address, where the gateway tells it.
        address: Option<Address>,
    },
    /// The gateway is bringing the login up.
    Connecting,
    /// The login went down.
    Closed {
        /// Why.
        reason: CloseReason,
        /// The product's own code and words.
        detail: String,
    },
    /// A link moved on.
    Link(LinkProgress),
}
