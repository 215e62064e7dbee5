//! Messages and statuses as the gateway writes them, in answers and webhooks alike.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::ledger::{Content, Kind, Status};

/// The content as the protocol has it, and the name of its type.
fn body(content: &Content, peer: &str) -> (Value, &'static str) {
    let text = content.text.as_deref();
    let name = match content.kind {
        Kind::Text => return (json!({"conversation": text}), "conversation"),
        Kind::Reaction => {
            let key = json!({"id": content.reaction_to, "remoteJid": peer});
            return (json!({"reactionMessage": {"key": key, "text": text}}), "reactionMessage");
        }
        Kind::Location => "locationMessage",
        Kind::Contact => "contactMessage",
        Kind::Poll => "pollCreationMessage",
        Kind::Image => "imageMessage",
        Kind::Video => "videoMessage",
        Kind::Audio | Kind::Voice => "audioMessage",
        Kind::Document => "documentMessage",
        Kind::Sticker => "stickerMessage",
        Kind::VideoNote => "ptvMessage",
    };
    let inner = match &content.media {
        // Places, contacts and polls are kept as the JSON they came as.
        None => text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null),
        Some(media) => {
            let mut inner = Map::new();
            inner.insert("url".into(), media.url.clone().into());
            inner.insert("mimetype".into(), media.mimetype.clone().into());
            inner.insert("fileName".into(), media.file_name.clone().into());
            inner.insert("fileLength".into(), media.bytes.map(|bytes| bytes.to_string()).into());
            inner.insert("caption".into(), text.into());
            if content.kind == Kind::Voice {
                inner.insert("ptt".into(), true.into());
            }
            inner.retain(|_, value| !value.is_null());
            Value::Object(inner)
        }
    };
    (json!({name: inner}), name)
}

/// A message of the instance: the answer to its send, and the data of `send.message`.
pub(crate) fn sent_message(instance_id: &str, peer: &str, network_id: &str, content: &Content, at: Timestamp) -> Value {
    let (message, message_type) = body(content, peer);
    let context = content.quoted.as_ref().map(|quoted| json!({"stanzaId": quoted}));
    json!({
        "key": {"remoteJid": peer, "fromMe": true, "id": network_id},
        "pushName": "Você",
        "status": Status::Pending.as_str(),
        "message": message,
        "contextInfo": context,
        "messageType": message_type,
        "messageTimestamp": at.as_second(),
        "instanceId": instance_id,
        "source": "web",
    })
}

/// The data of `messages.upsert` for a message from outside.
pub(crate) fn inbound_message(instance_id: &str, peer: &str, network_id: &str, text: &str, at: Timestamp) -> Value {
    json!({
        "key": {"remoteJid": peer, "fromMe": false, "id": network_id},
        "pushName": crate::evolution::jid::user(peer),
        "status": Status::DeliveryAck.as_str(),
        "message": {"conversation": text},
        "contextInfo": Value::Null,
        "messageType": "conversation",
        "messageTimestamp": at.as_second(),
        "instanceId": instance_id,
        "source": "ios",
    })
}

/// The data of `messages.update`, and a row of `findStatusMessage` but for its own id.
pub(crate) fn status_update(instance_id: &str, row_id: &str, network_id: &str, peer: &str, status: Status) -> Value {
    json!({
        "messageId": row_id,
        "keyId": network_id,
        "remoteJid": peer,
        "fromMe": true,
        "participant": Value::Null,
        "status": status.as_str(),
        "pollUpdates": Value::Null,
        "instanceId": instance_id,
    })
}
