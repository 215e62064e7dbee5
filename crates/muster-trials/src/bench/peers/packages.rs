//! The peers' packages, from their registry, and the drivers that call them.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Peer, Request, find_program};

/// The drivers, and what they need, by the names under which they find each other.
const FILES: &[(&str, &str)] = &[
    ("package.json", include_str!("../../../peers/package.json")),
    ("package-lock.json", include_str!("../../../peers/package-lock.json")),
    ("trial.mjs", include_str!("../../../peers/trial.mjs")),
    ("bullmq.mjs", include_str!("../../../peers/bullmq.mjs")),
    ("graphile-worker.mjs", include_str!("../../../peers/graphile-worker.mjs")),
];

/// How long all trials of a peer may take together. A quiet machine needs one minute.
const PATIENCE: Duration = Duration::from_secs(600);

/// A folder with the drivers and their packages.
pub(super) struct Packages {
    folder: TempDir,
    node: PathBuf,
}

impl Packages {
    /// Installs exactly what the lock file names. Scripts of the packages are not run.
    pub(super) async fn install() -> Result<Self> {
        let npm = find_program("npm", &[], "npm")?;
        let folder = tempfile::Builder::new().prefix("muster-trials-peers-").tempdir().context("make a folder")?;
        for (name, text) in FILES {
            let path = folder.path().join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let mut install = Command::new(npm);
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
        install.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let status = install.status().await.context("start npm")?;
        if !status.success() {
            bail!("npm did not install the packages of the peers ({status}); it says why above");
        }
        // The lock file names one for the usual systems; elsewhere the one that runs npm does it.
        let pinned = folder.path().join("node_modules/.bin/node");
        let node = if pinned.is_file() { pinned } else { find_program("node", &[], "nodejs")? };
        Ok(Self { folder, node })
    }

    /// Has a driver measure its peer.
    pub(super) async fn drive(&self, driver: &str, request: &Request<'_>) -> Result<Peer> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.node).arg(format!("{driver}.mjs"));
        command.arg(serde_json::to_string(request)?);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.process_group(0).kill_on_drop(true).spawn().with_context(|| format!("start {driver}"))?;
        let mut group = Group(child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)));
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output());
        let output = output.await.with_context(|| format!("{driver} took more than {} s", PATIENCE.as_secs()))??;
        group.0 = None;
        if !output.status.success() {
            bail!("the trials of {driver} failed ({}); they say why above", output.status);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("read the result of {driver}"))
    }
}

/// A driver and the processes that it started, while it runs: they end together, before their database does.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn parsed(name: &str) -> Value {
        let text = FILES.iter().find(|(file, _)| *file == name).unwrap().1;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_file_is_taken_along() {
        let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"));
        let files = fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let taken: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files.collect::<BTreeSet<_>>(), taken);
    }

    #[test]
    fn versions_are_exact_and_locked() {
        let (package, lock) = (parsed("package.json"), parsed("package-lock.json"));
        for section in ["dependencies", "optionalDependencies"] {
            for (name, version) in package[section].as_object().unwrap() {
                assert!(
                    version.as_str().unwrap().starts_with(|first: char| first.is_ascii_digit()),
                    "{name} {version}"
                );
                assert_eq!(&lock["packages"][format!("node_modules/{name}")]["version"], version, "{name}");
            }
        }
    }

    #[test]
    fn what_is_installed_is_known_by_its_hash_and_not_by_its_registry() {
        for (path, package) in parsed("package-lock.json")["packages"].as_object().unwrap() {
            let hashed = package["integrity"].as_str().is_some_and(|hash| hash.starts_with("sha512-"));
            // The builds of an optional package for systems that have no pinned Node.js are listed and never installed.
            let elsewhere =
                package["optional"] == true && package["os"] != "linux" && package["os"] != json!(["linux"])
                    || package["cpu"] == json!(["arm"]);
            assert!(path.is_empty() || hashed || elsewhere, "{path}");
            assert_eq!(package["resolved"], Value::Null, "{path}");
        }
    }
}
