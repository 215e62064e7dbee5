//! `muster send --file`

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use muster_domain::Network;
use muster_proto::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::CommonArgs;
use super::send::{ContentArgs, RowArgs, ScheduleArgs};
use crate::connection::Server;
use crate::error::{Done, Error};
use crate::rows::{Input, Problem, ProblemKind, RowFormat, open};
use crate::screen::{Format, Screen};
use crate::send::draft::{Draft, Drafter, Plan, violations};
use crate::send::stream::{Event, Item, Sent, read_ahead, send};
use crate::send::tally::{Tally, summary};
use crate::send::template::Template;
use crate::text;

/// Problems that are shown to a person at a terminal; a file of them is complete.
const PROBLEMS_SHOWN_MAX: u64 = 20;

/// How often the progress is drawn again.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn run(
    screen: &Screen,
    common: &CommonArgs,
    file: &Path,
    content: ContentArgs,
    schedule: ScheduleArgs,
    rows: RowArgs,
) -> Result<Done, Error> {
    let plan = plan(screen, file, &content, &schedule, &rows)?;
    let format = rows.format.unwrap_or_else(|| RowFormat::of(file));
    let input = Input::open(file)?;
    let progress = Progress::new(screen, &input);
    let items = read_ahead(open(input, format, rows.delimiter)?, Drafter::new(plan, &rows.run));
    let server = common.connect().await?;
    let Sent { tally, ended } = if rows.dry_run {
        check(&server, items, rows.strict, progress).await
    } else {
        let stop = CancellationToken::new();
        let voice = progress.bar.clone();
        let mut progress = progress;
        let mut observe = |event: Event<'_>| progress.take(event);
        let sending = send(&server, items, rows.strict, schedule.wait, stop.clone(), &mut observe);
        let sent = until_interrupted(sending, stop, &voice).await;
        progress.finish();
        sent
    };
    if ended.is_ok() || tally.rows > 0 {
        screen.one(&tally, |tally, look| {
            let told = summary(tally, look);
            if rows.dry_run { format!("{told}\nnothing was sent (--dry-run)") } else { told }
        })?;
    }
    ended?;
    let complete = tally.refused.is_empty() && !tally.stopped;
    Ok(if complete { Done::All } else { Done::Partly })
}

fn plan(
    screen: &Screen,
    file: &Path,
    content: &ContentArgs,
    schedule: &ScheduleArgs,
    rows: &RowArgs,
) -> Result<Plan, Error> {
    let template = |option: &str, text: &Option<String>| -> Result<Option<Template>, Error> {
        let Some(text) = text else { return Ok(None) };
        Template::parse(text).map(Some).map_err(|error| Error::Usage(format!("{option}: {error}")))
    };
    Ok(Plan {
        bot: rows.bot.clone(),
        text: template("--text", &content.text)?,
        media: content.medium(),
        caption: template("--caption", &content.caption)?,
        mime_type: content.mime_type.clone(),
        priority: schedule.priority,
        not_before: schedule.not_before(true, &screen.look.zone)?,
        validity: schedule.validity,
        on_uncertain: schedule.on_uncertain,
        folder: file.parent().unwrap_or(Path::new("")).to_owned(),
        zone: screen.look.zone.clone(),
    })
}

/// Lets the first Ctrl-C end the run in good order: what is in flight is still answered.
async fn until_interrupted(sending: impl Future<Output = Sent>, stop: CancellationToken, voice: &ProgressBar) -> Sent {
    tokio::pin!(sending);
    tokio::select! {
        sent = &mut sending => return sent,
        _ = tokio::signal::ctrl_c() => {}
    }
    say(voice, "stopping; the same command goes on where this run ended, and sends nothing twice");
    stop.cancel();
    sending.await
}

/// The progress of a run, and its problems as they are found.
struct Progress {
    bar: ProgressBar,
    name: String,
    input: crate::rows::BytesRead,
    shown_max: u64,
    problems: u64,
}

