//! Redis that answers a write only once it is on disk.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::find_program;
use super::service::{Service, Stop};

/// Every write is synced before its answer. No snapshots and no rewriting of the log: both would only take time from the
/// measurement.
const SETTINGS: &[&str] =
    &["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0"];

/// The server's program.
pub(super) struct Program(PathBuf);

impl Program {
    pub(super) fn find() -> Result<Self> {
        find_program("redis-server", &[], "redis-server").map(Self)
    }

    /// Starts it on an empty database.
    pub(super) async fn start(&self) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("muster-trials-redis-").tempdir().context("make a folder")?;
        let socket = folder.path().join("redis.sock");
        let mut args = vec!["--port".to_owned(), "0".to_owned()];
        args.extend(["--dir".to_owned(), folder.path().display().to_string()]);
        args.extend(["--unixsocket".to_owned(), socket.display().to_string()]);
        args.extend(SETTINGS.iter().map(|setting| (*setting).to_owned()));
        let log = folder.path().join("log");
        let ready = || UnixStream::connect(&socket).is_ok();
        let service = Service::start(&self.0, &args, None, Stop::Term, &log, ready).await?;
        Ok(Server { _service: service, socket, _folder: folder })
    }
}

/// A running Redis.
pub(super) struct Server {
    // Before the folder, so that it has ended when that is removed.
    _service: Service,
    socket: PathBuf,
    _folder: TempDir,
}

impl Server {
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}
