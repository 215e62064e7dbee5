//! The one task that writes.
//!
//! Calls queue up while a transaction commits, and share the next one: no timer, no fixed batch, and under load far less
//! than one transaction per message. Each call is all or nothing by itself (a savepoint), and is answered after the commit.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use muster_domain::message::{MessageState, NewMessage};
use muster_domain::{MessageId, Timestamp};
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};

use super::change_log::{self, Change};
use super::code::Code as _;
use super::directory::{Directory, Edit};
use super::error::failed;
use super::{accept, bulk};
use crate::{AcceptResult, Result, StoreError};

/// Calls that may wait for the writer. Callers beyond wait in their own tasks, so that memory stays bounded.
const QUEUE: usize = 1_024;
/// Calls that share one transaction at the most.
const CALLS_MAX: usize = 512;
/// Messages that are accepted in one transaction at the most: keeps it short enough for dispatch to get its turn.
const ACCEPTED_MAX: usize = 4_096;
/// The part of the ids that tells replicas apart. A file has one server.
const REPLICA: u8 = 0;

/// The handle of the writing task.
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
    committed: watch::Receiver<u64>,
}

enum Request {
    Accept(AcceptCall),
    Call(Box<dyn Call>),
    Close(oneshot::Sender<()>),
}

struct AcceptCall {
    tenant_key: i64,
    messages: Vec<NewMessage>,
    answer: oneshot::Sender<Result<Vec<AcceptResult>>>,
}

/// A write with its answer.
trait Call: Send {
    fn run<'t>(&'t mut self, txn: &'t mut Txn) -> BoxFuture<'t, Result<()>>;
    /// Answers the caller. `commit` is the fate of the transaction.
    fn finish(self: Box<Self>, commit: Result<()>);
}

struct Typed<F, T> {
    body: Option<F>,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<F, T> Call for Typed<F, T>
where
    F: for<'t> FnOnce(&'t mut Txn) -> BoxFuture<'t, Result<T>> + Send,
    T: Send + 'static,
{
    fn run<'t>(&'t mut self, txn: &'t mut Txn) -> BoxFuture<'t, Result<()>> {
        Box::pin(async move {
            let Some(body) = self.body.take() else { return Ok(()) };
            let outcome = body(txn).await;
            let fate = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
            self.outcome = Some(outcome);
            fate
        })
    }

    fn finish(self: Box<Self>, commit: Result<()>) {
        let outcome = match (commit, self.outcome) {
            // An answer that says no stands, whatever became of the others.
            (_, Some(Err(error))) | (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), None) => Err(StoreError::Closed),
        };
        // The caller may have gone; its write stands all the same.
        let _ = self.answer.send(outcome);
    }
}

/// A transaction, with what has to follow from it.
pub(super) struct Txn {
    /// The only connection that writes.
    pub(super) connection: SqliteConnection,
    /// The database's clock, read when the transaction began.
    pub(super) now: Timestamp,
    /// Ids and keys.
    pub(super) directory: Arc<Directory>,
    /// Something that was parked has become due by what the call did. Each call begins with `false`.
    pub(super) something_due: bool,
    last_id: Option<MessageId>,
    counts: Vec<(i64, MessageState, i64)>,
    changes: Vec<Change>,
    edits: Vec<Edit>,
    head: u64,
}

/// How far the lists of a transaction were, to go back there when a call fails.
struct Mark {
    counts: usize,
    changes: usize,
    edits: usize,
}

impl Txn {
    /// The next id for a message or an inbound message.
    pub(super) fn issue_id(&mut self) -> MessageId {
        let id = MessageId::next(self.last_id, REPLICA, self.now);
        self.last_id = Some(id);
        id
    }

    /// Notes that a message came into a state, from another one or from nowhere.
    pub(super) fn moved(
        &mut self,
        tenant_key: i64,
        bot_key: i64,
        message_id: i64,
        from: Option<MessageState>,
        to: MessageState,
    ) {
        if let Some(from) = from {
            self.counts.push((bot_key, from, -1));
        }
        self.counts.push((bot_key, to, 1));
        self.changes.push(Change { tenant_key, message_id, bot_key, state: to });
    }

    /// Notes that a message is gone.
    pub(super) fn gone(&mut self, bot_key: i64, state: MessageState) {
        self.counts.push((bot_key, state, -1));
    }

    /// Changes the directory once the transaction is committed.
    pub(super) fn edit(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    fn mark(&self) -> Mark {
        Mark { counts: self.counts.len(), changes: self.changes.len(), edits: self.edits.len() }
    }

    fn back_to(&mut self, mark: &Mark) {
        self.counts.truncate(mark.counts);
        self.changes.truncate(mark.changes);
        self.edits.truncate(mark.edits);
    }

    async fn execute(&mut self, sql: &'static str) -> Result<()> {
        sqlx::query(sql).execute(&mut self.connection).await.map(|_| ()).map_err(failed)
    }

    /// Writes the sums of what moved, and the log of it.
    async fn flush(&mut self) -> Result<u64> {
        let mut sums: HashMap<(i64, i64), i64> = HashMap::new();
        for (bot_key, state, delta) in self.counts.drain(..) {
            *sums.entry((bot_key, state.code())).or_default() += delta;
        }
        let mut sums: Vec<_> = sums.into_iter().filter(|(_, delta)| *delta != 0).collect();
        sums.sort_unstable();
        bulk::execute(
            &mut self.connection,
            "INSERT INTO bot_count (bot_key, state, count) VALUES",
            3,
            "ON CONFLICT (bot_key, state) DO UPDATE SET count = count + excluded.count",
            &sums,
            |query, ((bot_key, state), delta)| query.bind(*bot_key).bind(*state).bind(*delta),
            |query| query,
        )
        .await?;
        let head = change_log::append(&mut self.connection, self.now, self.head, &self.changes).await?;
        self.changes.clear();
        Ok(head)
    }
}

impl Writer {
    /// Starts the task.
    pub(super) async fn start(mut connection: SqliteConnection, directory: Arc<Directory>) -> Result<Self> {
        let last: (Option<i64>, Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT max(message_id) FROM message), (SELECT max(inbound_id) FROM inbound), (SELECT max(last_seq) FROM change)",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
        let head = last.2.unwrap_or(0) as u64;
        let txn = Txn {
            connection,
            now: Timestamp::now(),
            directory,
            something_due: false,
            last_id: last.0.max(last.1).and_then(MessageId::from_raw),
            counts: Vec::new(),
            changes: Vec::new(),
            edits: Vec::new(),
            head,
        };
        let (queue, requests) = mpsc::channel(QUEUE);
        let (notify, committed) = watch::channel(head);
        tokio::spawn(run(txn, requests, notify));
        Ok(Writer { queue, committed })
    }