impl Progress {
    fn new(screen: &Screen, input: &Input) -> Self {
        let watched = screen.talk_is_watched();
        let bar = match input.size {
            _ if !watched => ProgressBar::hidden(),
            Some(size) => ProgressBar::new(size).with_style(style("{bar:30} {percent:>3}%  {msg}  {eta} left")),
            None => ProgressBar::no_length().with_style(style("{spinner}  {msg}  {elapsed}")),
        };
        if watched {
            bar.enable_steady_tick(DRAW_INTERVAL);
        }
        // A program that reads our problems wants them all; so does a file.
        let shown_max = if watched && screen.format == Format::Table { PROBLEMS_SHOWN_MAX } else { u64::MAX };
        Progress { bar, name: input.name.clone(), input: input.bytes_read.clone(), shown_max, problems: 0 }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Progress(tally) => {
                self.bar.set_position(self.input.get());
                self.bar.set_message(tally.line());
            }
            Event::Refused(problem) => self.problem(problem),
            Event::Broken { because, wait } => {
                self.say(&format!("lost the server: {because}; trying again in {}", text::duration(wait)));
            }
            Event::Postponed { because, patience } => {
                let patience = text::duration(patience);
                self.say(&format!(
                    "{} ({}); its rows wait, until nothing was accepted for {patience} (--wait)",
                    because.message, because.reason
                ));
            }
        }
    }

    fn problem(&mut self, problem: &Problem) {
        self.problems += 1;
        if self.problems <= self.shown_max {
            self.say(&format!("{}, {problem}", self.name));
        }
    }

    fn say(&self, told: &str) {
        say(&self.bar, told);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
        if self.problems > self.shown_max {
            let more = text::plural(self.problems - self.shown_max, "more row");
            self.say(&format!("and {more}; send standard error to a file to see all: 2> refused.txt"));
        }
    }
}

/// A line on standard error, above the progress.
fn say(bar: &ProgressBar, told: &str) {
    bar.suspend(|| {
        let _ = writeln!(std::io::stderr().lock(), "{told}");
    });
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Checks every row as far as that goes without sending it: also the bot, and the recipient on the bot's network.
async fn check(server: &Server, items: mpsc::Receiver<Item>, strict: bool, mut progress: Progress) -> Sent {
    let mut tally = Tally::default();
    let ended = check_rows(server, items, strict, &mut progress, &mut tally).await;
    progress.finish();
    Sent { tally, ended }
}

async fn check_rows(
    server: &Server,
    mut items: mpsc::Receiver<Item>,
    strict: bool,
    progress: &mut Progress,
    tally: &mut Tally,
) -> Result<(), Error> {
    let mut networks = Networks { server, known: HashMap::new() };
    while let Some(item) = items.recv().await {
        let (line, problem) = match item {
            Item::Draft(draft) => (draft.origin.line, networks.check(&draft).await?),
            Item::Problem(problem) => (problem.line, Some(problem)),
            Item::Failed(error) => return Err(error),
        };
        tally.rows += 1;
        tally.last_line = line;
        match problem {
            None => tally.accepted += 1,
            Some(problem) => {
                tally.refuse(&problem);
                progress.problem(&problem);
                if strict {
                    tally.stopped = true;
                    return Ok(());
                }
            }
        }
        progress.take(Event::Progress(tally));
    }
    Ok(())
}

/// The networks of bots, each asked for once.
struct Networks<'a> {
    server: &'a Server,
    known: HashMap<String, Result<Network, String>>,
}

impl Networks<'_> {
    async fn check(&mut self, draft: &Draft) -> Result<Option<Problem>, Error> {
        let bot = &draft.message.bot;
        if !self.known.contains_key(bot) {
            let network = self.ask(bot).await?;
            self.known.insert(bot.clone(), network);
        }
        Ok(match &self.known[bot] {
            Err(told) => {
                let column = draft.origin.column_of("bot");
                Some(Problem::new(draft.origin.line, column, ProblemKind::Value, told.clone()))
            }
            Ok(network) => {
                let found = violations(&draft.message, *network);
                (!found.is_empty()).then(|| draft.origin.problem(ProblemKind::Value.as_str(), &found, ""))
            }
        })
    }

    /// The network of a bot; the inner error is for the rows that name it.
    async fn ask(&self, bot: &str) -> Result<Result<Network, String>, Error> {
        let request = v1::GetBotRequest { name: bot.to_owned() };
        let bot = match self.server.bots().get_bot(request).await {
            Ok(response) => response.into_inner().bot.unwrap_or_default(),
            Err(status) if status.code() == tonic::Code::NotFound => {
                return Ok(Err("no such bot is declared".to_owned()));
            }
            Err(status) => return Err(status.into()),
        };
        if bot.stage() == v1::Stage::Retired {
            return Ok(Err("the bot is retired".to_owned()));
        }
        let request = v1::GetGatewayRequest { name: bot.gateway };
        let gateway = self.server.gateways().get_gateway(request).await?.into_inner().gateway.unwrap_or_default();
        Ok(match gateway.kind() {
            v1::GatewayKind::Evolution => Ok(Network::WhatsApp),
            // A kind that is newer than this build cannot be judged here.
            v1::GatewayKind::Null | v1::GatewayKind::Unspecified => Ok(Network::Null),
        })
    }
}
