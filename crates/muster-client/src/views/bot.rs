//! Bots.

use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::backoff::BackoffView;
use super::message::{StateCounts, state_counts};
use super::{ago, id, labels, labels_text, length, seconds, time, when, word};
use crate::screen::{Columns, Field, Look, Pairs, Tone};
use crate::text;

/// A bot as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Bot")]
pub struct BotView {
    pub name: String,
    pub gateway: String,
    pub node: String,
    pub address: String,
    pub display_name: String,
    pub labels: BTreeMap<String, String>,
    pub stage: String,
    pub stage_rule: String,
    pub hold: Option<HoldView>,
    pub connection: String,
    pub connection_detail: String,
    pub connection_time: Option<Timestamp>,
    pub apply_error: String,
    pub absence: AbsenceView,
    pub fail_over: Option<FailOverView>,
    pub sending_window: Option<SendingWindowView>,
    pub window_state: Option<WindowStateView>,
    /// Why everything of it waits, until an attempt gets through again.
    pub backoff: Option<BackoffView>,
    /// Messages per state; states without a message are left out.
    pub message_counts: StateCounts,
    pub create_time: Option<Timestamp>,
    pub update_time: Option<Timestamp>,
    pub etag: String,
}

/// A hold as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Hold")]
pub struct HoldView {
    pub reason: String,
    pub author: String,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// What is done about a bot while its node is absent, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.AbsencePolicy")]
pub struct AbsenceView {
    pub on_node_absent: String,
    /// Seconds.
    pub absent_after: Option<f64>,
    pub standby_gateway: String,
}

/// A move by policy, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.FailOver")]
pub struct FailOverView {
    pub from_gateway: String,
    pub absent_since: Option<Timestamp>,
    pub move_time: Option<Timestamp>,
}

/// When a bot may send, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.SendingWindow")]
pub struct SendingWindowView {
    pub time_zone: String,
    pub shifts: Vec<String>,
}

/// Whether a window is open, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.WindowState")]
pub struct WindowStateView {
    pub open: bool,
    pub change_time: Option<Timestamp>,
    pub open_time: Option<Timestamp>,
}

impl From<v1::SendingWindow> for SendingWindowView {
    fn from(v1::SendingWindow { time_zone, shifts }: v1::SendingWindow) -> Self {
        SendingWindowView { time_zone, shifts }
    }
}

impl From<v1::WindowState> for WindowStateView {
    fn from(state: v1::WindowState) -> Self {
        WindowStateView { open: state.open, change_time: time(state.change_time), open_time: time(state.open_time) }
    }
}

impl SendingWindowView {
    /// In words.
    fn told(&self) -> String {
        format!("{} ({})", self.shifts.join("; "), self.time_zone)
    }
}

impl WindowStateView {
    /// In words.
    fn told(&self, look: &Look) -> String {
        match (self.open, self.change_time) {
            (true, None) => "open at any time".to_owned(),
            (true, change) => format!("open until {}", when(change, look)),
            (false, _) => Tone::Busy.paint(&format!("closed until {}", when(self.open_time, look)), look),
        }
    }
}

impl From<v1::FailOver> for FailOverView {
    fn from(fail_over: v1::FailOver) -> Self {
        FailOverView {
            from_gateway: fail_over.from_gateway,
            absent_since: time(fail_over.absent_since),
            move_time: time(fail_over.move_time),
        }
    }
}

impl From<v1::AbsencePolicy> for AbsenceView {
    fn from(policy: v1::AbsencePolicy) -> Self {
        let name = v1::OnNodeAbsent::try_from(policy.on_node_absent).ok().map(|word| word.as_str_name());
        AbsenceView {
            on_node_absent: word(name, "ON_NODE_ABSENT_", policy.on_node_absent),
            absent_after: seconds(policy.absent_after),
            standby_gateway: policy.standby_gateway,
        }
    }
}

impl AbsenceView {
    /// In words.
    fn told(&self, gateway: &str) -> String {
        let after = self.absent_after.map(length).unwrap_or_default();
        match self.on_node_absent.as_str() {
            "FAIL_OVER" if self.standby_gateway == gateway => {
                "messages wait: it is at its standby gateway already".to_owned()
            }
            "FAIL_OVER" => format!("moves to {} after {after}", id(&self.standby_gateway)),
            "FAIL" => format!("what waits fails after {after}"),
            _ => "messages wait".to_owned(),
        }
    }
}

impl From<v1::Bot> for BotView {
    fn from(bot: v1::Bot) -> Self {
        let stage = v1::Stage::try_from(bot.stage).ok().map(|stage| stage.as_str_name());
        let connection = v1::Connection::try_from(bot.connection).ok().map(|connection| connection.as_str_name());
        BotView {
            name: bot.name,
            gateway: bot.gateway,
            node: bot.node,
            address: bot.address,
            display_name: bot.display_name,
            labels: labels(bot.labels),
            stage: word(stage, "STAGE_", bot.stage),
            stage_rule: bot.stage_rule,
            hold: bot.hold.map(|hold| HoldView {
                reason: hold.reason,
                author: hold.author,
                since: time(hold.since),
                until: time(hold.until),
            }),
            connection: word(connection, "CONNECTION_", bot.connection),
            connection_detail: bot.connection_detail,
            connection_time: time(bot.connection_time),
            apply_error: bot.apply_error,
            absence: bot.absence.unwrap_or_default().into(),
            fail_over: bot.fail_over.map(FailOverView::from),
            sending_window: bot.sending_window.map(SendingWindowView::from),
            window_state: bot.window_state.map(WindowStateView::from),
            backoff: bot.backoff.map(BackoffView::from),
            message_counts: state_counts(&bot.message_counts),
            create_time: time(bot.create_time),
            update_time: time(bot.update_time),
            etag: bot.etag,
        }
    }
}

impl BotView {
    fn connection_tone(&self) -> Tone {
        match self.connection.as_str() {
            "CONNECTED" => Tone::Good,
            "LINKING" | "UNLINKED" => Tone::Busy,
            _ => Tone::Bad,
        }
    }

