//! `/chat`: number checks, courtesies, and what is known about messages.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::answer::Problem;
use super::super::call::Call;
use super::super::jid;
use super::super::mailbox::{Message, row_id};
use super::super::schema::{NUMBER, PropertyKind, Schema, plain, whole};
use super::super::shape;
use super::{Answer, created, ok};
use crate::delay::DELAY_MS_MAX;
use crate::ledger::{LedgerEvent, Status};

const NUMBERS: Schema =
    Schema { path: "", properties: &[("numbers", plain(PropertyKind::Texts { min: 1 }))], required: &["numbers"] };

const READ: Schema = Schema {
    path: "",
    properties: &[("readMessages", plain(PropertyKind::List { min: 1 }))],
    required: &["readMessages"],
};

const READ_ITEM: Schema = Schema {
    path: "readMessages[0]",
    properties: &[
        ("id", plain(PropertyKind::Text)),
        ("fromMe", plain(PropertyKind::Boolean)),
        ("remoteJid", plain(PropertyKind::Text)),
    ],
    required: &["id", "fromMe", "remoteJid"],
};

const PRESENCE: Schema = Schema {
    path: "",
    properties: &[
        NUMBER,
        ("presence", plain(PropertyKind::OneOf(&["unavailable", "available", "composing", "recording", "paused"]))),
        ("delay", plain(PropertyKind::Number)),
    ],
    required: &["number", "presence", "delay"],
};

/// Rows per page when the caller names no number.
const PAGE_DEFAULT: usize = 50;

/// Most rows per page; the product has no bound.
const PAGE_MAX: usize = 1000;

/// The pause before a call goes on, as a caller wrote it in ms: negative ones are none.
pub(super) fn delay_of(value: Option<&Value>) -> Duration {
    let ms = value.and_then(|value| whole(value).or_else(|| value.as_f64().map(|ms| ms as i64))).unwrap_or(0);
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).min(DELAY_MS_MAX))
}

pub(super) async fn whatsapp_numbers(call: Call) -> Answer {
    NUMBERS.check(&call.form.fields, call.gateway.behaviour.nested_schema_errors)?;
    let setting = call.gateway.faults.of(&call.instance.name);
    let mut state = call.instance.lock();
    let numbers = call.form.fields.get("numbers").and_then(Value::as_array).into_iter().flatten();
    let mut answer = Vec::new();
    for number in numbers.filter_map(Value::as_str) {
        let jid = jid::normalise(number);
        if !state.is_reachable(&setting) && state.mailbox.known(&jid).is_none() {
            return Err(socket_error());
        }
        let exists = call.gateway.is_on_network(&jid);
        let mut row = json!({"jid": jid, "exists": exists, "number": number});
        if exists {
            state.mailbox.confirm(&jid);
            row["name"] = jid::user(&jid).into();
            row["lid"] = format!("{}@lid", jid::user(&jid).chars().rev().collect::<String>()).into();
        }
        answer.push(row);
    }
    ok(answer.into())
}

/// The socket's exception as this route passes it on: in its own shape.
fn socket_error() -> Problem {
    let payload = json!({"statusCode": 428, "error": "Precondition Required", "message": "Connection Closed"});
    Problem::Raw(
        StatusCode::BAD_REQUEST,
        json!({
            "data": Value::Null,
            "isBoom": true,
            "isServer": false,
            "output": {"statusCode": 428, "payload": payload, "headers": {}},
        }),
    )
}

pub(super) async fn mark_message_as_read(call: Call) -> Answer {
    let nested = call.gateway.behaviour.nested_schema_errors;
    READ.check(&call.form.fields, nested)?;
    let items = call.form.fields.get("readMessages").and_then(Value::as_array).into_iter().flatten();
    let items: Vec<_> = items.map(|item| item.as_object().cloned().unwrap_or_default()).collect();
    for item in &items {
        READ_ITEM.check(item, nested)?;
    }
    let setting = call.gateway.faults.of(&call.instance.name);
    if !call.instance.lock().is_reachable(&setting) {
        let messages = vec!["Read messages fail".into(), "Error: Connection Closed".into()];
        return Err(Problem::Typed(StatusCode::INTERNAL_SERVER_ERROR, messages));
    }
    for item in &items {
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let chat = text("remoteJid");
        // Other addresses are passed over without a word.
        if chat.ends_with("@s.whatsapp.net") || jid::is_group(chat) {
            call.gateway.mark_read(&call.instance, chat, text("id"));
        }
    }
    created(json!({"message": "Read messages", "read": "success"}))
}

pub(super) async fn send_presence(call: Call) -> Answer {
    PRESENCE.check(&call.form.fields, call.gateway.behaviour.nested_schema_errors)?;
    let jid = jid::normalise(call.form.text("number").unwrap_or_default());
    let reachable = || {
        let setting = call.gateway.faults.of(&call.instance.name);
        call.instance.lock().is_reachable(&setting)
    };
    if !reachable() {
        return Err(Problem::wrapped_connection_closed());
    }
    if !call.gateway.is_on_network(&jid) {
        return Err(Problem::bad_request("[object Object]"));
    }
    if !call.wire.pause(delay_of(call.form.fields.get("delay"))).await {
        return Err(Problem::Silence);
    }
    if !reachable() {
        return Err(Problem::wrapped_connection_closed());
    }
    created(json!({"presence": call.form.text("presence")}))
}

