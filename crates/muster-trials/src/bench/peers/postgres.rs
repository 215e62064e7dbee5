//! PostgreSQL that answers a commit only once it is on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::find_program;
use super::service::{Service, Stop, setpriv};

/// Where Debian keeps the programs of its versions, one folder each.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The user that runs the server when root runs the trials: PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// Every commit is synced before its answer. The rest is what a careful operator gives a queue on a machine of its own: memory
/// for all of it, no checkpoint within a measurement, and no log for replicas that are not there.
const SETTINGS: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "wal_buffers=16MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
    "autovacuum_naptime=5s",
    "jit=off",
    "max_connections=100",
    "listen_addresses=",
];

/// The server's programs.
pub(super) struct Programs {
    postgres: PathBuf,
    initdb: PathBuf,
    user: Option<&'static str>,
}

impl Programs {
    /// Looks on the path, and then where Debian has them: the newest version.
    pub(super) fn find() -> Result<Self> {
        let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .collect();
        versions.sort_unstable_by(|one, other| other.cmp(one));
        let folders: Vec<&Path> = versions.iter().map(|(_, folder)| folder.as_path()).collect();
        let find = |name| find_program(name, &folders, "postgresql");
        let user = rustix::process::geteuid().is_root().then_some(USER);
        Ok(Self { postgres: find("postgres")?, initdb: find("initdb")?, user })
    }

    /// Starts it on a fresh database.
    pub(super) async fn start(&self) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("muster-trials-postgres-").tempdir().context("make a folder")?;
        let path = folder.path();
        if let Some(user) = self.user {
            succeed(Command::new("chown").arg(user).arg(path), "give PostgreSQL its folder")?;
        }
        let data = path.join("data");
        let mut initdb = setpriv(self.user);
        initdb.arg(&self.initdb).args(["--no-sync", "--auth=trust", "--username=postgres", "--pgdata"]).arg(&data);
        succeed(initdb.current_dir(path), "initialise PostgreSQL")?;
        let mut args = vec!["-D".to_owned(), data.display().to_string(), "-k".to_owned(), path.display().to_string()];
        args.extend(SETTINGS.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]));
        // Its last line says how far the start is.
        let state = data.join("postmaster.pid");
        let ready = || fs::read_to_string(&state).is_ok_and(|text| text.trim_end().ends_with("\nready"));
        let service = Service::start(&self.postgres, &args, self.user, Stop::Quit, &path.join("log"), ready).await?;
        Ok(Server { _service: service, folder })
    }
}

/// A running PostgreSQL.
pub(super) struct Server {
    // Before the folder, so that it has ended when that is removed.
    _service: Service,
    folder: TempDir,
}

impl Server {
    /// The folder that holds its socket.
    pub(super) fn socket(&self) -> &Path {
        self.folder.path()
    }
}

fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| what.to_owned())?;
    if !output.status.success() {
        bail!("{what}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
