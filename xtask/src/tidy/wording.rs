//! What must not stand in any file: paths of somebody's machine, marks of unfinished work, and files that hold too much.

use super::{Finding, Sources, has_word};

/// Folders that exist on the machine of whoever wrote the line, and nowhere else. In pieces, so that this file passes.
const MACHINE_PATHS: &[&str] =
    &[concat!("/", "work/"), concat!("/", "root/"), concat!("/", "home/"), concat!("/", "Users/")];

/// Marks of work that is not done.
const UNFINISHED: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];

/// Lines of a Rust file. A longer one has a second subject that wants a file of its own.
const LINES_MAX: usize = 700;

pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    sources.iter().filter(|(path, _)| !generated(path)).flat_map(|(path, text)| file_findings(path, text)).collect()
}

fn generated(path: &str) -> bool {
    path.contains("/src/gen/") || path == "Cargo.lock"
}

fn file_findings(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{path}:{}", number + 1);
        for machine_path in MACHINE_PATHS.iter().filter(|machine_path| starts_path(line, machine_path)) {
            findings.push(Finding::new(place(), format!("`{machine_path}` is a path of one machine")));
        }
        for mark in UNFINISHED.iter().filter(|mark| has_word(line, mark)) {
            findings.push(Finding::new(place(), format!("`{mark}` marks unfinished work: finish it or open an issue")));
        }
    }
    let lines = text.lines().count();
    if path.ends_with(".rs") && lines > LINES_MAX {
        findings.push(Finding::new(path, format!("{lines} lines; split it by subject below {LINES_MAX}")));
    }
    findings
}

/// Whether a path that begins with `start` stands in the line, and not merely a longer path that contains it.
fn starts_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~}>$*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_are_found() {
        let place = concat!("in /", "home/ann/muster");
        assert_eq!(file_findings("README.md", place).len(), 1);
        assert_eq!(
            file_findings("README.md", concat!("see https://example.org/", "home/page and ~/", "work/x")),
            vec![]
        );
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(file_findings("a.rs", concat!("// FIX", "ME later\n", "todo", "!()")).len(), 2);
        assert_eq!(file_findings("a.rs", concat!("mas", "TO", "DON")), vec![]);
    }

    #[test]
    fn long_files_are_found() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert_eq!(file_findings("a.rs", &long).len(), 1);
        assert_eq!(file_findings("a.md", &long), vec![]);
    }
}
