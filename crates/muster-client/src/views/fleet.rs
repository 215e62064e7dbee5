//! Differences between a declared fleet and the present one.

use muster_proto::v1;
use serde::Serialize;

use super::word;
use crate::screen::{Look, Tone};
use crate::text;

/// What an apply did, or would do, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApplyView {
    /// Whether the changes were made.
    pub applied: bool,
    /// What differs.
    pub differences: Vec<DifferenceView>,
    /// Declared resources that are as declared already.
    pub unchanged: u32,
}

/// One resource that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Difference")]
pub struct DifferenceView {
    pub resource: String,
    pub verb: String,
    pub fields: Vec<FieldDifferenceView>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.FieldDifference")]
pub struct FieldDifferenceView {
    pub field: String,
    pub from: String,
    pub to: String,
}

impl ApplyView {
    /// The server's answer.
    pub fn new(response: v1::ApplyFleetResponse, applied: bool) -> Self {
        let differences = response.differences.into_iter().map(DifferenceView::from).collect();
        ApplyView { applied, differences, unchanged: response.unchanged }
    }

    /// How many resources would go.
    pub fn removals(&self) -> u64 {
        self.verbs("REMOVE")
    }

    fn verbs(&self, verb: &str) -> u64 {
        self.differences.iter().filter(|difference| difference.verb == verb).count() as u64
    }
}

impl From<v1::Difference> for DifferenceView {
    fn from(difference: v1::Difference) -> Self {
        let verb = v1::difference::Verb::try_from(difference.verb).ok().map(|verb| verb.as_str_name());
        DifferenceView {
            resource: difference.resource,
            verb: word(verb, "VERB_", difference.verb),
            fields: difference
                .fields
                .into_iter()
                .map(|v1::FieldDifference { field, from, to }| FieldDifferenceView { field, from, to })
                .collect(),
        }
    }
}

/// The differences, a resource a line, its fields below it.
pub fn differences(view: &ApplyView, look: &Look) -> String {
    let mut lines = Vec::new();
    for difference in &view.differences {
        let (sign, tone) = match difference.verb.as_str() {
            "CREATE" => ("+", Tone::Good),
            "REMOVE" => ("-", Tone::Bad),
            _ => ("~", Tone::Busy),
        };
        let created = difference.verb == "CREATE";
        let fields = difference.fields.iter().map(|field| match (created, field.from.is_empty()) {
            (true, _) if field.to.contains(char::is_whitespace) => format!("{}=\"{}\"", field.field, field.to),
            (true, _) => format!("{}={}", field.field, field.to),
            (false, true) => format!("{}: (none) → {}", field.field, field.to),
            (false, false) if field.to.is_empty() => format!("{}: {} → (none)", field.field, field.from),
            (false, false) => format!("{}: {} → {}", field.field, field.from, field.to),
        });
        let fields = fields.collect::<Vec<_>>().join("  ");
        let head = tone.paint(&format!("{sign} {}", difference.resource), look);
        lines.push(format!("{head}  {fields}").trim_end().to_owned());
    }
    lines.join("\n")
}

/// One line that sums up.
pub fn summary(view: &ApplyView) -> String {
    if view.differences.is_empty() {
        return format!("nothing to do: {} as declared", text::plural(u64::from(view.unchanged), "resource"));
    }
    let (created, changed, removed) =
        if view.applied { ("created", "changed", "removed") } else { ("to create", "to change", "to remove") };
    format!(
        "{} {created}, {} {changed}, {} {removed}, {} as declared",
        view.verbs("CREATE"),
        view.verbs("UPDATE"),
        view.verbs("REMOVE"),
        view.unchanged
    )
}
