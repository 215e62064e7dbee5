//! `/instance`: accounts and their links.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::super::answer::Problem;
use super::super::call::{Call, Form, OpenCall, key};
use super::super::event::Event;
use super::super::gateway::{Gateway, new_token};
use super::super::instance::{ConnectionState, Instance, InstanceRecord, Integration, Login};
use super::super::jid;
use super::super::link::{self, LOGGED_OUT};
use super::super::outbox::After;
use super::super::schema::{PropertyKind, Schema, plain};
use super::super::webhook::Webhook;
use super::{Answer, created, ok, settings, webhook};

const CREATE: Schema = Schema {
    path: "",
    properties: &[
        ("instanceName", plain(PropertyKind::Text)),
        ("token", plain(PropertyKind::Text)),
        ("number", plain(PropertyKind::Text)),
        ("businessId", plain(PropertyKind::Text)),
        ("qrcode", plain(PropertyKind::Boolean)),
        ("rejectCall", plain(PropertyKind::Boolean)),
        ("msgCall", plain(PropertyKind::Text)),
        ("groupsIgnore", plain(PropertyKind::Boolean)),
        ("alwaysOnline", plain(PropertyKind::Boolean)),
        ("readMessages", plain(PropertyKind::Boolean)),
        ("readStatus", plain(PropertyKind::Boolean)),
        ("syncFullHistory", plain(PropertyKind::Boolean)),
        ("wavoipToken", plain(PropertyKind::Text)),
        ("proxyHost", plain(PropertyKind::Text)),
        ("proxyPort", plain(PropertyKind::Text)),
        ("proxyProtocol", plain(PropertyKind::Text)),
        ("proxyUsername", plain(PropertyKind::Text)),
        ("proxyPassword", plain(PropertyKind::Text)),
        ("webhook", plain(PropertyKind::Object)),
    ],
    required: &["instanceName"],
};

const PRESENCE: Schema = Schema {
    path: "",
    properties: &[(
        "presence",
        plain(PropertyKind::OneOf(&["unavailable", "available", "composing", "recording", "paused"])),
    )],
    required: &["presence"],
};

/// How long a proxy may take to answer the test when an instance is created with it.
const PROXY_TEST: Duration = Duration::from_secs(5);

pub(super) async fn create(State(gateway): State<Arc<Gateway>>, call: OpenCall) -> Answer {
    let form = &call.form;
    if let Some(name) = form.text("instanceName").filter(|name| gateway.instance(name).is_some()) {
        return Err(name_taken(name));
    }
    if !gateway.is_global_key(key(&call.headers)) {
        return Err(Problem::unauthorized());
    }
    CREATE.check(&form.fields, gateway.behaviour.nested_schema_errors)?;
    let record = read_record(form, gateway.ledger.last_seq())?;
    if !proxy_answers(form).await {
        return Err(Problem::bad_request("Invalid proxy"));
    }
    let (number, settings) = (record.number.clone(), settings::show(&record.settings));
    let name = record.name.clone();
    let instance = gateway.create(record).ok_or_else(|| name_taken(&name))?;
    {
        let mut state = instance.lock();
        let data = json!({"instanceName": &*instance.name, "instanceId": instance.id});
        gateway.emit(&instance, &mut state, Event::InstanceCreate, &data);
        if form.is_true("qrcode") && instance.integration == Integration::Baileys {
            gateway.start_socket(&instance, &mut state, number);
        }
    }
    gateway.state.saved().await;
    if form.is_true("qrcode") && !call.wire.pause(Duration::from_millis(gateway.behaviour.create_wait_ms)).await {
        return Err(Problem::Silence);
    }
    let state = instance.lock();
    let hook = form.fields.get("webhook").and_then(Value::as_object).cloned().unwrap_or_default();
    let hook = |name: &str| hook.get(name).cloned().unwrap_or(Value::Null);
    let business = instance.integration == Integration::Business;
    let mut answer = json!({
        "instance": {
            "instanceName": &*instance.name,
            "instanceId": instance.id,
            "integration": instance.integration,
            "webhookWaBusiness": business.then(|| format!("{}/webhook/meta", gateway.url)),
            "accessTokenWaBusiness": "",
            "status": state.socket.state.as_str(),
        },
        "hash": instance.token,
        "webhook": {
            "webhookUrl": hook("url"),
            "webhookHeaders": hook("headers"),
            "webhookByEvents": hook("byEvents"),
            "webhookBase64": hook("base64"),
        },
        "websocket": {"enabled": false},
        "rabbitmq": {"enabled": false},
        "nats": {"enabled": false},
        "sqs": {"enabled": false},
        "settings": settings,
    });
    if form.is_true("qrcode") && instance.integration == Integration::Baileys {
        answer["qrcode"] = state.link_code();
    }
    created(answer)
}

