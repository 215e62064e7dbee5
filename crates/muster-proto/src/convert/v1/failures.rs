//! Messages that were not sent.

use muster_domain::Violation;
use muster_domain::replay::Cause;

/// Reads a cause.
pub fn cause(text: &str) -> Result<Cause, Violation> {
    Cause::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Cause::all().map(Cause::as_str).collect();
        Violation::new("", format!("must be one of {}", known.join(", ")))
    })
}
