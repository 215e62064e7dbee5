//! A configuration as a file with comments.

use confique::Config;
use confique::meta::{FieldKind, Meta};
use serde::Serialize;

/// Columns of a comment line.
const COMMENT_COLUMNS: usize = 100;

/// The configuration as TOML: every key with its comment and its value in effect. Optional keys without a value are shown as
/// comments.
pub(super) fn text<C: Config + Serialize>(config: &C) -> String {
    let values = toml::Table::try_from(config).unwrap_or_default();
    let mut out = String::new();
    comment(&mut out, C::META.doc);
    out.push('\n');
    section(&mut out, "", &C::META, &values);
    out
}

fn section(out: &mut String, path: &str, meta: &Meta, values: &toml::Table) {
    let mut tables = Vec::new();
    for field in meta.fields {
        match (&field.kind, values.get(field.name)) {
            (FieldKind::Nested { meta }, Some(toml::Value::Table(table))) => {
                tables.push((field, Some(*meta), table.clone()))
            }
            (FieldKind::Nested { .. }, _) => {}
            // A map or list of tables has sections of its own, which stand behind all plain keys.
            (FieldKind::Leaf { .. }, Some(value)) if holds_tables(value) => {
                let mut table = toml::Table::new();
                table.insert(field.name.to_owned(), value.clone());
                tables.push((field, None, table));
            }
            (FieldKind::Leaf { .. }, value) => {
                comment(out, field.doc);
                match value {
                    Some(value) => out.push_str(&format!("{} = {value}\n\n", field.name)),
                    None => out.push_str(&format!("# {} =\n\n", field.name)),
                }
            }
        }
    }
    for (field, meta, table) in tables {
        comment(out, field.doc);
        match meta {
            Some(meta) => {
                let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
                out.push_str(&format!("[{path}]\n"));
                section(out, &path, meta, &table);
            }
            None => {
                out.push_str(&toml::to_string(&table).unwrap_or_default());
                out.push('\n');
            }
        }
    }
}

fn holds_tables(value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(_) => true,
        toml::Value::Array(values) => values.iter().any(toml::Value::is_table),
        _ => false,
    }
}

/// Comment lines, filled to the width.
fn comment(out: &mut String, doc: &[&str]) {
    let mut line = String::new();
    for word in doc.iter().flat_map(|line| line.split_whitespace()) {
        if !line.is_empty() && line.len() + 1 + word.len() > COMMENT_COLUMNS {
            out.push_str(&format!("#{line}\n"));
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    if !line.is_empty() {
        out.push_str(&format!("#{line}\n"));
    }
}
