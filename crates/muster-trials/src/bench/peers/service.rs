//! A database server in a folder of its own, for one measurement.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start, and how long to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether it did.
const POLL: Duration = Duration::from_millis(10);

/// The signal on which a server ends at once and leaves no process and no shared memory behind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    Quit,
    Term,
}

impl Stop {
    fn signal(self) -> Signal {
        match self {
            Stop::Quit => Signal::QUIT,
            Stop::Term => Signal::TERM,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Stop::Quit => "QUIT",
            Stop::Term => "TERM",
        }
    }
}

/// A running server. It is stopped when this is dropped, and by the system when this process dies in any other way.
pub(super) struct Service {
    child: Child,
    stop: Stop,
}

impl Service {
    /// Starts a program as `user`, or as whoever runs this, and waits until `ready` says so. What it writes goes to `log`.
    pub(super) async fn start(
        program: &Path,
        args: &[String],
        user: Option<&str>,
        stop: Stop,
        log: &Path,
        ready: impl Fn() -> bool,
    ) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().display();
        let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let mut command = setpriv(user);
        command.args(["--pdeathsig", stop.name()]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C at a terminal reaches only this process, which then stops the server.
        let child = command.process_group(0).spawn().with_context(|| format!("start {name}"))?;
        let mut service = Self { child, stop };
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            let said = || fs::read_to_string(log).unwrap_or_default();
            if let Some(status) = service.child.try_wait()? {
                bail!("{name} ended before it was ready ({status}); it said:\n{}", said().trim_end());
            }
            if Instant::now() > deadline {
                bail!("{name} was not ready after {} s; it said:\n{}", PATIENCE.as_secs(), said().trim_end());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A number that does not fit is no process of ours.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, self.stop.signal());
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(POLL);
        }
    }
}

/// A command line that goes on with a program, which then runs as `user`.
pub(super) fn setpriv(user: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(service: &Service) -> bool {
        Path::new(&format!("/proc/{}", service.child.id())).exists()
    }

    #[tokio::test]
    async fn a_service_ends_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let sleep = Path::new("/bin/sleep");
        let service = Service::start(sleep, &["600".to_owned()], None, Stop::Term, &log, || true).await.unwrap();
        assert!(alive(&service));
        let pid = service.child.id();
        drop(service);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_service_that_ends_early_tells_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let args = ["-c", "echo no disk; exit 3"].map(str::to_owned);
        let started = Service::start(Path::new("/bin/sh"), &args, None, Stop::Term, &log, || false).await;
        let error = started.err().unwrap().to_string();
        assert!(error.contains("sh ended before it was ready") && error.contains("no disk"), "{error}");
    }
}
