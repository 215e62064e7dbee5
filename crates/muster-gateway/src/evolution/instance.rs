//! Set-up, link, login and restart of an instance.

use muster_domain::BotId;
use muster_domain::bot::Connection;
use muster_domain::failure::{Failure, FailureReason};
use serde_json::Value;

use super::client::{Answer, Client};
use super::errors::{NO_INSTANCE, NO_LOGIN, Verdict, unanswered};
use super::webhook::{EVENTS, SECRET_HEADER};
use super::{close, jid, wire};
use crate::contract::{CallError, LinkProgress, LinkRequest, WebhookTarget};

/// What Muster wants of an instance that it creates. Nothing happens by itself that an operator did not ask for: no presence,
/// no read marks, no refused calls, and no history, which would only delay the first messages.
const SETTINGS: wire::Settings = wire::Settings {
    reject_call: false,
    groups_ignore: false,
    always_online: false,
    read_messages: false,
    read_status: false,
    sync_full_history: false,
};

/// Whether the product answers, and its version.
pub(super) async fn probe(client: &Client) -> Result<String, CallError> {
    const CALL: &str = "GET /";
    let body = accepted(CALL, client, client.get(&[], &[]).await.map_err(unanswered(CALL))?)?;
    let version = body.get("version").and_then(Value::as_str).filter(|version| version.len() <= 64);
    version
        .map(ToOwned::to_owned)
        .ok_or_else(|| unexpected(CALL, "what answers there is not the Evolution API: check url"))
}

/// The bot's login.
pub(super) async fn connection(client: &Client, bot: &BotId) -> Result<Connection, CallError> {
    let state = match state(client, bot).await? {
        None => return Ok(Connection::Unlinked),
        Some(State::Open) => return Ok(Connection::Connected),
        Some(state) => state,
    };
    let row = row(client, bot).await?;
    Ok(row.map_or(Connection::Unlinked, |row| row.login().connection(state)))
}

/// Creates the instance or brings its webhook and settings up to date, and starts a login that exists.
pub(super) async fn ensure(client: &Client, bot: &BotId, webhook: &WebhookTarget) -> Result<Connection, CallError> {
    let Some(row) = row(client, bot).await? else {
        create(client, bot, webhook).await?;
        return Ok(Connection::Unlinked);
    };
    if !row.is_linked_device() {
        let text = "an instance of this name exists with another integration: remove it, or give the bot another id";
        return Err(CallError {
            call: "instance/fetchInstances",
            failure: Failure::new(FailureReason::InvalidRequest, text),
        });
    }
    ensure_webhook(client, bot, webhook).await?;
    ensure_settings(client, bot, &row).await?;
    let Some(state) = state(client, bot).await? else {
        return Ok(Connection::Unlinked);
    };
    match row.login() {
        Login::Intact if state == State::Closed => match connect(client, bot, None).await? {
            LinkProgress::Linked { .. } => Ok(Connection::Connected),
            LinkProgress::Code { .. } | LinkProgress::Preparing | LinkProgress::Expired => Ok(Connection::Disconnected),
        },
        login => Ok(login.connection(state)),
    }
}

/// Starts a link, or asks where it stands.
pub(super) async fn link(client: &Client, bot: &BotId, request: &LinkRequest) -> Result<LinkProgress, CallError> {
    let number = match &request.pairing_address {
        None => None,
        Some(address) => {
            Some(jid::number(address).filter(|number| !number.contains('@')).ok_or_else(|| CallError {
                call: "instance/connect",
                failure: Failure::new(FailureReason::InvalidRequest, "the pairing address is no phone number"),
            })?)
        }
    };
    match connect(client, bot, number.as_deref()).await? {
        LinkProgress::Linked { .. } => {
            Ok(LinkProgress::Linked { address: row(client, bot).await?.and_then(|row| row.owner()) })
        }
        progress => Ok(progress),
    }
}

