//! What becomes of messages that the bot sent.

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::ReceiptKind;
use serde_json::Value;

use super::super::jid;
use super::{field, inbound};
use crate::contract::Event;

/// `messages.update`: the status of one message. Statuses skip, repeat and overtake each other; `None` for those that say
/// nothing new (handed to the socket, edited, deleted), and for messages of others.
pub(super) fn status(item: &Value) -> Option<Event> {
    let key = item.get("key");
    let from_bot = item.get("fromMe").or_else(|| key?.get("fromMe")).and_then(Value::as_bool);
    if from_bot == Some(false) {
        return None;
    }
    let network_id = field::network_id(item.get("keyId").or_else(|| key?.get("id")))?;
    let status = item.get("status").or_else(|| item.pointer("/update/status"))?;
    let kind = match field::integer(Some(status)) {
        Some(0) => ReceiptKind::Failed,
        Some(2) => ReceiptKind::Acknowledged,
        Some(3) => ReceiptKind::Delivered,
        Some(4 | 5) => ReceiptKind::Read,
        Some(_) => return None,
        None => match status.as_str()? {
            "ERROR" => ReceiptKind::Failed,
            "SERVER_ACK" => ReceiptKind::Acknowledged,
            "DELIVERY_ACK" => ReceiptKind::Delivered,
            "READ" | "PLAYED" => ReceiptKind::Read,
            _ => return None,
        },
    };
    // The network's code is lost on the way through the product. What it may have been (a lock for new chats) shows only in
    // the pattern of many messages, which is not seen from here.
    let failure = (kind == ReceiptKind::Failed).then(|| {
        Failure::new(FailureReason::Internal, "the network refused the message; the gateway passes on no reason")
    });
    Some(Event::Receipt { network_id, kind, failure })
}

/// `send.message`: a message that the product handed over for the bot, including those whose HTTP answer was lost.
pub(super) fn echo(item: &Value) -> Option<Event> {
    let key = item.get("key")?;
    if key.get("fromMe").and_then(Value::as_bool) == Some(false) {
        return None;
    }
    let network_id = field::network_id(key.get("id"))?;
    let alternative = key.get("remoteJidAlt").and_then(Value::as_str);
    let recipient = jid::address_of_either(key.get("remoteJid")?.as_str()?, alternative)?;
    Some(Event::Echo { network_id, recipient, content: inbound::said(item) })
}
