//! Messages, from what a client asked for to what became of it.

use std::time::Duration;

use muster_domain::content::{Content, Courtesy, ReactionTarget, ReplyTarget};
use muster_domain::inbound::InboundId;
use muster_domain::message::{
    Attempt, HandbackReason, Idempotency, Message, MessageState, NewMessage, Outcome, Priority, Schedule,
    check_idempotency_key,
};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::resolution::{DecidedBy, Resolution, ResolutionRecord};
use muster_domain::{Address, BotId, MessageId, Network, Timestamp, Violation};

use super::content::{self, Target};
use super::time::{duration, timestamp, write_duration, write_timestamp};
use super::{failure, fingerprint, keep};
use crate::v1 as wire;

/// A message as a client wrote it, read as far as that goes without knowing the network of its bot, the present time, and
/// the messages that it refers to.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// The sender.
    pub bot: BotId,
    /// The message that it reacts to, if it is a reaction.
    pub reacts_to: Option<Target>,
    /// The message that it answers.
    pub reply_to: Option<InboundId>,
    /// The client's key, with the fingerprint of what it stands for.
    pub idempotency: Option<Idempotency>,
    /// What is done if nobody can tell whether it was sent, if the client says so.
    pub on_uncertain: Option<OnUncertain>,
    recipient: String,
    content: Content,
    priority: Priority,
    not_before: Option<Timestamp>,
    validity: Option<Duration>,
    courtesy: Courtesy,
}

/// Reads a message; output-only fields are ignored. Paths are those of the message.
pub fn draft(message: Option<wire::Message>) -> Result<Draft, Vec<Violation>> {
    let Some(mut message) = message else { return Err(vec![Violation::new("", "must be set")]) };
    let mut found = Vec::new();
    let idempotency = keep(&mut found, "idempotency_key", idempotency(&mut message));
    let bot = keep(&mut found, "bot", BotId::from_resource_name(&message.bot));
    let content = keep(&mut found, "content", content::read(message.content));
    let priority = keep(&mut found, "priority", priority(message.priority));
    let not_before = keep(&mut found, "not_before", message.not_before.map(timestamp).transpose());
    let validity = keep(&mut found, "validity", message.validity.map(duration).transpose());
    let reply_to = keep(&mut found, "reply_to", reply_to(&message.reply_to));
    let courtesy = keep(&mut found, "courtesy", content::read_courtesy(message.courtesy));
    let on_uncertain = keep(&mut found, "on_uncertain", on_uncertain(message.on_uncertain));
    let recipient = message.recipient;
    if recipient.is_empty() {
        found.push(Violation::new("recipient", "must not be empty"));
    }
    let all = (bot, content, priority, not_before, validity, idempotency, reply_to, courtesy, on_uncertain);
    match all {
        (
            Some(bot),
            Some((content, reacts_to)),
            Some(priority),
            Some(not_before),
            Some(validity),
            Some(idempotency),
            Some(reply_to),
            Some(courtesy),
            Some(on_uncertain),
        ) if found.is_empty() => Ok(Draft {
            bot,
            reacts_to,
            reply_to,
            recipient,
            content,
            priority,
            not_before,
            validity,
            idempotency,
            courtesy,
            on_uncertain,
        }),
        _ => Err(found),
    }
}

fn idempotency(message: &mut wire::Message) -> Result<Option<Idempotency>, Violation> {
    if message.idempotency_key.is_empty() {
        return Ok(None);
    }
    check_idempotency_key(&message.idempotency_key)?;
    clear_output_only(message);
    let fingerprint = fingerprint::of("message", message);
    Ok(Some(Idempotency { key: message.idempotency_key.clone(), fingerprint }))
}

/// Clears what clients cannot set, so that an answer sent back as a request is the same request.
fn clear_output_only(message: &mut wire::Message) {
    let wire::Message {
        name,
        bot: _,
        recipient: _,
        content: _,
        priority: _,
        not_before: _,
        validity: _,
        idempotency_key: _,
        reply_to: _,
        courtesy: _,
        on_uncertain: _,
        state,
        accept_time,
        expire_time,
        attempt_no,
        cancel_requested,
        dispatch_time,
        outcome_time,
        acknowledge_time,
        deliver_time,
        read_time,
        failure,
        network_id,
        waiting,
    } = message;
    name.clear();
    *state = 0;
    *attempt_no = 0;
    *cancel_requested = false;
    for time in [accept_time, expire_time, dispatch_time, outcome_time, acknowledge_time, deliver_time, read_time] {
        *time = None;
    }
    *failure = None;
    network_id.clear();
    *waiting = None;
}

