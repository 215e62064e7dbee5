//! Roles as processes of their own: started, stopped, paused, killed and started again.
//!
//! Each child holds the read end of a pipe whose write end lies here: when this process ends, whatever ends it, the children
//! see the end of their input and stop. They run in process groups of their own, so that Ctrl-C at a terminal reaches only
//! the parent, which then stops them in order.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::ready::Ready;

/// How long a role may take to become ready. A debug build on a busy machine needs a few seconds.
pub const READY_PATIENCE: Duration = Duration::from_secs(30);

/// How long a role may take to stop when it is asked to, before it is killed. Agents finish calls that they started.
pub const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// How often the file of a role that starts is looked for.
const READY_POLL: Duration = Duration::from_millis(20);

/// Bytes of a log's end that an error quotes.
const LOG_TAIL_BYTES: usize = 4_000;

/// A process that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It cannot be started.
    #[error("start {name}: {source}")]
    Start {
        /// The process.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended before it was ready ({status}); its log ends with:\n{log}")]
    EndedEarly {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It did not become ready in time.
    #[error("{name} was not ready after {} s; its log ends with:\n{log}", READY_PATIENCE.as_secs())]
    NotReady {
        /// The process.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// It cannot be signalled or waited for.
    #[error("signal {name}: {source}")]
    Signal {
        /// The process.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// An executable whose roles are started, and the folder that gets their logs and ready-files.
#[derive(Debug, Clone)]
pub struct Program {
    executable: PathBuf,
    folder: PathBuf,
}

impl Program {
    /// An executable of `muster`. The folder must exist.
    pub fn new(executable: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Program { executable: executable.into(), folder: folder.into() }
    }

    /// The executable that runs now.
    pub fn own(folder: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Program::new(std::env::current_exe()?, folder))
    }

    /// The executable.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Starts a role and waits until it is ready. `name` is for logs and messages; `args` begin with the role.
    pub async fn start<A: Into<OsString>>(
        &self,
        name: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Process, ProcessError> {
        let mut process = Process {
            program: self.clone(),
            name: name.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            running: None,
        };
        process.start().await?;
        Ok(process)
    }
}

/// A role in a process of its own. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    program: Program,
    name: String,
    /// What the next start passes; begins with the role.
    pub args: Vec<OsString>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: Pid,
    ready: Ready,
}

impl Process {
    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Where it listens for something, as it said when it was started last; empty while it does not run.
    pub fn address(&self, what: &str) -> &str {
        self.running.as_ref().map(|running| running.ready.address(what)).unwrap_or_default()
    }

    /// The file that takes its log, over all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.program.folder.join(format!("{}.log", self.name))
    }

    /// Replaces the value of an option, or adds the option: a restarted server comes back at the address that others know.
    pub fn set_option(&mut self, option: &str, value: impl Into<OsString>) {
        let value = value.into();
        match self.args.iter().position(|arg| arg == option) {
            Some(index) if index + 1 < self.args.len() => self.args[index + 1] = value,
            _ => self.args.extend([option.into(), value]),
        }
    }

    /// Starts it, and waits until it is ready. Does nothing while it runs.
    pub async fn start(&mut self) -> Result<(), ProcessError> {
        if self.running.is_some() {
            return Ok(());
        }
        let ready_file = self.program.folder.join(format!("{}.ready", self.name));
        let starting = |source| ProcessError::Start { name: self.name.clone(), source };
        match fs::remove_file(&ready_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(starting(error)),
            _ => {}
        }
        let log = File::options().create(true).append(true).open(self.log_path()).map_err(starting)?;
        let mut child = Command::new(&self.program.executable)
            .args(&self.args)
            .arg("--ready-file")
            .arg(&ready_file)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(starting)?;
        let ready = self.wait_until_ready(&mut child, &ready_file).await?;
        let pid = i32::try_from(ready.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| starting(io::ErrorKind::InvalidData.into()))?;
        self.running = Some(Running { child, pid, ready });
        Ok(())
    }

    async fn wait_until_ready(&self, child: &mut Child, ready_file: &Path) -> Result<Ready, ProcessError> {
        let failed = |source| ProcessError::Start { name: self.name.clone(), source };
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            if let Some(ready) = Ready::read(ready_file).map_err(failed)? {
                return Ok(ready);
            }
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Err(ProcessError::EndedEarly { name: self.name.clone(), status, log: self.log_tail() });
            }
            if Instant::now() > deadline {
                return Err(ProcessError::NotReady { name: self.name.clone(), log: self.log_tail() });
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        let tail = &bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    /// Whether it runs. One that ended by itself is noticed here.
    pub fn is_running(&mut self) -> bool {
        let ended = match &mut self.running {
            Some(running) => !matches!(running.child.try_wait(), Ok(None)),
            None => return false,
        };
        if ended {
            self.running = None;
        }
        !ended
    }

    /// Asks it to stop, and kills it if it takes longer than [`STOP_PATIENCE`]. Tells how it ended; `None` if it did not run.
    pub async fn stop(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        let Some(mut running) = self.running.take() else { return Ok(None) };
        let failed = |source: io::Error| ProcessError::Signal { name: self.name.clone(), source };
        signal(running.pid, Signal::TERM).map_err(failed)?;
        // A paused process takes no notice of anything but this.
        signal(running.pid, Signal::CONT).map_err(failed)?;
        match tokio::time::timeout(STOP_PATIENCE, running.child.wait()).await {
            Ok(status) => status.map(Some).map_err(failed),
            Err(_) => {
                running.child.kill().await.map_err(failed)?;
                running.child.wait().await.map(Some).map_err(failed)
            }
        }
    }

    /// Kills it at once, as a power cut would.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.child.kill().await.map_err(|source| ProcessError::Signal { name: self.name.clone(), source })
    }

    /// Stops its clock: it neither works nor notices that time passes.
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.send(Signal::STOP)
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.send(Signal::CONT)
    }

    fn send(&self, what: Signal) -> Result<(), ProcessError> {
        let Some(running) = &self.running else { return Ok(()) };
        signal(running.pid, what).map_err(|source| ProcessError::Signal { name: self.name.clone(), source })
    }
}

/// Signals a child of ours. One that is gone already needs no signal.
fn signal(pid: Pid, what: Signal) -> io::Result<()> {
    match kill_process(pid, what) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
