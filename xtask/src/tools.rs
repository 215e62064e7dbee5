//! The tools that the chores need: found, else installed, else named with the command that installs them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::program::{Program, cargo};
use crate::workspace::Workspace;

/// The buf that lints the protos, from the npm registry.
const BUF: &str = "@bufbuild/buf@1.75.0";

/// The cargo-deny that checks the dependency tree, from crates.io.
const CARGO_DENY: &str = "0.20.2";

/// Fails unless there is a C compiler: SQLite and the TLS library are built from C.
pub(crate) fn c_compiler(workspace: &Workspace) -> Result<()> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if Program::new(&compiler, workspace.root()).args(["--version"]).works() {
        return Ok(());
    }
    bail!("no C compiler (`{compiler}`): run `apt-get install build-essential`, or your system's equivalent")
}

/// Makes a component of the Rust toolchain available.
pub(crate) fn rust_component(workspace: &Workspace, subcommand: &str, component: &str) -> Result<()> {
    let present = || cargo(workspace, [subcommand, "--version"]).works();
    if present() {
        return Ok(());
    }
    let install = ["component", "add", component];
    Program::new("rustup", workspace.root())
        .args(install)
        .run()
        .with_context(|| format!("no `cargo {subcommand}`: install the toolchain's component `{component}`"))?;
    if !present() {
        bail!("`cargo {subcommand}` does not work even after `rustup component add {component}`");
    }
    Ok(())
}

/// Whether the faster test runner is there. `cargo test` stands in for it.
pub(crate) fn has_nextest(workspace: &Workspace) -> bool {
    cargo(workspace, ["nextest", "--version"]).works()
}

/// Path of buf; installed below the target directory when it is not there.
pub(crate) fn buf(workspace: &Workspace) -> Result<PathBuf> {
    let home = workspace.target().join("tools").join("buf");
    let buf = home.join("node_modules/.bin/buf");
    let wanted = BUF.rsplit('@').next().unwrap_or_default();
    let version = || Program::new(&buf, workspace.root()).args(["--version"]).output().unwrap_or_default();
    if version().trim() == wanted {
        return Ok(buf);
    }
    std::fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let install = ["install", "--no-audit", "--no-fund", "--no-save", "--loglevel", "error", "--prefix"];
    Program::new("npm", workspace.root())
        .args(install)
        .args([home.as_os_str()])
        .args([BUF])
        .run()
        .with_context(|| format!("install {BUF}: it needs npm (`apt-get install npm`, or https://nodejs.org)"))?;
    if version().trim() != wanted {
        bail!("{} does not work after `npm install {BUF}`", buf.display());
    }
    Ok(buf)
}

/// Path of cargo-deny; built below the target directory when it is not there, which takes two to three minutes.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let home = workspace.target().join("tools").join("cargo-deny");
    let deny = home.join("bin/cargo-deny");
    let ready = || {
        Program::new(&deny, workspace.root()).args(["--version"]).output().is_ok_and(|said| said.contains(CARGO_DENY))
    };
    if ready() {
        return Ok(deny);
    }
    cargo(workspace, ["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"])
        .args([home.as_os_str()])
        .run()
        .context("install cargo-deny")?;
    if !ready() {
        bail!("{} does not work after `cargo install cargo-deny`", deny.display());
    }
    Ok(deny)
}

/// Whether a copy of the database of known vulnerabilities is on this machine (`cargo deny fetch` makes one).
pub(crate) fn has_advisories() -> bool {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let copies = cargo_home.and_then(|home| std::fs::read_dir(home.join("advisory-dbs")).ok());
    copies.is_some_and(|copies| copies.flatten().any(|copy| copy.path().is_dir()))
}
