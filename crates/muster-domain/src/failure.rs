//! Why an attempt did not succeed, in one vocabulary for all gateways.

use std::time::Duration;

/// The normalised reason of a failed or uncertain attempt. Adapters map what their product says to one of these;
/// what they cannot map is [`FailureReason::Internal`], never a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// The gateway or network asked to slow down and did not send.
    RateLimited,
    /// This recipient cannot be reached at all: not on the network, deactivated.
    RecipientUnreachable,
    /// This recipient blocked the sender or asked it to stop.
    RecipientOptedOut,
    /// Only a template may be sent to this recipient now.
    RecipientWindowClosed,
    /// The network caps messages to this recipient for a time; not an opt-out.
    RecipientCooldown,
    /// The network or gateway refused the content: template, policy or medium.
    ContentRejected,
    /// The network restricts the sender for a time.
    SenderRestricted,
    /// The network banned the sender.
    SenderBanned,
    /// The credential for the gateway or the network is wrong or gone.
    AuthInvalid,
    /// The bot's login at the gateway is down.
    NotConnected,
    /// The gateway could not be reached, or refused before it acted: provably not sent.
    GatewayUnavailable,
    /// Bytes of the request left and no verdict came back: it may have been sent.
    OutcomeUnknown,
    /// The gateway refused the request itself as malformed.
    InvalidRequest,
    /// Nothing that is known here: unparsed answers, codes that no table lists.
    Internal,
}

impl FailureReason {
    /// All reasons, in the order of declaration.
    pub const ALL: [FailureReason; 14] = [
        FailureReason::RateLimited,
        FailureReason::RecipientUnreachable,
        FailureReason::RecipientOptedOut,
        FailureReason::RecipientWindowClosed,
        FailureReason::RecipientCooldown,
        FailureReason::ContentRejected,
        FailureReason::SenderRestricted,
        FailureReason::SenderBanned,
        FailureReason::AuthInvalid,
        FailureReason::NotConnected,
        FailureReason::GatewayUnavailable,
        FailureReason::OutcomeUnknown,
        FailureReason::InvalidRequest,
        FailureReason::Internal,
    ];

    /// The stable spelling for the API, screens and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureReason::RateLimited => "RATE_LIMITED",
            FailureReason::RecipientUnreachable => "RECIPIENT_UNREACHABLE",
            FailureReason::RecipientOptedOut => "RECIPIENT_OPTED_OUT",
            FailureReason::RecipientWindowClosed => "RECIPIENT_WINDOW_CLOSED",
            FailureReason::RecipientCooldown => "RECIPIENT_COOLDOWN",
            FailureReason::ContentRejected => "CONTENT_REJECTED",
            FailureReason::SenderRestricted => "SENDER_RESTRICTED",
            FailureReason::SenderBanned => "SENDER_BANNED",
            FailureReason::AuthInvalid => "AUTH_INVALID",
            FailureReason::NotConnected => "NOT_CONNECTED",
            FailureReason::GatewayUnavailable => "GATEWAY_UNAVAILABLE",
            FailureReason::OutcomeUnknown => "OUTCOME_UNKNOWN",
            FailureReason::InvalidRequest => "INVALID_REQUEST",
            FailureReason::Internal => "INTERNAL",
        }
    }
}

impl std::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed attempt: why, and what the gateway said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The normalised reason.
    pub reason: FailureReason,
    /// What the gateway said, redacted by the adapter: no address, no text, no key. At most [`DETAIL_CHARS_MAX`] characters.
    pub detail: String,
    /// How long the gateway asked to wait, if it did.
    pub retry_after: Option<Duration>,
}

/// Characters of a failure's detail that are kept.
pub const DETAIL_CHARS_MAX: usize = 300;

impl Failure {
    /// A failure with what the gateway said, cut to the limit.
    pub fn new(reason: FailureReason, detail: impl AsRef<str>) -> Self {
        let detail = detail.as_ref().chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
        Failure { reason, detail, retry_after: None }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.detail.is_empty() { self.reason.fmt(f) } else { write!(f, "{}: {}", self.reason, self.detail) }
    }
}
