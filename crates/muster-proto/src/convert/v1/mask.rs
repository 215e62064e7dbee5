//! Field masks of updates.

use muster_domain::Violation;
use prost_types::FieldMask;

/// Which of a resource's fields an update changes.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// Fields that an update may change.
    pub changeable: &'static [&'static str],
    /// Fields that exist, and that no update changes: immutable ones and output-only ones.
    pub fixed: &'static [&'static str],
}

impl Fields {
    /// The fields that a mask names: all that can be changed for an unset or empty mask, and for `*`.
    pub fn selected(&self, mask: Option<FieldMask>) -> Result<Vec<&'static str>, Vec<Violation>> {
        let paths = mask.unwrap_or_default().paths;
        if paths.is_empty() || paths == ["*"] {
            return Ok(self.changeable.to_vec());
        }
        let mut selected = Vec::new();
        let mut found = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            let field = || format!("update_mask.paths[{i}]");
            if let Some(known) = self.changeable.iter().find(|known| *known == path) {
                selected.push(*known);
            } else if self.fixed.contains(&path.as_str()) {
                found.push(Violation::new(field(), format!("names {path}, which cannot be changed")));
            } else {
                let known = self.changeable.join(", ");
                found.push(Violation::new(field(), format!("names an unknown field; the fields are {known}")));
            }
        }
        if found.is_empty() { Ok(selected) } else { Err(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields { changeable: &["display_name", "labels"], fixed: &["name"] };

    fn selected(paths: &[&str]) -> Result<Vec<&'static str>, Vec<Violation>> {
        FIELDS.selected(Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }))
    }

    #[test]
    fn an_unset_mask_selects_all() {
        assert_eq!(FIELDS.selected(None).unwrap(), ["display_name", "labels"]);
        assert_eq!(selected(&[]).unwrap(), ["display_name", "labels"]);
        assert_eq!(selected(&["*"]).unwrap(), ["display_name", "labels"]);
        assert_eq!(selected(&["labels"]).unwrap(), ["labels"]);
    }

    #[test]
    fn unknown_and_fixed_fields_are_refused_by_place() {
        let found = selected(&["labels", "name", "labels.team"]).unwrap_err();
        assert_eq!(found[0].field, "update_mask.paths[1]");
        assert!(found[0].description.contains("cannot be changed"));
        assert_eq!(found[1].field, "update_mask.paths[2]");
    }
}
