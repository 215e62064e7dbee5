//! Messages of which nobody can tell whether they were sent.

use super::message::{FailureView, MessageView};
use super::{ago, id};
use crate::screen::{Columns, Look};

/// Uncertain messages as a table: since when, what their policy is, and what is known.
pub fn table(messages: &[MessageView], look: &Look) -> String {
    let headings = ["MESSAGE", "BOT", "RECIPIENT", "SINCE", "POLICY", "EVIDENCE"];
    let mut columns = Columns::new(&headings, look).optional(&["RECIPIENT"]);
    for message in messages {
        columns.row([
            id(&message.name).into(),
            id(&message.bot).into(),
            look.address(&message.recipient).into(),
            ago(message.outcome_time, look).into(),
            message.on_uncertain.as_str().into(),
            message.failure.as_ref().map(FailureView::to_string).unwrap_or_default().into(),
        ]);
    }
    columns.render()
}
