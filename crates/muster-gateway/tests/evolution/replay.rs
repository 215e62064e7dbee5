//! A server that replays recorded exchanges, and the words in which fixtures tell what came of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use muster_domain::content::{Content, Courtesy, Media, MediaDigest, MediaSource, ReactionTarget};
use muster_domain::failure::Failure;
use muster_domain::retry::{self, Next};
use muster_domain::{Address, BotId, MessageId, Network};
use muster_gateway::evolution::{EvolutionConfig, EvolutionGateway};
use muster_gateway::{CallError, Gateway, LinkProgress, LinkRequest, Secret, SendError, SendRequest, WebhookTarget};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;

/// The key that the replayed product wants.
pub(crate) const API_KEY: &str = "0123456789ABCDEF-global-key";

/// A call of the contract, the HTTP exchanges that it leads to, and what comes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) call: Call,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) expect: String,
    /// The whole detail of the failure, where it matters.
    #[serde(default)]
    pub(crate) detail: Option<String>,
}

/// One request and its answer. A request that is left out matches any.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    #[serde(default)]
    pub(crate) request: Option<Request>,
    pub(crate) answer: Answer,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// Method, path and query in one line.
    pub(crate) line: String,
    #[serde(default)]
    pub(crate) body: Value,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// A JSON body; a string is sent as it stands.
    #[serde(default)]
    pub(crate) body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Call {
    Send(Send),
    Probe {},
    Connection {},
    Ensure {},
    Link { pairing_address: Option<String> },
    Restart {},
    Logout {},
    CheckRecipients(Vec<String>),
    MarkRead { chat: String, network_id: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    pub(crate) to: String,
    pub(crate) content: SendContent,
    #[serde(default)]
    pub(crate) reply_to: Option<String>,
    #[serde(default)]
    pub(crate) mark_read: bool,
    #[serde(default)]
    pub(crate) typing_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum SendContent {
    Text(String),
    ImageUrl { url: String, caption: String },
    ImageBytes { bytes: String, caption: String },
    ImageWithoutBytes {},
    AudioUrl(String),
    AudioBytes(String),
    DocumentBytes { bytes: String, file_name: String, mime_type: String },
    Reaction { emoji: String, network_id: String, from_bot: bool },
    Unsupported {},
}

/// A gateway at this address.
pub(crate) fn gateway(address: std::net::SocketAddr) -> EvolutionGateway {
    let config = EvolutionConfig {
        base_url: format!("http://{address}").parse().unwrap(),
        api_key: Secret::new(API_KEY),
        call_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(2),
    };
    EvolutionGateway::new(config).unwrap()
}

/// Plays one fixture and says everything that is not as recorded.
pub(crate) async fn play(fixture: &Fixture) -> Result<(), String> {
    let tape = Tape::default();
    tape.0.lock().unwrap().exchanges = fixture.exchanges.iter().cloned().collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(answer).with_state(tape.clone());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let (outcome, detail) = perform(&gateway(address), &fixture.call).await;
    server.abort();

    let tape = tape.0.lock().unwrap();
    let mut wrong = tape.wrong.clone();
    if !tape.exchanges.is_empty() {
        wrong.push(format!("{} recorded requests were never made", tape.exchanges.len()));
    }
    if outcome != fixture.expect {
        wrong.push(format!("came to {outcome:?}, expected {:?}; detail {detail:?}", fixture.expect));
    }
    if fixture.detail.as_ref().is_some_and(|expected| *expected != detail) {
        wrong.push(format!("has the detail {detail:?}"));
    }
    if detail.contains(API_KEY) || detail.contains("900000") {
        wrong.push(format!("tells a key or a number: {detail:?}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", fixture.name, wrong.join("; "))) }
}

/// Plays all fixtures of a file and panics with everything that is wrong.
pub(crate) async fn play_all(json: &str) -> usize {
    let fixtures: Vec<Fixture> = serde_json::from_str(json).unwrap();
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        wrong.extend(play(fixture).await.err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    fixtures.len()
}

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<TapeState>>);

#[derive(Default)]
struct TapeState {
    exchanges: VecDeque<Exchange>,
    wrong: Vec<String>,
}

async fn answer(State(tape): State<Tape>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut tape = tape.0.lock().unwrap();
    let line = format!("{method} {uri}");
    if headers.get("apikey").and_then(|key| key.to_str().ok()) != Some(API_KEY) {
        tape.wrong.push(format!("{line} carries no key"));
    }
    let Some(exchange) = tape.exchanges.pop_front() else {
        tape.wrong.push(format!("{line} was not recorded"));
        return StatusCode::IM_A_TEAPOT.into_response();
    };
    if let Some(request) = exchange.request {
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        if request.line != line || request.body != body {
            tape.wrong.push(format!("{line} {body} instead of {} {}", request.line, request.body));
        }
    }
    let status = StatusCode::from_u16(exchange.answer.status).unwrap();
    match exchange.answer.body {
        Value::Null => status.into_response(),
        Value::String(text) => (status, text).into_response(),
        json => (status, [(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response(),
    }
}

/// Performs a call: what came of it in one line, and the detail of its failure.
pub(crate) async fn perform(gateway: &dyn Gateway, call: &Call) -> (String, String) {
    let bot = BotId::new("bot-01").unwrap();
    match call {
        Call::Send(send) => outcome_of_send(gateway, &bot, send).await,
        Call::Probe {} => told(gateway.probe().await, |version| version),
        Call::Connection {} => told(gateway.connection(&bot).await, |connection| connection.to_string()),
        Call::Ensure {} => {
            let target =
                WebhookTarget { url: "http://127.0.0.1:9090/evo/bot-01".into(), secret: "agreed-secret".into() };
            told(gateway.ensure(&bot, &target).await, |connection| connection.to_string())
        }
        Call::Link { pairing_address } => {
            let request = LinkRequest { pairing_address: pairing_address.as_deref().map(address) };
            told(gateway.link(&bot, &request).await, |progress| match progress {
                LinkProgress::Code { qr, pairing_code } => format!("code {qr} {}", pairing_code.unwrap_or("-".into())),
                LinkProgress::Linked { address } => {
                    format!("linked {}", address.map_or("-".into(), |a| a.as_str().to_owned()))
                }
                LinkProgress::Preparing => "preparing".into(),
                LinkProgress::Expired => "expired".into(),
            })
        }
        Call::Restart {} => told(gateway.restart(&bot).await, |()| "done".into()),
        Call::Logout {} => told(gateway.logout(&bot).await, |()| "done".into()),
        Call::CheckRecipients(addresses) => {
            let addresses: Vec<_> = addresses.iter().map(|text| address(text)).collect();
            told(gateway.check_recipients(&bot, &addresses).await, |statuses| {
                let told = statuses.iter().map(|status| {
                    let network =
                        status.network_address.as_ref().map_or(String::new(), |a| format!(" as {}", a.as_str()));
                    format!(
                        "{} {}{network}",
                        status.address.as_str(),
                        if status.exists { "exists" } else { "does not" }
                    )
                });
                told.collect::<Vec<_>>().join(", ")
            })
        }
        Call::MarkRead { chat, network_id } => {
            told(gateway.mark_read(&bot, &address(chat), network_id).await, |()| "done".into())
        }
    }
}

fn told<T>(result: Result<T, CallError>, tell: impl FnOnce(T) -> String) -> (String, String) {
    match result {
        Ok(value) => (tell(value), String::new()),
        Err(error) => (format!("{}: {}", error.call, error.failure.reason), error.failure.detail),
    }
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(Network::WhatsApp, text).unwrap()
}

async fn outcome_of_send(gateway: &dyn Gateway, bot: &BotId, send: &Send) -> (String, String) {
    let stored = |bytes: &str| MediaSource::Stored(MediaDigest::of(bytes.as_bytes()));
    let medium = |source, mime_type: &str| Media { source, mime_type: mime_type.into() };
    let mut media = None;
    let mut keep = |bytes: &str| media = Some(Bytes::copy_from_slice(bytes.as_bytes()));
    let content = match &send.content {
        SendContent::Text(body) => Content::Text { body: body.clone() },
        SendContent::ImageUrl { url, caption } => {
            Content::Image { media: medium(MediaSource::Url(url.clone()), "image/png"), caption: caption.clone() }
        }
        SendContent::ImageBytes { bytes, caption } => {
            keep(bytes);
            Content::Image { media: medium(stored(bytes), "image/png"), caption: caption.clone() }
        }
        SendContent::ImageWithoutBytes {} => {
            Content::Image { media: medium(stored(""), "image/png"), caption: String::new() }
        }
        SendContent::AudioUrl(url) => Content::Audio { media: medium(MediaSource::Url(url.clone()), "audio/ogg") },
        SendContent::AudioBytes(bytes) => {
            keep(bytes);
            Content::Audio { media: medium(stored(bytes), "audio/ogg") }
        }
        SendContent::DocumentBytes { bytes, file_name, mime_type } => {
            keep(bytes);
            let media = medium(stored(bytes), mime_type);
            Content::Document { media, caption: String::new(), file_name: file_name.clone() }
        }
        SendContent::Reaction { emoji, network_id, from_bot } => {
            let target = ReactionTarget { network_id: network_id.clone(), from_bot: *from_bot, resource: None };
            Content::Reaction { target, emoji: emoji.clone() }
        }
        SendContent::Unsupported {} => Content::Unsupported { kind: "poll".into() },
    };
    let recipient = Address::from_stored(&send.to);
    let request = SendRequest {
        message_id: MessageId::from_raw(1).unwrap(),
        recipient: &recipient,
        content: &content,
        media: media.as_ref(),
        reply_to: send.reply_to.as_deref(),
        courtesy: Courtesy { mark_read: send.mark_read, typing: Duration::from_millis(send.typing_ms) },
        timeout: Duration::from_secs(10),
    };
    match gateway.send(bot, request).await {
        Ok(sent) => (format!("sent {}", sent.network_id), String::new()),
        Err(SendError::NotSent(failure)) => (not_sent(&failure), failure.detail),
        Err(SendError::Unknown(failure)) => (format!("unknown: {}", failure.reason), failure.detail),
    }
}

/// Why, what it speaks of, and what follows for the first time.
fn not_sent(failure: &Failure) -> String {
    let follows = match retry::after_failure(failure, 1, 1) {
        Next::RetryAfter(_) | Next::WithItsBot => format!("waits {} s", retry::rule(failure.reason).wait(1).as_secs()),
        Next::GiveUp => "fails".to_owned(),
        Next::Hold => "is held".to_owned(),
    };
    format!("not sent: {} of the {}, {follows}", failure.reason, failure.scope().as_str().to_lowercase())
}