    fn stage_tone(&self) -> Tone {
        match self.stage.as_str() {
            "ACTIVE" | "READY" => Tone::Good,
            "RESTRICTED" | "BANNED" => Tone::Bad,
            "RETIRED" => Tone::Faint,
            _ => Tone::Busy,
        }
    }

    fn count(&self, states: &[&str]) -> u64 {
        states.iter().filter_map(|state| self.message_counts.get(*state)).sum()
    }

    /// What an operator should know about it, the most urgent first.
    fn remark(&self, look: &Look) -> (String, Tone) {
        if !self.apply_error.is_empty() {
            return (self.apply_error.clone(), Tone::Bad);
        }
        if let Some(hold) = &self.hold {
            let until = hold.until.map(|until| format!(" until {}", text::absolute(until, &look.zone, false)));
            return (format!("held{}: {}", until.unwrap_or_default(), hold.reason), Tone::Busy);
        }
        if let Some(backoff) = &self.backoff {
            return (backoff.remark(look), Tone::Bad);
        }
        if let Some(moved) = &self.fail_over {
            let detail = if self.connection_detail.is_empty() { "" } else { "; " };
            return (
                format!("failed over from {}{detail}{}", id(&moved.from_gateway), self.connection_detail),
                Tone::Busy,
            );
        }
        let opens = self.window_state.as_ref().filter(|state| !state.open).and_then(|state| state.open_time);
        if let Some(opens) = opens.filter(|_| self.connection == "CONNECTED") {
            return (format!("window opens {}", text::absolute(opens, &look.zone, false)), Tone::Faint);
        }
        let tone = if self.connection == "CONNECTED" { Tone::Faint } else { Tone::Plain };
        (self.connection_detail.clone(), tone)
    }
}

/// Bots as a table.
pub fn table(bots: &[BotView], look: &Look) -> String {
    let headings = ["BOT", "NODE", "ADDRESS", "STAGE", "CONNECTION", "SINCE", "WAITING", "SENT", "FAILED", "REMARK"];
    let mut columns = Columns::new(&headings, look).optional(&["SINCE", "NODE", "ADDRESS", "STAGE"]);
    for bot in bots {
        let (remark, remark_tone) = bot.remark(look);
        columns.row([
            id(&bot.name).into(),
            id(&bot.node).into(),
            if bot.address.is_empty() { "-".into() } else { look.address(&bot.address).into() },
            Field::toned(&*bot.stage, bot.stage_tone()),
            Field::toned(&*bot.connection, bot.connection_tone()),
            ago(bot.connection_time, look).into(),
            Field::right(text::count(bot.count(&["WAITING", "DISPATCHED"]))),
            Field::right(text::count(bot.count(&["SENT", "DELIVERED", "READ"]))),
            Field::right(text::count(bot.count(&["FAILED", "EXPIRED", "UNCERTAIN"]))),
            Field::toned(remark, remark_tone),
        ]);
    }
    columns.render()
}

/// One bot in full.
pub fn page(bot: &BotView, look: &Look) -> String {
    let address = if bot.address.is_empty() { String::new() } else { look.address(&bot.address) };
    let hold = bot.hold.as_ref().map(|hold| {
        let by = if hold.author.is_empty() { String::new() } else { format!(", by {}", hold.author) };
        let until = match hold.until {
            Some(until) => format!("until {}", when(Some(until), look)),
            None => "until it is resumed".to_owned(),
        };
        Tone::Busy.paint(&format!("{} (since {}{by}, {until})", hold.reason, when(hold.since, look)), look)
    });
    let fail_over = bot.fail_over.as_ref().map(|moved| {
        let told = format!(
            "from {} {}, whose node had no session since {}; `muster bot move` takes it back",
            id(&moved.from_gateway),
            when(moved.move_time, look),
            when(moved.absent_since, look)
        );
        Tone::Busy.paint(&told, look)
    });
    let counts: Vec<String> = bot
        .message_counts
        .iter()
        .map(|(state, count)| format!("{} {}", text::count(*count), state.to_lowercase()))
        .collect();
    let stage = bot.stage_tone().paint(&bot.stage, look);
    let stage = if bot.stage_rule.is_empty() { stage } else { format!("{stage} (by rule {})", bot.stage_rule) };
    let mut pairs = Pairs::default();
    pairs
        .add("bot", id(&bot.name))
        .add("display name", &*bot.display_name)
        .add("address", address)
        .add("gateway", id(&bot.gateway))
        .add("node", id(&bot.node))
        .add("if absent", bot.absence.told(&bot.gateway))
        .add("failed over", fail_over.unwrap_or_default())
        .add("sends", bot.sending_window.as_ref().map(SendingWindowView::told).unwrap_or_default())
        .add("window", bot.window_state.as_ref().map(|state| state.told(look)).unwrap_or_default())
        .add("labels", labels_text(&bot.labels))
        .add("stage", stage)
        .add("hold", hold.unwrap_or_default())
        .add("connection", bot.connection_tone().paint(&bot.connection, look))
        .add("since", when(bot.connection_time, look))
        .add("detail", &*bot.connection_detail)
        .add("problem", Tone::Bad.paint(&bot.apply_error, look));
    if let Some(backoff) = &bot.backoff {
        backoff.add_to(&mut pairs, look);
    }
    pairs
        .add("messages", counts.join(", "))
        .add("declared", when(bot.create_time, look))
        .add("changed", when(bot.update_time, look));
    pairs.render()
}