/// Brings a lost login back up.
pub(super) async fn restart(client: &Client, bot: &BotId) -> Result<(), CallError> {
    const CALL: &str = "instance/restart";
    let not_connected = |text| CallError { call: CALL, failure: Failure::new(FailureReason::NotConnected, text) };
    let state = state(client, bot).await?.ok_or_else(|| not_connected(NO_INSTANCE))?;
    if state == State::Closed {
        // The product restarts only what runs. What is closed is started, but only with a login: without one it would
        // begin to show QR codes that nobody asked for.
        let login = row(client, bot).await?.map(|row| row.login());
        if login != Some(Login::Intact) {
            return Err(not_connected("the bot has no login to bring back: link it first"));
        }
        return connect(client, bot, None).await.map(drop);
    }
    let answer =
        client.post(&["instance", "restart", bot.as_str()], &serde_json::json!({}), client.call_timeout()).await;
    accepted(CALL, client, answer.map_err(unanswered(CALL))?).map(drop)
}

/// Unlinks the device. An instance that has no login, or that is gone, is logged out already.
pub(super) async fn logout(client: &Client, bot: &BotId) -> Result<(), CallError> {
    const CALL: &str = "instance/logout";
    let answer = client.delete(&["instance", "logout", bot.as_str()]).await.map_err(unanswered(CALL))?;
    match Verdict::of(&answer, &[client.api_key()]) {
        Verdict::Refused(failure) if [NO_INSTANCE, NO_LOGIN].contains(&failure.detail.as_str()) => Ok(()),
        verdict => verdict.into_call(CALL),
    }
}

/// The state of an instance in the product's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Connecting,
    /// Closed, refused, or not loaded.
    Closed,
}

/// The instance's state; `None` if the product has no such instance.
async fn state(client: &Client, bot: &BotId) -> Result<Option<State>, CallError> {
    const CALL: &str = "instance/connectionState";
    let answer = client.get(&["instance", "connectionState", bot.as_str()], &[]).await.map_err(unanswered(CALL))?;
    let Some(body) = accepted_or_absent(CALL, client, answer)? else {
        return Ok(None);
    };
    Ok(Some(match body.pointer("/instance/state").and_then(Value::as_str) {
        Some("open") => State::Open,
        Some("connecting") => State::Connecting,
        _ => State::Closed,
    }))
}

/// What the product's database holds about an instance. Contains its token: never logged.
struct Row(Value);

/// Whether there is a login to bring up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    /// Never linked.
    None,
    /// Linked, as far as the product knows.
    Intact,
    /// Ended for good by the network, with this code.
    Ended(i64),
}

impl Login {
    /// The connection of an instance with this login in that state.
    fn connection(self, state: State) -> Connection {
        match (state, self) {
            (State::Open, _) => Connection::Connected,
            (State::Connecting | State::Closed, Login::Intact) => Connection::Disconnected,
            (State::Connecting, Login::None | Login::Ended(_)) => Connection::Linking,
            (State::Closed, Login::None) => Connection::Unlinked,
            (State::Closed, Login::Ended(code)) => close::reason(code).connection(),
        }
    }
}

impl Row {
    fn owner(&self) -> Option<muster_domain::Address> {
        self.0.get("ownerJid").and_then(Value::as_str).and_then(jid::address)
    }

    /// Whether the instance is of the one kind that is driven here. The others answer sends by other rules.
    fn is_linked_device(&self) -> bool {
        self.0.get("integration").and_then(Value::as_str).is_none_or(|integration| integration == wire::INTEGRATION)
    }

    /// Reads the login off the row. The product sets the close code with a final close and never clears it, but stores `open`
    /// with every login: where both stand, the login came later.
    fn login(&self) -> Login {
        if self.owner().is_none() {
            return Login::None;
        }
        let ended = self.0.get("disconnectionReasonCode").and_then(Value::as_i64).filter(|code| close::is_final(*code));
        match ended {
            Some(code) if self.0.get("connectionStatus").and_then(Value::as_str) != Some("open") => Login::Ended(code),
            _ => Login::Intact,
        }
    }

    /// The instance's settings, if the row brings them along.
    fn settings(&self) -> Option<wire::Settings> {
        let flag = |name: &str| self.0.get("Setting")?.get(name)?.as_bool();
        Some(wire::Settings {
            reject_call: flag("rejectCall")?,
            groups_ignore: flag("groupsIgnore")?,
            always_online: flag("alwaysOnline")?,
            read_messages: flag("readMessages")?,
            read_status: flag("readStatus")?,
            sync_full_history: flag("syncFullHistory")?,
        })
    }
}

