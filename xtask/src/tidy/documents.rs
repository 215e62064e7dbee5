//! The documents name files that exist, and the map shows every crate.

use std::collections::BTreeSet;

use super::{Finding, Sources};

/// Folders by which a path in running text is recognised.
const FOLDERS: &[&str] = &["crates/", "deploy/", "docs/", "proto/", "xtask/"];

/// Documents that every reader looks for.
const EXPECTED: &[&str] = &["ARCHITECTURE.md", "LICENSE", "README.md"];

pub(super) fn check(sources: &Sources, files: &[String]) -> Vec<Finding> {
    let known = with_folders(files);
    let mut findings: Vec<Finding> =
        EXPECTED.iter().filter(|name| !known.contains(**name)).map(|name| Finding::new(*name, "is missing")).collect();
    for (path, text) in sources.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (number, line) in text.lines().enumerate() {
            for target in targets(path, line) {
                if !known.contains(&target) {
                    let place = format!("{path}:{}", number + 1);
                    findings.push(Finding::new(place, format!("names `{target}`, which does not exist")));
                }
            }
        }
    }
    if let Some(map) = sources.get("ARCHITECTURE.md") {
        let crates: BTreeSet<&str> = files
            .iter()
            .filter_map(|file| file.strip_prefix("crates/")?.split_once('/'))
            .map(|(name, _)| name)
            .collect();
        let missing = crates.into_iter().filter(|name| !super::has_word(map, name));
        findings
            .extend(missing.map(|name| Finding::new("ARCHITECTURE.md", format!("does not mention the crate {name}"))));
    }
    findings
}

fn with_folders(files: &[String]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for file in files {
        known.insert(file.clone());
        for (at, _) in file.match_indices('/') {
            known.insert(file[..at].to_owned());
        }
    }
    known
}

/// The paths from the repository's root that a line of a document names: as link targets, and as code in running text.
fn targets(document: &str, line: &str) -> Vec<String> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).filter_map(|(link, _)| {
        let path = link.split('#').next().unwrap_or_default();
        (!path.is_empty() && !path.contains(':')).then(|| resolve(folder, path))
    });
    let code = line.split('`').skip(1).step_by(2).filter_map(|code| {
        let plain = FOLDERS.iter().any(|folder| code.starts_with(folder))
            && code.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
            && !code.contains("NNNN");
        plain.then(|| code.trim_end_matches('/').to_owned())
    });
    links.chain(code).collect()
}

fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_code_are_targets() {
        let line = "See [the map](../../ARCHITECTURE.md#shape), [site](https://a.b), [x](#here), `crates/muster/` and `cargo test`.";
        assert_eq!(targets("docs/guides/testing.md", line), ["ARCHITECTURE.md", "crates/muster"]);
        assert_eq!(
            targets("README.md", "`docs/decisions/NNNN-title.md`, `proto/*.proto`, [a](docs/a.md)"),
            ["docs/a.md"]
        );
    }

    #[test]
    fn a_name_of_nothing_is_found() {
        let files: Vec<String> =
            ["ARCHITECTURE.md", "LICENSE", "README.md", "crates/muster/src/main.rs"].map(str::to_owned).into();
        let sources = Sources::from([
            ("README.md".to_owned(), "Start with `crates/muster/src`,\nthen `crates/gone`.".to_owned()),
            ("ARCHITECTURE.md".to_owned(), "Nothing.".to_owned()),
        ]);
        assert_eq!(
            check(&sources, &files),
            [
                Finding::new("README.md:2", "names `crates/gone`, which does not exist"),
                Finding::new("ARCHITECTURE.md", "does not mention the crate muster"),
            ]
        );
    }
}
