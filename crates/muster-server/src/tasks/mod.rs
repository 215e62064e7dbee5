//! Work that nobody asks for: what becomes due by time alone.
//!
//! A task takes no input and is idempotent; it looks at the store and does what is due. It runs on a timer and on a nudge,
//! and the timer alone would get there too. It never tries again by itself: the next turn does.

pub(crate) mod absences;
pub(crate) mod holds;
pub(crate) mod retention;
pub(crate) mod wake;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use muster_domain::Timestamp;
use muster_store::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Least time between two turns of a task, however often it is nudged: what comes due meanwhile joins the next turn.
const TURN_GAP: Duration = Duration::from_millis(10);

/// First wait after a turn that failed; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// Longest wait after turns that failed.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Asks a task to look earlier than it planned to.
#[derive(Debug)]
pub(crate) struct Nudge {
    asked: Notify,
    /// When the task looks next at the latest, in microseconds of the Unix epoch. While it is looking, that is its interval
    /// from now: a nudge for something earlier is never lost.
    planned: AtomicI64,
}

impl Nudge {
    /// A nudge for a task that was not started yet.
    pub(crate) fn new() -> Self {
        Nudge { asked: Notify::new(), planned: AtomicI64::new(i64::MAX) }
    }

    /// Something may be due now.
    pub(crate) fn now(&self) {
        self.asked.notify_one();
    }

    /// Something is due at `time`: asks the task if it would come later.
    pub(crate) fn by(&self, time: Timestamp) {
        if time.as_microsecond() < self.planned.load(Ordering::Acquire) {
            self.asked.notify_one();
        }
    }

    fn plan(&self, now: Timestamp, within: Duration) {
        let within = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
        self.planned.store(now.as_microsecond().saturating_add(within), Ordering::Release);
    }
}

/// A background task.
pub(crate) trait Task: Send + Sync + 'static {
    /// Its name, for logs.
    const NAME: &'static str;

    /// It looks at least this often.
    const INTERVAL: Duration;

    /// Now, by the clock that decides what is due.
    fn now(&self) -> Timestamp;

    /// Does what is due, and tells how long until something is due again, as far as it knows.
    fn turn(&self) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send;
}

/// Runs a task until the server stops.
pub(crate) async fn run<T: Task>(task: T, nudge: &Nudge, stopping: CancellationToken) {
    let mut backoff = BACKOFF_FIRST;
    while !stopping.is_cancelled() {
        nudge.plan(task.now(), T::INTERVAL);
        let sleep = match task.turn().await {
            Ok(next) => {
                backoff = BACKOFF_FIRST;
                next.unwrap_or(T::INTERVAL).clamp(TURN_GAP, T::INTERVAL)
            }
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(task.name = T::NAME, %error, retry_in_ms = backoff.as_millis() as u64, "a task failed");
                let sleep = backoff;
                backoff = (2 * backoff).min(BACKOFF_MAX);
                tokio::select! {
                    () = tokio::time::sleep(sleep) => {}
                    () = stopping.cancelled() => {}
                }
                continue;
            }
        };
        nudge.plan(task.now(), sleep);
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = gap_then_nudge(nudge) => {}
            () = stopping.cancelled() => {}
        }
    }
}

async fn gap_then_nudge(nudge: &Nudge) {
    tokio::time::sleep(TURN_GAP).await;
    nudge.asked.notified().await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    struct Count(Arc<AtomicU32>, Result<Option<Duration>, StoreError>);

    impl Task for Count {
        const NAME: &'static str = "count";
        const INTERVAL: Duration = Duration::from_secs(60);
        fn now(&self) -> Timestamp {
            Timestamp::now()
        }
        async fn turn(&self) -> Result<Option<Duration>, StoreError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.clone()
        }
    }

    async fn turns(outcome: Result<Option<Duration>, StoreError>, nudges: &[u64], seconds: u64) -> u32 {
        let (turns, nudge, stopping) = (Arc::new(AtomicU32::new(0)), Arc::new(Nudge::new()), CancellationToken::new());
        let task = Count(Arc::clone(&turns), outcome);
        let (theirs, stop) = (Arc::clone(&nudge), stopping.clone());
        let running = tokio::spawn(async move { run(task, &theirs, stop).await });
        let mut passed = 0;
        for at in nudges {
            tokio::time::sleep(Duration::from_millis(at - passed)).await;
            passed = *at;
            nudge.now();
        }
        tokio::time::sleep(Duration::from_millis(seconds * 1_000 - passed)).await;
        stopping.cancel();
        running.await.unwrap();
        turns.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_runs_on_its_timer_and_on_nudges() {
        assert_eq!(turns(Ok(None), &[], 30).await, 1);
        assert_eq!(turns(Ok(None), &[], 90).await, 2);
        assert_eq!(turns(Ok(Some(Duration::from_secs(20))), &[], 30).await, 2);
        assert_eq!(turns(Ok(Some(Duration::from_secs(900))), &[], 90).await, 2);
        assert_eq!(turns(Ok(None), &[1_000, 1_001, 1_002], 30).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_survived_with_growing_waits() {
        assert_eq!(turns(Err(StoreError::Failed("x".into())), &[], 16).await, 5);
        assert_eq!(turns(Err(StoreError::Closed), &[], 16).await, 1);
    }

    #[tokio::test]
    async fn only_an_earlier_time_asks_the_task() {
        let nudge = Nudge::new();
        let asked = async |nudge: &Nudge| tokio::time::timeout(Duration::from_millis(5), nudge.asked.notified()).await;
        nudge.plan(Timestamp::now(), Duration::ZERO);
        nudge.by(Timestamp::now() + Duration::from_secs(5));
        assert!(asked(&nudge).await.is_err());
        nudge.by(Timestamp::now() - Duration::from_secs(5));
        assert!(asked(&nudge).await.is_ok());
    }
}
