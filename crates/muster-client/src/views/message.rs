//! Messages and their states.

use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::content::ContentView;
use super::{ago, between, id, seconds, time, when, word};
use crate::screen::{Columns, Field, Look, Pairs, Tone};
use crate::text;

/// Messages per state, by the state's word. States without a message are left out.
pub type StateCounts = BTreeMap<String, u64>;

/// The counts of the wire.
pub fn state_counts(wire: &[v1::StateCount]) -> StateCounts {
    wire.iter().filter(|count| count.count > 0).map(|count| (state(count.state), count.count)).collect()
}

/// A state's word.
pub fn state(wire: i32) -> String {
    word(v1::MessageState::try_from(wire).ok().map(|state| state.as_str_name()), "MESSAGE_STATE_", wire)
}

/// A policy's word.
pub fn on_uncertain(wire: i32) -> String {
    word(v1::OnUncertain::try_from(wire).ok().map(|policy| policy.as_str_name()), "ON_UNCERTAIN_", wire)
}

/// How a state is to be taken.
pub fn state_tone(state: &str) -> Tone {
    match state {
        "SENT" | "DELIVERED" | "READ" => Tone::Good,
        "WAITING" | "DISPATCHED" => Tone::Busy,
        "CANCELLED" => Tone::Faint,
        _ => Tone::Bad,
    }
}

/// A message as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Message")]
pub struct MessageView {
    pub name: String,
    pub bot: String,
    pub recipient: String,
    /// Absent in lists.
    pub content: Option<ContentView>,
    pub priority: String,
    pub not_before: Option<Timestamp>,
    /// In seconds.
    pub validity: Option<f64>,
    pub idempotency_key: String,
    pub reply_to: String,
    pub courtesy: Option<CourtesyView>,
    pub on_uncertain: String,
    pub state: String,
    pub accept_time: Option<Timestamp>,
    pub expire_time: Option<Timestamp>,
    pub attempt_no: u32,
    pub cancel_requested: bool,
    pub dispatch_time: Option<Timestamp>,
    pub outcome_time: Option<Timestamp>,
    pub acknowledge_time: Option<Timestamp>,
    pub deliver_time: Option<Timestamp>,
    pub read_time: Option<Timestamp>,
    pub failure: Option<FailureView>,
    pub network_id: String,
    pub waiting: Option<WaitingView>,
}

/// A courtesy as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Courtesy")]
pub struct CourtesyView {
    pub mark_read: bool,
    /// In seconds.
    pub typing: Option<f64>,
}

/// A failure as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Failure")]
pub struct FailureView {
    pub reason: String,
    pub detail: String,
}

/// Why a message waits, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Waiting")]
pub struct WaitingView {
    pub reason: String,
    pub explanation: String,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl From<v1::Failure> for FailureView {
    fn from(failure: v1::Failure) -> Self {
        FailureView { reason: failure.reason, detail: failure.detail }
    }
}

impl std::fmt::Display for FailureView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl From<v1::Message> for MessageView {
    fn from(message: v1::Message) -> Self {
        let priority = v1::Priority::try_from(message.priority).ok().map(|priority| priority.as_str_name());
        MessageView {
            name: message.name,
            bot: message.bot,
            recipient: message.recipient,
            content: message.content.map(ContentView::from),
            priority: word(priority, "PRIORITY_", message.priority),
            not_before: time(message.not_before),
            validity: seconds(message.validity),
            idempotency_key: message.idempotency_key,
            reply_to: message.reply_to,
            courtesy: message
                .courtesy
                .map(|courtesy| CourtesyView { mark_read: courtesy.mark_read, typing: seconds(courtesy.typing) }),
            on_uncertain: on_uncertain(message.on_uncertain),
            state: state(message.state),
            accept_time: time(message.accept_time),
            expire_time: time(message.expire_time),
            attempt_no: message.attempt_no,
            cancel_requested: message.cancel_requested,
            dispatch_time: time(message.dispatch_time),
            outcome_time: time(message.outcome_time),
            acknowledge_time: time(message.acknowledge_time),
            deliver_time: time(message.deliver_time),
            read_time: time(message.read_time),
            failure: message.failure.map(FailureView::from),
            network_id: message.network_id,
            waiting: message.waiting.map(|waiting| WaitingView {
                reason: waiting.reason,
                explanation: waiting.explanation,
                since: time(waiting.since),
                until: time(waiting.until),
            }),
        }
    }
}

impl MessageView {
    /// What is said beside the state: why it waits or failed, or that a cancellation was asked for.
    fn remark(&self) -> String {
        if self.cancel_requested && !self.is_final() {
            return "cancellation asked for".to_owned();
        }
        if let Some(waiting) = &self.waiting {
            return waiting.reason.clone();
        }
        match &self.failure {
            Some(failure) if state_tone(&self.state) != Tone::Good => failure.reason.clone(),
            _ => String::new(),
        }
    }

