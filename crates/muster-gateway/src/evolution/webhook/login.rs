//! What becomes of a bot's login.

use muster_domain::reconnect::CloseReason;
use serde_json::Value;

use super::super::close::{self, RESTART_REQUIRED};
use super::super::instance::link_code;
use super::super::jid;
use super::field;
use crate::contract::{Event, LinkProgress};

/// `connection.update`. A `close` comes for final codes only; for all others the product reconnects by itself and says
/// `connecting`, then `open`.
pub(super) fn state(item: &Value) -> Option<Event> {
    match item.get("state")?.as_str()? {
        "open" => Some(Event::Connected { address: item.get("wuid").and_then(Value::as_str).and_then(jid::address) }),
        "connecting" => Some(Event::Connecting),
        "close" => closed(field::integer(item.get("statusReason"))),
        // The QR codes of a link ran out.
        "refused" => Some(Event::Closed {
            reason: CloseReason::LinkExpired,
            detail: "refused: nobody linked in time".to_owned(),
        }),
        _ => None,
    }
}

/// `status.instance`: comes before the `close` of `connection.update`, with the same code.
pub(super) fn status(item: &Value) -> Option<Event> {
    match item.get("status")?.as_str()? {
        "closed" => closed(field::integer(item.get("disconnectionReasonCode"))),
        _ => None,
    }
}

fn closed(code: Option<i64>) -> Option<Event> {
    match code {
        // A part of every link; the login comes up again at once.
        Some(RESTART_REQUIRED) => None,
        Some(code) => Some(Event::Closed { reason: close::reason(code), detail: close::detail(code) }),
        None => Some(Event::Closed { reason: CloseReason::Unknown, detail: "closed without a code".to_owned() }),
    }
}

/// `qrcode.updated`: the next code of a link, or the end of the codes.
pub(super) fn code(item: &Value) -> Option<Event> {
    match item.get("qrcode") {
        Some(qrcode) => link_code(qrcode).map(Event::Link),
        None => item.get("statusCode").map(|_| Event::Link(LinkProgress::Expired)),
    }
}
