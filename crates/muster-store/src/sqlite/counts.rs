//! How many messages of each bot are in each state.
//!
//! In rows for everybody who asks. What waits or is under way also in memory, with the pace of each bot: acceptance asks for it
//! with every message, and only the writer changes it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use muster_domain::aging::QUEUES;
use muster_domain::backlog::{Backlog, Pace};
use muster_domain::backoff::Backoff;
use muster_domain::message::MessageState;
use rusqlite::{Connection, params};

use super::code::Code as _;
use crate::Result;

/// What the column `queue` has for messages that wait for a time that their clients named. Others that wait have the number of
/// their priority there, and all that do not wait zero.
const SCHEDULED: i64 = QUEUES as i64;

/// The numbers.
pub(super) struct Counts {
    open: HashMap<i64, Open>,
    /// Messages that wait, by tenant.
    waiting: HashMap<i64, i64>,
    /// What the transaction moved.
    moves: Vec<Move>,
}

/// What of a bot is not over.
#[derive(Default)]
struct Open {
    /// By [`Place::queue`].
    waiting: [i64; QUEUES + 1],
    under_way: i64,
    pace: Pace,
}

/// Messages of a bot that came to a place, or left it.
#[derive(Clone, Copy)]
struct Move {
    /// Not told where the sum of the tenant stays the same.
    tenant_key: Option<i64>,
    bot_key: i64,
    place: Place,
    count: i64,
}

/// What messages are counted by.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    state: MessageState,
    queue: i64,
}

impl Place {
    fn of(state: MessageState, priority: i64) -> Self {
        Place { state, queue: if state == MessageState::Waiting { priority } else { 0 } }
    }

    fn scheduled() -> Self {
        Place { state: MessageState::Waiting, queue: SCHEDULED }
    }
}

impl Counts {
    /// Reads what is not over. The cost follows the bots, not what waits for them.
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let mut counts = Counts { open: HashMap::new(), waiting: HashMap::new(), moves: Vec::new() };
        let mut statement = connection.prepare(
            "SELECT b.tenant_key, c.bot_key, c.state, c.queue, c.count FROM bot_count c JOIN bot b USING (bot_key) \
             WHERE c.state <= 1 AND c.count <> 0",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let place = Place { state: MessageState::decode(row.get(2)?)?, queue: row.get(3)? };
            counts.apply(Move { tenant_key: Some(row.get(0)?), bot_key: row.get(1)?, place, count: row.get(4)? });
        }
        Ok(counts)
    }

    /// Notes that a message came into a state, from another one or from nowhere.
    pub(super) fn moved(
        &mut self,
        tenant_key: i64,
        bot_key: i64,
        priority: i64,
        from: Option<MessageState>,
        to: MessageState,
    ) {
        let tenant_key = Some(tenant_key);
        if let Some(from) = from {
            self.note(Move { tenant_key, bot_key, place: Place::of(from, priority), count: -1 });
        }
        self.note(Move { tenant_key, bot_key, place: Place::of(to, priority), count: 1 });
    }

    /// Notes that a message in a final state is gone.
    pub(super) fn gone(&mut self, bot_key: i64, state: MessageState) {
        self.note(Move { tenant_key: None, bot_key, place: Place::of(state, 0), count: -1 });
    }

    /// Notes that a waiting message begins to wait for a time that its client named, or no longer does.
    pub(super) fn scheduled(&mut self, bot_key: i64, priority: i64, begins: bool) {
        let count = if begins { 1 } else { -1 };
        for (place, count) in [(Place::scheduled(), count), (Place::of(MessageState::Waiting, priority), -count)] {
            self.note(Move { tenant_key: None, bot_key, place, count });
        }
    }

    /// Notes what an attempt took of its bot's time, and whether it ended its message.
    pub(super) fn attempted(&mut self, bot_key: i64, took: Duration, ended: bool) {
        self.open.entry(bot_key).or_default().pace.note(took, ended);
    }

    /// Notes a refusal; see [`Pace::note_refusal`].
    pub(super) fn refused(&mut self, bot_key: i64, before: Option<&Backoff>, after: &Backoff) {
        self.open.entry(bot_key).or_default().pace.note_refusal(before, after);
    }

    /// What a message of a priority finds.
    pub(super) fn backlog(&self, tenant_key: i64, bot_key: i64, priority: i64) -> Backlog {
        let none = Open::default();
        let open = self.open.get(&bot_key).unwrap_or(&none);
        let own = (priority as usize).min(QUEUES - 1);
        let count = |counts: &[i64]| counts.iter().sum::<i64>().max(0).unsigned_abs();
        Backlog {
            ahead: count(&open.waiting[..=own]) + count(&[open.under_way]),
            of_bot: count(&open.waiting),
            of_tenant: count(&[self.waiting.get(&tenant_key).copied().unwrap_or_default()]),
            per_message: open.pace.per_message(),
        }
    }

    fn note(&mut self, moved: Move) {
        self.apply(moved);
        self.moves.push(moved);
    }

    fn apply(&mut self, Move { tenant_key, bot_key, place, count }: Move) {
        match place.state {
            MessageState::Waiting => {
                if let Some(waiting) = self.open.entry(bot_key).or_default().waiting.get_mut(place.queue as usize) {
                    *waiting += count;
                }
                if let Some(tenant_key) = tenant_key {
                    *self.waiting.entry(tenant_key).or_default() += count;
                }
            }
            MessageState::Dispatched => self.open.entry(bot_key).or_default().under_way += count,
            _ => {}
        }
    }

    // ---- for the transaction ---------------------------------------------------------------------------------------

    /// How far the transaction is.
    pub(super) fn mark(&self) -> usize {
        self.moves.len()
    }

    /// Takes back what was moved since a mark.
    pub(super) fn back_to(&mut self, mark: usize) {
        for moved in self.moves.split_off(mark.min(self.moves.len())) {
            self.apply(Move { count: -moved.count, ..moved });
        }
    }

    /// Writes the sums of what moved.
    pub(super) fn write(&self, connection: &Connection) -> Result<()> {
        let mut sums: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
        for Move { tenant_key: _, bot_key, place, count } in &self.moves {
            *sums.entry((*bot_key, place.state.code(), place.queue)).or_default() += count;
        }
        let mut add = connection.prepare_cached(
            "INSERT INTO bot_count (bot_key, state, queue, count) VALUES (?, ?, ?, ?) \
             ON CONFLICT (bot_key, state, queue) DO UPDATE SET count = count + excluded.count",
        )?;
        for ((bot_key, state, queue), count) in sums {
            if count != 0 {
                add.execute(params![bot_key, state, queue, count])?;
            }
        }
        Ok(())
    }

    /// The transaction is committed: its moves stand.
    pub(super) fn committed(&mut self) {
        self.moves.clear();
    }
}
