//! The journal's one writer: it takes whatever waits, writes it in one piece, syncs once, and answers everybody.
//!
//! While one batch is being synced the next one forms. Nobody holds a lock over a write: the queue and the state are locked
//! for moments only. The writer is a thread, except in a simulation, where it is a task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::error::{AppendError, JournalError};
use super::log::{Log, WriteError};
use super::record::Record;
use super::state::{State, StateCell};
use crate::machine::Pace;

/// How often the room on the disk is looked at.
const ROOM_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Weight of the latest sync in the moving average of their duration: one part in this many.
const SYNC_AVERAGE_OVER: u64 = 8;

/// Records that belong together, and who waits for them.
pub(super) struct Order {
    pub(super) records: Vec<Record>,
    /// Refused when the disk is full, rather than kept until there is room.
    pub(super) needs_room: bool,
    pub(super) done: Option<oneshot::Sender<Result<u64, AppendError>>>,
}

impl Order {
    fn answer(self, result: Result<u64, AppendError>) {
        if let Some(done) = self.done {
            // Nobody waits any more when the caller was cancelled; the records are durable all the same.
            let _ = done.send(result);
        }
    }
}

#[derive(Default)]
struct Queue {
    orders: Vec<Order>,
    closed: bool,
}

/// Wakes the writer.
pub(super) enum Wake {
    /// It is a thread.
    Thread(Condvar),
    /// It is a task.
    Task(Notify),
}

impl Wake {
    fn wake(&self) {
        match self {
            Wake::Thread(wake) => wake.notify_one(),
            Wake::Task(wake) => wake.notify_one(),
        }
    }
}

/// What the writer shares with those who ask it to write and those who read.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    wake: Wake,
    state: StateCell,
    /// Offset of the latest durable report.
    pub(super) head: watch::Sender<u64>,
    /// There is no room for more work.
    pub(super) is_full: watch::Sender<bool>,
    /// The journal failed for good; the reason was logged.
    pub(super) has_failed: AtomicBool,
    sync_micros: AtomicU64,
    free_bytes: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held ends the process in a release build; elsewhere the tests want to go on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(state: StateCell, wake: Wake) -> Arc<Self> {
        let head = state.lock().head();
        Arc::new(Shared {
            head: watch::Sender::new(head),
            queue: Mutex::default(),
            wake,
            state,
            is_full: watch::Sender::new(false),
            has_failed: AtomicBool::new(false),
            sync_micros: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
        })
    }

    pub(super) fn push(&self, order: Order) {
        let mut queue = locked(&self.queue);
        if queue.closed {
            drop(queue);
            return order.answer(Err(AppendError::Closed));
        }
        queue.orders.push(order);
        drop(queue);
        self.wake.wake();
    }

    /// Takes an order that nobody waits for: it is written with the next ones, or when the writer next looks by itself.
    pub(super) fn push_quietly(&self, record: Record) {
        let mut queue = locked(&self.queue);
        if !queue.closed {
            queue.orders.push(Order { records: vec![record], needs_room: false, done: None });
        }
    }

    pub(super) fn close(&self) {
        locked(&self.queue).closed = true;
        self.wake.wake();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// How long a write with its sync takes at present.
    pub(super) fn sync_time(&self) -> Duration {
        Duration::from_micros(self.sync_micros.load(Ordering::Relaxed))
    }

    /// Bytes that were free on the disk when it was last looked at.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    fn note_sync(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let average = self.sync_micros.load(Ordering::Relaxed);
        let average =
            if average == 0 { took } else { average - average / SYNC_AVERAGE_OVER + took / SYNC_AVERAGE_OVER };
        self.sync_micros.store(average, Ordering::Relaxed);
    }

    /// Takes what is ordered; `None` when the journal is closed and nothing is left.
    fn take(&self) -> Option<Vec<Order>> {
        let mut queue = locked(&self.queue);
        if queue.orders.is_empty() && queue.closed { None } else { Some(std::mem::take(&mut queue.orders)) }
    }

    /// Waits, as a thread, until there is something to do, and not longer than `patience`.
    fn wait(&self, wake: &Condvar, patience: Duration) {
        let idle = |queue: &mut Queue| queue.orders.is_empty() && !queue.closed;
        drop(wake.wait_timeout_while(locked(&self.queue), patience, idle));
    }
}

/// A batch that is durable.
struct Written {
    /// Offset of the latest report.
    head: u64,
    /// Offset of the first report of each order.
    firsts: Vec<u64>,
}

/// Writes until the journal is closed or fails.
pub(super) struct Writer {
    log: Log,
    shared: Arc<Shared>,
    /// Below this many free bytes no more work is taken.
    free_bytes_min: u64,
    /// The latest write found no room, whatever the file system says of free bytes.
    found_no_room: bool,
    room_checked: Instant,
    waiting: Vec<Order>,
    has_ended: bool,
}

impl Writer {
    /// A writer that has looked how much room there is.
    pub(super) fn new(log: Log, shared: Arc<Shared>, free_bytes_min: u64) -> Self {
        let mut writer = Writer {
            log,
            shared,
            free_bytes_min,
            found_no_room: false,
            room_checked: Instant::now(),
            waiting: Vec::new(),
            has_ended: false,
        };
        writer.check_room(true);
        writer
    }

