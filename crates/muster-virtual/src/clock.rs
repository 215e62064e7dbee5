//! The clocks of a host: one that nobody sets, and one that jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use muster_agent::Clock;

use crate::time::Time;

/// Seconds of the Unix epoch at which every simulation begins.
const BEGINNING: i64 = 1_800_000_000;

/// The clocks of a host. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct HostClock {
    time: Time,
    /// Milliseconds by which the wall clock is wrong.
    skew_ms: Arc<AtomicI64>,
}

impl HostClock {
    pub(crate) fn new(time: Time) -> Self {
        HostClock { time, skew_ms: Arc::default() }
    }

    /// Sets the wall clock, so many milliseconds beside the true time.
    pub(crate) fn set_skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// What the wall clock shows.
    pub(crate) fn timestamp(&self) -> Timestamp {
        let skew = jiff::SignedDuration::from_millis(self.skew_ms.load(Ordering::Relaxed));
        let true_time = Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH);
        true_time.saturating_add(self.time.now()).and_then(|time| time.saturating_add(skew)).unwrap_or(true_time)
    }
}

impl Clock for HostClock {
    /// Hosts are not booted anew: only the agent on them is.
    fn boot(&self) -> [u8; 16] {
        [1; 16]
    }

    fn boot_ms(&self) -> i64 {
        const UP_BEFORE: Duration = Duration::from_secs(3_600);
        i64::try_from((UP_BEFORE + self.time.now()).as_millis()).unwrap_or(i64::MAX)
    }

    fn wall_ms(&self) -> i64 {
        self.timestamp().as_millisecond()
    }
}
