//! The agents' stream ↔ the domain.
//!
//! `From<domain> for wire` and `TryFrom<wire> for domain` for every value that has a meaning in the domain. Ids of
//! resources are bare on this wire. Addresses were normalised by whoever wrote them; what is checked here is that they
//! can be addresses at all. What only steers the stream (sequence numbers, credits, cursors) has no form in the domain and
//! is read where it is used.

mod attempt;
mod content;
mod report;

pub use attempt::Attempt;
pub use content::media_digest;
pub use report::{AttemptOutcome, ConnectionChange, Receipt, inbound, usable_network_id};

use muster_domain::bot::Connection;
use muster_domain::failure::{Failure, FailureReason, Scope};
use muster_domain::message::{AttemptRef, HandbackReason, ReceiptKind};
use muster_domain::{Address, MessageId, Violation, address::ADDRESS_BYTES_MAX};
use std::time::Duration;

use crate::agent_v1 as wire;

/// Bytes of a network's id of a message. Matrix allows 255 for an event id; all other networks stay far below.
pub const NETWORK_ID_BYTES_MAX: usize = 255;

/// Two enumerations with the same words. The wire's zero means that the sender forgot the field, and an unknown number that
/// the sender is newer: both are refused, and the caller decides what that costs.
macro_rules! mirrored {
    ($domain:ident, $name:literal, [$($variant:ident),+]) => {
        impl From<$domain> for wire::$domain {
            fn from(value: $domain) -> Self {
                match value {
                    $($domain::$variant => wire::$domain::$variant,)+
                }
            }
        }

        impl TryFrom<wire::$domain> for $domain {
            type Error = Violation;
            fn try_from(value: wire::$domain) -> Result<Self, Violation> {
                match value {
                    $(wire::$domain::$variant => Ok($domain::$variant),)+
                    wire::$domain::Unspecified => Err(Violation::new($name, "must be set")),
                }
            }
        }
    };
}

mirrored!(Connection, "connection", [Unlinked, Linking, Connected, Silent, Disconnected, LoggedOut]);
mirrored!(HandbackReason, "handback_reason", [Draining, ChainBroken, BotUnavailable, WindowClosed]);
mirrored!(ReceiptKind, "kind", [Acknowledged, Delivered, Read, Failed]);
mirrored!(
    FailureReason,
    "reason",
    [
        RateLimited,
        RecipientUnreachable,
        RecipientOptedOut,
        RecipientWindowClosed,
        RecipientCooldown,
        ContentRejected,
        SenderRestricted,
        SenderBanned,
        AuthInvalid,
        NotConnected,
        GatewayUnavailable,
        OutcomeUnknown,
        InvalidRequest,
        NodeAbsent,
        Internal
    ]
);

/// Reads a field of an enumeration as it stands in a frame.
fn enumeration<W: TryFrom<i32>, D: TryFrom<W, Error = Violation>>(field: &str, value: i32) -> Result<D, Violation> {
    let known = W::try_from(value)
        .map_err(|_| Violation::new(field, format!("has the value {value}, which this version does not know")))?;
    D::try_from(known).map_err(|violation| Violation::new(field, violation.description))
}

/// Reads the field `connection` of a frame.
pub fn connection(value: i32) -> Result<Connection, Violation> {
    enumeration::<wire::Connection, _>("connection", value)
}

impl From<AttemptRef> for wire::AttemptRef {
    fn from(attempt: AttemptRef) -> Self {
        // Message ids are positive: the sign bit is free on both sides.
        wire::AttemptRef { message_id: attempt.message_id.raw().cast_unsigned(), attempt_no: attempt.attempt_no }
    }
}

impl TryFrom<wire::AttemptRef> for AttemptRef {
    type Error = Violation;
    fn try_from(attempt: wire::AttemptRef) -> Result<Self, Violation> {
        let message_id = MessageId::from_raw(attempt.message_id.cast_signed())
            .ok_or_else(|| Violation::new("message_id", "must be a positive 64-bit number"))?;
        if attempt.attempt_no == 0 {
            return Err(Violation::new("attempt_no", "must be at least 1"));
        }
        Ok(AttemptRef { message_id, attempt_no: attempt.attempt_no })
    }
}

/// Reads a field that names an attempt.
fn attempt_ref(field: &str, attempt: Option<wire::AttemptRef>) -> Result<AttemptRef, Violation> {
    required(field, attempt)?.try_into().map_err(|violation: Violation| violation.below(field))
}

impl From<&Failure> for wire::Failure {
    fn from(failure: &Failure) -> Self {
        wire::Failure {
            reason: wire::FailureReason::from(failure.reason).into(),
            detail: failure.detail.clone(),
            retry_after_ms: failure.retry_after.map_or(0, millis),
            scope: failure.told_scope.map_or(wire::FailureScope::Unspecified, wire::FailureScope::from).into(),
        }
    }
}

