//! The receiver of the gateways' webhooks: `POST /webhook/{gateway}/{bot}`.
//!
//! What is authentic and has to be told is durable before the gateway gets its 200; otherwise it is refused, and the gateway
//! sends it again. What the network repeats is reported again: the server merges.

mod listen;
mod secret;

pub(crate) use listen::tcp;
pub use listen::{Line, Listen, Listening};

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use muster_domain::inbound::NewInbound;
use muster_domain::{BotId, GatewayId, Timestamp};
use muster_gateway::{Event, WebhookError, WebhookRequest, WebhookTarget};
use muster_proto::agent_v1 as wire;
use muster_proto::convert::agent_v1::{Receipt, inbound};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::bots::{Bot, Bots};
use crate::clock::Stamp;
use crate::disk::Disk;
use crate::error::AgentError;
use crate::journal::record::Record;
use crate::journal::{AppendError, Journal};
use crate::report;
use crate::supervisor::Note;

/// Bytes of one webhook. Media come as references, not as bytes; a long text with a quoted one takes some ten kilobytes, and
/// a list of all chats at the first login some hundreds.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Reports that may wait for the server before webhooks are refused. At 300 bytes each this is what a small node has to
/// spare; gateways keep what is refused and send it again.
const REPORTS_WAITING_MAX: usize = 1_000_000;

/// Where gateways post, and what they prove themselves with.
#[derive(Clone)]
pub(crate) struct WebhookAddress {
    base: Url,
    secret: Arc<str>,
}

impl WebhookAddress {
    /// Where a gateway posts what concerns a bot.
    pub(crate) fn target(&self, gateway: &GatewayId, bot: &BotId) -> WebhookTarget {
        let base = self.base.as_str().trim_end_matches('/');
        WebhookTarget { url: format!("{base}/webhook/{gateway}/{bot}"), secret: self.secret.to_string() }
    }
}

/// A receiver that listens and does not answer yet.
pub(crate) struct Receiver {
    listening: Listening,
    address: WebhookAddress,
}

impl Receiver {
    /// Listens. The secret is taken from the journal's directory, or made there.
    pub(crate) async fn listen(
        by: &Listen,
        listen: SocketAddr,
        public: Option<Url>,
        disk: &dyn Disk,
        journal_dir: &std::path::Path,
    ) -> Result<Receiver, AgentError> {
        let secret = secret::read_or_create(disk, journal_dir)?;
        let failed = |source| AgentError::WebhookListen { address: listen, source };
        let listening = by(listen).await.map_err(failed)?;
        let bound = listening.address;
        let base = match public {
            Some(url) => url,
            None => Url::parse(&format!("http://{bound}")).map_err(|error| failed(std::io::Error::other(error)))?,
        };
        tracing::info!(listen = %bound, "listening for webhooks");
        Ok(Receiver { listening, address: WebhookAddress { base, secret: secret.into() } })
    }

    /// Where it listens.
    pub(crate) fn listens_at(&self) -> SocketAddr {
        self.listening.address
    }

    /// Where gateways post.
    pub(crate) fn address(&self) -> &WebhookAddress {
        &self.address
    }

    /// Answers until told to stop.
    pub(crate) async fn run(self, bots: Arc<Bots>, journal: Journal, shutdown: CancellationToken) {
        let secret = Arc::clone(&self.address.secret);
        let app = Router::new()
            .route("/webhook/{gateway}/{bot}", post(receive))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::new(Desk { bots, journal, secret }));
        if let Err(error) = axum::serve(self.listening, app).with_graceful_shutdown(shutdown.cancelled_owned()).await {
            tracing::error!(%error, "the webhook receiver ended");
        }
    }
}

