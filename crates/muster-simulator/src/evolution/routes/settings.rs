//! `/settings`: what an instance does by itself.

use serde_json::{Value, json};

use super::super::call::Call;
use super::super::instance::Settings;
use super::super::schema::{PropertyKind, Schema, plain};
use super::{Answer, created, ok};

const SETTINGS: Schema = Schema {
    path: "",
    properties: &[
        ("rejectCall", plain(PropertyKind::Boolean)),
        ("msgCall", plain(PropertyKind::Text)),
        ("groupsIgnore", plain(PropertyKind::Boolean)),
        ("alwaysOnline", plain(PropertyKind::Boolean)),
        ("readMessages", plain(PropertyKind::Boolean)),
        ("readStatus", plain(PropertyKind::Boolean)),
        ("syncFullHistory", plain(PropertyKind::Boolean)),
        ("wavoipToken", plain(PropertyKind::Text)),
    ],
    required: &["rejectCall", "groupsIgnore", "alwaysOnline", "readMessages", "readStatus", "syncFullHistory"],
};

/// The settings that a body carries, as far as they have the right type.
pub(super) fn from_form(form: &super::super::call::Form) -> Settings {
    let text = |name| form.text(name).unwrap_or_default().to_owned();
    Settings {
        reject_call: form.is_true("rejectCall"),
        msg_call: text("msgCall"),
        groups_ignore: form.is_true("groupsIgnore"),
        always_online: form.is_true("alwaysOnline"),
        read_messages: form.is_true("readMessages"),
        read_status: form.is_true("readStatus"),
        sync_full_history: form.is_true("syncFullHistory"),
        wavoip_token: text("wavoipToken"),
    }
}

/// The settings as routes show them.
pub(super) fn show(settings: &Settings) -> Value {
    json!({
        "rejectCall": settings.reject_call,
        "msgCall": settings.msg_call,
        "groupsIgnore": settings.groups_ignore,
        "alwaysOnline": settings.always_online,
        "readMessages": settings.read_messages,
        "readStatus": settings.read_status,
        "syncFullHistory": settings.sync_full_history,
        "wavoipToken": settings.wavoip_token,
    })
}

pub(super) async fn set(call: Call) -> Answer {
    SETTINGS.check(&call.form.fields, call.gateway.behaviour.nested_schema_errors)?;
    let settings = from_form(&call.form);
    let shown = show(&settings);
    call.instance.lock().settings = settings;
    call.gateway.state.saved().await;
    created(json!({"settings": {"instanceName": &*call.instance.name, "settings": shown}}))
}

pub(super) async fn find(call: Call) -> Answer {
    let shown = show(&call.instance.lock().settings);
    ok(shown)
}
