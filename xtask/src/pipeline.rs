//! `cargo xtask test`: everything that has to hold, the quickest first, up to the first failure.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::program::{Output, Program, cargo};
use crate::trials::Profile;
use crate::workspace::Workspace;
use crate::{codegen, proto, tidy, tools, trials};

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Without what runs for minutes.
    Quick,
    /// All of it.
    Everything,
}

struct Step {
    name: &'static str,
    /// The least extent that includes it.
    extent: Extent,
    /// What to do when it fails.
    remedy: &'static str,
    /// Returns a line for the summary, if it has something to say.
    run: fn(&Workspace) -> Result<Option<String>>,
}

/// The seed and the length of the campaign that runs with every test.
const CHAOS: [&str; 4] = ["--seconds", "20", "--seed", "1"];

/// The length of the soak that runs with every test.
const SOAK: [&str; 2] = ["--messages", "20000"];

/// The seeds that run with every test: about a minute on two cores.
const SIMULATION: [&str; 4] = ["--seeds", "200", "--from", "1"];

const STEPS: &[Step] = &[
    Step {
        name: "format",
        extent: Extent::Quick,
        remedy: "run `cargo xtask fmt`",
        run: |workspace| {
            tools::rust_component(workspace, "fmt", "rustfmt")?;
            cargo(workspace, ["fmt", "--all", "--check"]).run().map(|()| None)
        },
    },
    Step {
        name: "tidy",
        extent: Extent::Quick,
        remedy: "each line above names a file and what it should be; `cargo xtask tidy` checks again",
        run: |workspace| tidy::check(workspace).map(|()| None),
    },
    Step {
        name: "generated types",
        extent: Extent::Quick,
        remedy: "run `cargo xtask codegen` and commit the result",
        run: |workspace| codegen::check(workspace).map(|()| None),
    },
    Step {
        name: "protos",
        extent: Extent::Quick,
        remedy: "mend the protos; what must break on purpose is explained in docs/guides/testing.md",
        run: |workspace| proto::check(workspace).map(|()| None),
    },
    Step {
        name: "peers' drivers",
        extent: Extent::Quick,
        remedy: "mend the file that node names, below crates/muster-trials/peers",
        run: |workspace| peers_drivers(workspace).map(|()| None),
    },
    Step {
        name: "lints",
        extent: Extent::Quick,
        remedy: "mend what clippy names; `cargo xtask lint` checks again",
        run: |workspace| lint(workspace).map(|()| None),
    },
    Step {
        name: "documentation",
        extent: Extent::Everything,
        remedy: "mend the doc comments that rustdoc names; `cargo doc --workspace --no-deps` checks again",
        run: |workspace| {
            let doc = cargo(workspace, ["doc", "--workspace", "--no-deps", "--quiet"]);
            doc.env("RUSTDOCFLAGS", "-D warnings").run().map(|()| None)
        },
    },
    Step {
        name: "tests",
        extent: Extent::Quick,
        remedy: "run the failing test alone: `cargo test --package NAME TEST`",
        run: tests,
    },
    Step {
        name: "doctests",
        extent: Extent::Everything,
        remedy: "run them alone: `cargo test --workspace --doc`",
        run: |workspace| cargo(workspace, ["test", "--workspace", "--doc", "--quiet"]).run().map(|()| None),
    },
    Step {
        name: "demo",
        extent: Extent::Everything,
        remedy: "run it alone: `cargo run -- demo --exit`",
        run: |workspace| {
            let program = trials::build(workspace, Profile::Dev)?;
            Program::new(program("muster"), workspace.root()).args(["demo", "--exit"]).run().map(|()| None)
        },
    },
    Step {
        name: "simulation",
        extent: Extent::Everything,
        remedy: "each broken seed comes with the command that runs it again; docs/guides/testing.md says how to read it",
        run: |workspace| {
            let code = trials::simulate(workspace, Profile::Dev, &SIMULATION)?;
            if code == ExitCode::SUCCESS { Ok(None) } else { bail!("a promise broke") }
        },
    },
    Step {
        name: "chaos",
        extent: Extent::Everything,
        remedy: "the campaign prints the command that runs it again; docs/guides/testing.md says how to read it",
        run: |workspace| {
            let program = trials::build(workspace, Profile::Dev)?;
            Program::new(program("muster-trials"), workspace.root()).args(["chaos"]).args(CHAOS).run().map(|()| None)
        },
    },
    Step {
        name: "soak",
        extent: Extent::Everything,
        remedy: "run it alone: `cargo xtask soak --messages 20000`; docs/guides/benchmarks.md says what counts as flat",
        run: |workspace| {
            let program = trials::build(workspace, Profile::Dev)?;
            Program::new(program("muster-trials"), workspace.root()).args(["soak"]).args(SOAK).run().map(|()| None)
        },
    },
    Step {
        name: "bench harness",
        extent: Extent::Everything,
        remedy: "run it alone: `cargo xtask bench --quick`",
        run: bench_harness,
    },
];

