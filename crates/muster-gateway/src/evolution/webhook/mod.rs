//! What the product posts to us: authentication, envelope, and the events that are used.
//!
//! The product signs nothing. It can repeat a static header, or send a short-lived token under the name `jwt_key`. Only the
//! static header is accepted: the token covers no more of the request than the header does, and it is made once per event, so
//! it has expired by the late tries of a delivery, and refusing those would lose the event for good.
//!
//! There is no event id and no order: the receiver takes duplicates and late events as they come. An answer of 400, 401, 403,
//! 404 or 422 makes the product drop the event, so only what is no webhook of the product is refused; what is merely not
//! known here gives no events.

mod field;
mod inbound;
mod login;
mod receipt;

use muster_domain::reconnect::CloseReason;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::contract::{Event, WebhookError, WebhookRequest};

/// The header that carries the agreed secret.
pub(super) const SECRET_HEADER: &str = "x-muster-webhook-secret";

/// The events that the product is asked for, sorted: exactly those that are read below.
pub(super) const EVENTS: &[&str] = &[
    "CONNECTION_UPDATE",
    "LOGOUT_INSTANCE",
    "MESSAGES_UPDATE",
    "MESSAGES_UPSERT",
    "QRCODE_UPDATED",
    "REMOVE_INSTANCE",
    "SEND_MESSAGE",
    "STATUS_INSTANCE",
];

/// Reads one webhook. Never panics, whatever the bytes; the caller bounds their number.
pub(super) fn read(request: &WebhookRequest<'_>) -> Result<Vec<Event>, WebhookError> {
    if !is_authentic(request) {
        return Err(WebhookError::Forged);
    }
    let envelope: Value = serde_json::from_slice(request.body).map_err(|_| WebhookError::Malformed)?;
    let text = |name: &str| envelope.get(name).and_then(Value::as_str).ok_or(WebhookError::Malformed);
    let (event, instance) = (text("event")?, text("instance")?);
    if instance != request.bot.as_str() {
        return Err(WebhookError::OtherBot);
    }
    let items = match envelope.get("data") {
        Some(Value::Array(items)) => items.as_slice(),
        Some(item) => std::slice::from_ref(item),
        None => &[Value::Null],
    };
    let each = |read: fn(&Value) -> Option<Event>| items.iter().filter_map(read).collect();
    Ok(match event.to_ascii_lowercase().replace('_', ".").as_str() {
        "messages.update" => each(receipt::status),
        "send.message" => each(receipt::echo),
        "messages.upsert" => each(inbound::message),
        "connection.update" => each(login::state),
        "status.instance" => each(login::status),
        "qrcode.updated" => each(login::code),
        // Both take the credentials away; only a new link helps.
        "logout.instance" => {
            vec![Event::Closed { reason: CloseReason::LoggedOut, detail: "logged out at the gateway".into() }]
        }
        "remove.instance" => {
            vec![Event::Closed { reason: CloseReason::LoggedOut, detail: "instance removed at the gateway".into() }]
        }
        _ => Vec::new(),
    })
}

/// Whether the request carries the agreed secret. Compared in constant time: the answer's timing tells nothing about it.
fn is_authentic(request: &WebhookRequest<'_>) -> bool {
    let mut found = request.headers.iter().filter(|(name, _)| name == SECRET_HEADER).map(|(_, value)| value);
    match (found.next(), found.next()) {
        // An empty secret was never agreed on.
        (Some(value), None) => {
            !request.secret.is_empty() && bool::from(value.as_bytes().ct_eq(request.secret.as_bytes()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