    /// Accepts messages, together with those of other callers.
    pub(super) async fn accept(&self, tenant_key: i64, messages: Vec<NewMessage>) -> Result<Vec<AcceptResult>> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Accept(AcceptCall { tenant_key, messages, answer })).await?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs a write in a transaction that it may share with others.
    pub(super) async fn call<T, F>(&self, body: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t mut Txn) -> BoxFuture<'t, Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Call(Box::new(Typed { body: Some(body), outcome: None, answer }))).await?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Finishes what is queued and closes the connection.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Request::Close(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }

    /// Moves with every commit that changed the state of a message.
    pub(super) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    async fn send(&self, request: Request) -> Result<()> {
        self.queue.send(request).await.map_err(|_| StoreError::Closed)
    }
}

async fn run(mut txn: Txn, mut requests: mpsc::Receiver<Request>, notify: watch::Sender<u64>) {
    let mut batch = Vec::with_capacity(CALLS_MAX);
    let mut closers = Vec::new();
    while requests.recv_many(&mut batch, CALLS_MAX).await > 0 {
        let closing = batch.iter().any(|request| matches!(request, Request::Close(_)));
        let mut pending = batch.drain(..).peekable();
        while pending.peek().is_some() {
            let part = take_part(&mut pending);
            closers.extend(commit(&mut txn, part, &notify).await);
        }
        drop(pending);
        if closing {
            break;
        }
    }
    super::close(txn.connection).await;
    for answer in closers {
        let _ = answer.send(());
    }
}

/// Calls of one transaction.
#[derive(Default)]
struct Part {
    accepts: Vec<AcceptCall>,
    calls: Vec<Box<dyn Call>>,
    closing: Vec<oneshot::Sender<()>>,
}

/// Takes calls for one transaction. What is accepted goes first, so that a claim of the same transaction sees it.
fn take_part(pending: &mut std::iter::Peekable<std::vec::Drain<'_, Request>>) -> Part {
    let mut part = Part::default();
    let mut accepted = 0;
    while let Some(request) = pending.peek() {
        if let Request::Accept(call) = request {
            accepted += call.messages.len();
            if accepted > ACCEPTED_MAX && !part.accepts.is_empty() {
                break;
            }
        }
        match pending.next() {
            Some(Request::Accept(call)) => part.accepts.push(call),
            Some(Request::Call(call)) => part.calls.push(call),
            Some(Request::Close(answer)) => part.closing.push(answer),
            None => break,
        }
    }
    part
}

/// Carries out the calls of one transaction and answers them. Returns who wants to know when the connection is closed.
async fn commit(txn: &mut Txn, mut part: Part, notify: &watch::Sender<u64>) -> Vec<oneshot::Sender<()>> {
    let mut accepted = Vec::new();
    let fate = transact(txn, &mut part, &mut accepted).await;
    match &fate {
        Ok(head) => {
            txn.head = *head;
            let edits = std::mem::take(&mut txn.edits);
            txn.directory.apply(edits);
            notify.send_if_modified(|seen| std::mem::replace(seen, *head) != *head);
        }
        Err(error) => {
            tracing::error!(%error, calls = part.calls.len(), accepts = part.accepts.len(), "write failed; nothing of it was kept");
            // Fails where SQLite has rolled back by itself, as it does when the disk is full.
            let _ = sqlx::query("ROLLBACK").execute(&mut txn.connection).await;
            txn.back_to(&Mark { counts: 0, changes: 0, edits: 0 });
        }
    }
    let fate = fate.map(|_| ());
    let mut results = accepted.into_iter();
    for AcceptCall { messages: _, tenant_key: _, answer } in part.accepts {
        let result = fate.clone().map(|()| results.next().unwrap_or_default());
        let _ = answer.send(result);
    }
    for call in part.calls {
        call.finish(fate.clone());
    }
    part.closing
}

async fn transact(txn: &mut Txn, part: &mut Part, accepted: &mut Vec<Vec<AcceptResult>>) -> Result<u64> {
    txn.now = Timestamp::now();
    txn.execute("BEGIN IMMEDIATE").await?;
    if !part.accepts.is_empty() {
        let batches =
            part.accepts.iter_mut().map(|call| (call.tenant_key, std::mem::take(&mut call.messages))).collect();
        *accepted = accept::accept(txn, batches).await?;
    }
    for call in &mut part.calls {
        let mark = txn.mark();
        txn.something_due = false;
        txn.execute("SAVEPOINT call").await?;
        if call.run(txn).await.is_err() {
            txn.execute("ROLLBACK TO call").await?;
            txn.back_to(&mark);
        }
        txn.execute("RELEASE call").await?;
    }
    let head = txn.flush().await?;
    txn.execute("COMMIT").await?;
    Ok(head)
}
