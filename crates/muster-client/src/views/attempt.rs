//! Attempts by the node that they were given to.

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::{ago, id, time, word};
use crate::screen::{Columns, Field, Look, Tone};

/// An attempt at a node as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.AttemptAtNode")]
pub struct AttemptAtNodeView {
    pub message: String,
    pub attempt_no: u32,
    pub bot: String,
    pub node: String,
    pub dispatch_time: Option<Timestamp>,
    /// `None` while it is under way.
    pub outcome: Option<String>,
}

impl From<v1::AttemptAtNode> for AttemptAtNodeView {
    fn from(attempt: v1::AttemptAtNode) -> Self {
        let outcome = (attempt.outcome != 0).then(|| {
            let name = v1::AttemptOutcome::try_from(attempt.outcome).ok().map(|outcome| outcome.as_str_name());
            word(name, "ATTEMPT_OUTCOME_", attempt.outcome)
        });
        AttemptAtNodeView {
            message: attempt.message,
            attempt_no: attempt.attempt_no,
            bot: attempt.bot,
            node: attempt.node,
            dispatch_time: time(attempt.dispatch_time),
            outcome,
        }
    }
}

impl AttemptAtNodeView {
    /// Whether the node gave it back, or never had it: its message waits again.
    pub fn is_back(&self) -> bool {
        matches!(self.outcome.as_deref(), Some("HANDED_BACK" | "NOT_RECEIVED"))
    }

    fn outcome(&self) -> (String, Tone) {
        match self.outcome.as_deref() {
            None => ("under way".to_owned(), Tone::Busy),
            Some(outcome @ "SENT") => (outcome.to_owned(), Tone::Good),
            Some(outcome @ ("FAILED" | "UNCERTAIN")) => (outcome.to_owned(), Tone::Bad),
            Some(outcome) => (outcome.to_owned(), Tone::Plain),
        }
    }
}

/// Attempts as a table.
pub fn table(attempts: &[AttemptAtNodeView], look: &Look) -> String {
    let headings = ["MESSAGE", "ATTEMPT", "BOT", "NODE", "GIVEN", "OUTCOME"];
    let mut columns = Columns::new(&headings, look).optional(&["GIVEN", "NODE"]);
    for attempt in attempts {
        let (outcome, tone) = attempt.outcome();
        columns.row([
            id(&attempt.message).into(),
            Field::right(attempt.attempt_no.to_string()),
            id(&attempt.bot).into(),
            id(&attempt.node).into(),
            ago(attempt.dispatch_time, look).into(),
            Field::toned(outcome, tone),
        ]);
    }
    columns.render()
}
