//! Processes for a test, and commands that speak to them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use muster_demo::processes::{Process, Program};
use tempfile::TempDir;

/// The executable under test.
pub(crate) const MUSTER: &str = env!("CARGO_BIN_EXE_muster");

/// How long anything in a test may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A file of `deploy/samples`.
pub(crate) fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/samples").join(name)
}

/// Runs a command to its end, without a server.
pub(crate) fn muster<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Ran {
    Ran::new(Command::new(MUSTER).args(args).env_remove("MUSTER_SERVER").stdin(Stdio::null()).output().unwrap())
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The same, after making sure that it succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The same, after making sure how it ended.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A server in a folder of its own.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) program: Program,
    pub(crate) server: Process,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::new(MUSTER, folder.path());
        let database = folder.path().join("muster.db");
        let args = ["server", "--listen", "127.0.0.1:0", "--database", database.to_str().unwrap()];
        let server = program.start("server", args).await.unwrap();
        Stage { folder, program, server }
    }

    /// A server that has the sample fleet.
    pub(crate) async fn with_fleet() -> Self {
        let stage = Self::start().await;
        stage.muster(&["apply", "-f", sample("fleet.toml").to_str().unwrap()]).done();
        stage
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> String {
        self.server.address("api").to_owned()
    }

    /// Runs a client command.
    pub(crate) fn muster(&self, args: &[&str]) -> Ran {
        Ran::new(self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs a client command with standard input.
    pub(crate) fn muster_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            Ran::new(child.wait_with_output().unwrap())
        })
    }

    /// A client command that is not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(MUSTER);
        command.args(args).env("MUSTER_SERVER", self.address());
        command
    }

    /// Writes a file of the test.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// How many messages are in a state.
    pub(crate) fn count(&self, state: &str) -> u64 {
        self.muster(&["message", "count", "-o", "json"]).done().json()[state].as_u64().unwrap_or_default()
    }
}

/// The sample simulator on free ports.
pub(crate) async fn simulator(stage: &Stage) -> Process {
    let ledger = stage.folder.path().join("ledger.jsonl");
    let sim = sample("sim.toml");
    let args = [
        "sim",
        "--config",
        sim.to_str().unwrap(),
        "--ledger",
        ledger.to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
        "--gateway",
        "evolution-a=127.0.0.1:0",
        "--gateway",
        "evolution-b=127.0.0.1:0",
        "--behaviour",
        "auto_scan_after_ms=200",
    ];
    stage.program.start("sim", args).await.unwrap()
}

/// The sample agent of a node.
pub(crate) async fn agent(stage: &Stage, sim: &Process, letter: &str) -> Process {
    let config = sample(&format!("agent-{letter}.toml"));
    let journal = stage.folder.path().join(format!("journal-{letter}"));
    let gateway = format!("evolution-{letter}={}", sim.address(&format!("gateways/evolution-{letter}")));
    let address = stage.address();
    let args = [
        "agent",
        "--config",
        config.to_str().unwrap(),
        "--server",
        &address,
        "--journal",
        journal.to_str().unwrap(),
        "--webhook-listen",
        "127.0.0.1:0",
        "--gateway",
        &gateway,
    ];
    stage.program.start(&format!("agent-{letter}"), args).await.unwrap()
}

/// Waits until something is true.
#[track_caller]
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
