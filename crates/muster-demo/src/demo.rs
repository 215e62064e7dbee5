//! `muster demo`, from the first process to the last.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use muster_client::rows::{Input, RowFormat, open};
use muster_client::screen::{Format, Screen};
use muster_client::send::draft::{Drafter, Plan};
use muster_client::send::stream::{self, Event};
use muster_client::send::template::Template;
use muster_client::text;
use muster_client::watch::{Watch, Watched};
use muster_domain::MessageId;
use muster_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::check::{Evidence, Verdict, check, receipts_outstanding};
use crate::facts::{self, Contents, Look};
use crate::janitor::Janitor;
use crate::measure::Measure;
use crate::processes::Program;
use crate::progress::{Progress, say};
use crate::report::{Report, page};
use crate::samples;
use crate::stage::Stage;

/// How often the progress is drawn again.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// How long the messages may go without any change of state before the demo gives up on them.
const STANDSTILL_PATIENCE: Duration = Duration::from_secs(60);

/// How long receipts may take after every message is final. The simulated recipients read within a few seconds.
const RECEIPTS_PATIENCE: Duration = Duration::from_secs(30);

/// How long a process that was killed may hold on to its files.
const REMOVE_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether all receipts came.
const RECEIPTS_POLL: Duration = Duration::from_millis(250);

/// What is asked of the demo.
#[derive(Debug, Clone)]
pub struct Options {
    /// End after the report instead of staying up.
    pub exit: bool,
    /// How the report is printed.
    pub format: Format,
    /// How many messages are sent; the sample file's number if unset.
    pub messages: Option<usize>,
    /// Keep everything in this folder instead of a temporary one that is removed.
    pub keep: Option<PathBuf>,
}

/// How the demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The ledger agrees with the server.
    Agrees,
    /// It does not, and the report says where.
    Disagrees,
    /// Somebody stopped it before the report.
    Interrupted,
}

/// Runs the demo until its end, or until `shutdown` is cancelled. Leaves no process and no file behind, whatever happens.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<Outcome> {
    let started = Instant::now();
    let folder = Folder::prepare(options.keep.as_deref())?;
    let program = Program::own(folder.path()).context("find the own executable")?;
    let janitor = match options.keep {
        None => Some(Janitor::start(program.executable(), folder.path()).context("start the janitor")?),
        Some(_) => None,
    };
    let mut stage = None;
    let shown = tokio::select! {
        shown = show(&options, started, &program, folder.path(), &mut stage) => shown,
        () = shutdown.cancelled() => Ok(Shown { outcome: Outcome::Interrupted, example: None }),
    };
    if let (Ok(shown), Some(stage), false) = (&shown, &stage, options.exit || shutdown.is_cancelled()) {
        say(&invitation(stage, &program, shown.example));
        shutdown.cancelled().await;
        say("stopping");
    }
    let stopped = match stage {
        Some(stage) => stage.stop().await,
        None => Ok(()),
    };
    // What was not there for an orderly stop was killed when it was dropped, and may need a moment.
    folder.remove().await?;
    if let Some(janitor) = janitor {
        janitor.dismiss().context("end the janitor")?;
    }
    stopped.and(shown).map(|shown| shown.outcome)
}

/// What the report came to, and a message that is worth a look.
struct Shown {
    outcome: Outcome,
    example: Option<MessageId>,
}

