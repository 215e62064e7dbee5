//! Why a whole bot or gateway waits after it was refused.

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::message::FailureView;
use super::{time, when};
use crate::screen::{Look, Pairs, Tone};
use crate::text;

/// A back-off as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Backoff")]
pub struct BackoffView {
    pub scope: String,
    pub failure: FailureView,
    pub refusals: u32,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub advice: String,
}

impl From<v1::Backoff> for BackoffView {
    fn from(backoff: v1::Backoff) -> Self {
        BackoffView {
            scope: backoff.scope,
            failure: backoff.failure.unwrap_or_default().into(),
            refusals: backoff.refusals,
            since: time(backoff.since),
            until: time(backoff.until),
            advice: backoff.advice,
        }
    }
}

impl BackoffView {
    /// What waits, and when it tries again.
    fn waits(&self, look: &Look) -> String {
        let who = if self.scope == "GATEWAY" { "gateway" } else { "bot" };
        match self.until.filter(|until| *until > look.now) {
            Some(until) => format!("{who} waits until {}", text::absolute(until, &look.zone, false)),
            None => format!("{who} tries with its next message"),
        }
    }

    /// For a line of a table.
    pub fn remark(&self, look: &Look) -> String {
        format!("{}: {}", self.waits(look), self.failure)
    }

    /// In full, for a page.
    pub fn add_to(&self, pairs: &mut Pairs, look: &Look) {
        let times = text::plural(self.refusals.into(), "refusal");
        pairs
            .add("refused", Tone::Bad.paint(&self.failure.to_string(), look))
            .add("", format!("{times} in a row, since {}; {}", when(self.since, look), self.waits(look)))
            .add("", &*self.advice);
    }
}
