//! The store's values ↔ the frames of the stream, where a value has no form in the domain.

use std::time::Duration;

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{AttemptRef, Outcome};
use muster_domain::{BotId, GatewayId, Timestamp, Violation};
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::command::Body as CommandBody;
use muster_proto::agent_v1::report::Body as ReportKind;
use muster_proto::convert::agent_v1::{AttemptOutcome, ConnectionChange, Receipt, address, inbound};
use muster_store::{ApplyError, ClaimedAttempt, Report, ReportBody};
use prost::Message as _;

use super::commands::{Command, LinkProgress, RecipientStatus, Update};

/// Bytes of attempts in one Dispatch frame: large enough to amortise the frame, small enough that the agent's disk starts
/// on the first one while the next is on its way.
const DISPATCH_BYTES: usize = 256 * 1024;

/// Bytes that a Dispatch frame takes beside its attempts.
const DISPATCH_OVERHEAD: usize = 64;

/// How far back a report may date itself: further means that the agent's clock stood still or ran wild.
const AGE_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// Attempts as Dispatch frames that the agent can read.
pub(super) fn dispatches(
    attempts: Vec<ClaimedAttempt>,
    report_committed: u64,
    receive_bytes_max: usize,
) -> Vec<wire::Dispatch> {
    /// Tag and length of one attempt.
    const FIELD_OVERHEAD: usize = 6;
    let bytes_max = DISPATCH_BYTES.min(receive_bytes_max).saturating_sub(DISPATCH_OVERHEAD);
    let mut frames = Vec::new();
    let mut frame = Vec::with_capacity(attempts.len());
    let mut bytes = 0;
    for claimed in attempts {
        let attempt = attempt(claimed);
        let size = attempt.encoded_len() + FIELD_OVERHEAD;
        if bytes + size > bytes_max && !frame.is_empty() {
            frames.push(wire::Dispatch { attempts: std::mem::take(&mut frame), report_committed });
            bytes = 0;
        }
        bytes += size;
        frame.push(attempt);
    }
    if !frame.is_empty() {
        frames.push(wire::Dispatch { attempts: frame, report_committed });
    }
    frames
}

fn attempt(claimed: ClaimedAttempt) -> wire::Attempt {
    let ClaimedAttempt {
        attempt,
        bot,
        recipient,
        content,
        chain,
        start_within,
        reply_to,
        courtesy,
        resend_after,
        window_closes,
        window_generation,
    } = claimed;
    let attempt = muster_proto::convert::agent_v1::Attempt {
        attempt,
        bot,
        recipient,
        content,
        chain,
        start_within,
        reply_to,
        courtesy,
        resend_after,
        window_closes,
        window_generation,
    };
    wire::Attempt::from(&attempt)
}

/// A report that was received at `received`; `None` if it is of a kind that this server does not know.
///
/// What cannot be read must not stop the reports behind it: its offset is taken, and an outcome that cannot be read leaves its
/// message uncertain instead of under way for ever.
pub(super) fn report(report: wire::Report, received: Timestamp) -> Option<Report> {
    let age = Duration::from_millis(report.age_ms).min(AGE_MAX);
    let time = received - age;
    let body = match report.body? {
        ReportKind::Outcome(outcome) => read_outcome(outcome),
        ReportKind::Receipt(receipt) => Receipt::try_from(receipt).map(|receipt| {
            let Receipt { bot, network_id, kind, failure } = receipt;
            ReportBody::Receipt { bot, network_id, kind, failure }
        }),
        ReportKind::Inbound(report) => inbound(report, time).map(ReportBody::Inbound),
        ReportKind::Connection(change) => ConnectionChange::try_from(change).map(|change| {
            let ConnectionChange { bot, connection, detail, address, banned } = change;
            ReportBody::Connection { bot, connection, detail, address, banned }
        }),
        ReportKind::Forgotten(wire::ForgottenReport {}) => Ok(ReportBody::Empty),
    };
    let body = body.unwrap_or_else(|violation| {
        tracing::warn!(%violation, "a report cannot be read");
        ReportBody::Empty
    });
    Some(Report { time, body })
}

fn read_outcome(report: wire::OutcomeReport) -> Result<ReportBody, Violation> {
    let named = report.attempt;
    match AttemptOutcome::try_from(report) {
        Ok(AttemptOutcome { attempt, outcome, queued, gateway }) => {
            Ok(ReportBody::Outcome { attempt, outcome, queued, gateway })
        }
        Err(violation) => {
            let attempt: AttemptRef = named.ok_or(violation.clone())?.try_into()?;
            let detail = format!("the agent reported an outcome that this server cannot read: {violation}");
            let outcome = Outcome::Uncertain(Failure::new(FailureReason::OutcomeUnknown, detail));
            Ok(ReportBody::Outcome { attempt, outcome, queued: Duration::ZERO, gateway: Duration::ZERO })
        }
    }
}

/// Resources that an agent could not apply. Names that cannot be read are left out: there is nothing to note them at.
pub(super) fn apply_errors(errors: Vec<wire::ResourceError>) -> Vec<ApplyError> {
    errors
        .into_iter()
        .filter_map(|error| {
            let message: String = error.message.chars().take(muster_domain::failure::DETAIL_CHARS_MAX).collect();
            if error.name.starts_with("gateways/") {
                GatewayId::from_resource_name(&error.name).ok().map(|id| ApplyError::Gateway(id, message))
            } else {
                BotId::from_resource_name(&error.name).ok().map(|id| ApplyError::Bot(id, message))
            }
        })
        .collect()
}

