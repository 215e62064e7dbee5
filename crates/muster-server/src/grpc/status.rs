//! The one mapping from what a use case answers to what a gRPC caller sees.
//!
//! Every error carries `google.rpc.ErrorInfo` with a stable reason in the domain `muster`; invalid requests carry
//! `BadRequest` with each field, and what may be tried again carries `RetryInfo`.

use std::collections::HashMap;

use muster_domain::Violation;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::app::error::{Error, Kind};

/// The domain of our reasons in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "muster";

/// Bytes of violations in one status. Details travel in a header, of which HTTP/2 clients take 16 KiB by default, and
/// encoding adds a third.
const VIOLATION_BYTES_MAX: usize = 6 * 1024;

/// The code of a kind of error.
pub(crate) fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Denied => Code::PermissionDenied,
        Kind::Exists => Code::AlreadyExists,
        Kind::Refused => Code::FailedPrecondition,
        Kind::Stale => Code::Aborted,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::Busy => Code::ResourceExhausted,
        Kind::Away => Code::Unavailable,
        Kind::Bug => Code::Internal,
        Kind::Unsupported => Code::Unimplemented,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(error.reason.as_str(), DOMAIN, metadata(&error));
        let Error { reason, message, violations, retry_after, .. } = error;
        if !violations.is_empty() {
            details.set_bad_request(shown(violations));
        }
        if retry_after.is_some() {
            details.set_retry_info(retry_after);
        }
        Status::with_error_details(code(reason.kind()), message, details)
    }
}

/// What the error is about and rests on, by name.
pub(crate) fn metadata(error: &Error) -> HashMap<String, String> {
    let facts = error.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    error.resource.iter().map(|resource| ("resource".to_owned(), resource.clone())).chain(facts).collect()
}

/// The violations that fit; the last one says how many do not.
fn shown(violations: Vec<Violation>) -> Vec<FieldViolation> {
    let count = violations.len();
    let mut bytes = 0;
    let mut shown: Vec<_> = violations
        .into_iter()
        .take_while(|violation| {
            bytes += violation.field.len() + violation.description.len();
            bytes <= VIOLATION_BYTES_MAX
        })
        .map(|Violation { field, description }| FieldViolation::new(field, description))
        .collect();
    if shown.len() < count {
        let description = format!("{} more fields break rules; mend these first", count - shown.len());
        shown.push(FieldViolation::new("", description));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::error::Reason;

    #[test]
    fn every_reason_arrives_with_its_details() {
        for reason in Reason::ALL {
            let status = Status::from(Error::new(reason, "what to do").about("bots/a"));
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.as_str(), "muster"));
            assert_eq!(info.metadata["resource"], "bots/a");
            assert_eq!(details.retry_info().is_some(), matches!(reason.kind(), Kind::Busy | Kind::Away));
            assert_ne!(status.code(), Code::Unknown);
        }
    }

    #[test]
    fn a_thousand_violations_fit_a_header() {
        let violations = (0..1_000).map(|i| Violation::new(format!("bots[{i}].labels"), "x".repeat(100))).collect();
        let status = Status::from(Error::invalid(violations));
        assert!(status.details().len() < 10 * 1024);
        let details = status.get_error_details();
        let shown = &details.bad_request().unwrap().field_violations;
        assert_eq!(shown[0].field, "bots[0].labels");
        assert!(shown[shown.len() - 1].description.contains("more fields"));
    }
}