fn reply_to(name: &str) -> Result<Option<InboundId>, Violation> {
    if name.is_empty() { Ok(None) } else { InboundId::from_resource_name(name).map(Some) }
}

fn priority(value: i32) -> Result<Priority, Violation> {
    match wire::Priority::try_from(value) {
        Ok(wire::Priority::Unspecified | wire::Priority::Campaign) => Ok(Priority::Campaign),
        Ok(wire::Priority::Conversation) => Ok(Priority::Conversation),
        Ok(wire::Priority::Automation) => Ok(Priority::Automation),
        Err(_) => Err(Violation::new("", format!("has the value {value}, which is no priority"))),
    }
}

/// Reads a policy; `None` where none is named.
///
/// # Errors
/// A number that stands for none.
pub fn on_uncertain(value: i32) -> Result<Option<OnUncertain>, Violation> {
    match wire::OnUncertain::try_from(value) {
        Ok(wire::OnUncertain::Unspecified) => Ok(None),
        Ok(wire::OnUncertain::Hold) => Ok(Some(OnUncertain::Hold)),
        Ok(wire::OnUncertain::Resend) => Ok(Some(OnUncertain::Resend)),
        Ok(wire::OnUncertain::Drop) => Ok(Some(OnUncertain::Drop)),
        Err(_) => Err(Violation::new("", format!("has the value {value}, which is no policy"))),
    }
}

/// Writes a policy.
pub fn write_on_uncertain(policy: OnUncertain) -> wire::OnUncertain {
    match policy {
        OnUncertain::Hold => wire::OnUncertain::Hold,
        OnUncertain::Resend => wire::OnUncertain::Resend,
        OnUncertain::Drop => wire::OnUncertain::Drop,
    }
}

/// What a draft refers to, by the network's ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// The network's id of the message that it reacts to, if it is a reaction.
    pub reacts_to: Option<String>,
    /// The network's id of the message that it answers, if it answers one.
    pub reply_to: Option<String>,
}

impl Draft {
    /// The medium of the store that the content names, if it names one.
    pub fn stored_media(&self) -> Option<muster_domain::content::MediaDigest> {
        match self.content.media()?.source {
            muster_domain::content::MediaSource::Stored(digest) => Some(digest),
            muster_domain::content::MediaSource::Url(_) => None,
        }
    }

    /// Settles the draft at `now`, for a bot of `network`: everything that the rules ask of a message is checked here.
    pub fn resolve(
        self,
        now: Timestamp,
        network: Network,
        references: References,
    ) -> Result<NewMessage, Vec<Violation>> {
        let mut found = Vec::new();
        let recipient = keep(&mut found, "recipient", Address::parse(network, &self.recipient));
        let schedule = Schedule::resolve(now, self.not_before, self.validity).map_err(|more| found.extend(more)).ok();
        let content = match (self.content, references.reacts_to) {
            (Content::Reaction { target, emoji }, Some(network_id)) => {
                Content::Reaction { target: ReactionTarget { network_id, ..target }, emoji }
            }
            (content, _) => content,
        };
        found.extend(content.violations().into_iter().map(|violation| violation.below("content")));
        let resource = self.reply_to.map(InboundId::resource_name);
        let reply_to = references.reply_to.map(|network_id| ReplyTarget { network_id, resource });
        found.extend(self.courtesy.violations(reply_to.is_some()));
        match (recipient, schedule) {
            (Some(recipient), Some(Schedule { not_before, expire_time })) if found.is_empty() => Ok(NewMessage {
                bot: self.bot,
                recipient,
                content,
                priority: self.priority,
                not_before: not_before.map(whole_micros),
                expire_time: whole_micros(expire_time),
                idempotency: self.idempotency,
                reply_to,
                courtesy: self.courtesy,
                on_uncertain: self.on_uncertain.unwrap_or_default(),
            }),
            _ => Err(found),
        }
    }
}

/// A time as columns carry it, so that a message reads back as it was accepted.
fn whole_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// Reads a state of a filter.
pub fn state(value: i32) -> Result<MessageState, Violation> {
    let known = wire::MessageState::try_from(value).ok();
    MessageState::ALL
        .into_iter()
        .find(|state| Some(write_state(*state)) == known)
        .ok_or_else(|| Violation::new("", format!("has the value {value}, which is no state")))
}

