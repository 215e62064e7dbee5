//! The manifests: versions stand in one place, the workspace's lints hold everywhere, and nothing is listed in vain.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use toml::Table;

use super::{Finding, Sources};

pub(super) fn check(sources: &Sources) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    let root = table(sources, "Cargo.toml")?;
    for path in sources.keys().filter(|path| path.ends_with("/Cargo.toml")) {
        let manifest = table(sources, path)?;
        let folder = path.trim_end_matches("Cargo.toml");
        if !inherits(manifest.get("lints")) {
            findings.push(Finding::new(path, "lacks `[lints] workspace = true`"));
        }
        for (section, searched) in
            [("dependencies", "src/"), ("dev-dependencies", ""), ("build-dependencies", "build.rs")]
        {
            for (name, dependency) in manifest.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                used.insert(name.clone());
                // A crate names itself to turn its own features on in its tests.
                if folder.ends_with(&format!("/{name}/")) {
                    continue;
                }
                if !inherits(Some(dependency)) {
                    findings.push(Finding::new(
                        path,
                        format!("{name}: take it from the workspace (`{name}.workspace = true`)"),
                    ));
                }
                let code = format!("{folder}{searched}");
                let code = sources.iter().filter(|(file, _)| file.starts_with(&code) && file.ends_with(".rs"));
                if !code.map(|(_, text)| text).any(|text| names_crate(text, name)) {
                    findings
                        .push(Finding::new(path, format!("{name}: nothing in {folder}{searched} uses it: remove it")));
                }
            }
        }
    }
    let offered =
        root.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(toml::Value::as_table);
    for name in offered.context("Cargo.toml has no workspace.dependencies")?.keys().filter(|name| !used.contains(*name))
    {
        findings.push(Finding::new("Cargo.toml", format!("{name}: no crate uses it: remove it")));
    }
    Ok(findings)
}

fn table(sources: &Sources, path: &str) -> Result<Table> {
    let text = sources.get(path).with_context(|| format!("{path} is missing"))?;
    text.parse().with_context(|| format!("read {path}"))
}

fn inherits(value: Option<&toml::Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
}

/// Whether Rust code reaches into a crate: by a path, an import, an attribute or a macro.
fn names_crate(text: &str, name: &str) -> bool {
    let name = name.replace('-', "_");
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(&name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(in_word)
            && (after.starts_with("::")
                || (after.starts_with(['!', '(']) && (after.starts_with('!') || before.ends_with("#[")))
                || (before.ends_with("use ") && !after.starts_with(in_word)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(member: &str, code: &str) -> Sources {
        [
            ("Cargo.toml", "[workspace.dependencies]\nserde_json = \"1\"\n"),
            ("crates/a/Cargo.toml", member),
            ("crates/a/src/lib.rs", code),
        ]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .collect()
    }

    #[test]
    fn a_manifest_that_inherits_and_is_used_is_fine() {
        let member = "[lints]\nworkspace = true\n[dependencies]\nserde_json.workspace = true\n";
        assert_eq!(check(&sources(member, "use serde_json::Value;")).unwrap(), vec![]);
    }

    #[test]
    fn own_versions_missing_lints_and_unused_crates_are_found() {
        let findings = check(&sources("[dependencies]\nserde_json = \"1\"\n", "let serde_json = 1;")).unwrap();
        assert_eq!(findings.len(), 3, "{findings:?}");
        let findings = check(&sources("[lints]\nworkspace = true\n", "")).unwrap();
        assert_eq!(findings, vec![Finding::new("Cargo.toml", "serde_json: no crate uses it: remove it")]);
    }

    #[test]
    fn a_crate_is_used_where_code_reaches_into_it() {
        for code in ["rand::rng()", "use rand;", "use rand as r;", "rand!(1)", "#[rand(x)]"] {
            assert!(names_crate(code, "rand"), "{code}");
        }
        for code in ["operand::x", "let rand = 1;", "brand::new()", "rand(1)"] {
            assert!(!names_crate(code, "rand"), "{code}");
        }
    }
}
