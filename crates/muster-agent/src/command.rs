//! Commands: what an operator asked for and waits for. They live as long as their session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::limits::RECIPIENT_CHECK_MAX;
use muster_domain::{Address, BotId, Violation};
use muster_gateway::{LinkProgress, LinkRequest};
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::command::Body;
use muster_proto::convert::agent_v1::address;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::bots::{Bot, Bots, OpenGateway};
use crate::session::Outbox;
use crate::supervisor::{LinkUpdate, Note};

/// Commands that run at a time in one session. Operators wait for each of them: more is a fault of the server.
const RUNNING_MAX: usize = 256;

/// Updates of a link that wait to be sent.
const LINK_UPDATES_MAX: usize = 16;

/// What commands work with.
#[derive(Clone)]
pub(crate) struct Commands {
    bots: Arc<Bots>,
}

/// The commands of one session. They end with it.
pub(crate) struct SessionCommands {
    bots: Arc<Bots>,
    outbox: Outbox,
    running: Arc<Mutex<HashMap<u64, AbortHandle>>>,
}

impl Commands {
    pub(crate) fn new(bots: Arc<Bots>) -> Self {
        Commands { bots }
    }

    /// The commands of a session that is answered through `outbox`.
    pub(crate) fn session(&self, outbox: Outbox) -> SessionCommands {
        SessionCommands { bots: Arc::clone(&self.bots), outbox, running: Arc::default() }
    }
}

impl Drop for SessionCommands {
    fn drop(&mut self) {
        for (_, task) in self.running().drain() {
            task.abort();
        }
    }
}

impl SessionCommands {
    fn running(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a command out. Its updates go to the outbox; the last one is marked as final.
    pub(crate) fn take(&self, command: wire::Command) {
        let wire::Command { command_id, bot, body } = command;
        let reply = Reply { command_id, outbox: self.outbox.clone() };
        let body = match body {
            Some(Body::Cancel(_)) => {
                if let Some(task) = self.running().remove(&command_id) {
                    task.abort();
                }
                return;
            }
            Some(body) => body,
            None => return reply.failed(&invalid("this agent does not know the command: update it")),
        };
        let mut running = self.running();
        if running.len() >= RUNNING_MAX {
            drop(running);
            return reply.failed(&Failure::new(FailureReason::RateLimited, "too many commands run on this node"));
        }
        let bot = BotId::new(&bot).ok().and_then(|id| self.bots.get(&id));
        let all = Arc::clone(&self.running);
        // The lock is held until the task is listed: it cannot unlist itself before that.
        let task = tokio::spawn(async move {
            carry_out(bot, body, &reply).await;
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&command_id);
        });
        running.insert(command_id, task.abort_handle());
    }
}

/// Where the updates of a command go.
struct Reply {
    command_id: u64,
    outbox: Outbox,
}

impl Reply {
    fn send(&self, update: wire::CommandUpdate) {
        let update = wire::CommandUpdate { command_id: self.command_id, ..update };
        self.outbox.send(wire::agent_frame::Body::CommandUpdate(update));
    }

    fn failed(&self, failure: &Failure) {
        self.send(wire::CommandUpdate {
            r#final: true,
            failure: Some(failure.into()),
            ..wire::CommandUpdate::default()
        });
    }

