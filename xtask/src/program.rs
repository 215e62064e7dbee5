//! Runs other programs, and says which one failed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// A program with its arguments, run in the repository's root.
pub(crate) struct Program(Command);

impl Program {
    pub(crate) fn new(program: impl AsRef<OsStr>, root: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root);
        Self(command)
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.0.env(key, value);
        self
    }

    /// Runs it with the terminal as its own; an error unless it succeeds.
    pub(crate) fn run(self) -> Result<()> {
        let shown = self.shown();
        let status = self.status()?;
        if !status.success() {
            bail!("`{shown}` failed: {status}");
        }
        Ok(())
    }

    /// Runs it with the terminal as its own.
    pub(crate) fn status(mut self) -> Result<ExitStatus> {
        let shown = self.shown();
        self.0.status().with_context(|| format!("start `{shown}`"))
    }

    /// Runs it and returns what it wrote to its standard output; an error with all it wrote unless it succeeds.
    pub(crate) fn output(mut self) -> Result<String> {
        let shown = self.shown();
        let output = self.0.stdin(Stdio::null()).output().with_context(|| format!("start `{shown}`"))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("`{shown}` failed: {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether it can be started and succeeds; what it writes is dropped.
    pub(crate) fn works(mut self) -> bool {
        let quiet = self.0.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    }

    /// Runs it, shows each line that it writes to one of its outputs, and gives the line to `watch` too.
    pub(crate) fn watch(mut self, output: Output, mut watch: impl FnMut(&str)) -> Result<()> {
        let shown = self.shown();
        match output {
            Output::Standard => self.0.stdout(Stdio::piped()),
            Output::Error => self.0.stderr(Stdio::piped()),
        };
        let mut child = self.0.spawn().with_context(|| format!("start `{shown}`"))?;
        let watched: Box<dyn std::io::Read> = match output {
            Output::Standard => Box::new(child.stdout.take().context("its output was piped")?),
            Output::Error => Box::new(child.stderr.take().context("its output was piped")?),
        };
        for line in BufReader::new(watched).lines() {
            let line = line.with_context(|| format!("read what `{shown}` writes"))?;
            println!("{line}");
            watch(&line);
        }
        let status = child.wait().with_context(|| format!("wait for `{shown}`"))?;
        if !status.success() {
            bail!("`{shown}` failed: {status}");
        }
        Ok(())
    }

    fn shown(&self) -> String {
        let program = Path::new(self.0.get_program()).file_name().unwrap_or_default();
        let words = std::iter::once(program).chain(self.0.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}

/// Which of a program's outputs is meant.
#[derive(Clone, Copy)]
pub(crate) enum Output {
    Standard,
    Error,
}

/// The cargo that runs this program.
pub(crate) fn cargo<S: AsRef<OsStr>>(workspace: &Workspace, args: impl IntoIterator<Item = S>) -> Program {
    cargo_in(workspace.root()).args(args)
}

/// What cargo knows of the workspace's own packages.
pub(crate) fn cargo_metadata(root: &Path) -> Result<serde_json::Value> {
    let text = cargo_in(root).args(["metadata", "--format-version", "1", "--no-deps"]).output()?;
    serde_json::from_str(&text).context("read `cargo metadata`")
}

fn cargo_in(root: &Path) -> Program {
    Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), root)
}
