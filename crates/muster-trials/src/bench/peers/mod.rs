//! The same job by queues that others use: BullMQ on Redis and graphile-worker on PostgreSQL, with every answer on disk.
//!
//! The drivers lie in `peers/` of this crate, as does the list of packages that npm installs for them. Everything runs in
//! folders of its own, on unix sockets, and ends with the measurement, however that ends.

mod packages;
mod postgres;
mod redis;
mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::packages::Packages;
use super::Extent;

/// What the peers reached.
#[derive(Debug, Clone, Serialize)]
pub struct Peers {
    /// BullMQ on Redis with `appendfsync always`.
    pub bullmq: Peer,
    /// graphile-worker on PostgreSQL with `fsync` and `synchronous_commit`.
    pub graphile_worker: Peer,
}

/// What one of them reached with the best settings of those that were tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Jobs a second, from the first that was added until the last was completed durably.
    pub per_second: f64,
    /// How many there were.
    pub jobs: u64,
    /// How long they took.
    pub seconds: f64,
    /// The settings, which the peer's driver explains.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// All settings that were tried, in their order.
    pub tried: Vec<Try>,
    /// What took part, with its version.
    pub versions: BTreeMap<String, String>,
}

/// A short trial of some settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// Jobs a second.
    pub per_second: f64,
    /// The settings.
    pub settings: BTreeMap<String, serde_json::Value>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "    best of {}: {}", self.tried.len(), settings.join(", "))?;
        writeln!(f, "    {}", versions.join(", "))
    }
}

/// What a driver is asked for.
#[derive(Debug, Serialize)]
struct Request<'a> {
    socket: &'a Path,
    /// How many variations of its usual settings are tried.
    variations: usize,
    try_seconds: f64,
    /// How long jobs are added with the best settings.
    seconds: f64,
}

impl<'a> Request<'a> {
    fn new(extent: Extent, socket: &'a Path) -> Self {
        let (variations, try_for) = match extent {
            Extent::Quick => (2, Duration::from_millis(500)),
            // More than there are.
            Extent::Full => (usize::from(u8::MAX), Duration::from_secs(2)),
        };
        Self { socket, variations, try_seconds: try_for.as_secs_f64(), seconds: extent.load().as_secs_f64() }
    }
}

/// The peers, ready to be measured.
pub(super) struct Installed {
    packages: Packages,
    postgres: postgres::Programs,
    redis: redis::Program,
}

impl Installed {
    /// Looks for the programs of this machine, and installs the packages from their registry.
    pub(super) async fn new() -> Result<Self> {
        let (postgres, redis) = (postgres::Programs::find()?, redis::Program::find()?);
        Ok(Self { packages: Packages::install().await?, postgres, redis })
    }

    /// Measures one after the other, so that each has the machine for itself.
    pub(super) async fn measure(&self, extent: Extent) -> Result<Peers> {
        let bullmq = {
            let server = self.redis.start().await?;
            self.packages.drive("bullmq", &Request::new(extent, server.socket())).await?
        };
        let server = self.postgres.start().await?;
        let graphile_worker = self.packages.drive("graphile-worker", &Request::new(extent, server.socket())).await?;
        Ok(Peers { bullmq, graphile_worker })
    }
}

/// Where a program is; an error that names what to install if it is not on this machine.
fn find_program(name: &str, more_folders: &[&Path], package: &str) -> Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(more_folders.iter().map(|folder| folder.to_path_buf()));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file()).ok_or_else(|| {
        anyhow::anyhow!(
            "`--peers` needs `{name}`, which is not on this machine: run `apt-get install {package}`, or your system's equivalent"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let error = find_program("no-such-program", &[], "no-such-package").unwrap_err().to_string();
        assert!(error.contains("`no-such-program`") && error.contains("apt-get install no-such-package"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("no-such-program"), "").unwrap();
        assert!(find_program("no-such-program", &[folder.path()], "no-such-package").is_ok());
    }
}