/// Runs the steps up to the first failure.
pub(crate) fn run(workspace: &Workspace, extent: Extent) -> Result<()> {
    tools::c_compiler(workspace)?;
    let steps: Vec<&Step> = STEPS.iter().filter(|step| extent == Extent::Everything || step.extent == extent).collect();
    let begun = Instant::now();
    let mut summary = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n[{}/{}] {}", index + 1, steps.len(), step.name);
        let step_begun = Instant::now();
        match (step.run)(workspace) {
            Ok(note) => {
                let line = line("ok", step.name, step_begun.elapsed(), note.as_deref());
                println!("{line}");
                summary.push(line);
            }
            Err(error) => {
                println!("\n{}", line("FAILED", step.name, step_begun.elapsed(), None));
                println!("  {error:#}\n  what to do: {}", step.remedy);
                bail!("step `{}` failed; the steps after it did not run", step.name);
            }
        }
    }
    println!("\n{}", summary.join("\n"));
    println!("{}", line("ok", "everything", begun.elapsed(), (extent == Extent::Quick).then_some("--quick")));
    Ok(())
}

/// Clippy, with warnings as errors.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    tools::rust_component(workspace, "clippy", "clippy")?;
    cargo(workspace, ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]).run()
}

/// Unit, property, conformance and integration tests of all crates.
fn tests(workspace: &Workspace) -> Result<Option<String>> {
    let mut tally = Tally::default();
    let mut summary = None;
    if tools::has_nextest(workspace) {
        let runner = cargo(workspace, ["nextest", "run", "--workspace", "--no-fail-fast"]).env("INSTA_UPDATE", "no");
        runner.watch(Output::Error, |line| {
            if line.trim_start().starts_with("Summary") {
                summary = Some(line.trim().to_owned());
            }
        })?;
    } else {
        let runner = cargo(workspace, ["test", "--workspace", "--all-targets", "--no-fail-fast"]);
        runner.env("INSTA_UPDATE", "no").watch(Output::Standard, |line| tally.add(line))?;
        summary = Some(tally.to_string());
    }
    Ok(summary)
}

/// Parses what `bench --peers` drives the peers with. The peers themselves are not run: they need databases that a bare machine
/// does not have.
fn peers_drivers(workspace: &Workspace) -> Result<()> {
    let drivers = workspace.files()?.into_iter().filter(|file| file.ends_with(".mjs"));
    for driver in drivers {
        let check = Program::new("node", workspace.root()).args(["--check", &driver]);
        check.run().context("it needs node (`apt-get install npm`, or https://nodejs.org)")?;
    }
    Ok(())
}

/// Runs the bench without looking at its figures: a dev build on a shared machine says nothing about speed, but the
/// harness has to work, and each part has to give its keys.
fn bench_harness(workspace: &Workspace) -> Result<Option<String>> {
    let program = trials::build(workspace, Profile::Dev)?;
    let bench = Program::new(program("muster-trials"), workspace.root()).args(["bench", "--quick", "-o", "json"]);
    let mut last = String::new();
    bench.watch(Output::Standard, |line| last = line.to_owned())?;
    let result: serde_json::Value = serde_json::from_str(&last).context("the bench's last line is no JSON")?;
    let parts =
        ["ratios", "floor", "null_gateway", "http_gateway", "latency", "fairness", "at_rest", "recovery", "start"];
    for part in parts {
        if !result[part].is_object() {
            bail!("the bench gave no `{part}`");
        }
    }
    Ok(Some("ran; its figures mean nothing in a dev build".to_owned()))
}

fn line(verdict: &str, name: &str, took: Duration, note: Option<&str>) -> String {
    let note = note.map(|note| format!("   {note}")).unwrap_or_default();
    format!("{verdict:<6} {name:<16} {:>7.1} s{note}", took.as_secs_f64())
}

/// The sum of the result lines that `cargo test` prints, one per test program.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, kind)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn result_lines_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.20s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 7, failed: 2, ignored: 1 });
    }
}
