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
    /// What is left for sessions that the store is opening: what it commits from then on is not in what it answers.
    opening: Mutex<HashMap<(TenantId, NodeId), Notes>>,
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

/// What a session has to look at.
#[derive(Default)]
pub(super) struct Notes {
    /// Bots that have work.
    pub(super) bots: HashSet<BotId>,
    /// The desired state may have changed.
    pub(super) desired: bool,
    /// Attempts to be cancelled.
    pub(super) cancels: Vec<AttemptRef>,
}

impl Notes {
    /// Adds a cancellation, if there is room.
    fn cancel(&mut self, attempt: AttemptRef) -> Result<(), CommandRefused> {
        if self.cancels.len() >= CANCELS_MAX {
            return Err(CommandRefused::TooMany);
        }
        self.cancels.push(attempt);
        Ok(())
    }

    fn add(&mut self, other: Notes) {
        self.bots.extend(other.bots);
        self.desired |= other.desired;
        self.cancels.extend(other.cancels);
    }
}

/// What others left for a session.
#[derive(Default)]
pub(super) struct Inbox {
    /// What it has to look at.
    pub(super) notes: Notes,
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
        Sessions { live: RwLock::default(), opening: Mutex::default(), handshakes, hasher: RandomState::new() }
    }

    /// Waits for the turn of a handshake of `node`.
    pub(super) async fn admit(&self, tenant: &TenantId, node: &NodeId) -> tokio::sync::MutexGuard<'_, ()> {
        let place = self.hasher.hash_one((tenant, node)) as usize % self.handshakes.len();
        self.handshakes[place].lock().await
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

    /// Keeps what is left for a node from now on, until [`Sessions::put`]: before the store is asked to open a session of its.
    pub(super) fn expect(&self, tenant: &TenantId, node: &NodeId) -> Expected<'_> {
        let key = (tenant.clone(), node.clone());
        self.opening().insert(key.clone(), Notes::default());
        Expected { sessions: self, key }
    }

    /// Makes `handle` the session of its node, gives it what was left since it was expected, and ends the one that it supersedes.
    pub(super) fn put(&self, expected: Expected<'_>, handle: &Arc<Handle>) {
        let (tenant, node) = expected.key.clone();
        let superseded = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.entry(tenant).or_default().insert(node, Arc::clone(handle))
        };
        // Only now: whoever finds it no longer expected finds it live.
        let notes = self.opening().remove(&expected.key);
        if let Some(notes) = notes {
            handle.leave(|inbox| inbox.notes.add(notes));
        }
        if let Some(superseded) = superseded {
            superseded.leave(|inbox| inbox.superseded = true);
        }
    }

    fn opening(&self) -> MutexGuard<'_, HashMap<(TenantId, NodeId), Notes>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves something for the session of a node, and for the one that is being opened. `None` if there is neither.
    fn leave<T>(&self, tenant: &TenantId, node: &NodeId, note: impl Fn(&mut Notes) -> T) -> Option<T> {
        let expected = self.opening().get_mut(&(tenant.clone(), node.clone())).map(&note);
        let live = self.get(tenant, node).map(|handle| handle.leave(|inbox| note(&mut inbox.notes)));
        live.or(expected)
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
        let bots: Vec<BotId> = bots.into_iter().collect();
        self.leave(tenant, node, |notes| notes.bots.extend(bots.iter().cloned()));
    }

    /// Tells the sessions of `nodes` that their desired state may have changed.
    pub(crate) fn desired_changed<'n>(&self, tenant: &TenantId, nodes: impl IntoIterator<Item = &'n NodeId>) {
        for node in nodes {
            self.leave(tenant, node, |notes| notes.desired = true);
        }
    }

    /// Tells all sessions of the tenant that their desired state may have changed.
    pub(crate) fn all_desired_changed(&self, tenant: &TenantId) {
        let mut nodes: Vec<NodeId> =
            self.opening().keys().filter(|(of, _)| of == tenant).map(|(_, node)| node.clone()).collect();
        {
            let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
            nodes.extend(live.get(tenant).into_iter().flat_map(HashMap::keys).cloned());
        }
        self.desired_changed(tenant, &nodes);
    }

    /// Asks the agent of `node` not to start an attempt.
    pub(crate) fn cancel(&self, tenant: &TenantId, node: &NodeId, attempt: AttemptRef) -> Result<(), CommandRefused> {
        self.leave(tenant, node, |notes| notes.cancel(attempt)).unwrap_or(Err(CommandRefused::Offline))
    }

    /// Asks agents to drop attempts whose recipients opted out. The wish is durable: an agent that is away, or that has been asked for
    /// too much, hears of it in its next session.
    pub(crate) fn cancel_all(&self, tenant: &TenantId, attempts: &[(NodeId, AttemptRef)]) {
        for (node, attempt) in attempts {
            let _ = self.cancel(tenant, node, *attempt);
        }
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

/// A session that the store is opening; dropped, it is no longer expected.
pub(super) struct Expected<'s> {
    sessions: &'s Sessions,
    key: (TenantId, NodeId),
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.sessions.opening().remove(&self.key);
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

#[cfg(test)]
mod tests {
    use muster_domain::Epoch;

    use super::*;

    fn handle(epoch: u64) -> Arc<Handle> {
        let (tenant, node) = (TenantId::default_tenant(), NodeId::new("n").unwrap());
        Handle::new(SessionRef { tenant, node, epoch: Epoch(epoch) }, [1; 16])
    }

    /// Leaves one of everything for the node.
    fn leave(sessions: &Sessions, node: &NodeId) -> Result<(), CommandRefused> {
        let tenant = TenantId::default_tenant();
        sessions.wake(&tenant, node, [BotId::new("a").unwrap()]);
        sessions.all_desired_changed(&tenant);
        let attempt = AttemptRef { message_id: muster_domain::MessageId::from_raw(7).unwrap(), attempt_no: 1 };
        sessions.cancel(&tenant, node, attempt)
    }

    fn has_all(handle: &Handle) -> bool {
        let Notes { bots, desired, cancels } = handle.take().notes;
        bots.len() == 1 && desired && cancels.len() == 1
    }

    #[test]
    fn what_is_left_while_a_session_opens_is_for_it_too() {
        let (sessions, tenant, node) = (Sessions::new(), TenantId::default_tenant(), NodeId::new("n").unwrap());
        let (first, second) = (handle(1), handle(2));
        let expected = sessions.expect(&tenant, &node);
        leave(&sessions, &node).unwrap();
        sessions.put(expected, &first);
        assert!(has_all(&first));
        let expected = sessions.expect(&tenant, &node);
        leave(&sessions, &node).unwrap();
        assert!(has_all(&first), "it may go on, if the other one is refused");
        sessions.put(expected, &second);
        assert!(has_all(&second) && first.take().superseded);
    }

    #[test]
    fn a_session_that_was_not_opened_is_not_expected_any_more() {
        let (sessions, node) = (Sessions::new(), NodeId::new("n").unwrap());
        drop(sessions.expect(&TenantId::default_tenant(), &node));
        assert_eq!(leave(&sessions, &node), Err(CommandRefused::Offline));
        assert!(sessions.opening().is_empty());
    }
}
