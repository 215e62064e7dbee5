//! What a use case answers when it does not do what was asked.
//!
//! Closed: a [`Reason`] is a promise to callers who branch on it, and says by itself which [`Kind`] of refusal it is. How a
//! kind looks on the wire is decided in `grpc/status.rs`, nowhere else.

use std::time::Duration;

use muster_domain::Violation;
use muster_domain::failure::{Failure, FailureReason};
use muster_store::StoreError;

/// Result of a use case.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// For callers who branch.
    pub(crate) reason: Reason,
    /// For people: what is wrong and what to do. Without addresses, texts and keys.
    pub(crate) message: String,
    /// What the error is about, as a resource name, if it is about one.
    pub(crate) resource: Option<String>,
    /// What it rests on, for callers who look: name and value.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Each field that breaks a rule.
    pub(crate) violations: Vec<Violation>,
    /// Do not come back earlier.
    pub(crate) retry_after: Option<Duration>,
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Mend the request.
    Invalid,
    /// Check the name.
    NotFound,
    /// Ask somebody who may.
    Denied,
    /// Use what is there, or another name.
    Exists,
    /// Change the state of something first.
    Refused,
    /// Read again, then try again.
    Stale,
    /// Ask for what is still there.
    OutOfRange,
    /// Come back more slowly.
    Busy,
    /// Come back later.
    Away,
    /// Tell the developers.
    Bug,
    /// Use another version of client or server.
    Unsupported,
}

/// Why, in a word that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// Fields of the request break rules.
    InvalidRequest,
    /// Fields of a message break rules.
    InvalidMessage,
    /// The request has more bytes than the service reads.
    RequestTooLarge,
    /// The bytes of the request are not what the method takes.
    RequestMalformed,
    /// There is no such node.
    NodeUnknown,
    /// There is no such gateway.
    GatewayUnknown,
    /// There is no such bot.
    BotUnknown,
    /// There is no such message.
    MessageUnknown,
    /// There is no such inbound message.
    InboundMessageUnknown,
    /// Nothing is known of a contact with this address.
    ContactUnknown,
    /// There is no such tenant.
    TenantUnknown,
    /// The call is for the operator of the server alone.
    OperatorOnly,
    /// The bytes of the medium are not kept.
    MediaGone,
    /// The id of the node is taken.
    NodeExists,
    /// The id of the gateway is taken.
    GatewayExists,
    /// The id of the bot is taken.
    BotExists,
    /// The address belongs to another bot.
    AddressTaken,
    /// The idempotency key was used for another message.
    IdempotencyKeyReused,
    /// The request id was used for another request.
    RequestIdReused,
    /// Something else still needs the resource.
    ResourceInUse,
    /// What is declared cannot be changed into this; another one can be declared.
    FieldFixed,
    /// The bot is out of service for good.
    BotRetired,
    /// The recipient wants nothing any more.
    RecipientOptedOut,
    /// The contact may be written to already.
    ContactNotOptedOut,
    /// The contact opted out themself, and only they can take that back.
    OwnWordNeeded,
    /// The bot's address is known and cannot be changed.
    AddressFixed,
    /// The message is in a final state.
    MessageFinal,
    /// The outcome of the message is not unknown.
    MessageNotUncertain,
    /// The message may not leave again.
    MessageNotResendable,
    /// The medium was not uploaded, or is gone.
    MediaUnknown,
    /// The message that is referred to does not exist, or is another bot's.
    TargetUnknown,
    /// The message that is referred to has no id on the network yet.
    TargetNotSent,
    /// The agent is too old for the command.
    CommandUnsupported,
    /// The gateway would not do it.
    GatewayRefused,
    /// Somebody else changed the resource.
    GenerationStale,
    /// The log of changes no longer reaches back that far.
    CursorTooOld,
    /// The caller did not read the answers of a stream.
    AnswersUnread,
    /// Nothing came of an upload that was begun.
    UploadSilent,
    /// Too much waits for the bot, or for the tenant.
    BacklogFull,
    /// Too much at once for this server.
    Overloaded,
    /// The gateway or the network asked to slow down.
    GatewayRateLimited,
    /// The agent of the bot's node has no session.
    AgentOffline,
    /// The agent did not answer in time.
    AgentSilent,
    /// The gateway could not be reached.
    GatewayUnavailable,
    /// The database takes no calls now.
    StoreUnavailable,
    /// The server stops or restarts.
    ServerStopping,
    /// There is no such method.
    MethodUnknown,
    /// The request is compressed in a way that is not spoken here.
    CompressionUnsupported,
    /// A fault of ours.
    Internal,
}

