//! Campaigns against real processes: server, agents and simulator are killed and frozen, the gateways made to fail, nodes
//! cordoned and drained and bots moved, while clients send. Afterwards the ledgers must agree and every promise must hold.
//!
//! The seed decides what is done to whom and when, and what is sent. What the processes make of it depends on the machine,
//! so a run again comes close to the first, and not more.

mod attempts;
mod load;
mod operators;
mod plan;
mod probe;
mod report;
mod stage;
mod timeline;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use muster_client::Server;
use muster_demo::check::{Evidence, Rule, Verdict, check};
use muster_demo::facts::{Contents, Look, believed, taken};
use muster_domain::MessageId;
use muster_proto::v1::TraceMessageRequest;
use tokio::task::JoinSet;

use self::attempts::{Shut, Traced};
use self::load::{SENDERS, Sender, Sent};
use self::operators::Operator;
use self::plan::{NODES, Plan, Target};
use self::stage::Stage;
use self::timeline::Timeline;
use crate::product::Counts;
use crate::rig::connect;

pub use report::{Checked, Report};
pub use timeline::{Moment, Violation};

/// What a campaign is to be.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How long things break. Coming to rest and checking take longer.
    pub length: Duration,
    /// Whether logs, database and ledger are kept even if every promise holds.
    pub keep: bool,
}

/// How long everything may take to come to its end once all is well again. Messages that were refused several times wait
/// up to half a minute before they are tried again.
const SETTLE_PATIENCE: Duration = Duration::from_secs(180);

/// How often the counts are looked at meanwhile.
const SETTLE_POLL: Duration = Duration::from_millis(200);

/// Traces that are asked for at a time.
const TRACES_IN_FLIGHT: usize = 16;

/// Runs a campaign. `progress` is told how it goes.
///
/// # Errors
///
/// If the processes cannot be started, or do not answer at the end. What breaks during the campaign is no error but a
/// violation in the report.
pub async fn run(campaign: Campaign, progress: impl Fn(&str)) -> Result<Report> {
    let plan = Plan::draw(campaign.seed, campaign.length);
    let mut stage = Stage::start().await?;
    let timeline = Arc::new(Timeline::begin());
    progress(&format!("campaign of {} s, seed {}", campaign.length.as_secs(), campaign.seed));

    let stop = Arc::new(AtomicBool::new(false));
    let tally = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for number in 0..SENDERS {
        let sender = Sender::new(number, campaign.seed, &stage.api, Arc::clone(&timeline), Arc::clone(&tally))?;
        senders.spawn(sender.run(Arc::clone(&stop)));
    }
    let probe = tokio::spawn(probe::run(stage.api.clone(), Arc::clone(&timeline), Arc::clone(&stop)));
    let shut = disturb(&mut stage, plan, &timeline).await?;
    stop.store(true, Ordering::Relaxed);
    timeline.note("all is well again");
    progress(&format!("{} messages are accepted; waiting for their ends", tally.load(Ordering::Relaxed)));

    let mut sent = Sent::default();
    while let Some(ended) = senders.join_next().await {
        let ended = ended.context("a client failed")?;
        sent.acknowledged.extend(ended.acknowledged);
        sent.repeated += ended.repeated;
    }
    let seen = probe.await.context("the probe failed")??;
    let settled = settle(&stage.api).await?;
    timeline.note(if settled { "everything has come to its end" } else { "not everything has come to its end" });
    stage.inspect(&timeline);

    progress("comparing the ledgers");
    let client = stage.client().await?;
    let verdict = compare(&stage, &client, &sent.acknowledged, &timeline).await?;
    let traced = trace(&client, &sent.acknowledged).await?;
    for violation in attempts::check(&traced, &seen.sightings, &shut) {
        timeline.violation(violation.promise, violation.facts);
    }
    let checked = Checked {
        acknowledged: sent.acknowledged.len() as u64,
        repeated: sent.repeated,
        taken: verdict.taken as u64,
        attempts: traced.iter().map(|traced| traced.attempts.len() as u64).sum(),
        explained: seen.explained,
        sessions: seen.sightings.iter().map(|sighting| (&sighting.node, sighting.epoch)).collect::<BTreeSet<_>>().len()
            as u64,
    };
    let (moments, violations) = timeline.close();
    let kept = (campaign.keep || !violations.is_empty()).then(|| stage.keep());
    Ok(Report::new(campaign, moments, verdict.states, checked, violations, kept))
}

/// Runs the plan, and gives all processes back, running. Returns when which node took no new work.
async fn disturb(stage: &mut Stage, plan: Plan, timeline: &Arc<Timeline>) -> Result<Vec<Shut>> {
    let mut processes = JoinSet::new();
    let tracks = Target::ALL.into_iter().zip(stage.processes.drain(..)).zip(plan.disturbances);
    for (index, ((target, process), track)) in tracks.enumerate() {
        let timeline = Arc::clone(timeline);
        processes.spawn(async move { (index, stage::disturb(target, process, track, timeline).await) });
    }
    let mut troubles = JoinSet::new();
    for (node, track) in (0..NODES).zip(plan.spells) {
        troubles.spawn(stage::trouble(node, stage.ledger.clone(), track, Arc::clone(timeline)));
    }
    let mut operators = Vec::new();
    for track in plan.errands {
        operators.push(Operator::new(&stage.api, Arc::clone(timeline))?.run(track));
    }
    let operators = futures::future::join_all(operators);
    let (mut back, _, shut) = tokio::join!(processes.join_all(), troubles.join_all(), operators);
    back.sort_by_key(|(index, _)| *index);
    stage.processes.extend(back.into_iter().map(|(_, process)| process));
    Ok(shut.concat())
}

/// Waits until nothing is under way any more. `false` if that does not come.
async fn settle(server: &str) -> Result<bool> {
    let channel = connect(server).await?;
    let begin = Instant::now();
    while begin.elapsed() < SETTLE_PATIENCE {
        if Counts::ask(&channel).await?.under_way() == 0 {
            return Ok(true);
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
    Ok(false)
}

async fn compare(stage: &Stage, client: &Server, acknowledged: &[MessageId], timeline: &Timeline) -> Result<Verdict> {
    let believed = believed(client, &Contents::default(), Look::All).await?;
    let taken = taken(&stage.ledger).await?;
    let verdict = check(&Evidence { believed: &believed, taken: &taken, acknowledged, settled: true });
    for violation in &verdict.violations {
        timeline.violation(promise(violation.rule), violation.to_string());
    }
    Ok(verdict)
}

fn promise(rule: Rule) -> &'static str {
    match rule {
        Rule::AcknowledgedAndLost | Rule::SaidSentButWasNot | Rule::NotFinal => "P1",
        Rule::SentTwice | Rule::SaidUnsentButWas => "P2",
        Rule::OutOfOrder => "P3",
        Rule::NobodyAskedForIt | Rule::OtherContent | Rule::OtherWay | Rule::InventedReceipt => "CONDUCT",
    }
}

async fn trace(client: &Server, messages: &[MessageId]) -> Result<Vec<Traced>> {
    let traces = futures::stream::iter(messages.iter().map(|id| {
        let (mut messages, name) = (client.messages(), id.resource_name());
        async move {
            let trace = messages.trace_message(TraceMessageRequest { name: name.clone() }).await;
            let attempts = trace.with_context(|| format!("trace {name}"))?.into_inner().attempts;
            anyhow::Ok(Traced { message: name, attempts })
        }
    }));
    let traced: Vec<Result<Traced>> = traces.buffer_unordered(TRACES_IN_FLIGHT).collect().await;
    traced.into_iter().collect()
}