    fn is_final(&self) -> bool {
        !matches!(self.state.as_str(), "WAITING" | "DISPATCHED")
    }
}

/// Messages as a table.
pub fn table(messages: &[MessageView], look: &Look) -> String {
    let headings =
        ["MESSAGE", "BOT", "RECIPIENT", "STATE", "ACCEPTED", "SENT AFTER", "DELIVERED AFTER", "TRIES", "REMARK"];
    let mut columns = Columns::new(&headings, look).optional(&["TRIES", "DELIVERED AFTER", "SENT AFTER", "RECIPIENT"]);
    for message in messages {
        let after = |time: Option<Timestamp>| match (message.accept_time, time) {
            (Some(accepted), Some(time)) => text::duration(between(accepted, time)),
            _ => "-".to_owned(),
        };
        let sent = matches!(message.state.as_str(), "SENT" | "DELIVERED" | "READ");
        columns.row([
            id(&message.name).into(),
            id(&message.bot).into(),
            look.address(&message.recipient).into(),
            Field::toned(&*message.state, state_tone(&message.state)),
            ago(message.accept_time, look).into(),
            Field::right(after(message.outcome_time.filter(|_| sent))),
            Field::right(after(message.deliver_time)),
            Field::right(message.attempt_no.to_string()),
            message.remark().into(),
        ]);
    }
    columns.render()
}

/// One message in full.
pub fn page(message: &MessageView, look: &Look) -> String {
    let waiting = message.waiting.as_ref().map(|waiting| waiting_lines(waiting, look).join("; ")).unwrap_or_default();
    let failure = message.failure.as_ref().map(FailureView::to_string).unwrap_or_default();
    let mut pairs = Pairs::default();
    pairs
        .add("message", &*message.name)
        .add("from", id(&message.bot))
        .add("to", look.address(&message.recipient))
        .add("says", message.content.as_ref().map(ContentView::summary).unwrap_or_default())
        .add("state", state_tone(&message.state).paint(&message.state, look))
        .add("waits", waiting)
        .add("failure", failure)
        .add("cancellation", if message.cancel_requested { "asked for" } else { "" })
        .add("tries", if message.attempt_no == 0 { String::new() } else { message.attempt_no.to_string() })
        .add("priority", message.priority.to_lowercase())
        .add("on uncertain", message.on_uncertain.to_lowercase())
        .add("answers", &*message.reply_to)
        .add("accepted", when(message.accept_time, look))
        .add("not before", when(message.not_before, look))
        .add("valid until", when(message.expire_time, look))
        .add("dispatched", when(message.dispatch_time, look))
        .add("outcome", when(message.outcome_time, look))
        .add("acknowledged", when(message.acknowledge_time, look))
        .add("delivered", when(message.deliver_time, look))
        .add("read", when(message.read_time, look))
        .add("network id", &*message.network_id)
        .add("key", &*message.idempotency_key);
    pairs.render()
}

/// Why a message waits, since when and until when, a line each.
pub(super) fn waiting_lines(waiting: &WaitingView, look: &Look) -> Vec<String> {
    let reason = Tone::Busy.paint(&waiting.reason, look);
    let explanation = waiting.explanation.trim_end_matches('.');
    let mut lines = vec![if explanation.is_empty() { reason } else { format!("{reason}: {explanation}") }];
    if waiting.since.is_some() {
        lines.push(format!("since {}", when(waiting.since, look)));
    }
    if waiting.until.is_some() {
        lines.push(format!("looked at again {}", when(waiting.until, look)));
    }
    lines
}

/// Counts per state as a table, in the order of a message's life.
pub fn counts_table(counts: &StateCounts, look: &Look) -> String {
    let mut columns = Columns::new(&["STATE", "MESSAGES"], look);
    let known = muster_domain::message::MessageState::ALL.map(|state| state.as_str());
    let unknown = counts.keys().map(String::as_str).filter(|state| !known.contains(state));
    for state in known.into_iter().chain(unknown) {
        let count = counts.get(state).copied().unwrap_or_default();
        let tone = if count == 0 { Tone::Faint } else { state_tone(state) };
        columns.row([Field::toned(state, tone), Field::right(text::count(count))]);
    }
    columns.render()
}

/// A change of a message's state as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.MessageChange")]
pub struct ChangeView {
    pub message: String,
    pub bot: String,
    pub state: String,
    pub time: Option<Timestamp>,
    pub accept_time: Option<Timestamp>,
}

impl From<v1::MessageChange> for ChangeView {
    fn from(change: v1::MessageChange) -> Self {
        ChangeView {
            message: change.message,
            bot: change.bot,
            state: state(change.state),
            time: time(change.time),
            accept_time: time(change.accept_time),
        }
    }
}

/// One change on one line, for a stream of them.
pub fn change_line(change: &ChangeView, look: &Look) -> String {
    let at = change.time.map(|time| text::absolute(time, &look.zone, true)).unwrap_or_default();
    let after = match (change.accept_time, change.time) {
        (Some(accepted), Some(time)) if time > accepted => format!("after {}", text::duration(between(accepted, time))),
        _ => String::new(),
    };
    let state = state_tone(&change.state).paint(&format!("{:<10}", change.state), look);
    format!("{at}  {}  {:<16}  {state}  {after}", id(&change.message), id(&change.bot)).trim_end().to_owned()
}
