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
    /// The bot's node was away for longer than the bot waits for it. Told by the server alone.
    NodeAbsent,
    /// Nothing that is known here: unparsed answers, codes that no table lists.
    Internal,
}

impl FailureReason {
    /// All reasons, in the order of declaration.
    pub const ALL: [FailureReason; 15] = [
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
        FailureReason::NodeAbsent,
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
            FailureReason::NodeAbsent => "NODE_ABSENT",
            FailureReason::Internal => "INTERNAL",
        }
    }

    /// What an operator can do about it, as a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            FailureReason::RateLimited => {
                "Nothing; Muster slows down by itself. If it goes on, send less with this bot."
            }
            FailureReason::RecipientUnreachable => "Correct the address, or take the recipient off the list.",
            FailureReason::RecipientOptedOut => "Take the recipient off the list; nothing may be sent to them.",
            FailureReason::RecipientWindowClosed => "Wait until the recipient writes, or send an approved template.",
            FailureReason::RecipientCooldown => "Replay it after a day; the network caps what this recipient gets.",
            FailureReason::ContentRejected => "Change the text, template or medium before sending it again.",
            FailureReason::SenderRestricted => {
                "Read the restriction at the network; the bot goes on by itself when it ends. Retired bots do not."
            }
            FailureReason::SenderBanned => "Appeal at the network, and retire the bot; another bot has to send it.",
            FailureReason::AuthInvalid => {
                "Correct the key of the gateway in the agent's configuration, or its licence."
            }
            FailureReason::NotConnected => {
                "Look at the bot's login with `muster bot get`; link it again if it is gone."
            }
            FailureReason::GatewayUnavailable => "Start the gateway, or correct its url in the agent's configuration.",
            FailureReason::OutcomeUnknown => "Look at the chat, and decide with `muster uncertain resolve`.",
            FailureReason::InvalidRequest => "Correct the message; the gateway does not take it as it is.",
            FailureReason::NodeAbsent => {
                "Bring the agent of the bot's node back, and replay it with `muster failed replay`."
            }
            FailureReason::Internal => "Look at the detail and at the gateway's log; it is nothing that is known here.",
        }
    }
}

impl std::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a failure speaks of, and so how much of the work waits for it or is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The message itself: another one may well be sent.
    Message,
    /// The recipient: other recipients of the bot are not concerned.
    Recipient,
    /// Everything of the bot.
    Bot,
    /// Every bot of the gateway.
    Gateway,
}

impl Scope {
    /// All scopes, the narrowest first.
    pub const ALL: [Scope; 4] = [Scope::Message, Scope::Recipient, Scope::Bot, Scope::Gateway];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Message => "MESSAGE",
            Scope::Recipient => "RECIPIENT",
            Scope::Bot => "BOT",
            Scope::Gateway => "GATEWAY",
        }
    }

    /// Whether more than the message and its chain has to wait.
    pub fn is_shared(self) -> bool {
        matches!(self, Scope::Bot | Scope::Gateway)
    }
}

impl std::fmt::Display for Scope {
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
    /// What it speaks of, where the gateway said so; otherwise the rule of the reason tells it. See [`Failure::scope`].
    pub told_scope: Option<Scope>,
}

/// Characters of a failure's detail that are kept.
pub const DETAIL_CHARS_MAX: usize = 300;

impl Failure {
    /// A failure with what the gateway said, cut to the limit.
    pub fn new(reason: FailureReason, detail: impl AsRef<str>) -> Self {
        let detail = detail.as_ref().chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
        Failure { reason, detail, retry_after: None, told_scope: None }
    }

    /// The same failure, of which the gateway said what it speaks of.
    #[must_use]
    pub fn of(mut self, scope: Scope) -> Self {
        self.told_scope = Some(scope);
        self
    }

    /// What it speaks of.
    pub fn scope(&self) -> Scope {
        self.told_scope.unwrap_or(crate::retry::rule(self.reason).scope)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.detail.is_empty() { self.reason.fmt(f) } else { write!(f, "{}: {}", self.reason, self.detail) }
    }
}
