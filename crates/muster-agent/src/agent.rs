//! An agent from its start to its end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::limits::FRAME_BYTES_MAX;
use muster_domain::message::Outcome;
use muster_proto::agent_v1 as wire;
use muster_proto::convert::agent_v1::{Attempt, AttemptOutcome};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::bots::Bots;
use crate::command::Commands;
use crate::config::Config;
use crate::desired::{Desired, DesiredParts, OpenAdapter};
use crate::error::AgentError;
use crate::journal::record::Record;
use crate::journal::state::LeftBehind;
use crate::journal::{Closer, Journal};
use crate::lane::{Item, Lanes, Phase};
use crate::machine::Machine;
use crate::media::Media;
use crate::report;
use crate::session::{Capacity, Sessions};
use crate::webhook::{self, Listen, Receiver};

/// How long a restarted agent waits for the server's word on what it holds before it goes on by itself.
const RESUME_GRACE: Duration = Duration::from_secs(5);

/// How long connecting to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2 pings find a line that died silently. Servers may refuse pings below 10 s.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long the answer to a ping may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that may be under way to this agent before it has read them: a full frame, so that none waits for a window.
const WINDOW_BYTES: u32 = FRAME_BYTES_MAX as u32;

/// An agent that has its journal and listens for webhooks. Nothing is sent, and no webhook answered, before [`Agent::run`].
pub struct Agent {
    config: Config,
    channel: Channel,
    journal: Journal,
    closer: Closer,
    receiver: Receiver,
    open: Box<OpenAdapter>,
}

/// Makes the channel to the server. It connects when it is first used, and again whenever the line broke.
pub type Dial = dyn Fn(Endpoint) -> Channel + Send + Sync;

/// Everything around an agent that a simulation has of its own.
pub struct Surroundings {
    /// The machine.
    pub machine: Machine,
    /// The way to the server.
    pub dial: Box<Dial>,
    /// Where gateways connect to with their webhooks.
    pub listen: Box<Listen>,
    /// The adapters of the gateways.
    pub open: Box<OpenAdapter>,
}

impl Default for Surroundings {
    /// This machine, its network, and the adapters that are built in.
    fn default() -> Self {
        Surroundings {
            machine: Machine::system(),
            dial: Box::new(|endpoint| endpoint.connect_lazy()),
            listen: Box::new(|address| Box::pin(webhook::tcp(address))),
            open: Box::new(muster_gateway::open),
        }
    }
}

/// Starts the agent of a node: everything that can keep it from working on its own is found out here. The server is not asked;
/// it may be away for as long as it likes.
pub async fn start(config: Config) -> Result<Agent, AgentError> {
    start_in(config, Surroundings::default()).await
}

/// [`start`] in other surroundings than the process's own.
pub async fn start_in(config: Config, surroundings: Surroundings) -> Result<Agent, AgentError> {
    let Surroundings { machine, dial, listen, open } = surroundings;
    let channel = dial(endpoint(&config)?);
    let (journal, closer) = {
        let (on, dir, free_bytes_min) = (machine.clone(), config.journal.clone(), config.journal_free_bytes_min);
        machine.wait_for(move || Journal::open(&on, &dir, free_bytes_min)).await?
    };
    let identity = journal.identity();
    tracing::info!(node = %config.node, opening = identity.opening, dir = %config.journal.display(), "the journal is open");
    let (address, public) = (config.webhook_listen, config.webhook_url.clone());
    let receiver = Receiver::listen(&*listen, address, public, &*machine.disk, &config.journal).await?;
    Ok(Agent { config, channel, journal, closer, receiver, open })
}

impl Agent {
    /// Where it listens for webhooks.
    pub fn webhook_listen(&self) -> SocketAddr {
        self.receiver.listens_at()
    }

    /// Runs until `shutdown` is cancelled, or until it cannot go on without somebody acting.
    ///
    /// A server that is away, or that does not know the node yet, is waited for, as long as it takes. When `shutdown` is
    /// cancelled, the agent hands back what it has not started, ends what it has, and delivers its reports, within
    /// [`Config::drain_deadline`] and a few seconds; what is left stays in the journal for the next start.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), AgentError> {
        let Agent { config, channel, journal, closer, receiver, open } = self;
        let identity = journal.identity();
        let bots = Arc::new(Bots::default());
        let media = Media::new(channel.clone());
        let lanes = Arc::new(Lanes::new(journal.clone(), Arc::clone(&bots), media, config.send_timeout));
        let desired = Desired::new(DesiredParts {
            settings: config.gateways,
            open,
            bots: Arc::clone(&bots),
            lanes: Arc::clone(&lanes),
            journal: journal.clone(),
            webhook: receiver.address().clone(),
            path: config.journal.join("desired.state"),
        });
        let applied = desired.applied();
        let desired = Arc::new(tokio::sync::Mutex::new(desired));
        recover(&journal, &lanes).await?;

        let webhooks_end = CancellationToken::new();
        let webhooks = tokio::spawn(receiver.run(Arc::clone(&bots), journal.clone(), webhooks_end.clone()));
        let undeclared = CancellationToken::new();
        let resuming = tokio::spawn(resume(Arc::clone(&lanes), identity.is_at_home, undeclared.clone()));

        let sessions = Sessions {
            node: config.node,
            tenant: config.tenant,
            channel,
            journal: journal.clone(),
            lanes: Arc::clone(&lanes),
            desired: Arc::clone(&desired),
            applied,
            commands: Commands::new(bots),
            capacity: Capacity {
                attempts: config.attempts_max.into(),
                bytes: config.bytes_max,
                per_bot: config.attempts_per_bot_max,
            },
            drain_deadline: config.drain_deadline,
            drain_until: OnceLock::new(),
            process_id: rand::random(),
            undeclared,
        };
        let result = sessions.run(&shutdown).await;

