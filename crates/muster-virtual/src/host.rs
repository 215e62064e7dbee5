//! A host: a runtime of its own on virtual time, which can lose its power at any moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::time::Time;

/// Why a host crashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crash {
    /// The kind of fault.
    pub(crate) kind: &'static str,
    /// At what.
    pub(crate) at: String,
}

impl Crash {
    pub(crate) fn new(kind: &'static str, at: &str) -> Self {
        Crash { kind, at: at.to_owned() }
    }
}

/// The power switch of a host, for those who run on it. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Power(Arc<Mutex<Option<Crash>>>);

impl Power {
    /// Crashes the host. Whoever asks does not go on: the host is gone before time moves on by more than a tick.
    pub(crate) async fn crash(&self, crash: Crash) {
        self.request(crash);
        std::future::pending().await
    }

    /// Crashes the host at the end of the tick.
    pub(crate) fn request(&self, crash: Crash) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(crash);
    }

    /// The crash that was asked for.
    pub(crate) fn take(&self) -> Option<Crash> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A host that is up.
pub(crate) struct Host<T> {
    runtime: Runtime,
    born: Duration,
    start: Instant,
    main: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Host<T> {
    /// Starts a host and its main program.
    pub(crate) fn start(time: &Time, main: impl Future<Output = T> + Send + 'static) -> std::io::Result<Host<T>> {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build()?;
        let born = time.now();
        let start = runtime.block_on(async { Instant::now() });
        let main = runtime.spawn(main);
        Ok(Host { runtime, born, start, main: Some(main) })
    }

    /// Lets the host run up to a moment. Returns what its main program came to, once that has ended.
    pub(crate) fn run_until(&mut self, moment: Duration) -> Option<T> {
        let _section = Time::of_host(self.born, self.start);
        let end = self.start + moment.saturating_sub(self.born);
        self.runtime.block_on(async { tokio::time::sleep_until(end).await });
        let main = self.main.take_if(|main| main.is_finished())?;
        // A panic was noted by the hook, and is a violation whatever follows.
        self.runtime.block_on(main).ok()
    }
}
