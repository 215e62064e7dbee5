//! A message that somebody sent to a bot.

use jiff::Timestamp;

use crate::content::Content;
use crate::{Address, BotId, MessageId, Violation};

/// An inbound message as an agent reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInbound {
    /// The bot that received it.
    pub bot: BotId,
    /// The network's own id: the same id from the same bot is the same message.
    pub network_id: String,
    /// Who sent it; in a group, the group.
    pub sender: Address,
    /// The person within a group.
    pub participant: Option<Address>,
    /// The sender's name as the network shows it.
    pub sender_name: String,
    /// What it says.
    pub content: Content,
    /// The network's id of the message that it answers.
    pub reply_to: Option<String>,
    /// When it was received.
    pub receive_time: Timestamp,
}

/// An inbound message with its id. Ids are issued like those of outbound messages, and are a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Its id.
    pub id: InboundId,
    /// What was received.
    pub received: NewInbound,
}

/// Id of an inbound message, in the order in which they became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundId(pub MessageId);

impl InboundId {
    /// The collection of the API that holds inbound messages.
    pub const COLLECTION: &'static str = "inboundMessages";

    /// The name of the inbound message in the API.
    pub fn resource_name(self) -> String {
        format!("{}/{}", Self::COLLECTION, self.0)
    }

    /// Reads `inboundMessages/{id}` or the bare id.
    pub fn from_resource_name(name: &str) -> Result<Self, Violation> {
        MessageId::from_resource_name(name.strip_prefix("inboundMessages/").unwrap_or(name)).map(InboundId)
    }
}
