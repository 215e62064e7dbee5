//! What Muster costs, measured against references of the same run.

mod at_rest;
mod fairness;
mod floor;
mod http_gateway;
mod latency;
mod null_gateway;
mod peers;
mod recovery;
mod report;
mod simulated;
mod start;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

pub use at_rest::AtRest;
pub use fairness::{Fairness, TenantShare};
pub use floor::{Floor, FloorLatency};
pub use http_gateway::HttpGateway;
pub use latency::Latency;
pub use null_gateway::NullGateway;
pub use peers::{Peer, Peers, Try};
pub use recovery::Recovery;
pub use report::{Machine, Ratios, Report};
pub use start::Start;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All parts within a minute.
    Quick,
    /// Long enough for figures that hold still.
    Full,
}

impl Extent {
    /// How long a load goes on.
    fn load(self) -> Duration {
        match self {
            Extent::Quick => Duration::from_millis(1_500),
            Extent::Full => Duration::from_secs(10),
        }
    }

    /// Calls of an open loop.
    fn paced_calls(self) -> u64 {
        match self {
            Extent::Quick => 300,
            Extent::Full => 3_000,
        }
    }
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The same path with nothing of Muster in it.
    Floor,
    /// End to end, through a gateway that answers at once.
    NullGateway,
    /// End to end through the simulator, and a bare HTTP loop against it.
    HttpGateway,
    /// Latency at 100 messages a second.
    Latency,
    /// Tenants that contend, each with its weight.
    Fairness,
    /// A large fleet that does nothing.
    AtRest,
    /// A restart with a long queue.
    Recovery,
    /// A server on a database that exists, and the demo until its first message is delivered.
    Start,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long.
    pub extent: Extent,
    /// These parts; all of them if there are none.
    pub only: Vec<Part>,
    /// Other queues too.
    pub peers: bool,
}

/// Runs the parts one after the other. `progress` is told what begins and what it took.
///
/// # Errors
///
/// If a process does not start, or a measurement does not come to its end.
pub async fn run(plan: &Plan, progress: impl Fn(&str)) -> Result<Report> {
    let extent = plan.extent;
    let wanted = |part| plan.only.is_empty() || plan.only.contains(&part);
    // First, because it may be that something has to be installed before it works.
    let peers = match plan.peers {
        true => Some(part("installation of the peers", peers::Installed::new(), &progress).await?),
        false => None,
    };
    let mut report = Report::new(Machine::look(extent)?);
    if wanted(Part::Floor) {
        report.floor = Some(part("floor", floor::measure(extent), &progress).await?);
    }
    if wanted(Part::NullGateway) {
        report.null_gateway = Some(part("null gateway", null_gateway::measure(extent), &progress).await?);
    }
    if let Some(peers) = peers {
        report.peers = Some(part("peers", peers.measure(extent), &progress).await?);
    }
    if wanted(Part::HttpGateway) {
        report.http_gateway = Some(part("HTTP gateway", http_gateway::measure(extent), &progress).await?);
    }
    if wanted(Part::Latency) {
        report.latency = Some(part("latency", latency::measure(extent), &progress).await?);
    }
    if wanted(Part::Fairness) {
        report.fairness = Some(part("fairness", fairness::measure(extent), &progress).await?);
    }
    if wanted(Part::AtRest) {
        report.at_rest = Some(part("at rest", at_rest::measure(extent), &progress).await?);
    }
    if wanted(Part::Recovery) {
        report.recovery = Some(part("recovery", recovery::measure(extent), &progress).await?);
    }
    if wanted(Part::Start) {
        report.start = Some(part("start", start::measure(extent), &progress).await?);
    }
    report.compare();
    Ok(report)
}

async fn part<T>(name: &str, measure: impl Future<Output = Result<T>>, progress: &impl Fn(&str)) -> Result<T> {
    progress(&format!("{name} …"));
    let begin = Instant::now();
    let measured = measure.await.with_context(|| name.to_owned())?;
    progress(&format!("{name}: {:.1} s", begin.elapsed().as_secs_f64()));
    Ok(measured)
}
