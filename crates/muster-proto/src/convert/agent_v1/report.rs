//! What agents report.

use std::time::Duration;

use muster_domain::bot::Connection;
use muster_domain::failure::{DETAIL_CHARS_MAX, Failure};
use muster_domain::inbound::NewInbound;
use muster_domain::message::{AttemptRef, Outcome, ReceiptKind};
use muster_domain::{Address, BotId, Timestamp, Violation};

use super::{
    NETWORK_ID_BYTES_MAX, address, attempt_ref, connection, enumeration, millis, network_id, optional_address,
    optional_network_id, required,
};
use crate::agent_v1 as wire;

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// Which attempt.
    pub attempt: AttemptRef,
    /// What it came to. The network's id of a sent message is empty when the gateway gave none that can be used.
    pub outcome: Outcome,
    /// How long the agent held it before it called the gateway.
    pub queued: Duration,
    /// How long the gateway took.
    pub gateway: Duration,
}

/// What the network said about a sent message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The bot that sent it.
    pub bot: BotId,
    /// The network's id of the message.
    pub network_id: String,
    /// What the network said.
    pub kind: ReceiptKind,
    /// Why it was refused, if it was.
    pub failure: Option<Failure>,
}

/// A change of a bot's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionChange {
    /// The bot.
    pub bot: BotId,
    /// Its login now.
    pub connection: Connection,
    /// Why, in the gateway's terms.
    pub detail: String,
    /// The bot's own address, where the gateway tells it.
    pub address: Option<Address>,
    /// The network banned the bot.
    pub banned: bool,
}

impl From<AttemptOutcome> for wire::OutcomeReport {
    fn from(report: AttemptOutcome) -> Self {
        let mut wired = wire::OutcomeReport {
            attempt: Some(report.attempt.into()),
            queued_ms: millis(report.queued),
            gateway_ms: millis(report.gateway),
            ..wire::OutcomeReport::default()
        };
        let outcome = match report.outcome {
            Outcome::Sent { network_id } => {
                wired.network_id = network_id;
                wire::Outcome::Sent
            }
            Outcome::Failed(failure) => {
                wired.failure = Some((&failure).into());
                wire::Outcome::Failed
            }
            Outcome::Uncertain(failure) => {
                wired.failure = Some((&failure).into());
                wire::Outcome::Uncertain
            }
            Outcome::HandedBack(reason) => {
                wired.set_handback_reason(reason.into());
                wire::Outcome::HandedBack
            }
            Outcome::Expired => wire::Outcome::Expired,
            Outcome::Cancelled => wire::Outcome::Cancelled,
        };
        wired.set_outcome(outcome);
        wired
    }
}

impl TryFrom<wire::OutcomeReport> for AttemptOutcome {
    type Error = Violation;
    fn try_from(report: wire::OutcomeReport) -> Result<Self, Violation> {
        let kind = wire::Outcome::try_from(report.outcome)
            .map_err(|_| Violation::new("outcome", format!("has the unknown value {}", report.outcome)))?;
        let outcome = match kind {
            wire::Outcome::Unspecified => return Err(Violation::new("outcome", "must be set")),
            wire::Outcome::Sent => {
                Outcome::Sent { network_id: optional_network_id("network_id", report.network_id)?.unwrap_or_default() }
            }
            wire::Outcome::Failed => Outcome::Failed(failure(report.failure)?),
            wire::Outcome::Uncertain => Outcome::Uncertain(failure(report.failure)?),
            wire::Outcome::HandedBack => {
                Outcome::HandedBack(enumeration::<wire::HandbackReason, _>("handback_reason", report.handback_reason)?)
            }
            wire::Outcome::Expired => Outcome::Expired,
            wire::Outcome::Cancelled => Outcome::Cancelled,
        };
        Ok(AttemptOutcome {
            attempt: attempt_ref("attempt", report.attempt)?,
            outcome,
            queued: Duration::from_millis(report.queued_ms),
            gateway: Duration::from_millis(report.gateway_ms),
        })
    }
}

fn failure(failure: Option<wire::Failure>) -> Result<Failure, Violation> {
    required("failure", failure)?.try_into().map_err(|violation: Violation| violation.below("failure"))
}

/// The network's id of a sent message as a report may carry it: empty if the gateway's is no id at all. That a message was
/// sent must reach the server even then; only its receipts will not find it.
pub fn usable_network_id(text: String) -> String {
    if text.len() > NETWORK_ID_BYTES_MAX || text.chars().any(char::is_control) { String::new() } else { text }
}

fn bot(text: &str) -> Result<BotId, Violation> {
    BotId::new(text).map_err(|violation| violation.below("bot"))
}

