//! `muster demo`, to its end and before.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{MUSTER, until};

/// A demo that keeps its temporary folder below a folder of ours, so that what is left behind is seen.
fn demo(below: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(MUSTER);
    command
        .arg("demo")
        .args(args)
        .env("TMPDIR", below)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Processes that were started with something below the folder among their arguments.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.to_str().unwrap();
    let commands = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    commands.filter(|command| command.contains(needle)).collect()
}

fn left_behind(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn it_ends_by_itself_and_the_ledger_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--exit", "-o", "json", "--messages", "120"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (report["all"]["sent"].as_u64(), report["check"]["matched"].as_u64()),
        (Some(120), Some(120)),
        "{report:#}"
    );
    assert_eq!(report["check"]["violations"], serde_json::json!([]));
    assert_eq!(report["bots"].as_array().unwrap().len(), 12);
    assert_eq!((processes_of(folder.path()), left_behind(folder.path())), (vec![], vec![]));
}

#[test]
fn whatever_ends_it_nothing_is_left() {
    for (signal, processes) in [(Signal::INT, 2), (Signal::INT, 5), (Signal::KILL, 2), (Signal::KILL, 5)] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = demo(folder.path(), &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The janitor and the roles; the demo itself does not name the folder.
        until("the roles are started", || processes_of(folder.path()).len() >= processes);
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        child.wait().unwrap();
        until("no process is left", || processes_of(folder.path()).is_empty());
        until("no file is left", || left_behind(folder.path()).is_empty());
    }
}
