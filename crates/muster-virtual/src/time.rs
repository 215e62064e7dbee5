//! Virtual time. It stands still while anything runs, and is the same for all hosts.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time of the simulation, counted from its beginning. Clones show the same.
#[derive(Clone, Default)]
pub(crate) struct Time {
    /// Microseconds, as they were last read. What other threads see: they run only while the simulation waits for them.
    read: Arc<AtomicU64>,
}

thread_local! {
    /// When the runtime of the host that runs at present was started, by virtual time and by its own clock.
    static RUNNING: Cell<Option<(Duration, Instant)>> = const { Cell::new(None) };
}

/// Ends a section that began with [`Time::of_host`] or [`Time::standing_still`].
pub(crate) struct Section(Option<(Duration, Instant)>);

impl Drop for Section {
    fn drop(&mut self) {
        RUNNING.set(self.0);
    }
}

impl Time {
    /// Time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        match RUNNING.get() {
            Some((born, start)) => {
                let now = born + start.elapsed();
                self.read.store(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                now
            }
            None => Duration::from_micros(self.read.load(Ordering::Relaxed)),
        }
    }

    /// Moves on while no host runs.
    pub(crate) fn set(&self, now: Duration) {
        self.read.store(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// From here on the time is that of a host whose runtime was started at `born`.
    pub(crate) fn of_host(born: Duration, start: Instant) -> Section {
        Section(RUNNING.replace(Some((born, start))))
    }

    /// From here on the time stands still, whatever runtime is entered.
    pub(crate) fn standing_still(&self) -> Section {
        self.now();
        Section(RUNNING.replace(None))
    }
}
