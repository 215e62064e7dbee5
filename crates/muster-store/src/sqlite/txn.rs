//! A write transaction: the only connection that writes, and what has to follow from a commit.

use std::cell::RefCell;
use std::sync::Arc;

use muster_domain::message::MessageState;
use muster_domain::{IdStart, MessageId, Timestamp};
use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, Row};

use super::change_log::{self, Change};
use super::counts::Counts;
use super::directory::{Directory, Edit};
use super::opt_outs::OptOuts;
use super::turns::Turns;
use super::under_way::UnderWay;
use super::windows::Windows;
use crate::{Clock, Result};

/// A transaction.
pub(super) struct Txn {
    connection: Connection,
    clock: Clock,
    /// The database's clock, read when the transaction began.
    pub(super) now: Timestamp,
    /// Ids and keys.
    pub(super) directory: Arc<Directory>,
    /// Something that was parked has become due by what the call did. Each call begins with `false`.
    pub(super) something_due: bool,
    /// Whose turn it is at bots whose queues take turns.
    pub(super) turns: Turns,
    /// What is known of messages under way.
    pub(super) under_way: UnderWay,
    /// Which addresses may be opted out.
    pub(super) opt_outs: OptOuts,
    /// How many messages are in each state. Changed while statements run, which borrow the transaction.
    pub(super) counts: RefCell<Counts>,
    /// Sending windows, by what their columns say. Looked up while statements run.
    pub(super) windows: RefCell<Windows>,
    last_id: Option<MessageId>,
    id_start: IdStart,
    changes: Vec<Change>,
    edits: Vec<Edit>,
    head: u64,
}

/// How far the lists of a transaction were, to go back there when a call fails.
pub(super) struct Mark {
    counts: usize,
    changes: usize,
    edits: usize,
}

impl Txn {
    /// Takes the connection over, with the ids and numbers that it goes on from.
    pub(super) fn new(
        connection: Connection,
        directory: Arc<Directory>,
        clock: Clock,
        id_start: IdStart,
    ) -> Result<Self> {
        let last = "SELECT (SELECT max(message_id) FROM message), (SELECT max(inbound_id) FROM inbound), \
            (SELECT max(contact_id) FROM contact), (SELECT max(last_seq) FROM change)";
        let (message, inbound, contact, head): (Option<i64>, Option<i64>, Option<i64>, Option<i64>) =
            connection.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(Txn {
            counts: RefCell::new(Counts::load(&connection)?),
            opt_outs: OptOuts::load(&connection)?,
            windows: RefCell::default(),
            connection,
            now: clock.now(),
            clock,
            directory,
            something_due: false,
            turns: Turns::default(),
            under_way: UnderWay::default(),
            last_id: message.max(inbound).max(contact).and_then(MessageId::from_raw),
            id_start,
            changes: Vec::new(),
            edits: Vec::new(),
            head: head.unwrap_or(0) as u64,
        })
    }

    // ---- statements ------------------------------------------------------------------------------------------------

    /// A statement that runs for many rows. It is parsed once for all transactions.
    pub(super) fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// Runs a statement. Returns how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<u64> {
        Ok(self.prepare(sql)?.execute(params)? as u64)
    }

    /// The value of a statement that has exactly one row of one column.
    pub(super) fn value<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<T> {
        Ok(self.prepare(sql)?.query_row(params, |row| row.get(0))?)
    }

    /// The value of a statement that has one row of one column at the most.
    pub(super) fn value_opt<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<Option<T>> {
        Ok(self.prepare(sql)?.query_row(params, |row| row.get(0)).optional()?)
    }

    /// The first row of a statement, if it has one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }

    /// All rows of a statement.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    // ---- what follows from a commit --------------------------------------------------------------------------------

    /// The next id for a message or an inbound message.
    pub(super) fn issue_id(&mut self) -> MessageId {
        let id = MessageId::next(self.last_id, self.id_start, self.now);
        self.last_id = Some(id);
        id
    }

    /// What tells versions that this opening of the database makes from those of others.
    pub(super) fn lineage(&self) -> u32 {
        self.id_start.lineage()
    }

    /// Notes that a message came from one state into another one.
    pub(super) fn moved(
        &mut self,
        tenant_key: i64,
        bot_key: i64,
        priority: i64,
        message_id: i64,
        from: MessageState,
        to: MessageState,
    ) {
        self.counts.get_mut().moved(tenant_key, bot_key, priority, Some(from), to);
        self.changes.push(Change { tenant_key, message_id, bot_key, state: to });
    }

    /// Notes that a message was accepted; it is counted by then.
    pub(super) fn accepted(&mut self, tenant_key: i64, bot_key: i64, message_id: i64) {
        self.changes.push(Change { tenant_key, message_id, bot_key, state: MessageState::Waiting });
    }

    /// Notes that a message in a final state is gone.
    pub(super) fn gone(&mut self, bot_key: i64, state: MessageState) {
        self.counts.get_mut().gone(bot_key, state);
    }

    /// Changes the directory once the transaction is committed.
    pub(super) fn edit(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    // ---- for the writer --------------------------------------------------------------------------------------------

    /// Begins a transaction, and takes the write lock at once.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.now = self.clock.now();
        self.execute("BEGIN IMMEDIATE", []).map(drop)
    }

    /// Begins a part that can fail by itself.
    pub(super) fn begin_part(&mut self) -> Result<Mark> {
        self.something_due = false;
        self.execute("SAVEPOINT part", [])?;
        Ok(Mark { counts: self.counts.get_mut().mark(), changes: self.changes.len(), edits: self.edits.len() })
    }

    /// Ends a part; if it failed, nothing of it stays.
    pub(super) fn end_part(&mut self, mark: &Mark, failed: bool) -> Result<()> {
        if failed {
            self.execute("ROLLBACK TO part", [])?;
            self.back_to(mark);
        }
        self.execute("RELEASE part", []).map(drop)
    }

    /// Writes the sums of what moved and the log of it, and commits. Returns the number of the latest change.
    pub(super) fn commit(&mut self) -> Result<u64> {
        self.counts.get_mut().write(&self.connection)?;
        let head = change_log::append(self, self.head, &self.changes)?;
        self.execute("COMMIT", [])?;
        self.head = head;
        self.counts.get_mut().committed();
        self.changes.clear();
        let edits = std::mem::take(&mut self.edits);
        self.directory.apply(edits);
        Ok(head)
    }

    /// Keeps nothing of the transaction.
    pub(super) fn roll_back(&mut self) {
        // Fails where SQLite has rolled back by itself, as it does when the disk is full.
        let _ = self.execute("ROLLBACK", []);
        self.back_to(&Mark { counts: 0, changes: 0, edits: 0 });
    }

    /// The connection, for what is done between transactions.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The number of the latest change.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Closes the connection.
    pub(super) fn close(self) {
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "close the database");
        }
    }

    fn back_to(&mut self, mark: &Mark) {
        self.counts.get_mut().back_to(mark.counts);
        self.changes.truncate(mark.changes);
        self.edits.truncate(mark.edits);
        self.under_way.forget_all();
    }
}
