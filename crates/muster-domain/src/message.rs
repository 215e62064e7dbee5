//! A message and the states of its life, from acceptance to what the network said last. [`crate::life`] has the steps.
//!
//! ```text
//!             ┌── retry, handback ──┐
//!             ▼                     │
//! accept → WAITING → DISPATCHED ────┤
//!             │          ├→ SENT → DELIVERED → READ
//!             │          ├→ FAILED          (a SENT message may still fail by a receipt)
//!             │          ├→ UNCERTAIN       (a late report resolves it, an operator or its policy: SENT, FAILED, or WAITING again)
//!             ├──────────┼→ EXPIRED
//!             └──────────┴→ CANCELLED
//! ```

use jiff::Timestamp;

use crate::content::{Content, Courtesy, ReplyTarget};
use crate::failure::Failure;
use crate::limits::{HORIZON, IDEMPOTENCY_KEY_BYTES_MAX, PAST_TOLERANCE, VALIDITY_DEFAULT, VALIDITY_MIN};
use crate::on_uncertain::OnUncertain;
use crate::{Address, BotId, MessageId, Violation};

/// Which queue a message of a bot waits in. Lower ones leave first; order within one is the order of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// A person is waiting for it.
    Conversation,
    /// Part of a campaign.
    #[default]
    Campaign,
    /// Reminders and the like, which nobody waits for.
    Automation,
}

impl Priority {
    /// All priorities, the most urgent first.
    pub const ALL: [Priority; 3] = [Priority::Conversation, Priority::Campaign, Priority::Automation];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Conversation => "CONVERSATION",
            Priority::Campaign => "CAMPAIGN",
            Priority::Automation => "AUTOMATION",
        }
    }
}

/// Where a message is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageState {
    /// Accepted; no attempt is under way.
    Waiting,
    /// An attempt is committed and belongs to a node.
    Dispatched,
    /// The gateway took it.
    Sent,
    /// It reached the recipient's device.
    Delivered,
    /// The recipient read it.
    Read,
    /// It will not be sent, or the network refused it later.
    Failed,
    /// Its validity ended before it left.
    Expired,
    /// The client took it back before it left.
    Cancelled,
    /// It may have been sent; nobody can tell yet.
    Uncertain,
}

impl MessageState {
    /// All states, in the order of declaration.
    pub const ALL: [MessageState; 9] = [
        MessageState::Waiting,
        MessageState::Dispatched,
        MessageState::Sent,
        MessageState::Delivered,
        MessageState::Read,
        MessageState::Failed,
        MessageState::Expired,
        MessageState::Cancelled,
        MessageState::Uncertain,
    ];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::Waiting => "WAITING",
            MessageState::Dispatched => "DISPATCHED",
            MessageState::Sent => "SENT",
            MessageState::Delivered => "DELIVERED",
            MessageState::Read => "READ",
            MessageState::Failed => "FAILED",
            MessageState::Expired => "EXPIRED",
            MessageState::Cancelled => "CANCELLED",
            MessageState::Uncertain => "UNCERTAIN",
        }
    }

    /// Whether Muster has nothing left to do for the message. Receipts may still move it.
    pub fn is_final(self) -> bool {
        !matches!(self, MessageState::Waiting | MessageState::Dispatched)
    }

    /// The state after a receipt of `kind`. Duplicates and reordering are harmless: a receipt never moves a message back,
    /// and a failure counts only while nothing better is known.
    #[must_use]
    pub fn after_receipt(self, kind: ReceiptKind) -> MessageState {
        use MessageState::{Delivered, Failed, Read, Sent, Uncertain};
        match (self, kind) {
            (Sent | Uncertain, ReceiptKind::Acknowledged) => Sent,
            (Sent | Uncertain, ReceiptKind::Failed) => Failed,
            (Sent | Uncertain | Failed, ReceiptKind::Delivered) => Delivered,
            (Sent | Uncertain | Failed | Delivered, ReceiptKind::Read) => Read,
            (state, _) => state,
        }
    }
}

impl std::fmt::Display for MessageState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the network says later about a message that a gateway took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReceiptKind {
    /// The network took it from the gateway (one tick).
    Acknowledged,
    /// It is on the recipient's device (two ticks).
    Delivered,
    /// The recipient read or played it.
    Read,
    /// The network refused it after the gateway had taken it.
    Failed,
}

/// One try to hand a message to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptRef {
    /// The message.
    pub message_id: MessageId,
    /// Counts from 1.
    pub attempt_no: u32,
}

impl std::fmt::Display for AttemptRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.message_id, self.attempt_no)
    }
}

