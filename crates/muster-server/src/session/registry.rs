//! The live sessions by node, and the notes that others leave for them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use muster_domain::message::AttemptRef;
use muster_domain::{BotId, NodeId, TenantId};
use muster_store::SessionRef;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::commands::{Command, Event, Running};

/// Handshakes that work on the store at a time. After a restart all agents come back at once: this keeps them from crowding
/// out the work of those that are back already.
const HANDSHAKES: usize = 64;

/// Commands that wait or run in one session. People ask for them, so that many more mean a runaway script.
const COMMANDS_MAX: usize = 64;

/// Cancellations that wait to be sent to one agent. A repeated call asks again for one that did not fit.
const CANCELS_MAX: usize = 10_000;

/// The live sessions.
pub(crate) struct Sessions {
    live: RwLock<HashMap<TenantId, HashMap<NodeId, Arc<Handle>>>>,
    /// Nodes whose agents have a desired state of this server's. What an agent had before may be of another history of the
    /// database, with the same versions.
    told: Mutex<HashSet<(TenantId, NodeId)>>,
    /// One of these is held during a handshake, chosen by node: two handshakes of one node never overlap, and never more than
    /// [`HANDSHAKES`] run.
    handshakes: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
}

/// A live session, as others see it.
pub(crate) struct Handle {
    /// The session.
    pub(super) session: SessionRef,
    /// The journal of its agent.
    pub(super) journal_id: [u8; 16],
    opened: Instant,
    last_sign_ms: AtomicU64,
    inbox: Mutex<Inbox>,
    woken: Notify,
    commands: AtomicU64,
}

/// What others left for a session.
#[derive(Default)]
pub(super) struct Inbox {
    /// Bots that have work.
    pub(super) bots: HashSet<BotId>,
    /// The desired state may have changed.
    pub(super) desired: bool,
    /// Attempts to be cancelled.
    pub(super) cancels: Vec<AttemptRef>,
    /// Commands to be sent.
    pub(super) commands: Vec<NewCommand>,
    /// Commands whose callers went away.
    pub(super) forgotten: Vec<u64>,
    /// A newer session of the node took over.
    pub(super) superseded: bool,
    /// Commands whose callers wait.
    running: usize,
    /// Nobody reads any more.
    ended: bool,
}

/// A command on its way to a session.
pub(super) struct NewCommand {
    pub(super) id: u64,
    pub(super) bot: BotId,
    pub(super) command: Command,
    pub(super) events: mpsc::Sender<Event>,
}

/// Why a session does not take a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandRefused {
    /// The node has no session.
    Offline,
    /// Too many commands are under way.
    TooMany,
}

impl Sessions {
    /// No sessions yet.
    pub(crate) fn new() -> Self {
        let handshakes = (0..HANDSHAKES).map(|_| tokio::sync::Mutex::new(())).collect();
        Sessions { live: RwLock::default(), told: Mutex::default(), handshakes, hasher: RandomState::new() }
    }