        resuming.abort();
        lanes.enter(Phase::Stopping);
        let deadline = *sessions.drain_until.get_or_init(|| tokio::time::Instant::now() + config.drain_deadline);
        if tokio::time::timeout_at(deadline, lanes.idle()).await.is_err() {
            tracing::warn!("some sends did not end in time: they are uncertain at the next start");
        }
        desired.lock().await.stop_supervising();
        webhooks_end.cancel();
        webhooks.abort();
        // The port is free when this returns: a caller may run the agent again.
        let _ = webhooks.await;
        closer.close().await;
        tracing::info!("the agent has stopped");
        result
    }
}

fn endpoint(config: &Config) -> Result<Endpoint, AgentError> {
    let wrong =
        |expectation: &str| AgentError::Server { url: config.server.to_string(), expectation: expectation.to_owned() };
    if config.server.scheme() != "http" || config.server.host().is_none() {
        return Err(wrong("must have the form http://host:port"));
    }
    let endpoint = Endpoint::from_shared(config.server.to_string()).map_err(|error| wrong(&error.to_string()))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tcp_nodelay(true))
}

/// Takes up what the journal holds from before. What was started and has no outcome is uncertain: the gateway may have been
/// called, and nobody heard its answer. What was not started goes back into its lane.
async fn recover(journal: &Journal, lanes: &Arc<Lanes>) -> Result<(), AgentError> {
    let (left_behind, broken) = journal.read(|state| {
        let broken: HashMap<u64, u64> = state.broken_chains().collect();
        (state.left_behind(), broken)
    });
    let now = journal.now();
    let mut reports = Vec::new();
    let mut resumed = 0;
    for left in left_behind {
        let (accept, unstarted) = match left {
            LeftBehind::Unstarted(accept) => {
                let attempt = read_attempt(&accept.body);
                (accept, attempt)
            }
            LeftBehind::Started(accept) => {
                if let Some(Attempt { attempt, bot, recipient, content, .. }) = read_attempt(&accept.body) {
                    let bot = lanes.bots().get_or_insert(&bot);
                    bot.echoes().left_behind(attempt, &recipient, &content, accept.stamp.age(now), now);
                }
                (accept, None)
            }
        };
        match unstarted {
            Some(attempt) => {
                if let Some(offset) = broken.get(&accept.chain) {
                    lanes.bots().get_or_insert(&attempt.bot).lane().note_broken(accept.chain, *offset);
                }
                resumed += 1;
                let report_committed = accept.report_committed;
                lanes.push(Item { attempt, arrived: accept.stamp, report_committed, has_intent: false });
            }
            None => {
                let evidence = "the agent stopped while the gateway was being called";
                let outcome = Outcome::Uncertain(Failure::new(FailureReason::OutcomeUnknown, evidence));
                let (queued, gateway) = (accept.stamp.age(now), Duration::ZERO);
                reports
                    .push(report::outcome(AttemptOutcome { attempt: accept.attempt, outcome, queued, gateway }, now));
            }
        }
    }
    if resumed > 0 || !reports.is_empty() {
        tracing::info!(resumed, uncertain = reports.len(), "took up what the last run left");
    }
    if !reports.is_empty() {
        append(journal, reports).await?;
    }
    Ok(())
}

async fn append(journal: &Journal, records: Vec<Record>) -> Result<(), AgentError> {
    journal.append(records).await.map(|_| ()).map_err(|_| AgentError::JournalFailed)
}

fn read_attempt(body: &Bytes) -> Option<Attempt> {
    Attempt::try_from(wire::Attempt::decode(body.clone()).ok()?).ok()
}

/// Lets the lanes begin with what is held from before, if the server does not say anything for a while.
///
/// A journal that stands where it stood, in the same boot, can be no copy of another one: what it holds is this agent's. One
/// that was moved, or that lived through a reboot, may be a copy whose original goes on elsewhere: the server has to be asked.
/// A server that does not know the node has given up what is held: it is left until the server says otherwise.
async fn resume(lanes: Arc<Lanes>, is_at_home: bool, undeclared: CancellationToken) {
    let spoken = undeclared.run_until_cancelled(tokio::time::sleep(RESUME_GRACE)).await.is_none();
    if spoken {
        return;
    }
    if is_at_home {
        if lanes.phase() == Phase::Resuming {
            tracing::info!("going on with what is held without the server's word");
            lanes.enter(Phase::Working);
        }
    } else if lanes.phase() == Phase::Resuming {
        tracing::warn!("the journal was moved or the machine restarted: what is held waits for the server's word");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The phase that a restarted agent is in when nothing more is waited for.
    async fn resumed(is_at_home: bool, undeclared: bool) -> Phase {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _closer) = Journal::open(&Machine::system(), dir.path(), 0).unwrap();
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let lanes = Arc::new(Lanes::new(journal, Arc::default(), Media::new(channel), Duration::from_secs(1)));
        let token = CancellationToken::new();
        if undeclared {
            token.cancel();
        }
        resume(Arc::clone(&lanes), is_at_home, token).await;
        lanes.phase()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_begun_without_a_word_only_by_the_one_who_must_hold_it() {
        assert_eq!(resumed(true, false).await, Phase::Working);
        assert_eq!(resumed(false, false).await, Phase::Resuming);
        assert_eq!(resumed(true, true).await, Phase::Resuming);
    }
}
