//! Messages that were not sent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::message::{FailureView, MessageView};
use super::{ago, id, time};
use crate::screen::{Columns, Field, Look, Tone};
use crate::text;

/// Failures with something in common, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.FailureGroup")]
pub struct GroupView {
    pub key: String,
    pub count: u64,
    pub replayed: u64,
    pub example: String,
    pub first_accept_time: Option<Timestamp>,
    pub last_accept_time: Option<Timestamp>,
    pub advice: String,
}

impl From<v1::FailureGroup> for GroupView {
    fn from(group: v1::FailureGroup) -> Self {
        GroupView {
            key: group.key,
            count: group.count,
            replayed: group.replayed,
            example: group.example,
            first_accept_time: time(group.first_accept_time),
            last_accept_time: time(group.last_accept_time),
            advice: group.advice,
        }
    }
}

/// Groups as a table. `heading` says what they have in common.
pub fn groups(groups: &[GroupView], heading: &'static str, look: &Look) -> String {
    let headings = [heading, "COUNT", "REPLAYED", "OLDEST", "NEWEST", "EXAMPLE"];
    let mut columns = Columns::new(&headings, look).optional(&["OLDEST", "EXAMPLE"]);
    for group in groups {
        let key = if group.key.is_empty() { "(never left)" } else { id(&group.key) };
        columns.row([
            key.into(),
            Field::right(text::count(group.count)),
            Field::right(text::count(group.replayed)),
            ago(group.first_accept_time, look).into(),
            ago(group.last_accept_time, look).into(),
            id(&group.example).into(),
        ]);
    }
    let mut lines = vec![columns.render()];
    // Below the table: sentences would make its rows too long for any terminal.
    let advised: Vec<&GroupView> = groups.iter().filter(|group| !group.advice.is_empty()).collect();
    if !advised.is_empty() {
        lines.push(String::new());
        lines.extend(advised.iter().map(|group| format!("{}: {}", group.key, group.advice)));
    }
    lines.join("\n")
}

/// Messages as a table: when, and why not.
pub fn table(messages: &[MessageView], look: &Look) -> String {
    let headings = ["MESSAGE", "BOT", "RECIPIENT", "STATE", "ACCEPTED", "TRIES", "WHY"];
    let mut columns = Columns::new(&headings, look).optional(&["TRIES", "RECIPIENT"]);
    for message in messages {
        columns.row([
            id(&message.name).into(),
            id(&message.bot).into(),
            look.address(&message.recipient).into(),
            Field::toned(&*message.state, Tone::Bad),
            ago(message.accept_time, look).into(),
            Field::right(message.attempt_no.to_string()),
            message.failure.as_ref().map(FailureView::to_string).unwrap_or_default().into(),
        ]);
    }
    columns.render()
}

/// What a replay came to, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReplayView {
    /// Nothing was sent.
    pub dry_run: bool,
    /// Messages that were looked at.
    pub looked_at: u64,
    /// Messages that are sent once more.
    pub replayed: u64,
    /// It was interrupted: the same command goes on.
    pub stopped: bool,
    /// By bot, cause and refusal.
    pub groups: Vec<ReplayGroupView>,
    /// The new message of each old one. Empty for a dry run.
    pub messages: BTreeMap<String, String>,
}

/// Messages of one bot that were not sent for one cause, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.ReplayGroup")]
pub struct ReplayGroupView {
    pub bot: String,
    pub cause: String,
    /// Empty if they are replayed.
    pub refusal: String,
    pub count: u64,
}

impl ReplayView {
    /// Adds what became of a page.
    pub fn add(&mut self, page: v1::ReplayFailuresResponse) {
        for group in page.groups {
            self.looked_at += group.count;
            if group.refusal.is_empty() {
                self.replayed += group.count;
            }
            let same = |known: &&mut ReplayGroupView| {
                (&known.bot, &known.cause, &known.refusal) == (&group.bot, &group.cause, &group.refusal)
            };
            match self.groups.iter_mut().find(same) {
                Some(known) => known.count += group.count,
                None => {
                    let v1::ReplayGroup { bot, cause, refusal, count } = group;
                    self.groups.push(ReplayGroupView { bot, cause, refusal, count });
                }
            }
        }
        self.messages.extend(page.replayed.into_iter().map(|pair| (pair.message, pair.replay)));
    }

    /// How many are sent, in words.
    pub fn line(&self) -> String {
        let verb = if self.dry_run { "would be replayed" } else { "replayed" };
        format!("{} of {} {verb}", text::count(self.replayed), text::plural(self.looked_at, "message"))
    }
}

/// Why messages are not replayed, in words.
fn refusal_text(refusal: &str) -> &str {
    match refusal {
        "" => "sent once more",
        "MAY_HAVE_BEEN_SENT" => "not: it may have been sent",
        "REPLAYED" => "not: it was replayed already",
        "OPTED_OUT" => "not: the recipient wants nothing",
        "BOT_OUT_OF_SERVICE" => "not: the bot is out of service",
        "NEEDS_FORCE" => "not: it would be refused again (--force)",
        other => other,
    }
}

/// A replay as a table, with its sum.
pub fn replay(view: &ReplayView, look: &Look) -> String {
    let mut columns = Columns::new(&["BOT", "CAUSE", "COUNT", "WHAT HAPPENS"], look);
    for group in &view.groups {
        let tone = if group.refusal.is_empty() { Tone::Good } else { Tone::Faint };
        columns.row([
            id(&group.bot).into(),
            group.cause.clone().into(),
            Field::right(text::count(group.count)),
            Field::toned(refusal_text(&group.refusal), tone),
        ]);
    }
    let table = if view.groups.is_empty() { String::new() } else { format!("{}\n\n", columns.render()) };
    let ended = match (view.dry_run, view.stopped) {
        (_, true) => "\nstopped; the same command goes on where this one ended, and sends nothing twice",
        (true, false) => "\nnothing was sent (--dry-run)",
        (false, false) => "",
    };
    format!("{table}{}{ended}", view.line())
}