    /// Waits for the turn of a handshake of `node`.
    pub(super) async fn admit(&self, tenant: &TenantId, node: &NodeId) -> tokio::sync::MutexGuard<'_, ()> {
        let place = self.hasher.hash_one((tenant, node)) as usize % self.handshakes.len();
        self.handshakes[place].lock().await
    }

    /// Notes that the agent of a session has a desired state that this server told.
    pub(super) fn note_told(&self, session: &SessionRef) {
        self.told().insert((session.tenant.clone(), session.node.clone()));
    }

    /// Whether the versions that the agent of a node knows are this server's.
    pub(super) fn was_told(&self, session: &SessionRef) -> bool {
        self.told().contains(&(session.tenant.clone(), session.node.clone()))
    }

    fn told(&self) -> MutexGuard<'_, HashSet<(TenantId, NodeId)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live session of a node.
    pub(super) fn get(&self, tenant: &TenantId, node: &NodeId) -> Option<Arc<Handle>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(tenant)?.get(node).cloned()
    }

    /// How long ago the agent of a node gave a sign of life; `None` if it has no session.
    pub(crate) fn silent_for(&self, tenant: &TenantId, node: &NodeId) -> Option<Duration> {
        self.get(tenant, node).map(|handle| handle.silent_for())
    }

    /// Makes `handle` the session of its node, and ends the one that it supersedes.
    pub(super) fn put(&self, handle: Arc<Handle>) {
        let SessionRef { tenant, node, epoch: _ } = handle.session.clone();
        let superseded = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.entry(tenant).or_default().insert(node, handle)
        };
        if let Some(superseded) = superseded {
            superseded.leave(|inbox| inbox.superseded = true);
        }
    }

    /// Forgets a session that ended, unless a newer one has its place.
    pub(super) fn remove(&self, handle: &Arc<Handle>) {
        let SessionRef { tenant, node, epoch: _ } = &handle.session;
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(nodes) = live.get_mut(tenant)
            && nodes.get(node).is_some_and(|present| Arc::ptr_eq(present, handle))
        {
            nodes.remove(node);
        }
    }

    /// Tells the session of `node`, if there is one, that these bots have work.
    pub(crate) fn wake(&self, tenant: &TenantId, node: &NodeId, bots: impl IntoIterator<Item = BotId>) {
        if let Some(handle) = self.get(tenant, node) {
            handle.leave(|inbox| inbox.bots.extend(bots));
        }
    }

    /// Tells the sessions of `nodes` that their desired state may have changed.
    pub(crate) fn desired_changed<'n>(&self, tenant: &TenantId, nodes: impl IntoIterator<Item = &'n NodeId>) {
        for node in nodes {
            if let Some(handle) = self.get(tenant, node) {
                handle.leave(|inbox| inbox.desired = true);
            }
        }
    }

    /// Tells all sessions of the tenant that their desired state may have changed.
    pub(crate) fn all_desired_changed(&self, tenant: &TenantId) {
        let handles: Vec<_> = {
            let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
            live.get(tenant).into_iter().flat_map(HashMap::values).cloned().collect()
        };
        for handle in handles {
            handle.leave(|inbox| inbox.desired = true);
        }
    }

    /// Asks the agent of `node` not to start an attempt.
    pub(crate) fn cancel(&self, tenant: &TenantId, node: &NodeId, attempt: AttemptRef) -> Result<(), CommandRefused> {
        let handle = self.get(tenant, node).ok_or(CommandRefused::Offline)?;
        handle.leave(|inbox| {
            let room = inbox.cancels.len() < CANCELS_MAX;
            if room {
                inbox.cancels.push(attempt);
            }
            if room { Ok(()) } else { Err(CommandRefused::TooMany) }
        })
    }

    /// Gives the agent of `node` a command for a bot.
    pub(crate) fn command(
        &self,
        tenant: &TenantId,
        node: &NodeId,
        bot: BotId,
        command: Command,
    ) -> Result<Running, CommandRefused> {
        let handle = self.get(tenant, node).ok_or(CommandRefused::Offline)?;
        let id = handle.commands.fetch_add(1, Ordering::Relaxed) + 1;
        handle.leave(|inbox| {
            if inbox.ended {
                return Err(CommandRefused::Offline);
            }
            if inbox.running >= COMMANDS_MAX {
                return Err(CommandRefused::TooMany);
            }
            inbox.running += 1;
            let (running, events) = Running::new(id, Arc::clone(&handle));
            inbox.commands.push(NewCommand { id, bot, command, events });
            Ok(running)
        })
    }
}

impl Handle {
    /// The handle of a session that was opened just now.
    pub(super) fn new(session: SessionRef, journal_id: [u8; 16]) -> Arc<Self> {
        Arc::new(Handle {
            session,
            journal_id,
            opened: Instant::now(),
            last_sign_ms: AtomicU64::new(0),
            inbox: Mutex::default(),
            woken: Notify::new(),
            commands: AtomicU64::new(0),
        })
    }

    /// Notes a sign of life.
    pub(super) fn signed(&self) {
        self.last_sign_ms.store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago the agent gave a sign of life.
    pub(super) fn silent_for(&self) -> Duration {
        let signed = Duration::from_millis(self.last_sign_ms.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(signed)
    }

    /// Forgets a command: its caller went away, or has its last answer.
    pub(super) fn forget(&self, id: u64, finished: bool) {
        self.leave(|inbox| {
            inbox.running = inbox.running.saturating_sub(1);
            if !finished {
                inbox.forgotten.push(id);
            }
        });
    }

    /// Waits until somebody leaves something.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Takes everything that was left.
    pub(super) fn take(&self) -> Inbox {
        let mut inbox = self.lock();
        let (running, ended) = (inbox.running, inbox.ended);
        std::mem::replace(&mut *inbox, Inbox { running, ended, ..Inbox::default() })
    }

    /// The session ended: what was left is nobody's, and nothing more is taken.
    pub(super) fn end(&self) {
        let mut inbox = self.lock();
        *inbox = Inbox { ended: true, ..Inbox::default() };
    }

    fn leave<T>(&self, note: impl FnOnce(&mut Inbox) -> T) -> T {
        let answer = note(&mut self.lock());
        self.woken.notify_one();
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