fn name_taken(name: &str) -> Problem {
    Problem::Typed(StatusCode::FORBIDDEN, vec![format!("This name \"{name}\" is already in use.").into()])
}

/// The instance that a valid body asks for.
fn read_record(form: &Form, after_seq: u64) -> Result<InstanceRecord, Problem> {
    let number = form.text("number").map(str::to_owned);
    // `^\d+[.@\w-]+`: a digit, and one more character of a number or a JID.
    let mut start = number.as_deref().unwrap_or("00").chars();
    let begins_well = start.next().is_some_and(|c| c.is_ascii_digit())
        && start.next().is_some_and(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c));
    if !begins_well {
        return Err(Problem::bad_request("number does not match pattern \"^\\\\d+[\\\\.@\\\\w-]+\""));
    }
    let integration = form.fields.get("integration").and_then(|value| serde_json::from_value(value.clone()).ok());
    let integration = integration.ok_or_else(|| Problem::bad_request("Invalid integration"))?;
    if integration == Integration::Business && number.is_none() {
        return Err(Problem::bad_request("number is required"));
    }
    let baileys = integration == Integration::Baileys;
    let owner = number.as_deref().filter(|_| !baileys).map(jid::normalise);
    Ok(InstanceRecord {
        name: form.text("instanceName").unwrap_or_default().to_owned(),
        id: Uuid::new_v4().to_string(),
        token: form.text("token").filter(|token| !token.is_empty()).map_or_else(new_token, str::to_owned),
        integration,
        number,
        settings: settings::from_form(form),
        webhook: read_webhook(form)?,
        state: if baileys { ConnectionState::Close } else { ConnectionState::Open },
        login: if baileys { Login::None } else { Login::Linked },
        owner,
        disconnection: None,
        created_at: Timestamp::now(),
        after_seq,
    })
}

/// The webhook of a create body: always enabled, if there is one.
fn read_webhook(form: &Form) -> Result<Option<Webhook>, Problem> {
    let Some(fields) = form.fields.get("webhook").and_then(Value::as_object) else { return Ok(None) };
    let mut fields: Map<String, Value> = fields.clone();
    fields.insert("enabled".to_owned(), true.into());
    // Here the product catches what is thrown, and wraps its text.
    let wrap = |problem| match problem {
        Problem::Plain(_, message) => Problem::bad_request(message),
        problem => problem,
    };
    webhook::from_fields(&fields, None).map(Some).map_err(wrap)
}

/// Whether the proxy of a create body takes a connection; without a proxy there is nothing to refuse.
async fn proxy_answers(form: &Form) -> bool {
    let (Some(host), Some(port), Some(_)) =
        (form.text("proxyHost"), form.text("proxyPort"), form.text("proxyProtocol"))
    else {
        return true;
    };
    let Ok(port) = port.parse::<u16>() else { return false };
    matches!(tokio::time::timeout(PROXY_TEST, TcpStream::connect((host, port))).await, Ok(Ok(_)))
}

pub(super) async fn connect(call: Call) -> Answer {
    if is_unloaded(&call) {
        return ok(hidden_error(&Problem::no_instance(&call.instance.name)));
    }
    let number = call.query.get("number").filter(|number| !number.is_empty()).cloned();
    let waits = {
        let mut state = call.instance.lock();
        match state.socket.state {
            ConnectionState::Open => return ok(show_state(&call.instance, Some(ConnectionState::Open))),
            ConnectionState::Connecting => false,
            ConnectionState::Close => {
                call.gateway.start_socket(&call.instance, &mut state, number);
                true
            }
        }
    };
    if waits && !call.wire.pause(Duration::from_millis(call.gateway.behaviour.connect_wait_ms)).await {
        return Err(Problem::Silence);
    }
    let code = call.instance.lock().link_code();
    ok(code)
}

pub(super) async fn connection_state(call: Call) -> Answer {
    let state = (!is_unloaded(&call)).then(|| call.instance.lock().socket.state);
    ok(show_state(&call.instance, state))
}

fn show_state(instance: &Instance, state: Option<ConnectionState>) -> Value {
    match state {
        Some(state) => json!({"instance": {"instanceName": &*instance.name, "state": state.as_str()}}),
        None => json!({"instance": {"instanceName": &*instance.name}}),
    }
}

