//! Supervisors: one per bot that should be logged in.
//!
//! A supervisor makes its bot known to the gateway, watches the login by webhooks and by looking, brings it back when that
//! can help, and tells the server what changed. What to do is decided in [`watch`]; this file carries it out.

mod link;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use muster_domain::Address;
use muster_domain::bot::Connection;
use muster_domain::failure::Failure;
use muster_domain::reconnect::CloseReason;
use muster_gateway::{CallError, LinkProgress, LinkRequest, WebhookTarget};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::link::Link;
pub(crate) use self::link::LinkUpdate;
use self::watch::{Step, Watch};
use crate::bots::{Bot, OpenGateway};
use crate::journal::Journal;
use crate::report;

/// Supervisors' calls to one gateway at a time. Bringing up a login costs the product seconds of work; a node that starts
/// with hundreds of bots must not stop it.
pub(crate) const CALLS_AT_ONCE_MAX: usize = 4;

/// Notes that wait for a supervisor while it calls its gateway.
const NOTES_MAX: usize = 64;

/// Something that a supervisor is told.
#[derive(Debug)]
pub(crate) enum Note {
    /// A send failed as not connected, or messages leave and nothing comes back.
    Suspect,
    /// A bot that was called silent gave a sign of life.
    Alive,
    /// The server has forgotten how the login is.
    TellAgain,
    /// The login came up.
    Connected {
        /// The bot's own address, where the gateway tells it.
        address: Option<Address>,
    },
    /// The login is coming up.
    Connecting,
    /// The login went down.
    Closed {
        /// Why.
        reason: CloseReason,
        /// The product's own words.
        detail: String,
    },
    /// A link moved on.
    Progress(LinkProgress),
    /// Somebody wants to link the bot.
    Link {
        /// How.
        request: LinkRequest,
        /// Who waits for it.
        updates: mpsc::Sender<LinkUpdate>,
    },
    /// Somebody wants the login to be brought back now.
    Reconnect(oneshot::Sender<Result<(), Failure>>),
    /// Somebody wants the login to be removed.
    Unlink(oneshot::Sender<Result<(), Failure>>),
}

/// A running supervisor. It stops when this is dropped.
pub(crate) struct Supervisor {
    task: tokio::task::JoinHandle<()>,
    bot: Arc<Bot>,
    gateway: Arc<OpenGateway>,
}

impl Supervisor {
    /// Whether it supervises the bot at this very gateway, opened this very time.
    pub(crate) fn is_of(&self, gateway: &Arc<OpenGateway>) -> bool {
        Arc::ptr_eq(&self.gateway, gateway)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.bot.set_supervisor(None);
        self.task.abort();
    }
}

/// Starts supervising a bot.
pub(crate) fn start(
    bot: &Arc<Bot>,
    gateway: Arc<OpenGateway>,
    address: Option<Address>,
    webhook: WebhookTarget,
    journal: Journal,
) -> Supervisor {
    let (notes, inbox) = mpsc::channel(NOTES_MAX);
    bot.set_supervisor(Some(notes));
    let watch = Watch::new(Instant::now(), address);
    let task_gateway = Arc::clone(&gateway);
    let supervision =
        Supervision { bot: Arc::clone(bot), gateway: task_gateway, webhook, journal, watch, link: Link::default() };
    Supervisor { task: tokio::spawn(supervision.run(inbox)), bot: Arc::clone(bot), gateway }
}

struct Supervision {
    bot: Arc<Bot>,
    gateway: Arc<OpenGateway>,
    webhook: WebhookTarget,
    journal: Journal,
    watch: Watch,
    link: Link,
}

impl Supervision {
    async fn run(mut self, mut inbox: mpsc::Receiver<Note>) {
        loop {
            let (due, step) = self.watch.next();
            let link_until = self.link.until();
            tokio::select! {
                biased;
                note = inbox.recv() => match note {
                    Some(note) => self.take(note).await,
                    None => return,
                },
                () = tokio::time::sleep_until(link_until.unwrap_or(due)), if link_until.is_some() => {
                    self.link.tell(LinkUpdate::Progress(LinkProgress::Expired));
                    self.watch.look_soon(Instant::now());
                }
                () = tokio::time::sleep_until(due) => self.step(step).await,
            }
            if !self.tell().await {
                return;
            }
        }
    }

