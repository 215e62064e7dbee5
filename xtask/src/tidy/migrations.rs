//! Migrations are numbered from 1 without gaps, per database: two of the same number would run in an order that nobody chose.

use std::collections::BTreeMap;

use super::Finding;

const FOLDER: &str = "crates/muster-store/migrations/";

pub(super) fn check(files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    // The files are sorted, and so are four-digit numbers.
    for file in files {
        let Some((database, name)) = file.strip_prefix(FOLDER).and_then(|rest| rest.split_once('/')) else { continue };
        let expected = numbers.entry(database).and_modify(|number| *number += 1).or_insert(1);
        let well_named = name.ends_with(".sql") && name.starts_with(&format!("{expected:04}_"));
        if !well_named {
            findings
                .push(Finding::new(file, format!("expected a migration named {expected:04}_what_it_does.sql here")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(names: &[&str]) -> usize {
        check(&names.iter().map(|name| format!("{FOLDER}{name}")).collect::<Vec<_>>()).len()
    }

    #[test]
    fn gaps_twins_and_other_files_are_found() {
        assert_eq!(findings(&["postgres/0001_a.sql", "sqlite/0001_a.sql", "sqlite/0002_b.sql"]), 0);
        assert_eq!(findings(&["sqlite/0001_a.sql", "sqlite/0003_b.sql"]), 1);
        assert_eq!(findings(&["sqlite/0001_a.sql", "sqlite/0001_b.sql"]), 1);
        assert_eq!(findings(&["sqlite/0001_a.txt"]), 1);
    }
}