/// An error in a status of success: what was thrown, turned into a text.
fn hidden_error(problem: &Problem) -> Value {
    json!({"error": true, "message": problem.as_caught_text()})
}

fn is_unloaded(call: &Call) -> bool {
    call.gateway.faults.of(&call.instance.name).faults.unloaded
}

pub(super) async fn restart(call: Call) -> Answer {
    let mut state = call.instance.lock();
    if is_unloaded(&call) || state.socket.state == ConnectionState::Close {
        return ok(hidden_error(&Problem::not_connected(&call.instance.name)));
    }
    call.gateway.restart(&call.instance, &mut state);
    ok(show_state(&call.instance, Some(state.socket.state)))
}

pub(super) async fn set_presence(call: Call) -> Answer {
    PRESENCE.check(&call.form.fields, call.gateway.behaviour.nested_schema_errors)?;
    let setting = call.gateway.faults.of(&call.instance.name);
    if !call.instance.lock().is_reachable(&setting) {
        return Err(Problem::wrapped_connection_closed());
    }
    created(json!({"presence": call.form.text("presence")}))
}

pub(super) async fn logout(call: Call) -> Answer {
    let mut state = call.instance.lock();
    if state.socket.state == ConnectionState::Close {
        return Err(Problem::not_connected(&call.instance.name));
    }
    call.gateway.close_for_good(&call.instance, &mut state, LOGGED_OUT);
    ok(success("Instance logged out"))
}

pub(super) async fn delete(call: Call) -> Answer {
    let (gateway, instance) = (&call.gateway, &call.instance);
    let mut state = instance.lock();
    if state.socket.state != ConnectionState::Close {
        gateway.close_for_good(instance, &mut state, LOGGED_OUT);
    }
    let data = json!({"instanceName": &*instance.name, "instanceId": instance.id});
    gateway.emit(instance, &mut state, Event::InstanceDelete, &data);
    gateway.emit_then(instance, &mut state, Event::RemoveInstance, &Value::Null, After::Remove(instance.clone()));
    ok(success("Instance deleted"))
}

fn success(message: &str) -> Value {
    json!({"status": "SUCCESS", "error": false, "response": {"message": message}})
}

pub(super) async fn fetch_instances(State(gateway): State<Arc<Gateway>>, call: OpenCall) -> Answer {
    let key = key(&call.headers).ok_or_else(Problem::unauthorized)?;
    let wanted = |name: &str| call.query.get(name).filter(|value| !value.is_empty());
    let (name, id, number) = (wanted("instanceName"), wanted("instanceId"), wanted("number"));
    let mut found = gateway.all();
    found.retain(|instance| {
        let number_fits = number.is_none_or(|number| instance.lock().number.as_ref() == Some(number));
        number_fits && name.is_none_or(|name| *name == *instance.name) && id.is_none_or(|id| *id == instance.id)
    });
    if !gateway.is_global_key(Some(key)) {
        found.retain(|instance| instance.token == key);
        if found.is_empty() {
            return Err(Problem::unauthorized());
        }
    }
    if let Some(asked) = id.or(number).or(name).filter(|_| found.is_empty()) {
        return Err(Problem::Typed(StatusCode::NOT_FOUND, vec![format!("Instance \"{asked}\" not found").into()]));
    }
    ok(found.iter().map(|instance| show_row(instance)).collect())
}

/// An instance's row, token and all.
fn show_row(instance: &Instance) -> Value {
    let state = instance.lock();
    let (messages, people) = state.mailbox.counts();
    let gone = state.disconnection.as_ref();
    let created_at = format!("{:.3}", instance.created_at);
    json!({
        "id": instance.id,
        "name": &*instance.name,
        "connectionStatus": state.socket.state.as_str(),
        "ownerJid": state.owner,
        "profileName": state.profile_name(),
        "profilePicUrl": Value::Null,
        "integration": instance.integration,
        "number": state.number,
        "businessId": Value::Null,
        "token": instance.token,
        "clientName": "evolution_exchange",
        "disconnectionReasonCode": gone.map(|gone| gone.code),
        "disconnectionObject": gone.map(|gone| link::disconnection_object(gone.code)),
        "disconnectionAt": gone.map(|gone| format!("{:.3}", gone.at)),
        "createdAt": created_at,
        "updatedAt": created_at,
        "Chatwoot": Value::Null,
        "Proxy": Value::Null,
        "Rabbitmq": Value::Null,
        "Nats": Value::Null,
        "Sqs": Value::Null,
        "Websocket": Value::Null,
        "Setting": settings::show(&state.settings),
        "_count": {"Message": messages, "Contact": people, "Chat": people},
    })
}
