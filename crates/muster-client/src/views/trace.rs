//! Everything that is known about one message, as a timeline.

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::message::{FailureView, MessageView, state_tone, waiting_lines};
use super::{between, id, length, seconds, time, when, word};
use crate::screen::{Look, Tone};
use crate::text;

/// A trace as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceView {
    /// The message as it is now.
    pub message: MessageView,
    /// Its attempts, in order.
    pub attempts: Vec<AttemptView>,
    /// What was decided about it, in order.
    pub resolutions: Vec<ResolutionView>,
    /// The message that it repeats; empty if it is no replay.
    pub replay_of: String,
    /// The message that repeats it; empty if it was not replayed.
    pub replayed_as: String,
}

/// A decision about an uncertain message as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.ResolutionRecord")]
pub struct ResolutionView {
    pub resolution: String,
    pub decided_by: String,
    pub attempt_no: u32,
    pub time: Option<Timestamp>,
    pub reason: String,
    pub conflict: String,
}

/// An attempt as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Attempt")]
pub struct AttemptView {
    pub attempt_no: u32,
    pub node: String,
    pub epoch: u64,
    pub dispatch_time: Option<Timestamp>,
    pub outcome_time: Option<Timestamp>,
    /// Absent while it is under way.
    pub outcome: Option<String>,
    pub failure: Option<FailureView>,
    pub handback_reason: String,
    /// In seconds.
    pub queued: Option<f64>,
    /// In seconds.
    pub gateway: Option<f64>,
}

impl From<v1::TraceMessageResponse> for TraceView {
    fn from(response: v1::TraceMessageResponse) -> Self {
        TraceView {
            message: response.message.unwrap_or_default().into(),
            attempts: response.attempts.into_iter().map(AttemptView::from).collect(),
            resolutions: response.resolutions.into_iter().map(ResolutionView::from).collect(),
            replay_of: response.replay_of,
            replayed_as: response.replayed_as,
        }
    }
}

impl From<v1::ResolutionRecord> for ResolutionView {
    fn from(record: v1::ResolutionRecord) -> Self {
        let name = v1::Resolution::try_from(record.resolution).ok().map(|resolution| resolution.as_str_name());
        let by = v1::DecidedBy::try_from(record.decided_by).ok().map(|by| by.as_str_name());
        ResolutionView {
            resolution: word(name, "RESOLUTION_", record.resolution),
            decided_by: word(by, "DECIDED_BY_", record.decided_by),
            attempt_no: record.attempt_no,
            time: time(record.time),
            reason: record.reason,
            conflict: record.conflict,
        }
    }
}

impl ResolutionView {
    /// What was decided, why, and what spoke against it later, a line each.
    fn text(&self) -> String {
        let who = if self.decided_by == "POLICY" { "its policy" } else { "an operator" };
        let decided = match self.resolution.as_str() {
            "SENT" => format!("{who} took it for sent"),
            "RESEND" => format!("{who} had it sent again"),
            "DROP" => format!("{who} dropped it"),
            other => format!("{who} decided: {other}"),
        };
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        let conflict = if self.conflict.is_empty() {
            String::new()
        } else {
            format!("\nbut a late report says: {}", self.conflict)
        };
        format!("{decided}{reason}{conflict}")
    }
}

impl From<v1::Attempt> for AttemptView {
    fn from(attempt: v1::Attempt) -> Self {
        let outcome = (attempt.outcome != 0).then(|| {
            let name = v1::AttemptOutcome::try_from(attempt.outcome).ok().map(|outcome| outcome.as_str_name());
            word(name, "ATTEMPT_OUTCOME_", attempt.outcome)
        });
        AttemptView {
            attempt_no: attempt.attempt_no,
            node: attempt.node,
            epoch: attempt.epoch,
            dispatch_time: time(attempt.dispatch_time),
            outcome_time: time(attempt.outcome_time),
            outcome,
            failure: attempt.failure.map(FailureView::from),
            handback_reason: attempt.handback_reason,
            queued: seconds(attempt.queued),
            gateway: seconds(attempt.gateway),
        }
    }
}

impl AttemptView {
    /// What became of it, in words, and how that is to be taken.
    fn outcome_text(&self) -> (String, Tone) {
        let failure = self.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
        let spent = [
            self.queued.map(|queued| format!("{} on the agent", length(queued))),
            self.gateway.map(|gateway| format!("{} at the gateway", length(gateway))),
        ];
        let spent = spent.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let spent = if spent.is_empty() { spent } else { format!(" ({spent})") };
        match self.outcome.as_deref() {
            None => ("under way".to_owned(), Tone::Busy),
            Some("SENT") => (format!("sent by the gateway{spent}"), Tone::Good),
            Some("FAILED") => (format!("not sent{failure}{spent}"), Tone::Bad),
            Some("UNCERTAIN") => (format!("may have been sent{failure}{spent}"), Tone::Bad),
            Some("HANDED_BACK") => (format!("given back unstarted: {}", self.handback_reason), Tone::Busy),
            Some("EXPIRED") => ("expired on the agent, unstarted".to_owned(), Tone::Bad),
            Some("CANCELLED") => ("cancelled on the agent, unstarted".to_owned(), Tone::Faint),
            Some("NOT_RECEIVED") => ("the agent never received it".to_owned(), Tone::Busy),
            Some(other) => (format!("{other}{failure}{spent}"), Tone::Plain),
        }
    }
}

