//! `/webhook`: where an instance's events go.

use std::sync::Arc;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::answer::Problem;
use super::super::call::Call;
use super::super::event::SUBSCRIPTIONS;
use super::super::schema::{PropertyKind, Schema, plain};
use super::super::webhook::Webhook;
use super::{Answer, created, ok};

const BODY: Schema =
    Schema { path: "", properties: &[("webhook", plain(PropertyKind::Object))], required: &["webhook"] };

const WEBHOOK: Schema = Schema {
    path: "webhook",
    properties: &[
        ("enabled", plain(PropertyKind::Boolean)),
        ("url", plain(PropertyKind::Text)),
        ("headers", plain(PropertyKind::Object)),
        ("byEvents", plain(PropertyKind::Boolean)),
        ("base64", plain(PropertyKind::Boolean)),
        ("events", plain(PropertyKind::Texts { min: 0 })),
    ],
    required: &["enabled", "url"],
};

/// Reads the settings of a webhook; `previous` lends its id and age. The list of events must be there: the product reads
/// its length without looking.
pub(super) fn from_fields(fields: &Map<String, Value>, previous: Option<&Webhook>) -> Result<Webhook, Problem> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_true = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let enabled = is_true("enabled");
    let listed = fields.get("events").and_then(Value::as_array);
    let events: Vec<String> = match listed {
        _ if !enabled => Vec::new(),
        None => return Err(Problem::undefined("length")),
        Some(list) if list.is_empty() => SUBSCRIPTIONS.map(str::to_owned).to_vec(),
        Some(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    if let Some(at) = events.iter().position(|event| !SUBSCRIPTIONS.contains(&event.as_str())) {
        let message = format!("webhook.events[{at}] is not one of enum values: {}", SUBSCRIPTIONS.join(","));
        return Err(Problem::Typed(StatusCode::BAD_REQUEST, vec![message.into()]));
    }
    let now = Timestamp::now();
    Ok(Webhook {
        id: previous.map_or_else(|| format!("cl{}", &Uuid::new_v4().simple().to_string()[..23]), |old| old.id.clone()),
        enabled,
        url: text("url"),
        headers: fields.get("headers").and_then(Value::as_object).cloned().unwrap_or_default(),
        by_events: is_true("byEvents"),
        base64: is_true("base64"),
        events,
        created_at: previous.map_or(now, |old| old.created_at),
        updated_at: now,
    })
}

pub(super) async fn set(call: Call) -> Answer {
    let nested = call.gateway.behaviour.nested_schema_errors;
    BODY.check(&call.form.fields, nested)?;
    let fields = call.form.fields.get("webhook").and_then(Value::as_object).cloned().unwrap_or_default();
    WEBHOOK.check(&fields, nested)?;
    let shown = {
        let mut state = call.instance.lock();
        let webhook = from_fields(&fields, state.webhook.as_deref())?;
        let shown = webhook.show(&call.instance.id);
        state.webhook = Some(Arc::new(webhook));
        shown
    };
    call.gateway.state.saved().await;
    created(shown)
}

pub(super) async fn find(call: Call) -> Answer {
    let shown = call.instance.lock().webhook.as_ref().map(|webhook| webhook.show(&call.instance.id));
    ok(shown.unwrap_or(Value::Null))
}