impl From<Scope> for wire::FailureScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Message => wire::FailureScope::Message,
            Scope::Recipient => wire::FailureScope::Recipient,
            Scope::Bot => wire::FailureScope::Bot,
            Scope::Gateway => wire::FailureScope::Gateway,
        }
    }
}

/// The scope that a gateway told; one that only a newer agent knows is none, and the rule of the reason holds.
fn told_scope(value: i32) -> Option<Scope> {
    match wire::FailureScope::try_from(value).ok()? {
        wire::FailureScope::Unspecified => None,
        wire::FailureScope::Message => Some(Scope::Message),
        wire::FailureScope::Recipient => Some(Scope::Recipient),
        wire::FailureScope::Bot => Some(Scope::Bot),
        wire::FailureScope::Gateway => Some(Scope::Gateway),
    }
}

impl TryFrom<wire::Failure> for Failure {
    type Error = Violation;
    /// A reason that only a newer agent knows is read as [`FailureReason::Internal`]: never a guess, and never tried again.
    fn try_from(failure: wire::Failure) -> Result<Self, Violation> {
        let reason = match wire::FailureReason::try_from(failure.reason) {
            Ok(reason) => reason.try_into()?,
            Err(_) => FailureReason::Internal,
        };
        let retry_after = (failure.retry_after_ms > 0).then(|| Duration::from_millis(failure.retry_after_ms));
        let told_scope = told_scope(failure.scope);
        Ok(Failure { retry_after, told_scope, ..Failure::new(reason, failure.detail) })
    }
}

/// Whole milliseconds, rounded up so that a wait never becomes shorter, and a short one never none.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Violation> {
    value.ok_or_else(|| Violation::new(field, "must be set"))
}

/// Reads a normalised address.
pub fn address(field: &str, text: &str) -> Result<Address, Violation> {
    if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Violation::new(field, format!("must be an address of 1 to {ADDRESS_BYTES_MAX} printable bytes")));
    }
    Ok(Address::from_stored(text))
}

fn optional_address(field: &str, text: &str) -> Result<Option<Address>, Violation> {
    if text.is_empty() { Ok(None) } else { address(field, text).map(Some) }
}

/// Checks a network's id of a message, where one must be there.
fn network_id(field: &str, text: String) -> Result<String, Violation> {
    if text.is_empty() || text.len() > NETWORK_ID_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Violation::new(field, format!("must have 1 to {NETWORK_ID_BYTES_MAX} printable bytes")));
    }
    Ok(text)
}

fn optional_network_id(field: &str, text: String) -> Result<Option<String>, Violation> {
    if text.is_empty() { Ok(None) } else { network_id(field, text).map(Some) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_word_has_its_twin() {
        for reason in FailureReason::ALL {
            assert_eq!(FailureReason::try_from(wire::FailureReason::from(reason)).unwrap(), reason);
            assert!(wire::FailureReason::from(reason).as_str_name().ends_with(reason.as_str()));
        }
        for value in Connection::ALL {
            assert_eq!(connection(wire::Connection::from(value).into()).unwrap(), value);
            assert!(wire::Connection::from(value).as_str_name().ends_with(value.as_str()));
        }
        assert_eq!(connection(0).unwrap_err().description, "must be set");
        assert!(connection(99).is_err());
    }

    #[test]
    fn a_reason_of_the_future_is_internal_and_a_missing_one_is_refused() {
        let failure =
            |reason| Failure::try_from(wire::Failure { reason, detail: "x".into(), retry_after_ms: 0, scope: 99 });
        assert_eq!(failure(99).unwrap().reason, FailureReason::Internal);
        assert!(failure(0).is_err());
    }

    proptest! {
        #[test]
        fn attempts_are_named_alike_on_both_sides(message_id in any::<u64>(), attempt_no in any::<u32>()) {
            let sent = wire::AttemptRef { message_id, attempt_no };
            match AttemptRef::try_from(sent) {
                Ok(attempt) => prop_assert_eq!(wire::AttemptRef::from(attempt), sent),
                Err(_) => prop_assert!(attempt_no == 0 || message_id == 0 || message_id > i64::MAX as u64),
            }
        }

        #[test]
        fn failures_survive_the_wire(reason in 0..FailureReason::ALL.len(), detail in "\\PC{0,400}", retry in prop::option::of(1u64..1_000_000),
            scope in prop::option::of(0..Scope::ALL.len()),
        ) {
            let mut failure = Failure::new(FailureReason::ALL[reason], detail);
            failure.retry_after = retry.map(Duration::from_millis);
            failure.told_scope = scope.map(|scope| Scope::ALL[scope]);
            prop_assert_eq!(Failure::try_from(wire::Failure::from(&failure)).unwrap(), failure);
        }
    }
}