impl Reason {
    /// All reasons, in the order of declaration.
    #[cfg(test)]
    pub(crate) const ALL: [Reason; 49] = [
        Reason::InvalidRequest,
        Reason::InvalidMessage,
        Reason::RequestTooLarge,
        Reason::RequestMalformed,
        Reason::NodeUnknown,
        Reason::GatewayUnknown,
        Reason::BotUnknown,
        Reason::MessageUnknown,
        Reason::InboundMessageUnknown,
        Reason::ContactUnknown,
        Reason::TenantUnknown,
        Reason::OperatorOnly,
        Reason::MediaGone,
        Reason::NodeExists,
        Reason::GatewayExists,
        Reason::BotExists,
        Reason::AddressTaken,
        Reason::IdempotencyKeyReused,
        Reason::RequestIdReused,
        Reason::ResourceInUse,
        Reason::FieldFixed,
        Reason::BotRetired,
        Reason::RecipientOptedOut,
        Reason::ContactNotOptedOut,
        Reason::OwnWordNeeded,
        Reason::AddressFixed,
        Reason::MessageFinal,
        Reason::MessageNotUncertain,
        Reason::MessageNotResendable,
        Reason::MediaUnknown,
        Reason::TargetUnknown,
        Reason::TargetNotSent,
        Reason::CommandUnsupported,
        Reason::GatewayRefused,
        Reason::GenerationStale,
        Reason::CursorTooOld,
        Reason::AnswersUnread,
        Reason::UploadSilent,
        Reason::BacklogFull,
        Reason::Overloaded,
        Reason::GatewayRateLimited,
        Reason::AgentOffline,
        Reason::AgentSilent,
        Reason::GatewayUnavailable,
        Reason::StoreUnavailable,
        Reason::ServerStopping,
        Reason::MethodUnknown,
        Reason::CompressionUnsupported,
        Reason::Internal,
    ];

