//! Builds the product and the trials, and runs the latter against the former; and the simulation, which holds both in one.

use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::Result;

use crate::program::{Program, cargo};
use crate::workspace::Workspace;

/// How to build.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Quick to build, with overflow checks and debug assertions.
    Dev,
    /// What users run.
    Release,
}

impl Profile {
    /// Cargo's flags, and the folder of what they build.
    fn flags(self) -> (&'static [&'static str], &'static str) {
        match self {
            Profile::Dev => (&[], "debug"),
            Profile::Release => (&["--release"], "release"),
        }
    }
}

/// Measures. Only a release build says anything about speed.
pub(crate) fn bench(workspace: &Workspace, arguments: &[&str]) -> Result<ExitCode> {
    run(workspace, Profile::Release, "bench", arguments)
}

/// Kills processes under load. A dev build: its assertions find more.
pub(crate) fn chaos(workspace: &Workspace, arguments: &[&str]) -> Result<ExitCode> {
    run(workspace, Profile::Dev, "chaos", arguments)
}

/// Sends many messages and looks whether memory stays flat. A release build, so that a million take a minute.
pub(crate) fn soak(workspace: &Workspace, arguments: &[&str]) -> Result<ExitCode> {
    run(workspace, Profile::Release, "soak", arguments)
}

/// Runs the whole system on virtual time. `arguments` are those of `muster-virtual`; `run` may be left out.
pub(crate) fn simulate(workspace: &Workspace, profile: Profile, arguments: &[&str]) -> Result<ExitCode> {
    let (flags, folder) = profile.flags();
    cargo(workspace, ["build", "--quiet", "--package", "muster-virtual"]).args(flags).run()?;
    let program =
        workspace.target().join(folder).join("muster-virtual").with_extension(std::env::consts::EXE_EXTENSION);
    let command: &[&str] = if arguments.first().is_none_or(|first| first.starts_with('-')) { &["run"] } else { &[] };
    let status = Program::new(program, workspace.root()).args(command).args(arguments).status()?;
    Ok(exit_code(status))
}

/// Builds `muster` and `muster-trials`, and returns the path of a program by its name.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<impl Fn(&str) -> PathBuf> {
    let (flags, folder) = profile.flags();
    cargo(workspace, ["build", "--quiet", "--package", "muster", "--package", "muster-trials"]).args(flags).run()?;
    let folder = workspace.target().join(folder);
    Ok(move |name: &str| folder.join(name).with_extension(std::env::consts::EXE_EXTENSION))
}

fn run(workspace: &Workspace, profile: Profile, trial: &str, arguments: &[&str]) -> Result<ExitCode> {
    let program = build(workspace, profile)?;
    let status = Program::new(program("muster-trials"), workspace.root()).args([trial]).args(arguments).status()?;
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