/// Something that happened, or goes on, at a time.
struct Step {
    /// None for what is going on now.
    at: Option<Timestamp>,
    what: String,
    tone: Tone,
}

fn steps(trace: &TraceView, look: &Look) -> Vec<Step> {
    let message = &trace.message;
    let mut steps = Vec::new();
    let mut add = |at: Option<Timestamp>, what: String, tone: Tone| {
        if at.is_some() {
            steps.push(Step { at, what, tone });
        }
    };
    add(message.accept_time, "accepted".to_owned(), Tone::Plain);
    for attempt in &trace.attempts {
        let carrier =
            format!("attempt {} handed to {}, session {}", attempt.attempt_no, id(&attempt.node), attempt.epoch);
        add(attempt.dispatch_time, carrier, Tone::Plain);
        let (what, tone) = attempt.outcome_text();
        add(attempt.outcome_time, what, tone);
    }
    for resolution in &trace.resolutions {
        add(resolution.time, resolution.text(), Tone::Plain);
    }
    add(message.acknowledge_time, "acknowledged by the network".to_owned(), Tone::Good);
    add(message.deliver_time, "delivered to the recipient's device".to_owned(), Tone::Good);
    add(message.read_time, "read".to_owned(), Tone::Good);
    steps.sort_by_key(|step| step.at);
    let mut ongoing = |what: String, tone: Tone| steps.push(Step { at: None, what, tone });
    match message.state.as_str() {
        "WAITING" => {
            let why = message.waiting.as_ref().map(|waiting| waiting_lines(waiting, look));
            ongoing(format!("waits: {}", why.unwrap_or_default().join("\n")), Tone::Plain);
        }
        "DISPATCHED" => ongoing("under way on the agent".to_owned(), Tone::Busy),
        _ => {}
    }
    if message.cancel_requested && matches!(message.state.as_str(), "WAITING" | "DISPATCHED") {
        ongoing("a cancellation was asked for".to_owned(), Tone::Busy);
    }
    steps
}

/// The trace as a timeline: when, how long after acceptance, and what.
pub fn timeline(trace: &TraceView, look: &Look) -> String {
    let message = &trace.message;
    let state = state_tone(&message.state).paint(&message.state, look);
    let says = message.content.as_ref().map(|content| format!("  {}", content.summary())).unwrap_or_default();
    let mut lines = vec![
        format!("{}  {state}", message.name),
        format!(
            "{} → {}  {}{says}",
            id(&message.bot),
            look.address(&message.recipient),
            message.priority.to_lowercase()
        ),
    ];
    if !trace.replay_of.is_empty() {
        lines.push(format!("replay of {}, which was not sent", trace.replay_of));
    }
    if !trace.replayed_as.is_empty() {
        lines.push(format!("replayed as {}", trace.replayed_as));
    }
    if let Some(not_before) = message.not_before {
        lines.push(format!("not before {}", when(Some(not_before), look)));
    }
    if let Some(failure) = message.failure.as_ref().filter(|_| matches!(message.state.as_str(), "FAILED" | "UNCERTAIN"))
    {
        lines.push(format!("because {failure}"));
    }
    if let Some(expires) =
        message.expire_time.filter(|_| matches!(message.state.as_str(), "WAITING" | "DISPATCHED" | "EXPIRED"))
    {
        lines.push(format!("valid until {}", when(Some(expires), look)));
    }
    lines.push(String::new());
    for Step { at, what, tone } in steps(trace, look) {
        let (at, after) = match at {
            Some(at) => {
                let after = message.accept_time.filter(|accepted| at > *accepted).map(|accepted| between(accepted, at));
                let after = after.map(|after| format!("+{}", text::duration(after))).unwrap_or_default();
                (text::absolute(at, &look.zone, true), after)
            }
            None => ("now".to_owned(), String::new()),
        };
        let mut what = what.lines();
        let first = what.next().unwrap_or_default();
        lines.push(format!("{at:<23}  {after:>9}  {}", tone.paint(first, look)));
        lines.extend(what.map(|more| format!("{:<36}{more}", "")));
    }
    if !message.network_id.is_empty() {
        lines.push(format!("\nnetwork id {}", message.network_id));
    }
    lines.join("\n")
}
