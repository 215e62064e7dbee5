//! What the server believes, and what the simulated network took: the two sides of [`crate::check`].

use std::collections::{HashMap, HashSet};

use muster_client::{Error, Server};
use muster_domain::content::MediaDigest;
use muster_domain::message::{MessageState, Priority};
use muster_domain::{BotId, MessageId};
use muster_proto::v1::{self, content::Kind, media::Source};
use muster_simulator::{AdminClient, AdminError, LedgerEvent, Status, content_sha256, normalise_jid};

use crate::check::{Believed, Taken};

/// Rows of one page.
const PAGE_ROWS: i32 = muster_domain::limits::PAGE_SIZE_MAX as i32;

/// Facts that could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The server did not tell.
    #[error("read the server's messages: {0}")]
    Server(#[from] Error),
    /// The simulator did not tell.
    #[error("read the simulator's ledger: {0}")]
    Ledger(#[from] AdminError),
    /// The server told something that is no message of ours.
    #[error("the server told a message that cannot be read: {0}")]
    Unreadable(String),
}

/// Hashes contents as the ledger does. Needs the bytes of stored media, which the server does not give out.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    media: HashMap<String, Vec<u8>>,
}

impl Contents {
    /// Knows these media.
    pub fn new(media: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let media = media.into_iter().map(|bytes| (MediaDigest::of(&bytes).resource_name(), bytes));
        Contents { media: media.collect() }
    }

    /// The hash of a content; `None` for one whose bytes are not known here.
    pub fn hash(&self, content: &v1::Content) -> Option<String> {
        let (media, caption) = match content.kind.as_ref()? {
            Kind::Text(text) => return Some(content_sha256(text.body.as_bytes(), None)),
            Kind::Reaction(reaction) => return Some(content_sha256(reaction.emoji.as_bytes(), None)),
            Kind::Image(image) => (&image.media, image.caption.as_str()),
            Kind::Document(document) => (&document.media, document.caption.as_str()),
            Kind::Audio(audio) => (&audio.media, ""),
            Kind::Unsupported(_) => return None,
        };
        let body = match media.as_ref()?.source.as_ref()? {
            Source::Url(url) => url.as_bytes(),
            Source::Media(name) => self.media.get(name)?,
        };
        Some(content_sha256(body, Some(caption).filter(|caption| !caption.is_empty())))
    }
}

/// How many contents are looked up; each takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Of every message.
    All,
    /// Only where a network id is missing, which is where the content decides what belongs together.
    WhereItDecides,
}

/// All messages of the server, in the order of acceptance.
pub async fn believed(server: &Server, contents: &Contents, look: Look) -> Result<Vec<Believed>, FactsError> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListMessagesRequest { page_size: PAGE_ROWS, page_token, filter: None };
        let page = server.messages().list_messages(request).await.map_err(Error::from)?.into_inner();
        for message in page.messages {
            all.push(one(server, contents, look, message).await?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    all.sort_by_key(|believed| believed.id);
    Ok(all)
}

async fn one(server: &Server, contents: &Contents, look: Look, message: v1::Message) -> Result<Believed, FactsError> {
    let unreadable = |what: &str| FactsError::Unreadable(format!("{}: {what}", message.name));
    let known = !message.network_id.is_empty();
    let content = if look == Look::All || !known {
        let request = v1::GetMessageRequest { name: message.name.clone() };
        let full = server.messages().get_message(request).await.map_err(Error::from)?.into_inner().message;
        full.and_then(|message| message.content).and_then(|content| contents.hash(&content))
    } else {
        None
    };
    Ok(Believed {
        id: MessageId::from_resource_name(&message.name).map_err(|_| unreadable("its name"))?,
        bot: BotId::from_resource_name(&message.bot).map_err(|_| unreadable("its bot"))?,
        recipient: normalise_jid(&message.recipient),
        priority: priority(message.priority()),
        state: state(message.state()).ok_or_else(|| unreadable("its state"))?,
        network_id: known.then(|| message.network_id.clone()),
        content,
    })
}

fn priority(wire: v1::Priority) -> Priority {
    match wire {
        v1::Priority::Unspecified | v1::Priority::Campaign => Priority::Campaign,
        v1::Priority::Conversation => Priority::Conversation,
        v1::Priority::Automation => Priority::Automation,
    }
}

fn state(wire: v1::MessageState) -> Option<MessageState> {
    muster_proto::convert::v1::message::state(wire.into()).ok()
}

/// All messages that the network took, in its order.
pub async fn taken(admin: &AdminClient) -> Result<Vec<Taken>, FactsError> {
    let lines = admin.ledger().await?;
    let mut given: HashSet<(String, Status)> = HashSet::new();
    for line in &lines {
        if let LedgerEvent::Status { network_id, status } = &line.entry.event {
            given.insert((network_id.clone(), *status));
        }
    }
    let was_given = |id: &str, status: Status| given.contains(&(id.to_owned(), status));
    let taken = lines.into_iter().filter_map(|line| match line.entry.event {
        LedgerEvent::Accepted(accepted) => Some(Taken {
            seq: line.seq,
            bot: line.entry.instance,
            recipient: accepted.recipient,
            delivered: was_given(&accepted.network_id, Status::DeliveryAck),
            read: was_given(&accepted.network_id, Status::Read),
            pending: accepted.plan.iter().any(|status| !was_given(&accepted.network_id, *status)),
            network_id: accepted.network_id,
            content: accepted.sha256,
        }),
        LedgerEvent::Status { .. } | LedgerEvent::Inbound { .. } | LedgerEvent::MarkedRead { .. } => None,
    });
    Ok(taken.collect())
}