/// Writes a state.
pub fn write_state(state: MessageState) -> wire::MessageState {
    match state {
        MessageState::Waiting => wire::MessageState::Waiting,
        MessageState::Dispatched => wire::MessageState::Dispatched,
        MessageState::Sent => wire::MessageState::Sent,
        MessageState::Delivered => wire::MessageState::Delivered,
        MessageState::Read => wire::MessageState::Read,
        MessageState::Failed => wire::MessageState::Failed,
        MessageState::Expired => wire::MessageState::Expired,
        MessageState::Cancelled => wire::MessageState::Cancelled,
        MessageState::Uncertain => wire::MessageState::Uncertain,
    }
}

fn write_priority(priority: Priority) -> wire::Priority {
    match priority {
        Priority::Conversation => wire::Priority::Conversation,
        Priority::Campaign => wire::Priority::Campaign,
        Priority::Automation => wire::Priority::Automation,
    }
}

/// How much of a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Everything.
    Full,
    /// Everything but the content: for lists.
    WithoutContent,
}

/// Writes a message.
pub fn write(message: Message, view: View) -> wire::Message {
    let Message {
        id,
        bot,
        recipient,
        content,
        priority,
        not_before,
        expire_time,
        idempotency_key,
        reply_to,
        courtesy,
        on_uncertain,
        state,
        attempt_no,
        cancel_requested,
        dispatch_time,
        outcome_time,
        receipts,
        failure: failed,
        network_id,
        parked: _,
    } = message;
    wire::Message {
        name: id.resource_name(),
        bot: bot.resource_name(),
        recipient: recipient.as_str().to_owned(),
        content: (view == View::Full).then(|| content::write(content)),
        priority: write_priority(priority).into(),
        not_before: not_before.map(write_timestamp),
        validity: None,
        idempotency_key: idempotency_key.unwrap_or_default(),
        reply_to: reply_to.and_then(|target| target.resource).unwrap_or_default(),
        courtesy: content::write_courtesy(courtesy),
        on_uncertain: write_on_uncertain(on_uncertain).into(),
        state: write_state(state).into(),
        accept_time: Some(write_timestamp(id.accept_time())),
        expire_time: Some(write_timestamp(expire_time)),
        attempt_no,
        cancel_requested,
        dispatch_time: dispatch_time.map(write_timestamp),
        outcome_time: outcome_time.map(write_timestamp),
        acknowledge_time: receipts.acknowledge_time.map(write_timestamp),
        deliver_time: receipts.deliver_time.map(write_timestamp),
        read_time: receipts.read_time.map(write_timestamp),
        failure: failed.as_ref().map(failure),
        network_id: network_id.unwrap_or_default(),
        waiting: None,
    }
}

/// Writes a change of state.
pub fn write_change(id: MessageId, bot: &BotId, state: MessageState, time: Timestamp) -> wire::MessageChange {
    wire::MessageChange {
        message: id.resource_name(),
        bot: bot.resource_name(),
        state: write_state(state).into(),
        time: Some(write_timestamp(time)),
        accept_time: Some(write_timestamp(id.accept_time())),
    }
}

/// Reads what an operator decided.
pub fn resolution(value: i32) -> Result<Resolution, Violation> {
    match wire::Resolution::try_from(value) {
        Ok(wire::Resolution::Sent) => Ok(Resolution::Sent),
        Ok(wire::Resolution::Resend) => Ok(Resolution::Resend),
        Ok(wire::Resolution::Drop) => Ok(Resolution::Drop),
        _ => Err(Violation::new("", "must be RESOLUTION_SENT, RESOLUTION_RESEND or RESOLUTION_DROP")),
    }
}

/// Writes what an operator can decide.
pub fn write_resolution_kind(resolution: Resolution) -> wire::Resolution {
    match resolution {
        Resolution::Sent => wire::Resolution::Sent,
        Resolution::Resend => wire::Resolution::Resend,
        Resolution::Drop => wire::Resolution::Drop,
    }
}

