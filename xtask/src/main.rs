//! Chores of the repository. `cargo xtask help` lists them.
//!
//! It depends on no crate of the product, so that it builds quickly and works while the product does not: it runs the
//! other tools as programs.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod codegen;
mod pipeline;
mod program;
mod proto;
mod tidy;
mod tools;
mod trials;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::program::cargo;
use crate::trials::Profile;
use crate::workspace::Workspace;

const HELP: &str = "\
Chores of the repository.

    cargo xtask test [--quick]    everything that has to hold; --quick leaves out what runs for minutes
    cargo xtask fmt               formats the sources
    cargo xtask lint              clippy, with warnings as errors
    cargo xtask tidy              the rules that no compiler checks: crate walls, licences, documents, migrations, wording
    cargo xtask proto             lint of the protos, and the check that nothing breaks against proto/baseline.binpb
    cargo xtask proto baseline    takes the present protos as the new baseline
    cargo xtask codegen           generates the Rust types of the protos
    cargo xtask codegen-check     fails unless the committed types are what the protos give
    cargo xtask bench ARGS...     measures, with a release build: --quick, --only NAME, --peers, -o json
    cargo xtask chaos ARGS...     kills real processes under load: --seconds N, --seed S, -o json
    cargo xtask soak ARGS...      looks whether memory stays flat, with a release build: --messages N, -o json
    cargo xtask simulate ARGS...  the whole system on virtual time: --seeds N, --from S; or: seed S --trace
    cargo xtask help              this text

docs/guides/testing.md and docs/guides/benchmarks.md say more.";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = match arguments.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    if matches!(chore, "help" | "--help" | "-h") {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    match (chore, rest.as_slice()) {
        ("test", []) => pipeline::run(&workspace, pipeline::Extent::Everything)?,
        ("test", ["--quick"]) => pipeline::run(&workspace, pipeline::Extent::Quick)?,
        ("fmt", []) => cargo(&workspace, ["fmt", "--all"]).run()?,
        ("lint", []) => pipeline::lint(&workspace)?,
        ("tidy", []) => tidy::check(&workspace)?,
        ("proto", []) => proto::check(&workspace)?,
        ("proto", ["baseline"]) => proto::move_baseline(&workspace)?,
        ("codegen", []) => codegen::write(&workspace)?,
        ("codegen-check", []) => codegen::check(&workspace)?,
        ("bench", rest) => return trials::bench(&workspace, rest),
        ("soak", rest) => return trials::soak(&workspace, rest),
        ("chaos", rest) => return trials::chaos(&workspace, rest),
        ("simulate", rest) => return trials::simulate(&workspace, Profile::Release, rest),
        _ => bail!("there is no `{}`\n\n{HELP}", arguments.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}
