//! What the demo tells at its end: an object for programs, a table for people.

use std::time::{Duration, Instant};

use muster_client::screen::{Columns, Field, Look, Tone};
use muster_client::text;
use serde::Serialize;

use crate::check::Verdict;
use crate::measure::{Figures, Measure, Percentiles};

/// Violations that are shown to a person; the object has all.
const VIOLATIONS_SHOWN: usize = 20;

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// From the first message sent until the last one was final, in seconds.
    pub(crate) seconds: f64,
    /// Messages that became final in a second, on average.
    pub(crate) messages_per_second: f64,
    /// From the start of the demo until the first message was seen to be delivered, in milliseconds.
    pub(crate) first_delivered_ms: Option<f64>,
    /// Over all bots.
    pub(crate) all: Figures,
    /// Each bot.
    pub(crate) bots: Vec<BotFigures>,
    /// Whether the simulator's ledger agrees with the server.
    pub(crate) check: Verdict,
}

/// One bot.
#[derive(Debug, Serialize)]
pub(crate) struct BotFigures {
    /// Its id.
    pub(crate) bot: String,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

impl Report {
    /// `started` is when the demo began, `seconds` how long the messages took.
    pub(crate) fn new(measure: &Measure, started: Instant, seconds: f64, check: Verdict) -> Self {
        let all = measure.all();
        let bots = measure.bots().map(|(bot, figures)| {
            let bot = bot.strip_prefix("bots/").unwrap_or(bot).to_owned();
            BotFigures { bot, figures }
        });
        let messages_per_second = if seconds > 0.0 { all.finished() as f64 / seconds } else { 0.0 };
        let first_delivered_ms = measure.first_delivered().map(|first| (first - started).as_secs_f64() * 1e3);
        Report { seconds, messages_per_second, first_delivered_ms, bots: bots.collect(), all, check }
    }
}

/// The table per bot, and the verdict below it.
pub(crate) fn page(report: &Report, look: &Look) -> String {
    let headings = ["BOT", "SENT", "DELIVERED", "READ", "FAILED", "SENT P50", "P99", "DELIVERED P50", "P99"];
    let mut columns = Columns::new(&headings, look);
    let mut row = |name: &str, figures: &Figures| {
        let failed = figures.failed + figures.uncertain;
        let tone = if failed > 0 { Tone::Bad } else { Tone::Plain };
        columns.row([
            name.into(),
            Field::right(text::count(figures.sent)),
            Field::right(text::count(figures.delivered)),
            Field::right(text::count(figures.read)),
            Field::right(text::count(failed)).with_tone(tone),
            Field::right(time(figures.sent_ms, |times| times.p50)),
            Field::right(time(figures.sent_ms, |times| times.p99)),
            Field::right(time(figures.delivered_ms, |times| times.p50)),
            Field::right(time(figures.delivered_ms, |times| times.p99)),
        ]);
    };
    for BotFigures { bot, figures } in &report.bots {
        row(bot, figures);
    }
    row("all", &report.all);
    let table = columns.render();
    let rate = format!(
        "{} in {:.1} s, {:.0} a second",
        text::plural(report.all.finished(), "message"),
        report.seconds,
        report.messages_per_second
    );
    let first = match report.first_delivered_ms {
        Some(ms) => format!("; the first was delivered {} after the start of the demo", duration(ms)),
        None => String::new(),
    };
    format!("{table}\n\n{rate}{first}\n{}", verdict(&report.check, look))
}

fn time(times: Option<Percentiles>, which: impl Fn(&Percentiles) -> f64) -> String {
    times.map_or_else(|| "-".to_owned(), |times| duration(which(&times)))
}

fn duration(ms: f64) -> String {
    text::duration(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default())
}

fn verdict(check: &Verdict, look: &Look) -> String {
    if check.agrees() {
        let uncertain = check.states.get("UNCERTAIN").copied().unwrap_or_default();
        let told =
            if uncertain == 0 { "nobody skipped, nobody twice".to_owned() } else { format!("{uncertain} uncertain") };
        return Tone::Good.paint(
            &format!(
                "the simulated network's ledger agrees: {} of {} messages taken, {told}",
                text::count(check.taken as u64),
                text::count(check.messages as u64)
            ),
            look,
        );
    }
    let count = text::plural(check.violations.len() as u64, "violation");
    let mut lines = vec![Tone::Bad.paint(&format!("the simulated network's ledger does not agree: {count}"), look)];
    lines.extend(check.violations.iter().take(VIOLATIONS_SHOWN).map(|violation| format!("  {violation}")));
    if check.violations.len() > VIOLATIONS_SHOWN {
        lines.push("  …".to_owned());
    }
    lines.join("\n")
}
