//! What a seed does to a simulation: how large it is, which faults strike, when and how often.
//!
//! Each seed turns some kinds of faults off, so that the others meet states that a storm of everything would never let come
//! about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::chance::Chance;
use crate::chronicle::Chronicle;
use crate::time::Time;

/// How often a fault strikes that belongs to a call: once in so many, never for zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Odds {
    pub(crate) slow_database: u32,
    pub(crate) crash_at_commit: u32,
    pub(crate) slow_disk: u32,
    pub(crate) crash_at_sync: u32,
    /// A gateway does something else than to take a message and say so.
    pub(crate) gateway: u32,
    /// A client gives up waiting for its answer early, and calls again.
    pub(crate) impatient_client: u32,
    /// A write of a session is carried out when the session has been taken over.
    pub(crate) late_write: u32,
}

/// What networks and operators do while clients send. Each seed has some of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Habits {
    /// The networks tell what became of a message later.
    pub(crate) receipts: bool,
    /// Somebody decides about messages that are `UNCERTAIN`.
    pub(crate) decides: bool,
    /// Bots are moved to other nodes.
    pub(crate) moves: bool,
    /// Nodes are cordoned, drained, and used again.
    pub(crate) drains: bool,
    /// What failed is sent once more.
    pub(crate) replays: bool,
    /// Recipients opt out by a word, where the networks tell anything at all.
    pub(crate) opts_out: bool,
}

impl Habits {
    fn of(seed: u64, agents: usize) -> Habits {
        let chance = Chance::new(seed, 7);
        Habits {
            receipts: chance.one_in(2),
            decides: chance.one_in(2),
            moves: chance.one_in(2) && agents > 1,
            drains: chance.one_in(3),
            replays: chance.one_in(3),
            opts_out: chance.one_in(2),
        }
    }
}

/// A fault with a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// The server loses its power for a while.
    KillServer,
    /// An agent loses its power for a while.
    KillAgent(usize),
    /// An agent is told to stop, and is started again.
    StopAgent(usize),
    /// The server is told to stop, and is started again.
    StopServer,
    /// Nothing passes to or from an agent; what was on its way arrives later.
    HoldLine(usize),
    /// Nothing passes to or from an agent; what was on its way is lost.
    LoseLine(usize),
    /// The lines of an agent break, and both ends hear of it.
    ResetLine(usize),
    /// The lines of an agent break, and nobody hears of it.
    SilenceLine(usize),
    /// Everything takes long.
    SlowNetwork,
    /// The database takes no writes.
    FillDatabase,
    /// The journal's disk takes no bytes.
    FillDisk(usize),
    /// Somebody sets the server's clock.
    ServerClock,
    /// Somebody sets an agent's wall clock.
    AgentClock(usize),
    /// The disk of an agent acknowledges syncs that it does not carry out, until it crashes.
    LyingDisk(usize),
    /// An agent is started on a copy of the journal of another one.
    Clone(usize),
    /// The database is copied.
    BackUp,
    /// The server crashes, and comes up on the copy.
    Restore,
}

/// A simulation, as its seed wants it.
#[derive(Debug, Clone)]
pub(crate) struct Storm {
    pub(crate) agents: usize,
    pub(crate) bots_per_agent: usize,
    pub(crate) recipients: usize,
    pub(crate) clients: usize,
    pub(crate) messages_per_client: usize,
    pub(crate) odds: Odds,
    pub(crate) habits: Habits,
    /// In the order of their times.
    pub(crate) strikes: Vec<(Duration, Strike)>,
    /// When the faults end.
    pub(crate) length: Duration,
}