    fn done(&self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.send(wire::CommandUpdate { r#final: true, ..wire::CommandUpdate::default() }),
            Err(failure) => self.failed(&failure),
        }
    }
}

fn invalid(detail: &str) -> Failure {
    Failure::new(FailureReason::InvalidRequest, detail)
}

fn refused(violation: Violation) -> Failure {
    invalid(&violation.to_string())
}

async fn carry_out(bot: Option<Arc<Bot>>, body: Body, reply: &Reply) {
    let Some(bot) = bot else {
        return reply.failed(&invalid("the bot is not known on this node"));
    };
    let Some(gateway) = bot.route().and_then(|route| route.gateway.clone()) else {
        return reply.failed(&invalid("the bot's gateway cannot be used on this node: see the gateway's apply error"));
    };
    match body {
        Body::StartLink(start) => link(&bot, &start, reply).await,
        Body::Unlink(_) => reply.done(ask(&bot, Note::Unlink).await),
        Body::Reconnect(_) => reply.done(ask(&bot, Note::Reconnect).await),
        Body::CheckRecipients(check) => match check_recipients(&bot, &gateway, &check).await {
            Ok(recipients) => {
                reply.send(wire::CommandUpdate { r#final: true, recipients, ..wire::CommandUpdate::default() });
            }
            Err(failure) => reply.failed(&failure),
        },
        Body::MarkRead(mark) => reply.done(mark_read(&bot, &gateway, &mark).await),
        Body::Cancel(_) => {}
    }
}

fn unsupervised() -> Failure {
    invalid("the bot is out of service: it is retired or banned")
}

/// Asks the bot's supervisor for something and waits for its answer.
async fn ask(bot: &Bot, note: impl FnOnce(oneshot::Sender<Result<(), Failure>>) -> Note) -> Result<(), Failure> {
    let (done, answer) = oneshot::channel();
    if !bot.note(note(done)) {
        return Err(unsupervised());
    }
    answer.await.unwrap_or_else(|_| Err(unsupervised()))
}

async fn link(bot: &Bot, start: &wire::StartLink, reply: &Reply) {
    let pairing_address = match start.pairing_address.as_str() {
        "" => None,
        text => match address("pairing_address", text) {
            Ok(address) => Some(address),
            Err(violation) => return reply.failed(&refused(violation)),
        },
    };
    let (updates, mut told) = mpsc::channel(LINK_UPDATES_MAX);
    if !bot.note(Note::Link { request: LinkRequest { pairing_address }, updates }) {
        return reply.failed(&unsupervised());
    }
    while let Some(update) = told.recv().await {
        let is_final = update.is_final();
        match update {
            LinkUpdate::Failed(failure) => reply.failed(&failure),
            LinkUpdate::Progress(progress) => {
                let link = Some(link_progress(progress));
                reply.send(wire::CommandUpdate { r#final: is_final, link, ..wire::CommandUpdate::default() });
            }
        }
        if is_final {
            return;
        }
    }
    reply.failed(&invalid("another link of this bot was started, or the bot left this node"));
}

fn link_progress(progress: LinkProgress) -> wire::LinkProgress {
    use wire::link_progress::State;
    let mut wired = wire::LinkProgress::default();
    let state = match progress {
        LinkProgress::Preparing => State::Preparing,
        LinkProgress::Code { qr, pairing_code } => {
            wired.qr = qr;
            wired.pairing_code = pairing_code.unwrap_or_default();
            State::Code
        }
        LinkProgress::Linked { address } => {
            wired.address = address.map(|address| address.as_str().to_owned()).unwrap_or_default();
            State::Linked
        }
        LinkProgress::Expired => State::Expired,
    };
    wired.set_state(state);
    wired
}

async fn check_recipients(
    bot: &Bot,
    gateway: &OpenGateway,
    check: &wire::CheckRecipients,
) -> Result<Vec<wire::RecipientStatus>, Failure> {
    if check.recipients.is_empty() || check.recipients.len() > RECIPIENT_CHECK_MAX {
        return Err(invalid(&format!("recipients: must be 1 to {RECIPIENT_CHECK_MAX} addresses")));
    }
    let addresses: Result<Vec<Address>, _> = check.recipients.iter().map(|text| address("recipients", text)).collect();
    let statuses = gateway.gateway.check_recipients(&bot.id, &addresses.map_err(refused)?).await;
    let wired = |status: muster_gateway::RecipientStatus| wire::RecipientStatus {
        address: status.address.as_str().to_owned(),
        exists: status.exists,
        network_address: status.network_address.map(|address| address.as_str().to_owned()).unwrap_or_default(),
    };
    Ok(statuses.map_err(|error| error.failure)?.into_iter().map(wired).collect())
}

async fn mark_read(bot: &Bot, gateway: &OpenGateway, mark: &wire::MarkRead) -> Result<(), Failure> {
    let chat = address("chat", &mark.chat).map_err(refused)?;
    gateway.gateway.mark_read(&bot.id, &chat, &mark.network_id).await.map_err(|error| error.failure)
}
