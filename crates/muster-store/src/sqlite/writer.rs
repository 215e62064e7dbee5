//! The one thread that writes.
//!
//! Calls queue up while a transaction commits, and share the next one: no timer, no fixed batch, and under load far less
//! than one transaction per message. Each call is all or nothing by itself (a savepoint), and is answered after the commit.
//!
//! It is a thread and not a task: a statement takes a microsecond, and handing each one to another thread and waiting for its
//! answer takes many.

use muster_domain::message::NewMessage;
use tokio::sync::{mpsc, oneshot, watch};

use super::accept;
use super::txn::Txn;
use crate::{AcceptResult, Result, StoreError};

/// Calls that may wait for the writer. Callers beyond wait in their own tasks, so that memory stays bounded.
const QUEUE: usize = 1_024;
/// Calls that share one transaction at the most.
const CALLS_MAX: usize = 512;
/// Messages that are accepted in one transaction at the most: keeps it short enough for dispatch to get its turn.
const ACCEPTED_MAX: usize = 4_096;

/// The handle of the writing thread.
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
    /// Carries it out. Tells whether it failed.
    fn run(&mut self, txn: &mut Txn) -> bool;
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
    F: FnOnce(&mut Txn) -> Result<T> + Send,
    T: Send + 'static,
{
    fn run(&mut self, txn: &mut Txn) -> bool {
        self.outcome = self.body.take().map(|body| body(txn));
        matches!(self.outcome, Some(Err(_)))
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

impl Writer {
    /// Starts the thread.
    pub(super) fn start(txn: Txn) -> Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let (notify, committed) = watch::channel(txn.head());
        let thread = std::thread::Builder::new().name("store-writer".into());
        thread.spawn(move || run(txn, requests, &notify)).map_err(|error| StoreError::Failed(error.to_string()))?;
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
        F: FnOnce(&mut Txn) -> Result<T> + Send + 'static,
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

fn run(mut txn: Txn, mut requests: mpsc::Receiver<Request>, notify: &watch::Sender<u64>) {
    let mut batch = Vec::with_capacity(CALLS_MAX);
    let mut closers = Vec::new();
    while closers.is_empty() && requests.blocking_recv_many(&mut batch, CALLS_MAX) > 0 {
        let mut pending = batch.drain(..).peekable();
        while pending.peek().is_some() {
            let part = take_part(&mut pending);
            closers.extend(commit(&mut txn, part, notify));
        }
    }
    txn.close();
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
fn commit(txn: &mut Txn, mut part: Part, notify: &watch::Sender<u64>) -> Vec<oneshot::Sender<()>> {
    let mut accepted = Vec::new();
    let fate = transact(txn, &mut part, &mut accepted);
    match &fate {
        Ok(head) => {
            notify.send_if_modified(|seen| std::mem::replace(seen, *head) != *head);
        }
        Err(error) => {
            tracing::error!(%error, calls = part.calls.len(), accepts = part.accepts.len(), "write failed; nothing of it was kept");
            txn.roll_back();
        }
    }
    let fate = fate.map(drop);
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

fn transact(txn: &mut Txn, part: &mut Part, accepted: &mut Vec<Vec<AcceptResult>>) -> Result<u64> {
    txn.begin()?;
    if !part.accepts.is_empty() {
        let batches =
            part.accepts.iter_mut().map(|call| (call.tenant_key, std::mem::take(&mut call.messages))).collect();
        *accepted = accept::accept(txn, batches)?;
    }
    for call in &mut part.calls {
        let mark = txn.begin_part()?;
        let failed = call.run(txn);
        txn.end_part(&mark, failed)?;
    }
    txn.commit()
}