impl Storm {
    /// The storm of a seed.
    pub(crate) fn of(seed: u64) -> Storm {
        let chance = Chance::new(seed, 1);
        let agents = chance.pick(&[1, 1, 2, 2, 3]);
        let length = chance.millis(6_000, 20_000);
        let some = |odds: &[u32]| if chance.one_in(2) { chance.pick(odds) } else { 0 };
        let odds = Odds {
            slow_database: some(&[4, 20, 100]),
            crash_at_commit: some(&[40, 100, 300]),
            slow_disk: some(&[3, 20]),
            crash_at_sync: some(&[15, 40, 100]),
            gateway: some(&[2, 4, 10]),
            impatient_client: some(&[3, 10]),
            late_write: some(&[5, 20]),
        };
        let mut strikes = Vec::new();
        let at = || chance.millis(300, u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let mut several = |most: u64, strike: &dyn Fn(usize) -> Strike| {
            if chance.one_in(3) {
                for _ in 0..chance.between(1, most) {
                    let agent = usize::try_from(chance.between(0, agents as u64 - 1)).unwrap_or(0);
                    strikes.push((at(), strike(agent)));
                }
            }
        };
        several(3, &|_| Strike::KillServer);
        several(4, &Strike::KillAgent);
        several(2, &Strike::StopAgent);
        several(2, &|_| Strike::StopServer);
        several(4, &Strike::HoldLine);
        several(4, &Strike::LoseLine);
        several(4, &Strike::ResetLine);
        several(3, &Strike::SilenceLine);
        several(2, &|_| Strike::SlowNetwork);
        several(2, &|_| Strike::FillDatabase);
        several(2, &Strike::FillDisk);
        several(3, &|_| Strike::ServerClock);
        several(3, &Strike::AgentClock);
        if chance.one_in(8) {
            several(1, &Strike::LyingDisk);
            several(3, &Strike::KillAgent);
        }
        if chance.one_in(4) {
            several(1, &Strike::Clone);
        }
        if chance.one_in(6) {
            let backed_up = at();
            strikes.push((backed_up, Strike::BackUp));
            strikes.push((backed_up + chance.millis(100, 5_000), Strike::Restore));
        }
        strikes.sort_by_key(|(at, _)| *at);
        Storm {
            agents,
            bots_per_agent: chance.pick(&[1, 2, 3]),
            recipients: chance.pick(&[1, 2, 3]),
            clients: chance.pick(&[1, 2]),
            messages_per_client: chance.pick(&[8, 20, 40]),
            odds,
            habits: Habits::of(seed, agents),
            strikes,
            length,
        }
    }
}

/// What those who meet faults know of the storm.
#[derive(Clone)]
pub(crate) struct Weather {
    pub(crate) time: Time,
    pub(crate) chronicle: Chronicle,
    pub(crate) chance: Chance,
    pub(crate) odds: Odds,
    is_over: Arc<AtomicBool>,
    /// Microseconds until which the database takes no writes.
    database_full_until: Arc<AtomicU64>,
}

impl Weather {
    pub(crate) fn new(time: Time, chronicle: Chronicle, chance: Chance, odds: Odds) -> Self {
        Weather { time, chronicle, chance, odds, is_over: Arc::default(), database_full_until: Arc::default() }
    }

    /// The same storm, for somebody with chances of his own.
    pub(crate) fn with(&self, chance: Chance) -> Self {
        Weather { chance, ..self.clone() }
    }

    /// Whether a fault strikes now.
    pub(crate) fn strikes(&self, once_in: u32) -> bool {
        !self.is_over() && self.chance.one_in(once_in)
    }

    /// No fault strikes any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether the faults have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The database takes no writes for a while.
    pub(crate) fn fill_database(&self, length: Duration) {
        let until = u64::try_from((self.time.now() + length).as_micros()).unwrap_or(u64::MAX);
        self.database_full_until.store(until, Ordering::Relaxed);
    }

    /// Whether the database takes no writes now.
    pub(crate) fn database_is_full(&self) -> bool {
        let until = Duration::from_micros(self.database_full_until.load(Ordering::Relaxed));
        !self.is_over() && self.time.now() < until
    }
}
