//! What somebody wrote to the bot.

use muster_domain::content::{Content, Media, MediaSource, ReactionTarget};
use muster_domain::limits::{FILE_NAME_CHARS_MAX, NOTE_CHARS_MAX, REACTION_BYTES_MAX, URL_CHARS_MAX};
use serde_json::{Map, Value};

use super::super::jid;
use super::field;
use crate::contract::Event;

/// Messages inside messages that are unwrapped: a disappearing message that holds a captioned document needs two.
const WRAPPERS_MAX: usize = 4;

/// Characters of the product's word for a kind that has no form here.
const KIND_CHARS_MAX: usize = 64;

/// Characters of a media type.
const MIME_TYPE_CHARS_MAX: usize = 100;

/// The network's delivery of a group's keys: comes alone or along with a message.
const GROUP_KEYS: &str = "senderKeyDistributionMessage";

/// `messages.upsert`. `None` for what was typed on the bot's own phone, for what comes from nobody that one could answer
/// (status lists, broadcasts, newsletters), and for the network's own housekeeping.
pub(super) fn message(item: &Value) -> Option<Event> {
    let key = item.get("key")?;
    if key.get("fromMe").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let network_id = field::network_id(key.get("id"))?;
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let sender = jid::address_of_either(text("remoteJid")?, text("remoteJidAlt"))?;
    let participant =
        text("participant").and_then(|participant| jid::address_of_either(participant, text("participantAlt")));
    let message = unwrapped(item.get("message").and_then(Value::as_object));
    let (kind, inner) = message
        .and_then(kind)
        .unwrap_or((item.get("messageType").and_then(Value::as_str).unwrap_or("unknown"), &Value::Null));
    // Deletions, edits and timers of chats; keys of groups.
    if matches!(kind, "protocolMessage" | GROUP_KEYS) {
        return None;
    }
    let stored_url = message.and_then(|message| message.get("mediaUrl"));
    let content = content(kind, inner, stored_url)
        .unwrap_or_else(|| Content::Unsupported { kind: field::label(Some(&Value::from(kind)), KIND_CHARS_MAX) });
    let quoted = inner.pointer("/contextInfo/stanzaId").or_else(|| item.pointer("/contextInfo/stanzaId"));
    Some(Event::Inbound {
        network_id,
        sender,
        participant,
        sender_name: field::label(item.get("pushName"), NOTE_CHARS_MAX),
        content,
        reply_to: field::network_id(quoted),
        time: field::time(item.get("messageTimestamp")),
    })
}

/// What a message says, if it has a form here.
pub(super) fn said(item: &Value) -> Option<Content> {
    let message = unwrapped(item.get("message").and_then(Value::as_object))?;
    let (kind, body) = kind(message)?;
    content(kind, body, message.get("mediaUrl"))
}

/// The message itself, out of what the network puts around it.
fn unwrapped(message: Option<&Map<String, Value>>) -> Option<&Map<String, Value>> {
    const WRAPPERS: [&str; 7] = [
        "deviceSentMessage",
        "documentWithCaptionMessage",
        "editedMessage",
        "ephemeralMessage",
        "viewOnceMessage",
        "viewOnceMessageV2",
        "viewOnceMessageV2Extension",
    ];
    let mut message = message?;
    for _ in 0..WRAPPERS_MAX {
        let inner = WRAPPERS.iter().find_map(|wrapper| message.get(*wrapper)?.get("message")?.as_object());
        match inner {
            Some(inner) => message = inner,
            None => break,
        }
    }
    Some(message)
}

/// The kind of a message and its body: one that has a form here if there is one, else the first field that is neither context
/// nor an addition of the product.
fn kind(message: &Map<String, Value>) -> Option<(&str, &Value)> {
    const KNOWN: [&str; 6] =
        ["conversation", "extendedTextMessage", "imageMessage", "audioMessage", "documentMessage", "reactionMessage"];
    const ASIDE: [&str; 5] = ["messageContextInfo", "base64", "mediaUrl", "speechToText", GROUP_KEYS];
    let known = KNOWN.iter().find_map(|name| message.get_key_value(*name).filter(|(_, body)| !body.is_null()));
    let own = known.or_else(|| message.iter().find(|(name, body)| !ASIDE.contains(&name.as_str()) && !body.is_null()));
    own.or_else(|| message.get_key_value(GROUP_KEYS)).map(|(name, body)| (name.as_str(), body))
}

/// The content, if it has a form here.
fn content(kind: &str, body: &Value, stored_url: Option<&Value>) -> Option<Content> {
    match kind {
        "conversation" => text(field::text(Some(body))),
        "extendedTextMessage" => text(field::text(body.get("text"))),
        "imageMessage" => {
            Some(Content::Image { media: media(body, stored_url, "image/jpeg")?, caption: caption(body) })
        }
        "audioMessage" => Some(Content::Audio { media: media(body, stored_url, "audio/ogg")? }),
        "documentMessage" => Some(Content::Document {
            media: media(body, stored_url, "application/octet-stream")?,
            caption: caption(body),
            file_name: file_name(body),
        }),
        "reactionMessage" => {
            let key = body.get("key")?;
            let target = ReactionTarget {
                network_id: field::network_id(key.get("id"))?,
                from_bot: key.get("fromMe").and_then(Value::as_bool).unwrap_or(false),
                resource: None,
            };
            // Absent or empty: the reaction is taken back.
            let emoji = field::text(body.get("text")).unwrap_or_default();
            (emoji.len() <= REACTION_BYTES_MAX).then_some(Content::Reaction { target, emoji })
        }
        _ => None,
    }
}

fn text(body: Option<String>) -> Option<Content> {
    body.filter(|body| !body.is_empty()).map(|body| Content::Text { body })
}

/// A medium by its address: where the product stored it if it did, else the network's own address, whose bytes are encrypted.
fn media(body: &Value, stored_url: Option<&Value>, mime_type_default: &str) -> Option<Media> {
    let url = stored_url.or_else(|| body.get("url")).and_then(Value::as_str)?;
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if !is_web || url.len() > URL_CHARS_MAX || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let mime_type = field::label(body.get("mimetype"), MIME_TYPE_CHARS_MAX);
    let mime_type = if mime_type.contains('/') { mime_type } else { mime_type_default.to_owned() };
    Some(Media { source: MediaSource::Url(url.to_owned()), mime_type })
}

fn caption(body: &Value) -> String {
    field::text(body.get("caption")).unwrap_or_default()
}

/// The name of a received file, as a plain name: senders choose it.
fn file_name(body: &Value) -> String {
    let name =
        field::label(body.get("fileName").or_else(|| body.get("title")), FILE_NAME_CHARS_MAX).replace(['/', '\\'], "_");
    if name.is_empty() { "document".to_owned() } else { name }
}
