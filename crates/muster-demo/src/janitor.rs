//! Cleans up after a demo that could not do it itself, because it was killed.
//!
//! The demo starts a process of its own for this. It waits for the end of its input, which comes when the demo is gone, then
//! for the roles, which see the same and stop, and removes the demo's folder.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::ready::Ready;

/// How long roles may take to stop by themselves. Theirs is a little shorter.
const PATIENCE: Duration = Duration::from_secs(12);

/// How often it is looked whether they are gone.
const POLL: Duration = Duration::from_millis(50);

/// The process that waits for our end.
#[derive(Debug)]
pub(crate) struct Janitor(Child);

impl Janitor {
    /// Starts it for a folder. `executable` must answer to `demo --janitor FOLDER` with [`sweep_after_parent`].
    pub(crate) fn start(executable: &Path, folder: &Path) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = Command::new(executable)
            .args(["demo", "--janitor"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Janitor(child))
    }

    /// Ends it: the folder is gone already, so it has nothing to do.
    pub(crate) fn dismiss(mut self) -> io::Result<()> {
        drop(self.0.stdin.take());
        self.0.wait().map(drop)
    }
}

/// Waits until the parent process is gone, then for the roles whose ready-files are in `folder`, and removes the folder.
pub fn sweep_after_parent(folder: &Path) -> io::Result<()> {
    let mut buffer = [0; 64];
    let mut input = io::stdin().lock();
    while matches!(input.read(&mut buffer), Ok(count) if count > 0) {}
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Looked up again each time: a role that was just being started says so later, if at all.
        let running: Vec<Pid> = roles(folder).into_iter().filter(|pid| is_ours(*pid)).collect();
        let late = Instant::now() > deadline;
        for pid in running.iter().filter(|_| late) {
            let _ = kill_process(*pid, Signal::KILL);
        }
        if running.is_empty() || late {
            match std::fs::remove_dir_all(folder) {
                // A role that starts may have put a file there meanwhile.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && !late => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => return other,
            }
        }
        std::thread::sleep(POLL);
    }
}

fn roles(folder: &Path) -> Vec<Pid> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let ready = files.filter(|path| path.extension().is_some_and(|extension| extension == "ready"));
    ready
        .filter_map(|path| Ready::read(&path).ok().flatten())
        .filter_map(|ready| Pid::from_raw(i32::try_from(ready.pid).ok()?))
        .collect()
}

/// Whether a process of this number runs, and still is one of ours: numbers are given out again.
fn is_ours(pid: Pid) -> bool {
    let link = PathBuf::from(format!("/proc/{}/exe", pid.as_raw_nonzero()));
    match (std::fs::read_link(link), std::env::current_exe()) {
        (Ok(theirs), Ok(own)) => theirs == own,
        // Without /proc it can only be asked whether there is one.
        (Err(_), _) if !Path::new("/proc/self/exe").exists() => test_kill_process(pid).is_ok(),
        _ => false,
    }
}