/// A command for an agent.
pub(super) fn command(id: u64, bot: &BotId, command: Command) -> wire::Command {
    let text = |address: muster_domain::Address| address.as_str().to_owned();
    let body = match command {
        Command::StartLink { pairing_address } => {
            CommandBody::StartLink(wire::StartLink { pairing_address: pairing_address.map(text).unwrap_or_default() })
        }
        Command::Unlink => CommandBody::Unlink(wire::Unlink {}),
        Command::Reconnect => CommandBody::Reconnect(wire::Reconnect {}),
        Command::CheckRecipients(recipients) => CommandBody::CheckRecipients(wire::CheckRecipients {
            recipients: recipients.into_iter().map(text).collect(),
        }),
        Command::MarkRead { chat, network_id } => {
            CommandBody::MarkRead(wire::MarkRead { chat: text(chat), network_id })
        }
    };
    wire::Command { command_id: id, bot: bot.to_string(), body: Some(body) }
}

/// Tells an agent that nobody waits for a command any more.
pub(super) fn cancel_command(id: u64, bot: &BotId) -> wire::Command {
    wire::Command { command_id: id, bot: bot.to_string(), body: Some(CommandBody::Cancel(wire::CancelCommand {})) }
}

/// What an agent says about a command.
pub(super) fn update(update: wire::CommandUpdate) -> Result<Update, Violation> {
    let wire::CommandUpdate { command_id: _, r#final: last, failure, link, recipients } = update;
    let failure = failure.map(Failure::try_from).transpose().map_err(|violation| violation.below("failure"))?;
    let link = link.map(link_progress).transpose()?;
    let recipients = recipients.into_iter().map(recipient).collect::<Result<_, _>>()?;
    Ok(Update { last, failure, link, recipients })
}

fn link_progress(link: wire::LinkProgress) -> Result<LinkProgress, Violation> {
    use wire::link_progress::State;
    match State::try_from(link.state) {
        Ok(State::Preparing) => Ok(LinkProgress::Preparing),
        Ok(State::Code) => Ok(LinkProgress::Code { qr: link.qr, pairing_code: link.pairing_code }),
        Ok(State::Linked) => Ok(LinkProgress::Linked),
        Ok(State::Expired) => Ok(LinkProgress::Expired),
        Ok(State::Unspecified) | Err(_) => {
            Err(Violation::new("link.state", format!("has the value {}, which is no state", link.state)))
        }
    }
}

fn recipient(status: wire::RecipientStatus) -> Result<RecipientStatus, Violation> {
    let network_address = match status.network_address.as_str() {
        "" => None,
        text => Some(address("recipients.network_address", text)?),
    };
    Ok(RecipientStatus {
        address: address("recipients.address", &status.address)?,
        exists: status.exists,
        network_address,
    })
}

#[cfg(test)]
mod tests {
    use muster_domain::content::{Content, Courtesy};
    use muster_domain::{Address, MessageId};
    use proptest::prelude::*;

    use super::*;

    fn claimed(i: i64, bytes: usize) -> ClaimedAttempt {
        ClaimedAttempt {
            attempt: AttemptRef { message_id: MessageId::from_raw(i).unwrap(), attempt_no: 1 },
            bot: BotId::new("a").unwrap(),
            recipient: Address::from_stored("+5511900000001"),
            content: Content::Text { body: "x".repeat(bytes) },
            chain: 1,
            start_within: Duration::from_secs(60),
            reply_to: None,
            courtesy: Courtesy::default(),
            resend_after: 0,
            window_closes: false,
            window_generation: 0,
        }
    }

    proptest! {
        #[test]
        fn dispatch_frames_fit_and_keep_the_order(
            sizes in prop::collection::vec(1usize..20_000, 1..60), receive_bytes_max in 65_536usize..600_000,
        ) {
            let attempts: Vec<_> = sizes.iter().zip(1..).map(|(bytes, i)| claimed(i, *bytes)).collect();
            let frames = dispatches(attempts, 7, receive_bytes_max);
            prop_assert!(frames.iter().all(|frame| frame.encoded_len() <= receive_bytes_max && !frame.attempts.is_empty()));
            let ids: Vec<_> = frames.iter().flat_map(|frame| &frame.attempts).filter_map(|attempt| attempt.r#ref).collect();
            let ids: Vec<_> = ids.into_iter().map(|attempt| attempt.message_id).collect();
            prop_assert_eq!(ids, (1..=sizes.len() as u64).collect::<Vec<_>>());
        }

        #[test]
        fn any_report_is_taken(bytes in prop::collection::vec(any::<u8>(), 0..100), age_ms in any::<u64>()) {
            let body = wire::Report::decode(&*bytes).ok().and_then(|report| report.body);
            let received = "2026-01-01T12:00:00Z".parse().unwrap();
            let read = report(wire::Report { age_ms, body }, received);
            prop_assert!(read.is_none_or(|read| read.time <= received));
        }
    }

    #[test]
    fn an_outcome_that_cannot_be_read_leaves_the_message_uncertain() {
        let outcome = wire::OutcomeReport {
            attempt: Some(wire::AttemptRef { message_id: 7, attempt_no: 1 }),
            outcome: 99,
            ..Default::default()
        };
        let read = report(wire::Report { age_ms: 0, body: Some(ReportKind::Outcome(outcome)) }, Timestamp::UNIX_EPOCH);
        assert!(matches!(read.unwrap().body, ReportBody::Outcome { outcome: Outcome::Uncertain(_), .. }));
    }
}