/// The instance's row; `None` if the product has no such instance.
async fn row(client: &Client, bot: &BotId) -> Result<Option<Row>, CallError> {
    const CALL: &str = "instance/fetchInstances";
    let answer = client
        .get(&["instance", "fetchInstances"], &[("instanceName", bot.as_str())])
        .await
        .map_err(unanswered(CALL))?;
    let Some(body) = accepted_or_absent(CALL, client, answer)? else {
        return Ok(None);
    };
    let Value::Array(rows) = body else {
        return Err(unexpected(CALL, "the answer is no list of instances"));
    };
    Ok(rows.into_iter().find(|row| row.get("name").and_then(Value::as_str) == Some(bot.as_str())).map(Row))
}

async fn create(client: &Client, bot: &BotId, webhook: &WebhookTarget) -> Result<(), CallError> {
    const CALL: &str = "instance/create";
    let body = wire::CreateInstance {
        instance_name: bot.as_str(),
        integration: wire::INTEGRATION,
        qrcode: false,
        settings: SETTINGS,
        webhook: wire_webhook(webhook),
    };
    let answer = client.post(&["instance", "create"], &body, client.call_timeout()).await.map_err(unanswered(CALL))?;
    accepted(CALL, client, answer).map(drop)
}

/// Sets the webhook unless it is what it should be: each set makes the product write its database.
async fn ensure_webhook(client: &Client, bot: &BotId, webhook: &WebhookTarget) -> Result<(), CallError> {
    const FIND: &str = "webhook/find";
    const SET: &str = "webhook/set";
    let answer = client.get(&["webhook", "find", bot.as_str()], &[]).await.map_err(unanswered(FIND))?;
    if is_current(&accepted(FIND, client, answer)?, webhook) {
        return Ok(());
    }
    let body = wire::SetWebhook { webhook: wire_webhook(webhook) };
    let answer =
        client.post(&["webhook", "set", bot.as_str()], &body, client.call_timeout()).await.map_err(unanswered(SET))?;
    accepted(SET, client, answer).map(drop)
}

/// Whether a webhook as the product holds it is the wanted one.
fn is_current(found: &Value, wanted: &WebhookTarget) -> bool {
    let flag = |name: &str| found.get(name).and_then(Value::as_bool).unwrap_or(false);
    let mut events: Vec<_> =
        found.get("events").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    events.sort_unstable();
    events.dedup();
    found.get("url").and_then(Value::as_str) == Some(&wanted.url)
        && flag("enabled")
        && !flag("webhookByEvents")
        && !flag("webhookBase64")
        && found.get("headers").and_then(|headers| headers.get(SECRET_HEADER)).and_then(Value::as_str)
            == Some(&wanted.secret)
        && events == EVENTS
}

fn wire_webhook(webhook: &WebhookTarget) -> wire::Webhook<'_> {
    wire::Webhook {
        enabled: true,
        url: &webhook.url,
        headers: [(SECRET_HEADER, webhook.secret.as_str())].into(),
        by_events: false,
        base64: false,
        events: EVENTS,
    }
}

/// Switches automatic read marks off, and leaves all else of an existing instance to its operator: a read mark tells a person
/// that somebody read what they wrote, so only a courtesy of a reply gives one.
async fn ensure_settings(client: &Client, bot: &BotId, row: &Row) -> Result<(), CallError> {
    const CALL: &str = "settings/set";
    let Some(settings) = row.settings().filter(|settings| settings.read_messages) else {
        return Ok(());
    };
    let body = wire::Settings { read_messages: false, ..settings };
    let answer = client
        .post(&["settings", "set", bot.as_str()], &body, client.call_timeout())
        .await
        .map_err(unanswered(CALL))?;
    accepted(CALL, client, answer).map(drop)
}

/// Starts the socket, or reads the code of a link that runs.
async fn connect(client: &Client, bot: &BotId, number: Option<&str>) -> Result<LinkProgress, CallError> {
    const CALL: &str = "instance/connect";
    let query: Vec<_> = number.map(|number| ("number", number)).into_iter().collect();
    let answer = client.get(&["instance", "connect", bot.as_str()], &query).await.map_err(unanswered(CALL))?;
    let body = accepted(CALL, client, answer)?;
    if body.pointer("/instance/state").and_then(Value::as_str) == Some("open") {
        return Ok(LinkProgress::Linked { address: None });
    }
    Ok(link_code(&body).unwrap_or(LinkProgress::Preparing))
}

