//! The part of JSON Schema that the gateway's routes use, with the texts of its validator.

use serde_json::{Map, Value};

use super::answer::Problem;

/// What a body must look like.
pub(crate) struct Schema {
    /// Where the object stands in the body; empty for the body itself.
    pub(crate) path: &'static str,
    pub(crate) properties: &'static [(&'static str, Property)],
    pub(crate) required: &'static [&'static str],
}

/// What one property must look like.
pub(crate) struct Property {
    pub(crate) kind: PropertyKind,
    /// Said instead of the validator's own text.
    pub(crate) description: Option<&'static str>,
}

/// The types and sets of values that occur.
pub(crate) enum PropertyKind {
    Text,
    OneOf(&'static [&'static str]),
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Number,
    Object,
    /// A list of texts with at least so many items.
    Texts {
        min: usize,
    },
    /// A list of anything with at least so many items.
    List {
        min: usize,
    },
}

/// A property without a description of its own.
pub(crate) const fn plain(kind: PropertyKind) -> Property {
    Property { kind, description: None }
}

/// A property with a description.
pub(crate) const fn described(kind: PropertyKind, description: &'static str) -> Property {
    Property { kind, description: Some(description) }
}

/// The recipient, in every send.
pub(crate) const NUMBER: (&str, Property) = ("number", described(PropertyKind::Text, "Invalid format"));

/// The time to show "composing" before a send.
pub(crate) const DELAY: (&str, Property) =
    ("delay", described(PropertyKind::Integer { min: i64::MIN, max: i64::MAX }, "Enter a value in milliseconds"));

impl Schema {
    /// Everything that is wrong with `body`, in the validator's words: properties first, then what is missing.
    pub(crate) fn violations(&self, body: &Map<String, Value>) -> Vec<String> {
        let at = |name: &str| if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let mut found: Vec<String> = self
            .properties
            .iter()
            .filter_map(|(name, property)| {
                let wrong = property.kind.violation(body.get(*name)?)?;
                Some(property.description.map_or_else(|| format!("{} {wrong}", at(name)), str::to_owned))
            })
            .collect();
        let owner = if self.path.is_empty() { "instance" } else { self.path };
        let missing = self.required.iter().filter(|name| !body.contains_key(**name));
        found.extend(missing.map(|name| format!("{owner} requires property \"{name}\"")));
        found
    }

    /// Refuses a body with violations. `nested` wraps the list once more, as the source of 2.3.6 does.
    pub(crate) fn check(&self, body: &Map<String, Value>, nested: bool) -> Result<(), Problem> {
        let found: Vec<Value> = self.violations(body).into_iter().map(Value::from).collect();
        match (found.is_empty(), nested) {
            (true, _) => Ok(()),
            (false, false) => Err(Problem::Typed(axum::http::StatusCode::BAD_REQUEST, found)),
            (false, true) => Err(Problem::bad_request(found)),
        }
    }
}

impl PropertyKind {
    fn violation(&self, value: &Value) -> Option<String> {
        let wrong_type = |name: &str| Some(format!("is not of type(s) {name}"));
        match self {
            PropertyKind::Text => {
                if value.is_string() {
                    None
                } else {
                    wrong_type("string")
                }
            }
            PropertyKind::OneOf(values) => match value.as_str() {
                Some(text) if values.contains(&text) => None,
                Some(_) => Some(format!("is not one of enum values: {}", values.join(","))),
                None => wrong_type("string"),
            },
            PropertyKind::Boolean => {
                if value.is_boolean() {
                    None
                } else {
                    wrong_type("boolean")
                }
            }
            PropertyKind::Integer { min, max } => match whole(value) {
                None => wrong_type("integer"),
                Some(number) if number < *min => Some(format!("must be greater than or equal to {min}")),
                Some(number) if number > *max => Some(format!("must be less than or equal to {max}")),
                Some(_) => None,
            },
            PropertyKind::Number => {
                if value.is_number() {
                    None
                } else {
                    wrong_type("number")
                }
            }
            PropertyKind::Object => {
                if value.is_object() {
                    None
                } else {
                    wrong_type("object")
                }
            }
            PropertyKind::Texts { min } | PropertyKind::List { min } => match value.as_array() {
                None => wrong_type("array"),
                Some(items) if items.len() < *min => Some(format!("does not meet minimum length of {min}")),
                Some(items) => {
                    let texts_only = matches!(self, PropertyKind::Texts { .. });
                    let stranger = items.iter().position(|item| texts_only && !item.is_string());
                    stranger.map(|at| format!("[{at}] is not of type(s) string"))
                }
            },
        }
    }
}

/// A number without a fraction, cut to the range of `i64`: JavaScript knows no other integers.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SCHEMA: Schema = Schema {
        path: "",
        properties: &[
            NUMBER,
            DELAY,
            ("mediatype", plain(PropertyKind::OneOf(&["image", "audio"]))),
            ("values", plain(PropertyKind::Texts { min: 2 })),
        ],
        required: &["number", "mediatype"],
    };

    fn violations(body: Value) -> Vec<String> {
        SCHEMA.violations(body.as_object().unwrap())
    }

    #[test]
    fn texts_are_those_of_the_validator() {
        assert_eq!(violations(json!({"number": "1", "mediatype": "image", "delay": 1e3})), [""; 0]);
        assert_eq!(
            violations(json!({"number": 5, "delay": 1.5, "values": ["a"]})),
            [
                "Invalid format",
                "Enter a value in milliseconds",
                "values does not meet minimum length of 2",
                "instance requires property \"mediatype\"",
            ]
        );
        assert_eq!(
            violations(json!({"number": "1", "mediatype": "gif"})),
            ["mediatype is not one of enum values: image,audio"]
        );
    }

    proptest! {
        #[test]
        fn any_object_is_judged(keys in proptest::collection::vec("(number|delay|mediatype|values|x)", 0..5), seed in any::<i64>()) {
            let values = [json!(null), json!(seed), json!(1e300), json!("image"), json!([seed, "a"]), json!({})];
            let body: Map<String, Value> =
                keys.into_iter().enumerate().map(|(at, key)| (key, values[(seed.unsigned_abs() as usize).wrapping_add(at) % values.len()].clone())).collect();
            SCHEMA.violations(&body);
        }
    }
}