impl From<Receipt> for wire::ReceiptReport {
    fn from(receipt: Receipt) -> Self {
        wire::ReceiptReport {
            bot: receipt.bot.to_string(),
            network_id: receipt.network_id,
            kind: wire::ReceiptKind::from(receipt.kind).into(),
            failure: receipt.failure.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::ReceiptReport> for Receipt {
    type Error = Violation;
    fn try_from(receipt: wire::ReceiptReport) -> Result<Self, Violation> {
        Ok(Receipt {
            bot: bot(&receipt.bot)?,
            network_id: network_id("network_id", receipt.network_id)?,
            kind: enumeration::<wire::ReceiptKind, _>("kind", receipt.kind)?,
            failure: receipt.failure.map(|reason| failure(Some(reason))).transpose()?,
        })
    }
}

impl From<NewInbound> for wire::InboundReport {
    /// The time of receipt travels as the age of the report.
    fn from(inbound: NewInbound) -> Self {
        wire::InboundReport {
            bot: inbound.bot.to_string(),
            network_id: inbound.network_id,
            sender: inbound.sender.as_str().to_owned(),
            participant: inbound.participant.map(|address| address.as_str().to_owned()).unwrap_or_default(),
            sender_name: inbound.sender_name,
            content: Some((&inbound.content).into()),
            reply_to: inbound.reply_to.unwrap_or_default(),
        }
    }
}

/// Reads an inbound message that was received at `receive_time`.
pub fn inbound(report: wire::InboundReport, receive_time: Timestamp) -> Result<NewInbound, Violation> {
    Ok(NewInbound {
        bot: bot(&report.bot)?,
        network_id: network_id("network_id", report.network_id)?,
        sender: address("sender", &report.sender)?,
        participant: optional_address("participant", &report.participant)?,
        sender_name: report.sender_name,
        content: required("content", report.content)?
            .try_into()
            .map_err(|violation: Violation| violation.below("content"))?,
        reply_to: optional_network_id("reply_to", report.reply_to)?,
        receive_time,
    })
}

impl From<ConnectionChange> for wire::ConnectionReport {
    fn from(change: ConnectionChange) -> Self {
        wire::ConnectionReport {
            bot: change.bot.to_string(),
            connection: wire::Connection::from(change.connection).into(),
            detail: change.detail,
            address: change.address.map(|address| address.as_str().to_owned()).unwrap_or_default(),
            banned: change.banned,
        }
    }
}

impl TryFrom<wire::ConnectionReport> for ConnectionChange {
    type Error = Violation;
    fn try_from(change: wire::ConnectionReport) -> Result<Self, Violation> {
        Ok(ConnectionChange {
            bot: bot(&change.bot)?,
            connection: connection(change.connection)?,
            detail: change.detail.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect(),
            address: optional_address("address", &change.address)?,
            banned: change.banned,
        })
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::MessageId;
    use muster_domain::failure::FailureReason;
    use muster_domain::message::HandbackReason;
    use proptest::prelude::*;
    use prost::Message;

    use super::super::content::tests::contents;
    use super::*;

    fn failures() -> impl Strategy<Value = Failure> {
        (0..FailureReason::ALL.len(), "\\PC{0,30}").prop_map(|(i, detail)| Failure::new(FailureReason::ALL[i], detail))
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            "[A-Z0-9]{0,40}".prop_map(|network_id| Outcome::Sent { network_id }),
            failures().prop_map(Outcome::Failed),
            failures().prop_map(Outcome::Uncertain),
            prop::sample::select(vec![
                HandbackReason::Draining,
                HandbackReason::ChainBroken,
                HandbackReason::BotUnavailable,
                HandbackReason::WindowClosed
            ])
            .prop_map(Outcome::HandedBack),
            Just(Outcome::Expired),
            Just(Outcome::Cancelled),
        ]
    }

    proptest! {
        #[test]
        fn outcomes_survive_the_wire(outcome in outcomes(), queued in any::<u32>(), gateway in any::<u32>()) {
            let report = AttemptOutcome {
                attempt: AttemptRef { message_id: MessageId::from_raw(7).unwrap(), attempt_no: 2 },
                outcome,
                queued: Duration::from_millis(queued.into()),
                gateway: Duration::from_millis(gateway.into()),
            };
            let wired = wire::OutcomeReport::from(report.clone());
            prop_assert_eq!(AttemptOutcome::try_from(wired).unwrap(), report);
        }

        #[test]
        fn inbound_messages_survive_the_wire(content in contents(), participant in prop::option::of("[0-9]{8}@lid")) {
            let received = NewInbound {
                bot: BotId::new("a").unwrap(),
                network_id: "3EB0".into(),
                sender: Address::from_stored("+5511900000001"),
                participant: participant.map(|text| Address::from_stored(&text)),
                sender_name: "Ana".into(),
                content,
                reply_to: None,
                receive_time: Timestamp::UNIX_EPOCH,
            };
            let wired = wire::InboundReport::from(received.clone());
            prop_assert_eq!(inbound(wired, Timestamp::UNIX_EPOCH).unwrap(), received);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(report) = wire::OutcomeReport::decode(&*bytes) {
                let _ = AttemptOutcome::try_from(report);
            }
            if let Ok(report) = wire::ReceiptReport::decode(&*bytes) {
                let _ = Receipt::try_from(report);
            }
            if let Ok(report) = wire::InboundReport::decode(&*bytes) {
                let _ = inbound(report, Timestamp::UNIX_EPOCH);
            }
            if let Ok(report) = wire::ConnectionReport::decode(&*bytes) {
                let _ = ConnectionChange::try_from(report);
            }
        }
    }

    #[test]
    fn a_failed_outcome_says_why() {
        let report = wire::OutcomeReport {
            attempt: Some(wire::AttemptRef { message_id: 1, attempt_no: 1 }),
            outcome: wire::Outcome::Failed.into(),
            ..wire::OutcomeReport::default()
        };
        assert_eq!(AttemptOutcome::try_from(report).unwrap_err().field, "failure");
    }

    #[test]
    fn a_useless_network_id_does_not_hide_that_a_message_was_sent() {
        assert_eq!(usable_network_id("3EB0".into()), "3EB0");
        assert_eq!(usable_network_id("x".repeat(NETWORK_ID_BYTES_MAX + 1)), "");
        assert_eq!(usable_network_id("a\nb".into()), "");
    }
}