/// Which page of how many rows: `page` from 1, and `offset`, which is the page's size.
fn page_of(call: &Call) -> (usize, usize) {
    let number = |name: &str| {
        let value = call.form.fields.get(name).and_then(whole).and_then(|number| usize::try_from(number).ok());
        value.filter(|number| *number > 0)
    };
    (number("page").unwrap_or(1), number("offset").unwrap_or(PAGE_DEFAULT).min(PAGE_MAX))
}

/// Where the page begins.
fn skip_of(page: usize, size: usize) -> usize {
    (page - 1).saturating_mul(size)
}

/// What a row needs of a message.
struct Row {
    network_id: Arc<str>,
    peer: Arc<str>,
    row_id: String,
    start: u64,
    at: Timestamp,
    history: Vec<Status>,
}

impl Row {
    fn of(message: &Message) -> Self {
        Row {
            network_id: message.network_id.clone(),
            peer: message.peer.clone(),
            row_id: message.row_id(),
            start: message.start,
            at: message.at,
            history: message.history().to_vec(),
        }
    }
}

pub(super) async fn find_messages(call: Call) -> Answer {
    let (page, size) = page_of(&call);
    let key = |name: &'static str| call.form.text_in(&["where", "key", name]);
    let (id, peer, row) = (key("id"), key("remoteJid"), call.form.text_in(&["where", "id"]));
    let from_me =
        call.form.fields.get("where").and_then(|filter| filter.pointer("/key/fromMe")) == Some(&Value::Bool(true));
    let rows: Vec<Row> = {
        let state = call.instance.lock();
        let fits = |message: &&Message| {
            message.stored
                && id.is_none_or(|id| *id == *message.network_id)
                && peer.is_none_or(|peer| *peer == *message.peer)
                && row.is_none_or(|row| *row == message.row_id())
                && (!from_me || message.from_me)
        };
        state.mailbox.iter().rev().filter(fits).map(Row::of).collect()
    };
    let total = rows.len();
    let ledger = call.gateway.ledger.clone();
    let instance_id = call.instance.id.clone();
    let read = tokio::task::spawn_blocking(move || {
        let page = rows.iter().skip(skip_of(page, size)).take(size);
        page.map(|row| Ok(record(&instance_id, row, ledger.line_at(row.start)?.entry.event)))
            .collect::<std::io::Result<Vec<_>>>()
    });
    let records = read.await.map_err(Problem::broken)?.map_err(Problem::broken)?;
    ok(json!({"messages": {
        "total": total,
        "pages": total.div_ceil(size),
        "currentPage": page,
        "records": records,
    }}))
}

/// A message as `findMessages` shows it.
fn record(instance_id: &str, row: &Row, event: LedgerEvent) -> Value {
    let mut shown = match &event {
        LedgerEvent::Accepted(accepted) => {
            shape::sent_message(instance_id, &row.peer, &row.network_id, &accepted.content, row.at)
        }
        LedgerEvent::Inbound { text, .. } => {
            shape::inbound_message(instance_id, &row.peer, &row.network_id, text, row.at)
        }
        LedgerEvent::Status { .. } | LedgerEvent::MarkedRead { .. } => Value::Null,
    };
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("status");
        fields.insert("id".to_owned(), row.row_id.clone().into());
        let updates: Vec<_> = row.history.iter().map(|status| json!({"status": status.as_str()})).collect();
        fields.insert("MessageUpdate".to_owned(), updates.into());
    }
    shown
}

pub(super) async fn find_status_message(call: Call) -> Answer {
    let (page, size) = page_of(&call);
    let (id, peer) = (call.form.text_in(&["where", "id"]), call.form.text_in(&["where", "remoteJid"]));
    let state = call.instance.lock();
    let one;
    let candidates: Box<dyn Iterator<Item = &Message>> = match id {
        None => Box::new(state.mailbox.iter()),
        Some(id) => {
            one = state.mailbox.find(id).and_then(|index| state.mailbox.get(index));
            Box::new(one.into_iter())
        }
    };
    let rows = candidates
        .filter(|message| message.stored && peer.is_none_or(|peer| *peer == *message.peer))
        .flat_map(|message| message.history().iter().zip(0u64..).map(move |(status, place)| (message, *status, place)));
    let rows = rows.skip(skip_of(page, size)).take(size).map(|(message, status, place)| {
        let mut row =
            shape::status_update(&call.instance.id, &message.row_id(), &message.network_id, &message.peer, status);
        // A row of its own: as many as there can be statuses of one message.
        row["id"] = row_id(message.seq * 4 + place).into();
        row
    });
    ok(rows.collect())
}