/// What an attempt counts against an agent's credit of bytes: its variable parts plus a fixed share for the rest. Server and
/// agent count alike, so that what one charges is what the other gives back.
pub fn credit_bytes(content: &Content, recipient: &Address) -> u64 {
    const FIXED: u64 = 64;
    let text = match content {
        Content::Text { body } => body.len(),
        Content::Image { caption, .. } => caption.len(),
        Content::Document { caption, file_name, .. } => caption.len() + file_name.len(),
        Content::Reaction { emoji, .. } => emoji.len(),
        Content::Audio { .. } | Content::Unsupported { .. } => 0,
    };
    FIXED + (text + recipient.as_str().len()) as u64
}

/// What an attempt came to, as the agent reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway took it.
    Sent {
        /// The network's id of the message, by which receipts name it.
        network_id: String,
    },
    /// It was not sent.
    Failed(Failure),
    /// It may have been sent. The failure says what is known.
    Uncertain(Failure),
    /// The agent gives it back unstarted: draining, or an earlier message of the same chain has to go first.
    HandedBack(HandbackReason),
    /// Its validity ended on the agent, before it was started.
    Expired,
    /// It was cancelled on the agent, before it was started.
    Cancelled,
}

/// Why an agent gave an attempt back without starting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandbackReason {
    /// The agent is about to stop.
    Draining,
    /// An earlier message to the same recipient has to be tried again first.
    ChainBroken,
    /// The bot is held, retired or unknown on the agent, or was refused just now.
    BotUnavailable,
    /// The bot's sending window closed before it could be started, or was changed since it was chosen.
    WindowClosed,
}

/// What a client asks to send. It was validated by [`NewMessage::violations`], and never changes after acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The sender.
    pub bot: BotId,
    /// The recipient.
    pub recipient: Address,
    /// What it says.
    pub content: Content,
    /// Which of the bot's queues it waits in.
    pub priority: Priority,
    /// Earliest time to leave.
    pub not_before: Option<Timestamp>,
    /// Latest time to leave.
    pub expire_time: Timestamp,
    /// Returns the first answer when the same key comes again.
    pub idempotency: Option<Idempotency>,
    /// The inbound message that this one answers.
    pub reply_to: Option<ReplyTarget>,
    /// What is done around a reply.
    pub courtesy: Courtesy,
    /// What is done if nobody can tell whether it was sent.
    pub on_uncertain: OnUncertain,
}

/// A client's key for one message, with the fingerprint of what it was first used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Unique per tenant; 1 to 128 bytes.
    pub key: String,
    /// Hash of everything that the client asked for: the same key with another body is an error.
    pub fingerprint: [u8; 16],
}

/// When a message may leave: earliest and latest time, from what the client wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Earliest time to leave, if it lies ahead.
    pub not_before: Option<Timestamp>,
    /// Latest time to leave.
    pub expire_time: Timestamp,
}

impl Schedule {
    /// Resolves `not_before` and `validity` (counted from `not_before`, else from `now`) into times, or says what is wrong.
    pub fn resolve(
        now: Timestamp,
        not_before: Option<Timestamp>,
        validity: Option<std::time::Duration>,
    ) -> Result<Schedule, Vec<Violation>> {
        let mut found = Vec::new();
        let horizon = now + HORIZON;
        if let Some(time) = not_before {
            if time < now - PAST_TOLERANCE {
                found.push(Violation::new(
                    "not_before",
                    format!("must not lie more than {} s in the past", PAST_TOLERANCE.as_secs()),
                ));
            }
            if time > horizon {
                found
                    .push(Violation::new("not_before", format!("must lie within {} days", HORIZON.as_secs() / 86_400)));
            }
        }
        let not_before = not_before.filter(|time| *time > now);
        let validity = validity.unwrap_or(VALIDITY_DEFAULT);
        if validity < VALIDITY_MIN {
            found.push(Violation::new("validity", format!("must be at least {} s", VALIDITY_MIN.as_secs())));
        }
        if validity > HORIZON {
            found.push(Violation::new("validity", format!("must be at most {} days", HORIZON.as_secs() / 86_400)));
        }
        if !found.is_empty() {
            return Err(found);
        }
        let expire_time = not_before.unwrap_or(now) + validity;
        if expire_time > horizon + VALIDITY_DEFAULT {
            return Err(vec![Violation::new("validity", "must end within the horizon of 90 days")]);
        }
        Ok(Schedule { not_before, expire_time })
    }
}

/// Checks the spelling of an idempotency key or request id.
pub fn check_idempotency_key(key: &str) -> Result<(), Violation> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || key.chars().any(char::is_control) {
        return Err(Violation::new("", format!("must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable bytes")));
    }
    Ok(())
}

impl NewMessage {
    /// Everything that is wrong with the content and the courtesies.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = self.content.violations();
        found.extend(self.courtesy.violations(self.reply_to.is_some()));
        found
    }
}