/// Where the demo keeps its files.
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn prepare(keep: Option<&Path>) -> Result<Self> {
        match keep {
            Some(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("create the folder {}", path.display()))?;
                let path = path.canonicalize().with_context(|| format!("find the folder {}", path.display()))?;
                Ok(Folder::Kept(path))
            }
            None => {
                let folder = tempfile::Builder::new().prefix("muster-demo-").tempdir();
                Ok(Folder::Temporary(folder.context("create a temporary folder")?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(path) => path,
        }
    }

    async fn remove(self) -> Result<()> {
        let Folder::Temporary(folder) = self else { return Ok(()) };
        let path = folder.keep();
        let deadline = Instant::now() + REMOVE_PATIENCE;
        while let Err(error) = std::fs::remove_dir_all(&path) {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            tokio::time::sleep(DRAW_INTERVAL).await;
        }
        Ok(())
    }
}

/// Everything up to the report. The stage is left to the caller, whatever happens.
async fn show(
    options: &Options,
    started: Instant,
    program: &Program,
    folder: &Path,
    slot: &mut Option<Stage>,
) -> Result<Shown> {
    let messages = options.messages.unwrap_or_else(samples::recipient_count);
    samples::write(folder, messages).with_context(|| format!("write the samples to {}", folder.display()))?;
    say("starting a server, a simulator with 2 gateways, and 2 agents");
    let stage = slot.insert(Stage::start(program, folder).await?);
    let begun = Instant::now();
    let bots = stage.link_bots().await?;
    say(&format!("{bots} bots declared and linked in {}", text::duration(begun.elapsed())));

    let mut run = send_and_measure(stage, messages as u64).await?;
    let settled = settle_and_check(stage, &mut run).await;
    run.progress.finish();
    let (verdict, example) = settled?;
    let outcome = if verdict.agrees() { Outcome::Agrees } else { Outcome::Disagrees };
    let report = Report::new(&run.measure, started, run.seconds, verdict);
    let screen = Screen::new(options.format, false);
    screen.one(&report, page)?;
    Ok(Shown { outcome, example })
}

/// A run whose messages are all final.
struct Finished {
    measure: Measure,
    watch: Watch<v1::WatchMessagesResponse>,
    progress: Progress,
    seconds: f64,
}

/// Sends the sample file and watches until every message is final.
async fn send_and_measure(stage: &mut Stage, messages: u64) -> Result<Finished> {
    let path = stage.folder().join("recipients.csv");
    let plan = Plan {
        bot: None,
        text: Some(Template::parse(samples::TEXT)?),
        media: None,
        caption: None,
        mime_type: None,
        priority: None,
        not_before: None,
        validity: None,
        on_uncertain: None,
        folder: stage.folder().to_owned(),
        zone: TimeZone::UTC,
    };
    let items = stream::read_ahead(open(Input::open(&path)?, RowFormat::Csv, None)?, Drafter::new(plan, ""));
    let mut observe = |event: Event<'_>| {
        if let Event::Refused(problem) = event {
            say(&format!("recipients.csv, {problem}"));
        }
    };
    let client = stage.client.clone();
    let sending = stream::send(&client, items, false, STANDSTILL_PATIENCE, CancellationToken::new(), &mut observe);
    tokio::pin!(sending);

    let begun = Instant::now();
    let mut measure = Measure::default();
    let mut watch = Watch::new(&client, "0", "");
    let mut progress = Progress::new(messages);
    let mut draw = tokio::time::interval(DRAW_INTERVAL);
    let mut accepted = None;
    let mut last_change = Instant::now();
    while accepted.is_none_or(|accepted| measure.all().finished() < accepted) {
        tokio::select! {
            sent = &mut sending, if accepted.is_none() => {
                sent.ended?;
                accepted = Some(sent.tally.accepted + sent.tally.replayed);
            }
            watched = watch.next() => {
                if take(watched?, &mut measure) {
                    last_change = Instant::now();
                }
            }
            _ = draw.tick() => {
                progress.draw(&measure.all());
                stage.check_alive()?;
                if last_change.elapsed() > STANDSTILL_PATIENCE {
                    progress.say(&format!("nothing moved for {} s: giving up on the rest", STANDSTILL_PATIENCE.as_secs()));
                    break;
                }
            }
        }
    }
    Ok(Finished { measure, watch, progress, seconds: begun.elapsed().as_secs_f64() })
}

/// Takes an answer of the watch; whether something changed.
fn take(watched: Watched<v1::WatchMessagesResponse>, measure: &mut Measure) -> bool {
    match watched {
        Watched::Answer(answer) => {
            answer.changes.iter().for_each(|change| measure.take(change));
            !answer.changes.is_empty()
        }
        Watched::Broken { .. } => false,
    }
}

/// Waits for the receipts that the simulated network still has to give, and compares both sides.
async fn settle_and_check(stage: &mut Stage, run: &mut Finished) -> Result<(Verdict, Option<MessageId>)> {
    let contents = Contents::new(samples::MEDIA.map(|(_, bytes)| bytes.to_vec()));
    let deadline = Instant::now() + RECEIPTS_PATIENCE;
    loop {
        let taken = facts::taken(&stage.admin).await?;
        let believed = facts::believed(&stage.client, &contents, Look::WhereItDecides).await?;
        if receipts_outstanding(&believed, &taken) == 0 || Instant::now() > deadline {
            break;
        }
        let until = tokio::time::Instant::now() + RECEIPTS_POLL;
        while let Ok(watched) = tokio::time::timeout_at(until, run.watch.next()).await {
            take(watched?, &mut run.measure);
        }
        run.progress.draw(&run.measure.all());
        stage.check_alive()?;
    }
    // What the last look at the server saw may not have come over the stream yet.
    while let Ok(watched) = tokio::time::timeout(RECEIPTS_POLL, run.watch.next()).await {
        take(watched?, &mut run.measure);
    }
    let taken = facts::taken(&stage.admin).await?;
    let believed = facts::believed(&stage.client, &contents, Look::All).await?;
    let verdict = check(&Evidence { believed: &believed, taken: &taken, acknowledged: &[], settled: true });
    Ok((verdict, believed.last().map(|believed| believed.id)))
}

/// Where everything is, and what to try.
fn invitation(stage: &Stage, program: &Program, example: Option<MessageId>) -> String {
    let example = example.map(|id| format!("muster message trace {id}\n  ")).unwrap_or_default();
    let muster = program.executable().display();
    let server = stage.server.address("api");
    let sim = stage.sim.address("admin");
    format!(
        "\neverything stays up until Ctrl-C; logs and files are in {folder}\n\n  \
         server     {server}\n  simulator  {sim}\n\nin another terminal:\n\n  \
         export MUSTER_SERVER={server}\n  \
         alias muster={muster}\n  \
         muster bot ls\n  \
         muster message ls --limit 10\n  \
         {example}muster message watch &\n  \
         muster bot hold sales-1 --reason 'try it'\n  \
         muster send sales-1 +5511900000001 --text 'Olá!'\n  \
         muster message ls --state waiting\n  \
         muster bot resume sales-1\n  \
         curl {sim}/ledger/summary\n",
        folder = stage.folder().display(),
    )
}