/// The code of a link, as the connect call and the QR event spell it.
pub(super) fn link_code(qrcode: &Value) -> Option<LinkProgress> {
    /// Longest text that a QR code can hold.
    const QR_BYTES_MAX: usize = 4_296;
    let text = |name: &str| {
        let text = qrcode.get(name).and_then(Value::as_str)?;
        (1..=QR_BYTES_MAX).contains(&text.len()).then(|| text.to_owned())
    };
    Some(LinkProgress::Code { qr: text("code")?, pairing_code: text("pairingCode") })
}

/// The body of a successful answer; null if it is empty.
fn accepted(call: &'static str, client: &Client, answer: Answer) -> Result<Value, CallError> {
    Verdict::of(&answer, &[client.api_key()]).into_call(call)?;
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&answer.body).map_err(|_| unexpected(call, "the answer is no JSON"))
}

/// The same for calls about an instance that may not exist.
fn accepted_or_absent(call: &'static str, client: &Client, answer: Answer) -> Result<Option<Value>, CallError> {
    match Verdict::of(&answer, &[client.api_key()]) {
        Verdict::Refused(failure) if failure.detail == NO_INSTANCE => Ok(None),
        _ => accepted(call, client, answer).map(Some),
    }
}

fn unexpected(call: &'static str, text: &str) -> CallError {
    CallError { call, failure: Failure::new(FailureReason::Internal, text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_facts_tell_a_link_from_a_lost_login() {
        let owner = "5511900000001@s.whatsapp.net";
        for (row, state, expected) in [
            (json!({ "connectionStatus": "close" }), State::Closed, Connection::Unlinked),
            (json!({ "connectionStatus": "connecting" }), State::Connecting, Connection::Linking),
            (json!({ "ownerJid": owner, "connectionStatus": "open" }), State::Connecting, Connection::Disconnected),
            (
                json!({ "ownerJid": owner, "connectionStatus": "connecting" }),
                State::Connecting,
                Connection::Disconnected,
            ),
            (json!({ "ownerJid": owner, "connectionStatus": "close" }), State::Closed, Connection::Disconnected),
            (
                json!({ "ownerJid": owner, "connectionStatus": "close", "disconnectionReasonCode": 401 }),
                State::Closed,
                Connection::LoggedOut,
            ),
            (
                json!({ "ownerJid": owner, "connectionStatus": "connecting", "disconnectionReasonCode": 401 }),
                State::Connecting,
                Connection::Linking,
            ),
            // Linked again after a logout, and reconnecting: the old code still stands in the row.
            (
                json!({ "ownerJid": owner, "connectionStatus": "open", "disconnectionReasonCode": 401 }),
                State::Connecting,
                Connection::Disconnected,
            ),
            (
                json!({ "ownerJid": owner, "connectionStatus": "close", "disconnectionReasonCode": 428 }),
                State::Closed,
                Connection::Disconnected,
            ),
        ] {
            assert_eq!(Row(row.clone()).login().connection(state), expected, "{row} {state:?}");
        }
    }

    #[test]
    fn a_webhook_is_current_only_if_every_part_is() {
        let wanted = WebhookTarget { url: "http://127.0.0.1:9090/evo".into(), secret: "s".into() };
        let current = json!({
            "url": wanted.url, "enabled": true, "webhookByEvents": false, "webhookBase64": false,
            "headers": { SECRET_HEADER: "s", "x-more": "kept" }, "events": EVENTS,
        });
        assert!(is_current(&current, &wanted));
        for (field, value) in [
            ("url", json!("http://127.0.0.1:9090/other")),
            ("enabled", json!(false)),
            ("webhookByEvents", json!(true)),
            ("webhookBase64", json!(true)),
            ("headers", json!({ SECRET_HEADER: "old" })),
            ("headers", json!(null)),
            ("events", json!([])),
            ("events", json!(EVENTS[1..])),
        ] {
            let mut changed = current.clone();
            changed[field] = value;
            assert!(!is_current(&changed, &wanted), "{changed}");
        }
        assert!(!is_current(&Value::Null, &wanted));
    }
}