/// A message with everything that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, which also says when it was accepted.
    pub id: MessageId,
    /// The sender.
    pub bot: BotId,
    /// The recipient.
    pub recipient: Address,
    /// What it says.
    pub content: Content,
    /// Which queue it waits in.
    pub priority: Priority,
    /// Earliest time to leave.
    pub not_before: Option<Timestamp>,
    /// Latest time to leave.
    pub expire_time: Timestamp,
    /// The client's key, if it gave one.
    pub idempotency_key: Option<String>,
    /// The inbound message that this one answers.
    pub reply_to: Option<ReplyTarget>,
    /// What is done around a reply.
    pub courtesy: Courtesy,
    /// What is done if nobody can tell whether it was sent.
    pub on_uncertain: OnUncertain,
    /// Where it is in its life.
    pub state: MessageState,
    /// Attempts that were committed so far.
    pub attempt_no: u32,
    /// A client asked to take it back while an attempt was under way.
    pub cancel_requested: bool,
    /// When the latest attempt was committed.
    pub dispatch_time: Option<Timestamp>,
    /// When the outcome of the latest attempt was committed.
    pub outcome_time: Option<Timestamp>,
    /// When the network took it, reached the device, and was read, as far as receipts tell.
    pub receipts: ReceiptTimes,
    /// Why the latest attempt failed, or why its outcome is uncertain.
    pub failure: Option<Failure>,
    /// The network's id of the sent message.
    pub network_id: Option<String>,
    /// If it waits for itself rather than for its bot: why, since when and until when.
    pub parked: Option<Parked>,
}

/// When each receipt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiptTimes {
    /// The network took it.
    pub acknowledge_time: Option<Timestamp>,
    /// It reached the device.
    pub deliver_time: Option<Timestamp>,
    /// It was read.
    pub read_time: Option<Timestamp>,
}

/// A message that waits for a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Why.
    pub reason: crate::gate::WaitReason,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// One attempt, as the trace shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Counts from 1.
    pub attempt_no: u32,
    /// The node it was committed for.
    pub node: crate::NodeId,
    /// The session that carried it.
    pub epoch: crate::Epoch,
    /// When it was committed.
    pub dispatch_time: Timestamp,
    /// When its outcome was committed.
    pub outcome_time: Option<Timestamp>,
    /// What it came to, once known.
    pub outcome: Option<Outcome>,
    /// How long the agent held it before it called the gateway.
    pub queued: Option<std::time::Duration>,
    /// How long the gateway took.
    pub gateway: Option<std::time::Duration>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECEIPTS: [ReceiptKind; 4] =
        [ReceiptKind::Acknowledged, ReceiptKind::Delivered, ReceiptKind::Read, ReceiptKind::Failed];

    fn merge(start: MessageState, receipts: &[ReceiptKind]) -> MessageState {
        receipts.iter().fold(start, |state, kind| state.after_receipt(*kind))
    }

    proptest! {
        #[test]
        fn order_and_repetition_of_receipts_do_not_matter(
            picks in prop::collection::vec(0usize..4, 1..8), seed in any::<u64>(),
        ) {
            let receipts: Vec<_> = picks.iter().map(|i| RECEIPTS[*i]).collect();
            let mut shuffled = receipts.clone();
            let mut state = seed | 1;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            shuffled.extend(receipts.iter().copied());
            prop_assert_eq!(merge(MessageState::Sent, &receipts), merge(MessageState::Sent, &shuffled));
        }

        #[test]
        fn what_never_left_is_not_moved_by_receipts(pick in 0usize..4) {
            for state in [MessageState::Waiting, MessageState::Dispatched, MessageState::Expired, MessageState::Cancelled] {
                prop_assert_eq!(state.after_receipt(RECEIPTS[pick]), state);
            }
        }
    }

    #[test]
    fn a_late_receipt_settles_an_uncertain_message() {
        assert_eq!(MessageState::Uncertain.after_receipt(ReceiptKind::Delivered), MessageState::Delivered);
        assert_eq!(MessageState::Uncertain.after_receipt(ReceiptKind::Acknowledged), MessageState::Sent);
    }

    #[test]
    fn schedule_stands_at_its_edges() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let ok = |nb, v| Schedule::resolve(now, nb, v);
        assert_eq!(ok(None, None).unwrap().expire_time, now + VALIDITY_DEFAULT);
        assert!(ok(Some(now - PAST_TOLERANCE), None).unwrap().not_before.is_none());
        assert!(ok(Some(now - PAST_TOLERANCE - std::time::Duration::from_micros(1)), None).is_err());
        assert!(ok(Some(now + HORIZON), None).is_ok());
        assert!(ok(Some(now + HORIZON + std::time::Duration::from_micros(1)), None).is_err());
        assert!(ok(None, Some(VALIDITY_MIN)).is_ok());
        assert!(ok(None, Some(VALIDITY_MIN - std::time::Duration::from_millis(1))).is_err());
        assert!(ok(None, Some(HORIZON)).is_ok());
        assert!(ok(None, Some(HORIZON + std::time::Duration::from_secs(1))).is_err());
    }
}
