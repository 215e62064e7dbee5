//! The rules of the repository that no compiler checks.
//!
//! Each module holds one kind of rule, as a pure function over what it is given; the files are read here.

mod documents;
mod manifests;
mod migrations;
mod walls;
mod wording;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};

use crate::program::{Program, cargo, cargo_metadata};
use crate::tools;
use crate::workspace::Workspace;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// A file of the repository, with `:LINE` where one line is meant.
    place: String,
    /// What is wrong, and what it should be.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// The repository's text files by their path.
pub(crate) type Sources = BTreeMap<String, String>;

/// Fails if a rule is broken; prints every finding.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let sources = read(workspace)?;
    let files = workspace.files()?;
    let metadata = cargo_metadata(workspace.root())?;
    let mut findings = [
        walls::check(&metadata, &sources),
        manifests::check(&sources)?,
        documents::check(&sources, &files),
        migrations::check(&files),
        wording::check(&sources),
    ]
    .concat();
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    supply_chain(workspace)
}

fn read(workspace: &Workspace) -> Result<Sources> {
    let mut sources = Sources::new();
    for path in workspace.files()? {
        if let Some(text) = workspace.text(&path)? {
            sources.insert(path, text);
        }
    }
    Ok(sources)
}

/// Licences, sources and unwanted crates of the dependency tree, by deny.toml. Known vulnerabilities only where a copy of
/// the database is there: a test must not depend on what was published since yesterday.
fn supply_chain(workspace: &Workspace) -> Result<()> {
    let deny = tools::cargo_deny(workspace)?;
    let check = |arguments: &[&str]| {
        Program::new(&deny, workspace.root()).args(["--log-level", "error", "--offline", "check"]).args(arguments).run()
    };
    cargo(workspace, ["fetch", "--locked", "--quiet"]).run().context("fetch the dependencies")?;
    check(&["bans", "licenses", "sources"])?;
    if tools::has_advisories() {
        check(&["advisories"])?;
    }
    Ok(())
}

/// Whether `text` has `word` with nothing that belongs to a word on either side.
fn has_word(text: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(in_word) && !after.is_some_and(in_word)
    })
}
