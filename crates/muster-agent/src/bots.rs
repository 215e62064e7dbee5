//! The bots of this node as the agent knows them: where each is reached, whether it may send, and its lane.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use muster_domain::gateway::GatewayKind;
use muster_domain::{BotId, GatewayId, reconnect};
use muster_gateway::Gateway;
use tokio::sync::mpsc;

use crate::clock::Stamp;
use crate::echoes::Echoes;
use crate::lane::LaneQueue;
use crate::supervisor::Note;

/// A gateway that the agent has opened.
pub(crate) struct OpenGateway {
    pub(crate) id: GatewayId,
    pub(crate) kind: GatewayKind,
    pub(crate) gateway: Arc<dyn Gateway>,
    /// Bounds how many calls supervisors make at a time.
    pub(crate) supervision: tokio::sync::Semaphore,
}

impl OpenGateway {
    /// Whether the network says what becomes of messages, so that its silence means something.
    pub(crate) fn gives_signs(&self) -> bool {
        match self.kind {
            GatewayKind::Evolution => true,
            GatewayKind::Null => false,
        }
    }
}

/// What is declared of a bot, and how it is reached.
pub(crate) struct Route {
    /// Its gateway, if the agent could open it.
    pub(crate) gateway: Option<Arc<OpenGateway>>,
    /// It is neither held nor out of service.
    pub(crate) may_send: bool,
    /// How often its sending window was changed: what was chosen by an earlier one goes back.
    pub(crate) window_generation: u32,
}

/// One bot.
pub(crate) struct Bot {
    pub(crate) id: BotId,
    /// `None` while the bot is not declared.
    route: RwLock<Option<Arc<Route>>>,
    lane: Mutex<LaneQueue>,
    echoes: Mutex<Echoes>,
    pub(crate) vitals: Vitals,
    notes: Mutex<Option<mpsc::Sender<Note>>>,
}

impl Bot {
    fn new(id: BotId) -> Self {
        Bot {
            id,
            route: RwLock::default(),
            lane: Mutex::default(),
            echoes: Mutex::default(),
            vitals: Vitals::default(),
            notes: Mutex::default(),
        }
    }

    /// What is declared of it at present.
    pub(crate) fn route(&self) -> Option<Arc<Route>> {
        self.route.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_route(&self, route: Option<Arc<Route>>) {
        *self.route.write().unwrap_or_else(PoisonError::into_inner) = route;
    }

    /// Its lane's queue. Locked for moments only.
    pub(crate) fn lane(&self) -> MutexGuard<'_, LaneQueue> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the network says that it sent. Locked for moments only.
    pub(crate) fn echoes(&self) -> MutexGuard<'_, Echoes> {
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects it with its supervisor, or with none.
    pub(crate) fn set_supervisor(&self, notes: Option<mpsc::Sender<Note>>) {
        *self.notes.lock().unwrap_or_else(PoisonError::into_inner) = notes;
    }

    /// Tells its supervisor something. Dropped when there is none, or when it has more to read than it can: it looks for
    /// itself before long.
    pub(crate) fn note(&self, note: Note) -> bool {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.as_ref().is_some_and(|notes| notes.try_send(note).is_ok())
    }

    /// The server has forgotten how the login is, or may have: its supervisor tells it again.
    pub(crate) fn tell_again(&self) {
        self.vitals.is_untold.store(true, Ordering::Relaxed);
        // A supervisor with a full inbox looks at the mark after the next note.
        self.note(Note::TellAgain);
    }

    /// The network gave a sign of life.
    pub(crate) fn note_sign(&self) {
        self.vitals.unanswered.store(0, Ordering::Relaxed);
        if self.vitals.is_shown_silent.load(Ordering::Relaxed) {
            self.note(Note::Alive);
        }
    }

    /// The gateway took a message.
    pub(crate) fn note_sent(&self, now: Stamp) {
        if self.vitals.unanswered.fetch_add(1, Ordering::Relaxed) == 0 {
            self.vitals.unanswered_since_ms.store(now.boot_ms, Ordering::Relaxed);
        } else if self.vitals.is_silent(now) && !self.vitals.is_shown_silent.load(Ordering::Relaxed) {
            self.note(Note::Suspect);
        }
    }
}

/// Counters that lanes and webhooks write and the supervisor reads. Each stands for itself: no ordering between them is
/// relied upon.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    unanswered: AtomicU32,
    unanswered_since_ms: AtomicI64,
    /// The supervisor has called the bot silent.
    pub(crate) is_shown_silent: AtomicBool,
    /// The server does not know any more what it was told of the login.
    pub(crate) is_untold: AtomicBool,
    /// Moving average of what a send takes, in microseconds, plus one; zero before the first.
    call_micros: AtomicU64,
}

/// Weight of the latest send in the moving average of their duration: one part in this many.
const CALL_AVERAGE_OVER: u64 = 8;

impl Vitals {
    /// Whether messages left and nothing ever came back.
    pub(crate) fn is_silent(&self, now: Stamp) -> bool {
        let since = Stamp { boot_ms: self.unanswered_since_ms.load(Ordering::Relaxed), ..Stamp::default() };
        reconnect::is_silent(self.unanswered.load(Ordering::Relaxed), since.age(now))
    }

    pub(crate) fn note_call(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX - 1) + 1;
        let average = self.call_micros.load(Ordering::Relaxed);
        let average =
            if average == 0 { took } else { average - average / CALL_AVERAGE_OVER + took / CALL_AVERAGE_OVER };
        self.call_micros.store(average.max(1), Ordering::Relaxed);
    }

    /// How long a send takes at present, once one was made.
    pub(crate) fn call_time(&self) -> Option<Duration> {
        self.call_micros.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }
}

/// All bots that are declared or have work.
#[derive(Default)]
pub(crate) struct Bots {
    by_id: RwLock<HashMap<BotId, Arc<Bot>>>,
    declared: AtomicUsize,
}

impl Bots {
    /// The bot, if anything is known of it.
    pub(crate) fn get(&self, id: &BotId) -> Option<Arc<Bot>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The bot, as a mere name if nothing is known of it yet.
    pub(crate) fn get_or_insert(&self, id: &BotId) -> Arc<Bot> {
        if let Some(bot) = self.get(id) {
            return bot;
        }
        let mut bots = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bots.entry(id.clone()).or_insert_with(|| Arc::new(Bot::new(id.clone()))))
    }

    /// How many bots are declared.
    pub(crate) fn declared(&self) -> usize {
        self.declared.load(Ordering::Relaxed)
    }

    /// So many bots are declared.
    pub(crate) fn note_declared(&self, bots: usize) {
        self.declared.store(bots, Ordering::Relaxed);
    }

    /// The server has forgotten how the logins are: their supervisors tell it again.
    pub(crate) fn tell_again(&self) {
        let bots: Vec<_> = self.by_id.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        bots.iter().for_each(|bot| bot.tell_again());
    }

    /// Forgets bots that are no longer declared and have no work.
    pub(crate) fn tidy(&self) {
        let mut bots = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        bots.retain(|_, bot| Arc::strong_count(bot) > 1 || bot.route().is_some() || !bot.lane().is_idle());
    }
}
