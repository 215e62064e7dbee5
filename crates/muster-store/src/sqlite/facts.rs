//! What a step in the life of a message needs to know of it.

use muster_domain::life;
use muster_domain::message::MessageState;
use rusqlite::{Params, Row};

use super::code::Code as _;
use super::txn::Txn;
use crate::Result;

/// A message, as a step finds it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) message_id: i64,
    pub(super) tenant_key: i64,
    pub(super) bot_key: i64,
    pub(super) priority: i64,
    pub(super) chain: i64,
    pub(super) expire_time: i64,
    pub(super) state: MessageState,
    /// Attempts so far.
    pub(super) attempt_no: i64,
    pub(super) cancel_requested: bool,
    /// Its recipient opted out while an attempt was under way, and the agent is asked to drop it.
    pub(super) opted_out: bool,
    /// The latest attempt, if there was one. What a claim found in its queue does not name it.
    pub(super) latest: Option<Latest>,
}

/// Where and when an attempt was committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latest {
    pub(super) node_key: i64,
    pub(super) epoch: i64,
    pub(super) dispatch_time: i64,
}

/// The head of a statement that reads [`Facts`]. Kept attempts are looked at
/// only for messages that wait.
const FACTS: &str = "SELECT m.message_id, m.tenant_key, m.bot_key, m.priority, m.chain, m.expire_time, \
    coalesce(s.state, f.message_id IS NOT NULL), coalesce(f.cancel_requested, s.cancel_requested, 0), \
    coalesce(f.attempt_no, s.attempt_no, (SELECT max(a.attempt_no) FROM attempt a WHERE a.message_id = m.message_id), 0), \
    coalesce(f.node_key, s.node_key, (SELECT a.node_key FROM attempt a WHERE a.message_id = m.message_id ORDER BY a.attempt_no DESC)), \
    coalesce(f.epoch, s.epoch, (SELECT a.epoch FROM attempt a WHERE a.message_id = m.message_id ORDER BY a.attempt_no DESC)), \
    coalesce(f.dispatch_time, s.dispatch_time, \
    (SELECT a.dispatch_time FROM attempt a WHERE a.message_id = m.message_id ORDER BY a.attempt_no DESC)), \
    coalesce(f.opted_out, 0) \
    FROM message m LEFT JOIN flight f ON f.message_id = m.message_id LEFT JOIN settled s ON s.message_id = m.message_id WHERE ";

impl Facts {
    /// What the rules of a message's life look at; `now` in microseconds.
    pub(super) fn life(&self, now: i64) -> life::Facts {
        life::Facts {
            state: self.state,
            attempt_no: self.attempt_no as u32,
            cancel_requested: self.cancel_requested,
            is_over: self.expire_time <= now,
        }
    }

    /// Whether the latest attempt was committed for this node.
    pub(super) fn is_of(&self, node_key: i64) -> bool {
        self.latest.is_some_and(|latest| latest.node_key == node_key)
    }

    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        let latest = match (row.get(9)?, row.get(10)?, row.get(11)?) {
            (Some(node_key), Some(epoch), Some(dispatch_time)) => Some(Latest { node_key, epoch, dispatch_time }),
            _ => None,
        };
        Ok(Facts {
            message_id: row.get(0)?,
            tenant_key: row.get(1)?,
            bot_key: row.get(2)?,
            priority: row.get(3)?,
            chain: row.get(4)?,
            expire_time: row.get(5)?,
            // The numbers of WAITING and DISPATCHED are what the query makes of the missing or present flight.
            state: MessageState::decode(row.get(6)?)?,
            cancel_requested: row.get(7)?,
            opted_out: row.get(12)?,
            attempt_no: row.get(8)?,
            latest,
        })
    }
}

/// Reads the facts of messages by id, in the order of `ids`; `None` where there is no such message.
pub(super) fn of(txn: &Txn, ids: impl IntoIterator<Item = i64>) -> Result<Vec<Option<Facts>>> {
    let mut statement = txn.prepare(&format!("{FACTS} m.message_id = ?"))?;
    let mut read = |message_id: i64| match txn.under_way.get(message_id) {
        Some(facts) => Ok(Some(facts.clone())),
        None => statement.query([message_id])?.next()?.map(Facts::read).transpose(),
    };
    ids.into_iter().map(&mut read).collect()
}

/// Reads the facts of one message.
pub(super) fn of_one(txn: &Txn, message_id: i64) -> Result<Option<Facts>> {
    Ok(of(txn, [message_id])?.pop().flatten())
}

/// Reads the facts of the messages that `condition` chooses from `m`, `f` and `s`.
pub(super) fn of_those(txn: &Txn, condition: &str, params: impl Params) -> Result<Vec<Facts>> {
    txn.all(&format!("{FACTS} {condition}"), params, Facts::read)
}
