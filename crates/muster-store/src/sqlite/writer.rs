//! The one thread that writes.
//!
//! Calls queue up while a transaction commits, and share the next one: no timer, no fixed batch, and under load far less
//! than one transaction per message. Where more waits than fits, tenants are served by their weights. Each call is all or nothing by itself (a savepoint), and is answered after the commit.
//!
//! It is a thread and not a task: a statement takes a microsecond, and handing each one to another thread and waiting for its
//! answer takes many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use muster_domain::fair::FairQueue;
use muster_domain::limits::TENANT_WEIGHT_MAX;
use muster_domain::message::NewMessage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::accept::{self, Bounds};
use super::log::Log;
use super::txn::Txn;
use crate::{AcceptResult, Result, StoreError};

/// Calls of a tenant that may wait for the writer, to accept messages and to do anything else. Callers beyond wait in their own
/// tasks, so that memory stays bounded and nobody's callers stand before those of another tenant.
const QUEUE: usize = 1_024;
/// Calls of either kind that share one transaction at the most.
const CALLS_MAX: usize = 512;
/// Messages that are accepted in one transaction at the most, and reports that are taken: keeps it short enough for everything else
/// to get its turn.
const WORK_MAX: u64 = 4_096;

/// Whom a call is for that no tenant makes. The server's own work takes turns like that of a tenant with the largest weight.
pub(super) const SERVER: i64 = 0;

/// The handle of the writing thread.
pub(super) struct Writer {
    queue: mpsc::UnboundedSender<Request>,
    /// Places in the queue, by tenant.
    places: Mutex<HashMap<(i64, Kind), Arc<Semaphore>>>,
    committed: watch::Receiver<u64>,
}

/// What a place in the queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Accept,
    Call,
}

enum Request {
    Accept(AcceptCall, OwnedSemaphorePermit),
    Call(Turn, Box<dyn Call>, OwnedSemaphorePermit),
    Close(oneshot::Sender<()>),
}

/// Whose turn a call takes, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) tenant_key: i64,
    /// Reports that it takes; one for a call that takes none.
    pub(super) cost: u64,
}

impl Turn {
    /// That of a call which is little work.
    pub(super) fn of(tenant_key: i64) -> Self {
        Turn { tenant_key, cost: 1 }
    }
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
    pub(super) fn start(txn: Txn, log: Log) -> Result<Self> {
        let (queue, requests) = mpsc::unbounded_channel();
        let (notify, committed) = watch::channel(txn.head());
        let thread = std::thread::Builder::new().name("store-writer".into());
        thread
            .spawn(move || run(txn, log, requests, &notify))
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Writer { queue, places: Mutex::default(), committed })
    }

    /// Accepts messages, together with those of other callers.
    pub(super) async fn accept(&self, tenant_key: i64, messages: Vec<NewMessage>) -> Result<Vec<AcceptResult>> {
        let (answer, answered) = oneshot::channel();
        let place = self.place(tenant_key, Kind::Accept).await?;
        self.send(Request::Accept(AcceptCall { tenant_key, messages, answer }, place))?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs a write in a transaction that it may share with others.
    pub(super) async fn call<T, F>(&self, turn: Turn, body: F) -> Result<T>
    where
        F: FnOnce(&mut Txn) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let place = self.place(turn.tenant_key, Kind::Call).await?;
        self.send(Request::Call(turn, Box::new(Typed { body: Some(body), outcome: None, answer }), place))?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Finishes what is queued and closes the connection.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Request::Close(answer)).is_ok() {
            let _ = answered.await;
        }
    }

    /// Moves with every commit that changed the state of a message.
    pub(super) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Waits for a place of a tenant.
    async fn place(&self, tenant_key: i64, kind: Kind) -> Result<OwnedSemaphorePermit> {
        let places = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry((tenant_key, kind)).or_insert_with(|| Arc::new(Semaphore::new(QUEUE))))
        };
        places.acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    fn send(&self, request: Request) -> Result<()> {
        self.queue.send(request).map_err(|_| StoreError::Closed)
    }
}

