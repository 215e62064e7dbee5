//! The small file beside the ledger: instances, links and webhooks, so that they outlive the process.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::evolution::{Gateway, InstanceRecord};

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateOpenError {
    /// It cannot be read.
    #[error("cannot read the simulator's state {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} is no state of a simulator: {source}; name another ledger, or move both files away")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The state as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedState {
    /// How often the simulator was started with this state, so that no run draws the random numbers of another.
    pub(crate) runs: u64,
    /// Instances per gateway.
    pub(crate) gateways: BTreeMap<String, Vec<InstanceRecord>>,
}

/// Where the state of a ledger lies.
pub(crate) fn path_beside(ledger: &Path) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(".state.json");
    path.into()
}

/// Reads the state of an earlier run; none is an empty one.
pub(crate) fn read(path: &Path) -> Result<SavedState, StateOpenError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| StateOpenError::Malformed { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SavedState::default()),
        Err(source) => Err(StateOpenError::Io { path: path.to_owned(), source }),
    }
}

/// How the parts of the simulator ask for the state to be written.
#[derive(Clone)]
pub(crate) struct StateHandle(Arc<Requests>);

struct Requests {
    asked: AtomicU64,
    wake: Notify,
    done: watch::Sender<u64>,
}

impl StateHandle {
    pub(crate) fn new() -> Self {
        StateHandle(Arc::new(Requests { asked: AtomicU64::new(0), wake: Notify::new(), done: watch::Sender::new(0) }))
    }

    /// Says that something changed; it is written soon.
    pub(crate) fn touch(&self) -> u64 {
        let asked = self.0.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.wake.notify_one();
        asked
    }

    /// Says that something changed, and returns once it is written. Changes that come together share one write.
    pub(crate) async fn saved(&self) {
        let asked = self.touch();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.done.subscribe().wait_for(|done| *done >= asked).await;
    }
}

/// What writes the state.
pub(crate) struct StateKeeper {
    pub(crate) path: PathBuf,
    pub(crate) handle: StateHandle,
    pub(crate) runs: u64,
    /// Instances of gateways that this run does not have, kept for one that has.
    pub(crate) others: BTreeMap<String, Vec<InstanceRecord>>,
    pub(crate) gateways: Vec<Arc<Gateway>>,
}

impl StateKeeper {
    /// Writes the state whenever it was asked for, until `stop`, and then once more.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let requests = &self.handle.0;
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                () = requests.wake.notified() => {}
                () = stop.cancelled() => stopping = true,
            }
            let asked = requests.asked.load(Ordering::Acquire);
            if let Err(error) = self.write().await {
                // The callers go on: the simulator still works, only a restart would know less.
                tracing::error!(%error, "the simulator's state cannot be written");
            }
            requests.done.send_replace(asked);
        }
        // Nothing is written any more, so nobody shall wait for it.
        requests.done.send_replace(u64::MAX);
    }

    /// Writes the state once.
    pub(crate) async fn write(&self) -> io::Result<()> {
        let instances = |gateway: &Arc<Gateway>| gateway.all().iter().map(|instance| instance.record()).collect();
        let mut gateways = self.others.clone();
        gateways.extend(self.gateways.iter().map(|gateway| (gateway.name.to_string(), instances(gateway))));
        let state = SavedState { runs: self.runs, gateways };
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || replace(&path, &state)).await.map_err(io::Error::other)?
    }
}

/// Writes beside the file and renames, so that a kill leaves the old state or the new one.
fn replace(path: &Path, state: &SavedState) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(state)?)?;
    drop(file);
    fs::rename(&fresh, path)
}