    /// The stable spelling.
    pub(crate) fn as_str(self) -> &'static str {
        self.entry().0
    }

    /// What a caller can do about it.
    pub(crate) fn kind(self) -> Kind {
        self.entry().1
    }

    fn entry(self) -> (&'static str, Kind) {
        match self {
            Reason::InvalidRequest => ("INVALID_REQUEST", Kind::Invalid),
            Reason::InvalidMessage => ("INVALID_MESSAGE", Kind::Invalid),
            Reason::RequestTooLarge => ("REQUEST_TOO_LARGE", Kind::Invalid),
            Reason::RequestMalformed => ("REQUEST_MALFORMED", Kind::Invalid),
            Reason::NodeUnknown => ("NODE_UNKNOWN", Kind::NotFound),
            Reason::GatewayUnknown => ("GATEWAY_UNKNOWN", Kind::NotFound),
            Reason::BotUnknown => ("BOT_UNKNOWN", Kind::NotFound),
            Reason::MessageUnknown => ("MESSAGE_UNKNOWN", Kind::NotFound),
            Reason::InboundMessageUnknown => ("INBOUND_MESSAGE_UNKNOWN", Kind::NotFound),
            Reason::ContactUnknown => ("CONTACT_UNKNOWN", Kind::NotFound),
            Reason::TenantUnknown => ("TENANT_UNKNOWN", Kind::NotFound),
            Reason::OperatorOnly => ("OPERATOR_ONLY", Kind::Denied),
            Reason::MediaGone => ("MEDIA_GONE", Kind::NotFound),
            Reason::NodeExists => ("NODE_EXISTS", Kind::Exists),
            Reason::GatewayExists => ("GATEWAY_EXISTS", Kind::Exists),
            Reason::BotExists => ("BOT_EXISTS", Kind::Exists),
            Reason::AddressTaken => ("ADDRESS_TAKEN", Kind::Exists),
            Reason::IdempotencyKeyReused => ("IDEMPOTENCY_KEY_REUSED", Kind::Exists),
            Reason::RequestIdReused => ("REQUEST_ID_REUSED", Kind::Exists),
            Reason::ResourceInUse => ("RESOURCE_IN_USE", Kind::Refused),
            Reason::FieldFixed => ("FIELD_FIXED", Kind::Refused),
            Reason::BotRetired => ("BOT_RETIRED", Kind::Refused),
            Reason::RecipientOptedOut => ("RECIPIENT_OPTED_OUT", Kind::Refused),
            Reason::ContactNotOptedOut => ("CONTACT_NOT_OPTED_OUT", Kind::Refused),
            Reason::OwnWordNeeded => ("OWN_WORD_NEEDED", Kind::Refused),
            Reason::AddressFixed => ("ADDRESS_FIXED", Kind::Refused),
            Reason::MessageFinal => ("MESSAGE_FINAL", Kind::Refused),
            Reason::MessageNotUncertain => ("MESSAGE_NOT_UNCERTAIN", Kind::Refused),
            Reason::MessageNotResendable => ("MESSAGE_NOT_RESENDABLE", Kind::Refused),
            Reason::MediaUnknown => ("MEDIA_UNKNOWN", Kind::Refused),
            Reason::TargetUnknown => ("TARGET_UNKNOWN", Kind::Refused),
            Reason::TargetNotSent => ("TARGET_NOT_SENT", Kind::Refused),
            Reason::CommandUnsupported => ("COMMAND_UNSUPPORTED", Kind::Refused),
            Reason::GatewayRefused => ("GATEWAY_REFUSED", Kind::Refused),
            Reason::GenerationStale => ("GENERATION_STALE", Kind::Stale),
            Reason::CursorTooOld => ("CURSOR_TOO_OLD", Kind::OutOfRange),
            Reason::AnswersUnread => ("ANSWERS_UNREAD", Kind::Stale),
            Reason::UploadSilent => ("UPLOAD_SILENT", Kind::Stale),
            Reason::BacklogFull => ("BACKLOG_FULL", Kind::Busy),
            Reason::Overloaded => ("OVERLOADED", Kind::Busy),
            Reason::GatewayRateLimited => ("GATEWAY_RATE_LIMITED", Kind::Busy),
            Reason::AgentOffline => ("AGENT_OFFLINE", Kind::Away),
            Reason::AgentSilent => ("AGENT_SILENT", Kind::Away),
            Reason::GatewayUnavailable => ("GATEWAY_UNAVAILABLE", Kind::Away),
            Reason::StoreUnavailable => ("STORE_UNAVAILABLE", Kind::Away),
            Reason::ServerStopping => ("SERVER_STOPPING", Kind::Away),
            Reason::MethodUnknown => ("METHOD_UNKNOWN", Kind::Unsupported),
            Reason::CompressionUnsupported => ("COMPRESSION_UNSUPPORTED", Kind::Unsupported),
            Reason::Internal => ("INTERNAL", Kind::Bug),
        }
    }
}

/// When a caller may come back after something was away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Error {
    /// An error with a reason and what it means here.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        let retry_after = matches!(reason.kind(), Kind::Busy | Kind::Away).then_some(RETRY_AFTER);
        let message = message.into();
        Error { reason, message, resource: None, facts: Vec::new(), violations: Vec::new(), retry_after }
    }

    /// Says which resource it is about.
    #[must_use]
    pub(crate) fn about(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Says what it rests on.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }

    /// Says when to come back.
    #[must_use]
    pub(crate) fn again_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Fields of a request break rules.
    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        Error::invalid_for(Reason::InvalidRequest, violations)
    }

    /// Fields of a message break rules.
    pub(crate) fn invalid_message(violations: Vec<Violation>) -> Self {
        Error::invalid_for(Reason::InvalidMessage, violations)
    }

    fn invalid_for(reason: Reason, violations: Vec<Violation>) -> Self {
        let message = match violations.as_slice() {
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
            [] => "the request is invalid".to_owned(),
        };
        Error { violations, ..Error::new(reason, message) }
    }

    /// There is no such resource.
    pub(crate) fn unknown(reason: Reason, resource: impl Into<String>) -> Self {
        let resource = resource.into();
        Error::new(reason, format!("{resource} does not exist")).about(resource)
    }

    /// The server stops.
    pub(crate) fn stopping() -> Self {
        Error::new(Reason::ServerStopping, "the server stops; try again when it is back")
    }

    /// Puts the fields of the request's violations below `parent`.
    #[must_use]
    pub(crate) fn below(self, parent: &str) -> Self {
        if self.violations.is_empty() {
            return self;
        }
        let violations = self.violations.into_iter().map(|violation| violation.below(parent)).collect();
        Error::invalid_for(self.reason, violations)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Error::invalid(vec![violation])
    }
}

impl From<Vec<Violation>> for Error {
    fn from(violations: Vec<Violation>) -> Self {
        Error::invalid(violations)
    }
}