struct Desk {
    bots: Arc<Bots>,
    journal: Journal,
    secret: Arc<str>,
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    Path((gateway, bot)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> StatusCode {
    let status = desk.receive(&gateway, &bot, &headers, body).await;
    if !status.is_success() {
        // The names come from whoever sent this: only known ones are logged.
        let (gateway, bot) = (GatewayId::new(&gateway).ok(), BotId::new(&bot).ok());
        tracing::warn!(?gateway, ?bot, status = status.as_u16(), "a webhook was refused");
    }
    status
}

impl Desk {
    async fn receive(
        &self,
        gateway: &str,
        bot: &str,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> StatusCode {
        let bot = BotId::new(bot).ok().and_then(|id| self.bots.get(&id));
        let Some(bot) = bot else {
            return StatusCode::NOT_FOUND;
        };
        let open = bot.route().and_then(|route| route.gateway.clone());
        let Some(open) = open.filter(|open| open.id.as_str() == gateway) else {
            return StatusCode::NOT_FOUND;
        };
        let body = match body {
            Ok(body) => body,
            Err(rejection) => return rejection.status(),
        };
        let headers: Vec<(String, String)> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let request = WebhookRequest { bot: &bot.id, secret: &self.secret, headers: &headers, body: &body };
        let events = match open.gateway.read_webhook(&request) {
            Ok(events) => events,
            Err(WebhookError::Forged) => return StatusCode::UNAUTHORIZED,
            Err(WebhookError::Malformed) => return StatusCode::BAD_REQUEST,
            Err(WebhookError::OtherBot) => return StatusCode::NOT_FOUND,
        };
        self.take(&bot, events).await
    }

    async fn take(&self, bot: &Bot, events: Vec<Event>) -> StatusCode {
        let now = self.journal.now();
        let records: Vec<Record> = events.into_iter().filter_map(|event| take_event(bot, event, now)).collect();
        if records.is_empty() {
            return StatusCode::OK;
        }
        if self.journal.read(|state| state.pending_count()) >= REPORTS_WAITING_MAX {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        match self.journal.append_if_room(records).await {
            Ok(_) => StatusCode::OK,
            Err(AppendError::Full | AppendError::Closed) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What follows from an event: a report, or a note to the supervisor.
///
/// A note may be lost when the agent stops right then. The supervisor looks for itself at its next start, and what it finds is
/// reported.
fn take_event(bot: &Bot, event: Event, now: Stamp) -> Option<Record> {
    match event {
        Event::Receipt { network_id, kind, failure } => {
            bot.note_sign();
            let receipt = Receipt { bot: bot.id.clone(), network_id, kind, failure };
            let fits = Receipt::try_from(wire::ReceiptReport::from(receipt.clone()));
            fits.map_err(
                |violation| tracing::warn!(bot = %bot.id, %violation, "a receipt breaks a rule and is left out"),
            )
            .ok()?;
            Some(report::receipt(receipt, now))
        }
        Event::Echo { network_id, recipient, content } => {
            bot.note_sign();
            let known = bot.echoes().hear(&network_id, &recipient, &content?, now)?;
            tracing::info!(bot = %bot.id, attempt = %known.attempt, "the gateway sent what nobody knew of");
            Some(report::outcome(known, now))
        }
        Event::Inbound { network_id, sender, participant, sender_name, content, reply_to, time: _ } => {
            bot.note_sign();
            let receive_time = Timestamp::from_millisecond(now.wall_ms).unwrap_or(Timestamp::UNIX_EPOCH);
            let received = NewInbound {
                bot: bot.id.clone(),
                network_id,
                sender,
                participant,
                sender_name,
                content,
                reply_to,
                receive_time,
            };
            let fits = inbound(wire::InboundReport::from(received.clone()), receive_time);
            fits.map_err(|violation| {
                tracing::warn!(bot = %bot.id, %violation, "an inbound message breaks a rule and is left out");
            })
            .ok()?;
            Some(report::inbound(received, now))
        }
        Event::Connected { address } => noted(bot, Note::Connected { address }),
        Event::Connecting => noted(bot, Note::Connecting),
        Event::Closed { reason, detail } => noted(bot, Note::Closed { reason, detail }),
        Event::Link(progress) => noted(bot, Note::Progress(progress)),
    }
}

fn noted(bot: &Bot, note: Note) -> Option<Record> {
    bot.note(note);
    None
}
