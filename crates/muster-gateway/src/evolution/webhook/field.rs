//! Fields of a webhook: the product writes numbers as text and text as numbers, and other people write the texts.

use muster_domain::Timestamp;
use serde_json::Value;

use super::super::send::NETWORK_ID_BYTES_MAX;

/// From this number on a timestamp counts milliseconds: as seconds it would lie beyond the year 5000.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// A text, without the NUL characters that not every database can store.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(|text| text.replace('\0', ""))
}

/// A short text for a name or a kind: one line, at most `chars_max` characters.
pub(super) fn label(value: Option<&Value>, chars_max: usize) -> String {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}

/// A whole number, or its spelling, or the pair of halves in which the product's library holds long ones.
pub(super) fn integer(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Object(halves) => {
            let half = |name: &str| halves.get(name).and_then(Value::as_i64);
            let (low, high) = (half("low")?, half("high")?);
            high.checked_mul(1 << 32)?.checked_add(low & 0xffff_ffff)
        }
        _ => None,
    }
}

/// A point in time, in seconds or milliseconds since the Unix epoch.
pub(super) fn time(value: Option<&Value>) -> Option<Timestamp> {
    let number = integer(value).filter(|number| *number > 0)?;
    if number >= MILLISECONDS_FROM {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// A message's id on the network.
pub(super) fn network_id(value: Option<&Value>) -> Option<String> {
    let id = value?.as_str()?;
    let plain = (1..=NETWORK_ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control);
    plain.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_in_every_spelling() {
        let expected = Timestamp::from_second(1_767_225_600).unwrap();
        for value in [
            json!(1_767_225_600),
            json!("1767225600"),
            json!(1_767_225_600_000_i64),
            json!({ "low": 1_767_225_600, "high": 0, "unsigned": true }),
        ] {
            assert_eq!(time(Some(&value)), Some(expected), "{value}");
        }
        for value in [
            json!(null),
            json!(-1),
            json!(0),
            json!(i64::MAX),
            json!(u64::MAX),
            json!("soon"),
            json!({ "low": 1, "high": i64::MAX }),
        ] {
            assert_eq!(time(Some(&value)), None, "{value}");
        }
    }
}