/// The reason for a resource that is not there, by its collection.
fn unknown_reason(resource: &str) -> Reason {
    match resource.split('/').next() {
        Some("nodes") => Reason::NodeUnknown,
        Some("gateways") => Reason::GatewayUnknown,
        Some("bots") => Reason::BotUnknown,
        Some("messages") => Reason::MessageUnknown,
        Some("inboundMessages") => Reason::InboundMessageUnknown,
        Some("tenants") => Reason::TenantUnknown,
        _ => Reason::Internal,
    }
}

/// The reason for a resource that is there already, by its collection.
fn exists_reason(resource: &str) -> Reason {
    match resource.split('/').next() {
        Some("nodes") => Reason::NodeExists,
        Some("gateways") => Reason::GatewayExists,
        Some("bots") => Reason::BotExists,
        _ => Reason::Internal,
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::NotFound(resource) => Error::unknown(unknown_reason(&resource), resource),
            StoreError::Exists(resource) => Error::new(exists_reason(&resource), text).about(resource),
            StoreError::Stale(resource) => Error::new(Reason::GenerationStale, text).about(resource),
            StoreError::InUse { resource, user: _ } => Error::new(Reason::ResourceInUse, text).about(resource),
            StoreError::AddressTaken(bot, _) => Error::new(Reason::AddressTaken, text).about(bot),
            StoreError::Fixed { resource, field: _ } => Error::new(Reason::FieldFixed, text).about(resource),
            StoreError::RequestIdReused => Error::new(Reason::RequestIdReused, text),
            StoreError::CursorTooOld { oldest } => {
                let message =
                    format!("changes before cursor {oldest} are no longer kept; begin there, or at an empty cursor");
                Error::new(Reason::CursorTooOld, message)
            }
            StoreError::NotWritable(_)
            | StoreError::Corrupt(_)
            | StoreError::TooNew { .. }
            | StoreError::Locked(_)
            | StoreError::Closed => {
                // The details belong to the operator of the server, not to its callers.
                tracing::error!(%error, "the store is unavailable");
                Error::new(Reason::StoreUnavailable, "the server cannot use its database now; try again later")
            }
            // Only sessions can be fenced, forked or out of step, and they do not come this way.
            StoreError::Fenced
            | StoreError::JournalForked(_)
            | StoreError::ReportGap { .. }
            | StoreError::Failed(_) => {
                tracing::error!(%error, "a call to the store failed");
                Error::new(Reason::Internal, "the server failed; its log has the details under the request id")
            }
        }
    }
}

impl From<Failure> for Error {
    /// A command that the gateway did not carry out.
    fn from(failure: Failure) -> Self {
        let reason = match failure.reason {
            FailureReason::RateLimited | FailureReason::RecipientCooldown => Reason::GatewayRateLimited,
            FailureReason::GatewayUnavailable | FailureReason::OutcomeUnknown => Reason::GatewayUnavailable,
            FailureReason::RecipientUnreachable
            | FailureReason::RecipientOptedOut
            | FailureReason::RecipientWindowClosed
            | FailureReason::ContentRejected
            | FailureReason::SenderRestricted
            | FailureReason::SenderBanned
            | FailureReason::AuthInvalid
            | FailureReason::NotConnected
            | FailureReason::InvalidRequest
            | FailureReason::NodeAbsent
            | FailureReason::Internal => Reason::GatewayRefused,
        };
        let error = Error::new(reason, format!("the gateway answered {failure}"));
        Error { retry_after: failure.retry_after.or(error.retry_after), ..error }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_spelling_of_its_own() {
        let spellings: HashSet<_> = Reason::ALL.into_iter().map(Reason::as_str).collect();
        assert_eq!(spellings.len(), Reason::ALL.len());
        assert!(
            spellings.iter().all(|text| text.len() <= 63 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        );
    }

    #[test]
    fn callers_do_not_see_what_the_database_says() {
        let error = Error::from(StoreError::NotWritable("/var/lib/muster/muster.db is read-only".into()));
        assert_eq!(error.reason, Reason::StoreUnavailable);
        assert!(!error.message.contains("/var"));
    }

    #[test]
    fn violations_move_below_the_field_that_holds_the_message() {
        let error = Error::invalid_message(vec![Violation::new("recipient", "must not be empty")]).below("message");
        assert_eq!(error.violations[0].field, "message.recipient");
        assert!(error.message.starts_with("message.recipient: "));
    }
}