/// Writes what was decided about a message.
pub fn write_resolution(record: ResolutionRecord) -> wire::ResolutionRecord {
    let ResolutionRecord { resolution, decided_by, attempt_no, time, reason, conflict } = record;
    let decided_by = match decided_by {
        DecidedBy::Operator => wire::DecidedBy::Operator,
        DecidedBy::Policy => wire::DecidedBy::Policy,
    };
    wire::ResolutionRecord {
        resolution: write_resolution_kind(resolution).into(),
        attempt_no,
        time: Some(write_timestamp(time)),
        reason,
        conflict: conflict.unwrap_or_default(),
        decided_by: decided_by.into(),
    }
}

/// Writes an attempt. `received` is false for one that the agent never had.
pub fn write_attempt(attempt: Attempt, received: bool) -> wire::Attempt {
    let Attempt { attempt_no, node, epoch, dispatch_time, outcome_time, outcome, queued, gateway } = attempt;
    let mut written = wire::Attempt {
        attempt_no,
        node: node.resource_name(),
        epoch: epoch.0,
        dispatch_time: Some(write_timestamp(dispatch_time)),
        outcome_time: outcome_time.map(write_timestamp),
        queued: queued.map(write_duration),
        gateway: gateway.map(write_duration),
        ..wire::Attempt::default()
    };
    let outcome = match outcome {
        _ if !received => wire::AttemptOutcome::NotReceived,
        None => wire::AttemptOutcome::Unspecified,
        Some(Outcome::Sent { .. }) => wire::AttemptOutcome::Sent,
        Some(Outcome::Failed(reason)) => {
            written.failure = Some(failure(&reason));
            wire::AttemptOutcome::Failed
        }
        Some(Outcome::Uncertain(reason)) => {
            written.failure = Some(failure(&reason));
            wire::AttemptOutcome::Uncertain
        }
        Some(Outcome::HandedBack(reason)) => {
            written.handback_reason = match reason {
                HandbackReason::Draining => "DRAINING",
                HandbackReason::ChainBroken => "CHAIN_BROKEN",
                HandbackReason::BotUnavailable => "BOT_UNAVAILABLE",
                HandbackReason::WindowClosed => "WINDOW_CLOSED",
            }
            .to_owned();
            wire::AttemptOutcome::HandedBack
        }
        Some(Outcome::Expired) => wire::AttemptOutcome::Expired,
        Some(Outcome::Cancelled) => wire::AttemptOutcome::Cancelled,
    };
    written.set_outcome(outcome);
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::v1::content::{Kind, Reaction, Text};

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn text(body: &str) -> wire::Message {
        wire::Message {
            bot: "bots/a".into(),
            recipient: "+55 11 90000-0001".into(),
            content: Some(wire::Content { kind: Some(Kind::Text(Text { body: body.into() })) }),
            ..Default::default()
        }
    }

    fn resolved(message: wire::Message) -> Result<NewMessage, Vec<Violation>> {
        draft(Some(message))?.resolve(now(), Network::WhatsApp, References::default())
    }

    fn fields(message: wire::Message) -> Vec<String> {
        resolved(message).unwrap_err().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_plain_text_needs_nothing_else() {
        let message = resolved(text("Olá")).unwrap();
        assert_eq!(message.recipient.as_str(), "+5511900000001");
        assert_eq!(message.priority, Priority::Campaign);
        assert_eq!(message.idempotency, None);
    }

    #[test]
    fn each_fault_is_named_by_its_path() {
        assert_eq!(fields(wire::Message::default()), ["bot", "content", "recipient"]);
        assert_eq!(fields(wire::Message { recipient: "ana".into(), ..text("") }), ["recipient", "content.text.body"]);
        let early = prost_types::Timestamp { seconds: 1, nanos: 0 };
        assert_eq!(fields(wire::Message { not_before: Some(early), ..text("x") }), ["not_before"]);
        let hurried = wire::Courtesy { mark_read: true, typing: None };
        assert_eq!(fields(wire::Message { courtesy: Some(hurried), ..text("x") }), ["courtesy"]);
        assert_eq!(fields(wire::Message { priority: 9, ..text("x") }), ["priority"]);
        assert_eq!(fields(wire::Message { on_uncertain: 9, ..text("x") }), ["on_uncertain"]);
        assert_eq!(fields(wire::Message { idempotency_key: "x".repeat(129), ..text("x") }), ["idempotency_key"]);
    }

    #[test]
    fn the_fingerprint_covers_what_was_asked_for_and_nothing_else() {
        let keyed = |message: wire::Message| {
            resolved(wire::Message { idempotency_key: "k".into(), ..message }).unwrap().idempotency.unwrap().fingerprint
        };
        let answer = wire::Message { name: "messages/x".into(), state: 3, attempt_no: 2, ..text("a") };
        assert_eq!(keyed(text("a")), keyed(answer));
        assert_ne!(keyed(text("a")), keyed(text("b")));
    }

    #[test]
    fn a_reaction_takes_the_network_id_that_was_looked_up() {
        let target = "messages/0000000000000".to_owned();
        let reaction = |target: &str| wire::Message {
            content: Some(wire::Content {
                kind: Some(Kind::Reaction(Reaction { target: target.into(), emoji: "👍".into() })),
            }),
            ..text("")
        };
        assert!(draft(Some(reaction(&target))).is_err());
        assert_eq!(draft(Some(reaction("3EB0"))).err().unwrap()[0].field, "content.reaction.target");
        let name = MessageId::from_raw(7).unwrap().resource_name();
        let draft = draft(Some(reaction(&name))).unwrap();
        assert_eq!(draft.reacts_to, Some(Target::Sent(MessageId::from_raw(7).unwrap())));
        let references = References { reacts_to: Some("3EB0".into()), reply_to: None };
        let message = draft.resolve(now(), Network::WhatsApp, references).unwrap();
        let Content::Reaction { target, .. } = message.content else { panic!("no reaction") };
        assert_eq!((target.network_id.as_str(), target.from_bot, target.resource), ("3EB0", true, Some(name)));
    }

    #[test]
    fn every_state_has_its_number() {
        for known in MessageState::ALL {
            assert_eq!(state(write_state(known).into()).unwrap(), known);
            assert!(write_state(known).as_str_name().ends_with(known.as_str()));
        }
        assert!(state(0).is_err());
    }

    #[test]
    fn every_policy_has_its_number() {
        for policy in OnUncertain::ALL {
            let number = write_on_uncertain(policy);
            assert_eq!(on_uncertain(number.into()).unwrap(), Some(policy));
            assert!(number.as_str_name().ends_with(policy.as_str()));
        }
        assert_eq!(on_uncertain(0).unwrap(), None);
    }

    fn any_message() -> impl Strategy<Value = wire::Message> {
        let kinds = prop_oneof![
            "\\PC{0,40}".prop_map(|body| Kind::Text(Text { body })),
            ("\\PC{0,40}", "\\PC{0,9}").prop_map(|(target, emoji)| Kind::Reaction(Reaction { target, emoji })),
            ("\\PC{0,40}", any::<bool>(), "\\PC{0,20}").prop_map(|(place, stored, mime_type)| {
                let source = if stored { wire::media::Source::Media(place) } else { wire::media::Source::Url(place) };
                let media = Some(wire::Media { source: Some(source), mime_type });
                Kind::Image(wire::content::Image { media, caption: String::new() })
            }),
        ];
        let time = prop::option::of((any::<i64>(), any::<i32>()));
        (
            ("\\PC{0,20}", "\\PC{0,20}", prop::option::of(prop::option::of(kinds)), any::<i32>()),
            (time.clone(), time, "\\PC{0,40}", "\\PC{0,40}", any::<bool>()),
        )
            .prop_map(
                |((bot, recipient, content, priority), (not_before, validity, key, reply_to, mark_read))| {
                    wire::Message {
                        bot,
                        recipient,
                        content: content.map(|kind| wire::Content { kind }),
                        priority,
                        not_before: not_before.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
                        validity: validity.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
                        idempotency_key: key,
                        reply_to,
                        courtesy: Some(wire::Courtesy { mark_read, typing: None }),
                        ..Default::default()
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(message in any_message()) {
            let _ = resolved(message);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = wire::Message::decode(&*bytes) {
                let _ = resolved(message);
            }
        }

        #[test]
        fn near_misses_are_read_or_refused(
            bot in "[a-z-]{0,3}", recipient in "[+0-9a-z@.]{0,16}", seconds in -400_000i64..9_000_000, validity in -5i64..9_000_000,
        ) {
            let not_before = prost_types::Timestamp { seconds: now().as_second() + seconds, nanos: 0 };
            let validity = prost_types::Duration { seconds: validity, nanos: 0 };
            let message = wire::Message { bot, recipient, not_before: Some(not_before), validity: Some(validity), ..text("x") };
            if let Ok(read) = resolved(message) {
                prop_assert!(read.expire_time > now());
            }
        }
    }
}