    /// The thread's body.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while !self.has_ended {
            if let Wake::Thread(wake) = &shared.wake {
                shared.wait(wake, ROOM_CHECK_EVERY);
            }
            if self.take() {
                let began = Instant::now();
                let written = self.write();
                self.finish(written, began);
            }
        }
    }

    /// The task's body. `pace` says how long the disk takes.
    pub(super) async fn run_as_task(mut self, pace: Arc<dyn Pace>) {
        let shared = Arc::clone(&self.shared);
        while !self.has_ended {
            if let Wake::Task(wake) = &shared.wake {
                // Either way it looks.
                let _ = tokio::time::timeout(ROOM_CHECK_EVERY, wake.notified()).await;
            }
            if self.take() {
                let began = Instant::now();
                pace.before_write().await;
                let written = self.write();
                pace.after_write().await;
                self.finish(written, began);
            }
        }
    }

    /// Takes what is ordered, and looks after the room. Tells whether there is something to write.
    fn take(&mut self) -> bool {
        match self.shared.take() {
            Some(orders) => self.waiting.extend(orders),
            None => self.has_ended = true,
        }
        if self.room_checked.elapsed() >= ROOM_CHECK_EVERY {
            self.room_checked = Instant::now();
            self.check_room(self.waiting.is_empty());
        }
        if *self.shared.is_full.borrow() {
            for order in self.waiting.extract_if(.., |order| order.needs_room) {
                order.answer(Err(AppendError::Full));
            }
        }
        !self.waiting.is_empty()
    }

    /// Looks how much room the disk has.
    fn check_room(&mut self, nothing_waits: bool) {
        if nothing_waits {
            self.found_no_room = false;
        }
        match self.log.free_bytes() {
            Ok(free) => {
                self.shared.free_bytes.store(free, Ordering::Relaxed);
                self.set_full(free < self.free_bytes_min || self.found_no_room);
            }
            Err(error) => tracing::warn!(%error, "cannot tell how much room the journal's disk has"),
        }
    }

    fn set_full(&self, full: bool) {
        let changed = self.shared.is_full.send_if_modified(|is_full| std::mem::replace(is_full, full) != full);
        if changed && full {
            let (dir, free_bytes_min) = (self.log.dir().display(), self.free_bytes_min);
            tracing::error!(%dir, free_bytes_min, "the journal's disk is full: no more work is taken until there is room");
        } else if changed {
            tracing::info!("the journal's disk has room again");
        }
    }

    /// Makes what waits durable.
    fn write(&mut self) -> Result<Written, WriteError> {
        let (mut head, mut order_no) = {
            let state = self.shared.state();
            (state.head(), state.order())
        };
        let mut firsts = Vec::with_capacity(self.waiting.len());
        for order in &mut self.waiting {
            firsts.push(head + 1);
            for record in &mut order.records {
                match record {
                    Record::Report(report) => {
                        head += 1;
                        report.offset = head;
                    }
                    Record::Accept(accept) => {
                        order_no += 1;
                        accept.order = order_no;
                    }
                    _ => {}
                }
            }
        }
        self.log.append(self.waiting.iter().flat_map(|order| &order.records))?;
        Ok(Written { head, firsts })
    }

    /// Tells what became of what waits. What found no room stays.
    fn finish(&mut self, written: Result<Written, WriteError>, began: Instant) {
        let told = match written {
            Ok(written) => {
                self.shared.note_sync(began.elapsed());
                self.tell(written);
                self.rotate()
            }
            Err(WriteError::Full) => {
                self.found_no_room = true;
                self.set_full(true);
                Ok(())
            }
            Err(WriteError::Failed(error)) => Err(error),
        };
        if let Err(error) = told {
            self.fail(&error);
        }
    }

    fn tell(&mut self, Written { head, firsts }: Written) {
        self.found_no_room = false;
        let now = self.log.now();
        {
            let mut state = self.shared.state();
            let records = self.waiting.iter_mut().flat_map(|order| order.records.drain(..));
            for (record, home) in records.zip(self.log.homes()) {
                state.apply(record, *home, now);
            }
        }
        self.shared.head.send_if_modified(|shown| std::mem::replace(shown, head) != head);
        for (order, first) in self.waiting.drain(..).zip(firsts) {
            order.answer(Ok(first));
        }
    }

    fn rotate(&mut self) -> Result<(), JournalError> {
        if !self.log.is_rotation_due() {
            return Ok(());
        }
        match self.log.rotate(&self.shared.state) {
            Ok(()) => Ok(()),
            // The present segment goes on growing while there is no room for another.
            Err(WriteError::Full) => {
                self.found_no_room = true;
                self.set_full(true);
                Ok(())
            }
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    fn fail(&mut self, error: &JournalError) {
        self.has_ended = true;
        tracing::error!(%error, "the journal cannot be written any more: the agent stops, and starts again from what is durable");
        self.shared.has_failed.store(true, Ordering::Release);
        let mut queue = locked(&self.shared.queue);
        queue.closed = true;
        let orders = std::mem::take(&mut queue.orders);
        drop(queue);
        for order in self.waiting.drain(..).chain(orders) {
            order.answer(Err(AppendError::Closed));
        }
        // Wakes those who wait for the head, so that they see the failure.
        self.shared.head.send_modify(|_| {});
    }
}
