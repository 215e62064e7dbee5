//! A restart with a long queue: how soon work goes on, how fast, and in how much memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use muster_proto::v1::GatewayKind;
use serde::Serialize;
use tokio::sync::oneshot;

use super::Extent;
use super::null_gateway::PATIENCE;
use crate::load::{CLIENTS, Supply};
use crate::measure::Usage;
use crate::product::{self, Fleet, Journal, Observation, StandIn};
use crate::rig::{Rig, await_serving, connect, connect_many};

/// What a restart costs.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// Messages that were waiting.
    pub waiting: u64,
    /// From the start of the server's process until it serves, in milliseconds.
    pub serving_ms: f64,
    /// From the start of the process until an agent has the first attempt, in milliseconds.
    pub first_dispatch_ms: f64,
    /// From the start of the process until dispatch is as fast as it stays, in milliseconds.
    pub steady_dispatch_ms: f64,
    /// Attempts a second once it is.
    pub steady_per_second: f64,
    /// The most memory that the server used, in bytes.
    pub server_peak_bytes: u64,
}

/// Bots that the messages wait for.
const BOTS: usize = 1_000;

/// The rate of dispatch is taken over windows of this length.
const WINDOW: Duration = Duration::from_millis(100);

/// Dispatch is steady from the first window that reaches this share of the median one.
const STEADY_SHARE: f64 = 0.8;

pub(super) async fn measure(extent: Extent) -> Result<Recovery> {
    let (waiting, watched) = match extent {
        Extent::Quick => (100_000, Duration::from_secs(2)),
        Extent::Full => (1_000_000, Duration::from_secs(10)),
    };
    let fleet = Fleet { kind: GatewayKind::Null, nodes: 1, bots: BOTS };
    let rig = Rig::new()?;
    let mut server = rig.server("").await?;
    let address = server.address("api").to_owned();
    let clients = connect_many(&address, CLIENTS).await?;
    product::declare(&clients[0], &fleet).await?;
    let mut journal = Journal::new(Fleet::node(0), fleet.bots_of(0));
    report_connected(&address, &mut journal).await?;
    product::streamed(&clients, fleet, &Supply::of(0, waiting)).await?;
    drop(clients);
    server.stop().await?;

    let begin = Instant::now();
    let (stop, stopped) = oneshot::channel();
    let agent = tokio::spawn(work(address, journal, stopped));
    server.start().await?;
    tokio::time::sleep(watched).await;
    // An agent that failed tells why below.
    let _ = stop.send(());
    let Work { serving, arrivals } = agent.await??;
    let usage = Usage::of(server.pid().context("the server ended")?)?;
    let first = arrivals.first().context("no attempt came after the restart")?.1;
    let pace = Pace::of(begin, &arrivals);
    Ok(Recovery {
        waiting,
        serving_ms: millis(serving - begin),
        first_dispatch_ms: millis(first - begin),
        steady_dispatch_ms: millis(pace.steady_after.max(first - begin)),
        steady_per_second: pace.per_second,
        server_peak_bytes: usage.resident_peak_bytes,
    })
}

/// Opens a session until the server knows that all bots are connected, and leaves.
async fn report_connected(server: &str, journal: &mut Journal) -> Result<()> {
    let mut session = StandIn::connect(connect(server).await?, journal).await?;
    while !session.is_settled() {
        tokio::time::timeout(PATIENCE, session.next()).await.context("the server takes no reports")??;
    }
    Ok(())
}

/// Attempts that came together, and when.
type Arrival = (usize, Instant);

/// What an agent saw of a server that came back.
struct Work {
    /// When it took a connection.
    serving: Instant,
    arrivals: Vec<Arrival>,
}

/// Takes attempts from the moment at which the server serves.
async fn work(server: String, mut journal: Journal, mut stop: oneshot::Receiver<()>) -> Result<Work> {
    let (channel, serving) = tokio::select! {
        served = await_serving(&server) => served,
        _ = &mut stop => bail!("the server does not take connections"),
    };
    let mut session = StandIn::connect(channel, &mut journal).await?;
    let mut arrivals = Vec::new();
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(Work { serving, arrivals }),
            observation = session.next() => {
                if let Observation::Dispatched(count, at) = observation? {
                    arrivals.push((count, at));
                }
            }
        }
    }
}

/// How dispatch went over time.
#[derive(Debug, PartialEq)]
struct Pace {
    steady_after: Duration,
    per_second: f64,
}

impl Pace {
    fn of(begin: Instant, arrivals: &[Arrival]) -> Self {
        let mut windows: Vec<usize> = Vec::new();
        for (count, at) in arrivals {
            let window = usize::try_from((*at - begin).as_millis() / WINDOW.as_millis()).unwrap_or(usize::MAX);
            windows.resize(windows.len().max(window + 1), 0);
            windows[window] += count;
        }
        // The last window may have been cut short.
        windows.pop();
        let mut busy: Vec<usize> = windows.iter().copied().filter(|count| *count > 0).collect();
        busy.sort_unstable();
        let median = busy.get(busy.len() / 2).copied().unwrap_or(0) as f64;
        let steady = windows.iter().position(|count| *count as f64 >= median * STEADY_SHARE && *count > 0).unwrap_or(0);
        let steady_after = WINDOW * u32::try_from(steady).unwrap_or(u32::MAX);
        Self { steady_after, per_second: median / WINDOW.as_secs_f64() }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_steady_from_the_first_usual_window() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let arrivals = [(10, at(250)), (100, at(310)), (110, at(420)), (90, at(510)), (5, at(600))];
        let pace = Pace::of(begin, &arrivals);
        assert_eq!(pace, Pace { steady_after: Duration::from_millis(300), per_second: 1_000.0 });
    }
}
