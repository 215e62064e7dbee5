//! Which crate may know which. ARCHITECTURE.md draws it; this table is what holds.

use serde_json::Value;

use super::{Finding, Sources};

struct Walls {
    package: &'static str,
    /// The only crates of the workspace that it may depend on.
    may_use: &'static [&'static str],
    /// Crates from outside that would bring in what it must not do.
    must_not_use: &'static [&'static str],
}

const WALLS: &[Walls] = &[
    Walls {
        package: "muster-domain",
        may_use: &[],
        must_not_use: &[
            "async-trait",
            "axum",
            "futures",
            "prost",
            "rand",
            "reqwest",
            "serde_json",
            "sqlx",
            "tokio",
            "tonic",
            "tracing",
        ],
    },
    Walls { package: "muster-proto", may_use: &["muster-domain"], must_not_use: &["axum", "reqwest", "sqlx", "tokio"] },
    Walls { package: "muster-store", may_use: &["muster-domain"], must_not_use: &["axum", "reqwest", "tonic"] },
    Walls { package: "muster-gateway", may_use: &["muster-domain"], must_not_use: &["prost", "sqlx", "tonic"] },
    Walls {
        package: "muster-server",
        may_use: &["muster-domain", "muster-proto", "muster-store"],
        must_not_use: &["reqwest", "sqlx"],
    },
    Walls {
        package: "muster-agent",
        may_use: &["muster-domain", "muster-gateway", "muster-proto"],
        must_not_use: &["reqwest", "sqlx"],
    },
    Walls { package: "muster-simulator", may_use: &[], must_not_use: &["prost", "sqlx", "tonic"] },
    Walls {
        package: "muster-client",
        may_use: &["muster-domain", "muster-proto"],
        must_not_use: &["axum", "reqwest", "sqlx"],
    },
    Walls {
        package: "muster-demo",
        may_use: &["muster-client", "muster-domain", "muster-proto", "muster-simulator"],
        must_not_use: &["sqlx"],
    },
    Walls {
        package: "muster-trials",
        may_use: &["muster-client", "muster-demo", "muster-domain", "muster-proto", "muster-simulator"],
        must_not_use: &[],
    },
    Walls {
        package: "muster-virtual",
        may_use: &["muster-agent", "muster-domain", "muster-gateway", "muster-proto", "muster-server", "muster-store"],
        must_not_use: &["axum", "reqwest", "sqlx"],
    },
    Walls {
        package: "muster",
        may_use: &[
            "muster-agent",
            "muster-client",
            "muster-demo",
            "muster-domain",
            "muster-gateway",
            "muster-server",
            "muster-simulator",
            "muster-store",
        ],
        must_not_use: &["axum", "prost", "reqwest", "sqlx", "tonic"],
    },
    Walls { package: "xtask", may_use: &[], must_not_use: &["sqlx", "tokio"] },
];

/// What reaches out of a pure function: the domain is given the time, chance and all facts.
const IMPURE: &[&str] =
    &["SystemTime", "Instant", "Timestamp::now", "Zoned::now", "std::fs", "std::net", "std::env", "std::thread"];

pub(super) fn check(metadata: &Value, sources: &Sources) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let dependencies = packages.iter().flat_map(package_findings);
    dependencies.chain(sources.iter().flat_map(|(path, text)| purity_findings(path, text))).collect()
}

fn package_findings(package: &Value) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let place = if name == "xtask" { "xtask/Cargo.toml".to_owned() } else { format!("crates/{name}/Cargo.toml") };
    let Some(walls) = WALLS.iter().find(|walls| walls.package == name) else {
        return vec![Finding::new(place, "the crate has no walls: say in xtask/src/tidy/walls.rs what it may use")];
    };
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Tests may reach further than what they test.
    let shipped = dependencies.iter().filter(|dependency| dependency["kind"].as_str() != Some("dev"));
    shipped
        .filter_map(|dependency| {
            let used = dependency["name"].as_str()?;
            let ours = WALLS.iter().any(|walls| walls.package == used);
            let broken = if ours { !walls.may_use.contains(&used) } else { walls.must_not_use.contains(&used) };
            broken.then(|| Finding::new(&place, format!("{name} must not depend on {used} (xtask/src/tidy/walls.rs)")))
        })
        .collect()
}

fn purity_findings(path: &str, text: &str) -> Vec<Finding> {
    if !path.starts_with("crates/muster-domain/src/") {
        return Vec::new();
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|(number, line)| {
            let impure = IMPURE.iter().filter(move |impure| super::has_word(line, impure));
            impure.map(move |impure| {
                Finding::new(
                    format!("{path}:{}", number + 1),
                    format!("the domain does no I/O and has no clock of its own, but this line has `{impure}`"),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(package: &str, dependency: &str, kind: Option<&str>) -> usize {
        package_findings(&json!({ "name": package, "dependencies": [{ "name": dependency, "kind": kind }] })).len()
    }

    #[test]
    fn a_dependency_through_a_wall_is_found() {
        assert_eq!(findings("muster-server", "muster-gateway", None), 1);
        assert_eq!(findings("muster-domain", "tokio", None), 1);
        assert_eq!(findings("muster-server", "muster-store", None), 0);
        assert_eq!(findings("muster-server", "muster-gateway", Some("dev")), 0);
        assert_eq!(findings("a-new-crate", "serde", None), 1);
    }

    #[test]
    fn a_clock_in_the_domain_is_found() {
        let path = "crates/muster-domain/src/gate.rs";
        assert_eq!(purity_findings(path, "let now = Timestamp::now();").len(), 1);
        assert_eq!(purity_findings(path, "// Timestamp::now() is the caller's\nlet instantly = 1;"), vec![]);
        assert_eq!(purity_findings("crates/muster-agent/src/lane.rs", "let now = Instant::now();"), vec![]);
    }
}
