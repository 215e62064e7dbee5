//! What server and agent take, in memory and on disk.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::measure::Usage;

/// How often is looked during a wave.
const INTERVAL: Duration = Duration::from_millis(100);

/// The most that was in use during a wave, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Wave {
    /// Messages that were sent at its end, since the beginning of the run.
    pub messages: u64,
    /// When it ended, in seconds since the beginning of the run.
    pub seconds: f64,
    /// Resident memory of the server.
    pub server_bytes: u64,
    /// Resident memory of the agent.
    pub agent_bytes: u64,
    /// The server's database, with its log.
    pub database_bytes: u64,
    /// The agent's journal.
    pub journal_bytes: u64,
}

impl Wave {
    fn max(self, other: Self) -> Self {
        Self {
            server_bytes: self.server_bytes.max(other.server_bytes),
            agent_bytes: self.agent_bytes.max(other.agent_bytes),
            database_bytes: self.database_bytes.max(other.database_bytes),
            journal_bytes: self.journal_bytes.max(other.journal_bytes),
            ..self
        }
    }
}

/// Looks at one server and one agent.
pub(super) struct Sampler {
    server: u32,
    agent: u32,
    database: PathBuf,
    journal: PathBuf,
}

impl Sampler {
    pub(super) fn new(server: u32, agent: u32, database: PathBuf, journal: PathBuf) -> Self {
        Self { server, agent, database, journal }
    }

    /// Looks again and again while `load` goes on, and once at its end.
    pub(super) async fn during(&self, load: impl Future<Output = Result<()>>) -> Result<Wave> {
        let mut load = std::pin::pin!(load);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut most = Wave::default();
        loop {
            let ended = tokio::select! {
                ended = &mut load => Some(ended),
                _ = ticks.tick() => None,
            };
            most = most.max(self.look()?);
            if let Some(ended) = ended {
                return ended.map(|()| most);
            }
        }
    }

    fn look(&self) -> Result<Wave> {
        let with_log = ["", "-wal"].map(|suffix| {
            let mut name = self.database.clone().into_os_string();
            name.push(suffix);
            size(Path::new(&name))
        });
        Ok(Wave {
            server_bytes: Usage::of(self.server)?.resident_bytes,
            agent_bytes: Usage::of(self.agent)?.resident_bytes,
            database_bytes: with_log.into_iter().sum::<Result<u64>>()?,
            journal_bytes: size(&self.journal)?,
            ..Wave::default()
        })
    }
}

/// Bytes of a file, or of all files in a folder. One that is removed meanwhile has none.
fn size(path: &Path) -> Result<u64> {
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(0),
        _ => Err(error).with_context(|| format!("look at {}", path.display())),
    };
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return told(error),
    };
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    match path.read_dir() {
        Ok(entries) => entries.map(|entry| size(&entry.context("read a folder")?.path())).sum(),
        Err(error) => told(error),
    }
}
