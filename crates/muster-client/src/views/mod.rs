//! How resources look: the shape of their JSON, and their tables.
//!
//! JSON keys are the field names of the API, enums are their words without the prefix (`SENT`), times are RFC 3339 and
//! durations seconds. A value that this build does not know yet is shown by its number, never dropped.

pub mod attempt;
pub mod backoff;
pub mod bot;
pub mod contact;
pub mod content;
pub mod failed;
pub mod fleet;
pub mod gateway;
pub mod inbound;
pub mod message;
pub mod node;
pub mod tenant;
pub mod trace;
pub mod uncertain;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::screen::Look;
use crate::text;

/// A time of the wire. One that no calendar knows is shown as none.
pub(crate) fn time(wire: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    wire.and_then(|time| muster_proto::convert::v1::time::timestamp(time).ok())
}

/// A duration of the wire in seconds.
pub(crate) fn seconds(wire: Option<prost_types::Duration>) -> Option<f64> {
    wire.map(|length| length.seconds as f64 + f64::from(length.nanos) / 1e9)
}

/// A word of an enum without its prefix, or the number that this build has no word for.
pub(crate) fn word(name: Option<&'static str>, prefix: &str, number: i32) -> String {
    match name {
        Some(name) => name.strip_prefix(prefix).unwrap_or(name).to_owned(),
        None => format!("UNKNOWN_{number}"),
    }
}

/// Labels in a stable order.
pub(crate) fn labels(wire: HashMap<String, String>) -> BTreeMap<String, String> {
    wire.into_iter().collect()
}

/// Labels on one line.
pub(crate) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// The id in a resource name: tables say `sales-1` where the API says `bots/sales-1`.
pub(crate) fn id(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, id)| id)
}

/// A time for a table: how long ago.
pub(crate) fn ago(time: Option<Timestamp>, look: &Look) -> String {
    time.map_or_else(|| "-".to_owned(), |time| text::relative(time, look.now))
}

/// A time for a detail page: absolute and relative. Empty without a time.
pub(crate) fn when(time: Option<Timestamp>, look: &Look) -> String {
    time.map_or_else(String::new, |time| {
        format!("{} ({})", text::absolute(time, &look.zone, false), text::relative(time, look.now))
    })
}

/// A duration of a view for people.
pub(crate) fn length(seconds: f64) -> String {
    text::duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// The time from one moment to a later one; zero if clocks disagree.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
