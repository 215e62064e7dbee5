//! Bodies that the product takes, as its schemas spell them.

use std::collections::BTreeMap;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Serialize, Serializer};

/// The integration that Muster creates and drives: a linked device.
pub(super) const INTEGRATION: &str = "WHATSAPP-BAILEYS";

/// The body of a send, by the route that takes it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum SendBody<'a> {
    Text(SendText<'a>),
    Media(SendMedia<'a>),
    Audio(SendAudio<'a>),
    Reaction(SendReaction<'a>),
}

impl SendBody<'_> {
    /// The part of the route that names the operation.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            SendBody::Text(_) => "sendText",
            SendBody::Media(_) => "sendMedia",
            SendBody::Audio(_) => "sendWhatsAppAudio",
            SendBody::Reaction(_) => "sendReaction",
        }
    }
}

/// `POST /message/sendText/{instance}`
#[derive(Serialize)]
pub(super) struct SendText<'a> {
    pub(super) number: &'a str,
    pub(super) text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quoted: Option<Quoted<'a>>,
}

/// `POST /message/sendMedia/{instance}`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendMedia<'a> {
    pub(super) number: &'a str,
    #[serde(rename = "mediatype")]
    pub(super) media_type: &'static str,
    #[serde(rename = "mimetype")]
    pub(super) mime_type: &'a str,
    pub(super) media: MediaValue<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) caption: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) file_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quoted: Option<Quoted<'a>>,
}

/// `POST /message/sendWhatsAppAudio/{instance}`
#[derive(Serialize)]
pub(super) struct SendAudio<'a> {
    pub(super) number: &'a str,
    pub(super) audio: MediaValue<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quoted: Option<Quoted<'a>>,
}

/// `POST /message/sendReaction/{instance}`
#[derive(Serialize)]
pub(super) struct SendReaction<'a> {
    pub(super) key: Key<'a>,
    pub(super) reaction: &'a str,
}

/// The message that a reply answers. Without its text, which the product looks up in its own store.
#[derive(Serialize)]
pub(super) struct Quoted<'a> {
    pub(super) key: Key<'a>,
}

/// A message by the network's id.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key<'a> {
    pub(super) id: &'a str,
    pub(super) remote_jid: &'a str,
    pub(super) from_me: bool,
}

/// A medium: an address, or the bytes as bare base64 (the product refuses the `data:` form).
pub(super) enum MediaValue<'a> {
    /// An address that the product fetches.
    Url(&'a str),
    /// The bytes, encoded while the body is written.
    Bytes(&'a Bytes),
}

impl Serialize for MediaValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            MediaValue::Url(url) => serializer.serialize_str(url),
            MediaValue::Bytes(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

/// `POST /chat/sendPresence/{instance}`
#[derive(Serialize)]
pub(super) struct SendPresence<'a> {
    pub(super) number: &'a str,
    pub(super) presence: &'static str,
    /// Milliseconds for which the call blocks.
    pub(super) delay: u64,
}

/// `POST /chat/markMessageAsRead/{instance}`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkRead<'a> {
    pub(super) read_messages: [Key<'a>; 1],
}

/// `POST /chat/whatsappNumbers/{instance}`
#[derive(Serialize)]
pub(super) struct Numbers<'a> {
    pub(super) numbers: &'a [String],
}

/// `POST /instance/create`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateInstance<'a> {
    pub(super) instance_name: &'a str,
    pub(super) integration: &'static str,
    /// With `true` the call would block and open a link that nobody asked for yet.
    pub(super) qrcode: bool,
    #[serde(flatten)]
    pub(super) settings: Settings,
    pub(super) webhook: Webhook<'a>,
}

/// `POST /settings/set/{instance}`, which needs all of them, and a part of `POST /instance/create`.
#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings {
    pub(super) reject_call: bool,
    pub(super) groups_ignore: bool,
    pub(super) always_online: bool,
    pub(super) read_messages: bool,
    pub(super) read_status: bool,
    pub(super) sync_full_history: bool,
}

/// `POST /webhook/set/{instance}`
#[derive(Serialize)]
pub(super) struct SetWebhook<'a> {
    pub(super) webhook: Webhook<'a>,
}

/// Where and about what the product posts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook<'a> {
    pub(super) enabled: bool,
    pub(super) url: &'a str,
    /// Added to every webhook.
    pub(super) headers: BTreeMap<&'static str, &'a str>,
    /// With `true` the product would append the event's name to the address.
    pub(super) by_events: bool,
    /// With `true` media would come in the body.
    pub(super) base64: bool,
    pub(super) events: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_bare_base64() {
        let bytes = Bytes::from_static(&[0xfb, 0xff, 0x00, 0x01]);
        assert_eq!(serde_json::to_string(&MediaValue::Bytes(&bytes)).unwrap(), "\"+/8AAQ==\"");
    }
}