fn run(mut txn: Txn, mut log: Log, mut requests: mpsc::UnboundedReceiver<Request>, notify: &watch::Sender<u64>) {
    let mut arrived = Vec::with_capacity(CALLS_MAX);
    let mut waiting = Waiting::default();
    while waiting.closing.is_empty() && requests.blocking_recv_many(&mut arrived, CALLS_MAX) > 0 {
        waiting.take(&mut arrived, &txn);
        while !waiting.is_empty() {
            let part = waiting.part();
            commit(&mut txn, part, notify);
            log.after_commit(txn.connection());
            // What came meanwhile takes part in the next round of turns.
            while let Ok(request) = requests.try_recv() {
                arrived.push(request);
            }
            waiting.take(&mut arrived, &txn);
        }
    }
    log.close();
    txn.close();
    for answer in waiting.closing {
        let _ = answer.send(());
    }
}

/// Calls that wait for their transaction. Tenants get their turns by weight.
#[derive(Default)]
struct Waiting {
    accepts: FairQueue<i64, (AcceptCall, OwnedSemaphorePermit)>,
    calls: FairQueue<i64, (Box<dyn Call>, OwnedSemaphorePermit)>,
    closing: Vec<oneshot::Sender<()>>,
}

impl Waiting {
    /// Takes what arrived. Each call keeps its place until its transaction begins.
    fn take(&mut self, arrived: &mut Vec<Request>, txn: &Txn) {
        let weight = |key| if key == SERVER { TENANT_WEIGHT_MAX } else { txn.directory.weight(key) };
        for request in arrived.drain(..) {
            match request {
                Request::Accept(call, place) => {
                    let (key, cost) = (call.tenant_key, call.messages.len() as u64);
                    self.accepts.push(key, weight(key), cost, (call, place));
                }
                Request::Call(Turn { tenant_key, cost }, call, place) => {
                    self.calls.push(tenant_key, weight(tenant_key), cost, (call, place));
                }
                Request::Close(answer) => self.closing.push(answer),
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.accepts.is_empty() && self.calls.is_empty()
    }

    /// Takes calls for one transaction. What is accepted goes first, so that a claim of the same transaction sees it.
    fn part(&mut self) -> Part {
        Part { accepts: served(&mut self.accepts), calls: served(&mut self.calls) }
    }
}

/// Takes as many calls as one transaction serves, and their places with them.
fn served<C>(waiting: &mut FairQueue<i64, (C, OwnedSemaphorePermit)>) -> Vec<C> {
    let (mut served, mut work) = (Vec::new(), 0);
    while served.len() < CALLS_MAX
        && let Some(cost) = waiting.next_cost()
    {
        work += cost;
        if work > WORK_MAX && !served.is_empty() {
            break;
        }
        served.extend(waiting.pop().map(|(call, _)| call));
    }
    served
}

/// Calls of one transaction.
struct Part {
    accepts: Vec<AcceptCall>,
    calls: Vec<Box<dyn Call>>,
}

/// Carries out the calls of one transaction and answers them.
fn commit(txn: &mut Txn, mut part: Part, notify: &watch::Sender<u64>) {
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
}

fn transact(txn: &mut Txn, part: &mut Part, accepted: &mut Vec<Vec<AcceptResult>>) -> Result<u64> {
    txn.begin()?;
    if !part.accepts.is_empty() {
        let batches =
            part.accepts.iter_mut().map(|call| (call.tenant_key, std::mem::take(&mut call.messages))).collect();
        *accepted = accept::accept(txn, Bounds::Apply, batches)?;
    }
    for call in &mut part.calls {
        let mark = txn.begin_part()?;
        let failed = call.run(txn);
        txn.end_part(&mark, failed)?;
    }
    txn.commit()
}