    async fn step(&mut self, step: Step) {
        let (gateway, bot) = (Arc::clone(&self.gateway), Arc::clone(&self.bot));
        let now = || Instant::now();
        match step {
            Step::Ensure => {
                let answer = self.call(gateway.gateway.ensure(&bot.id, &self.webhook)).await;
                self.watch.seen(answer, now(), rand::random());
            }
            Step::Look => {
                let answer = self.call(gateway.gateway.connection(&bot.id)).await;
                let is_up = answer == Ok(Connection::Connected);
                self.watch.seen(answer, now(), rand::random());
                if is_up {
                    self.link.tell(LinkUpdate::Progress(LinkProgress::Linked { address: None }));
                }
                self.watch.set_silent(gateway.gives_signs() && bot.vitals.is_silent(self.journal.now()));
            }
            Step::Restart => {
                let answer = self.call(gateway.gateway.restart(&bot.id)).await;
                self.watch.restarted(answer, now());
            }
        }
    }

    /// Calls the gateway in its turn.
    async fn call<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, Failure> {
        // The semaphore is never closed; without a permit the call is made all the same.
        let _turn = self.gateway.supervision.acquire().await;
        call.await.map_err(|error| {
            tracing::debug!(bot = %self.bot.id, %error, "a gateway call failed");
            error.failure
        })
    }

    async fn take(&mut self, note: Note) {
        let now = Instant::now();
        match note {
            Note::Suspect => self.watch.look_soon(now),
            Note::Alive => self.watch.set_silent(false),
            // The mark beside it says so.
            Note::TellAgain => {}
            Note::Connected { address } => {
                self.link.tell(LinkUpdate::Progress(LinkProgress::Linked { address: address.clone() }));
                self.watch.connected(address, now);
            }
            Note::Connecting => self.watch.connecting(now),
            Note::Closed { reason, detail } => {
                if reason == CloseReason::LinkExpired {
                    self.link.tell(LinkUpdate::Progress(LinkProgress::Expired));
                }
                self.watch.closed(reason, detail, now);
            }
            Note::Progress(progress) => self.progress(progress),
            Note::Link { request, updates } => self.begin_link(&request, updates).await,
            Note::Reconnect(done) => {
                self.watch.reconnect(now);
                // Who asked for it may be gone.
                let _ = done.send(Ok(()));
            }
            Note::Unlink(done) => {
                let (gateway, bot) = (Arc::clone(&self.gateway), Arc::clone(&self.bot));
                let answer = self.call(gateway.gateway.logout(&bot.id)).await;
                if answer.is_ok() {
                    self.watch.seen(Ok(Connection::Unlinked), Instant::now(), rand::random());
                }
                let _ = done.send(answer);
            }
        }
    }

    async fn begin_link(&mut self, request: &LinkRequest, updates: mpsc::Sender<LinkUpdate>) {
        self.link.begin(updates, Instant::now());
        let (gateway, bot) = (Arc::clone(&self.gateway), Arc::clone(&self.bot));
        match self.call(gateway.gateway.link(&bot.id, request)).await {
            Ok(progress) => self.progress(progress),
            Err(failure) => self.link.tell(LinkUpdate::Failed(failure)),
        }
    }

    fn progress(&mut self, progress: LinkProgress) {
        let now = Instant::now();
        match &progress {
            LinkProgress::Code { .. } | LinkProgress::Preparing => self.watch.linking(now),
            LinkProgress::Linked { address } => self.watch.connected(address.clone(), now),
            LinkProgress::Expired => self.watch.closed(CloseReason::LinkExpired, String::new(), now),
        }
        self.link.tell(LinkUpdate::Progress(progress));
    }

    /// Tells the server what changed. `false` when the journal is closed.
    async fn tell(&mut self) -> bool {
        self.bot.vitals.is_shown_silent.store(self.watch.is_silent(), Ordering::Relaxed);
        if self.bot.vitals.is_untold.swap(false, Ordering::Relaxed) {
            self.watch.forget_told();
        }
        let Some(change) = self.watch.change(&self.bot.id) else {
            return true;
        };
        tracing::info!(bot = %self.bot.id, connection = %change.connection, detail = %change.detail, "the login changed");
        self.journal.append(vec![report::connection(change, self.journal.now())]).await.is_ok()
    }
}
