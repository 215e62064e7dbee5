//! The result: ratios first, absolute figures as their context.

use std::fmt;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{AtRest, Extent, Fairness, Floor, HttpGateway, Latency, NullGateway, Peers, Recovery, Start, TenantShare};
use crate::measure::Latencies;

/// What a run of the bench found. Parts that did not run are absent.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Muster against the references of the same run.
    pub ratios: Ratios,
    /// The bare path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// End to end, through a gateway that answers at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_gateway: Option<NullGateway>,
    /// Other queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// End to end through the simulator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_gateway: Option<HttpGateway>,
    /// Unloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Tenants that contend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness: Option<Fairness>,
    /// A large fleet that does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_rest: Option<AtRest>,
    /// A restart with a long queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// From nothing to work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Where it was measured.
    pub machine: Machine,
}

/// Muster against the references of the same run; each is absent unless both of its sides ran.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ratios {
    /// Null gateway, streamed, as a share of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed_of_floor: Option<f64>,
    /// Null gateway, single calls, as a share of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_of_floor: Option<f64>,
    /// Null gateway, streamed, as a multiple of BullMQ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed_of_bullmq: Option<f64>,
    /// Null gateway, streamed, as a multiple of graphile-worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streamed_of_graphile_worker: Option<f64>,
    /// HTTP gateway as a share of the bare loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_of_loop: Option<f64>,
    /// Accept to gateway call, median, as a multiple of the floor's accept to handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_call_p50_of_floor: Option<f64>,
    /// The same at p99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_call_p99_of_floor: Option<f64>,
    /// What was accepted of the tenant that is furthest from its part by weight: how far, in parts of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_off_weight: Option<f64>,
    /// The same of what left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_off_weight: Option<f64>,
}

/// Where a run took place: what absolute figures depend on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that the run could use.
    pub cores: usize,
    /// Time of a small write and its sync on the disk that holds the databases, at the median, in milliseconds.
    pub sync_p50_ms: f64,
    /// Whether the programs were built to be fast. Without that the figures say nothing.
    pub release_build: bool,
    /// Whether the run was a short one.
    pub quick: bool,
}

/// Writes that are timed to know the disk.
const SYNCS: usize = 100;

/// Bytes of each: one page of a database.
const SYNC_BYTES: usize = 4_096;

impl Machine {
    /// Looks at this machine.
    pub(super) fn look(extent: Extent) -> Result<Self> {
        let mut file = tempfile::tempfile().context("make a file to time the disk")?;
        let mut syncs = Latencies::new();
        for _ in 0..SYNCS {
            let begin = Instant::now();
            file.write_all(&[0; SYNC_BYTES])?;
            file.sync_data().context("sync a file")?;
            syncs.record(begin.elapsed());
        }
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            sync_p50_ms: syncs.quantiles().p50_ms,
            release_build: !cfg!(debug_assertions),
            quick: extent == Extent::Quick,
        })
    }
}

impl Report {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            ratios: Ratios::default(),
            floor: None,
            null_gateway: None,
            peers: None,
            http_gateway: None,
            latency: None,
            fairness: None,
            at_rest: None,
            recovery: None,
            start: None,
            machine,
        }
    }

    /// Fills in the ratios of whatever ran.
    pub(super) fn compare(&mut self) {
        let ratios = &mut self.ratios;
        if let Some((floor, own)) = self.floor.as_ref().zip(self.null_gateway.as_ref()) {
            ratios.streamed_of_floor = Some(own.streamed_per_second / floor.streamed_per_second);
            ratios.single_of_floor = Some(own.single_per_second / floor.single_per_second);
        }
        if let Some((peers, own)) = self.peers.as_ref().zip(self.null_gateway.as_ref()) {
            ratios.streamed_of_bullmq = Some(own.streamed_per_second / peers.bullmq.per_second);
            ratios.streamed_of_graphile_worker = Some(own.streamed_per_second / peers.graphile_worker.per_second);
        }
        if let Some(http) = &self.http_gateway {
            ratios.http_of_loop = Some(http.streamed_per_second / http.loop_per_second);
        }
        if let Some((floor, own)) = self.floor.as_ref().zip(self.latency.as_ref()) {
            let (floor, own) = (floor.latency.accept_to_handler, own.accept_to_gateway_call);
            ratios.gateway_call_p50_of_floor = Some(own.p50_ms / floor.p50_ms);
            ratios.gateway_call_p99_of_floor = Some(own.p99_ms / floor.p99_ms);
        }
        if let Some(fairness) = &self.fairness {
            ratios.accepted_off_weight = Some(fairness.accepted_off_weight);
            ratios.left_off_weight = Some(fairness.left_off_weight);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.machine.release_build {
            writeln!(f, "A dev build: these figures say nothing about speed.\n")?;
        }
        let mut ratio = |name: &str, value: Option<f64>, unit: &str, scale: f64| match value {
            Some(value) => writeln!(f, "{name:<44} {:>8.1} {unit}", value * scale),
            None => Ok(()),
        };
        ratio("streamed, share of the floor", self.ratios.streamed_of_floor, "%", 100.0)?;
        ratio("single calls, share of the floor", self.ratios.single_of_floor, "%", 100.0)?;
        ratio("streamed, of BullMQ on Redis", self.ratios.streamed_of_bullmq, "times", 1.0)?;
        ratio("streamed, of graphile-worker on PostgreSQL", self.ratios.streamed_of_graphile_worker, "times", 1.0)?;
        ratio("HTTP gateway, share of the bare loop", self.ratios.http_of_loop, "%", 100.0)?;
        ratio("accept to gateway call p50, of the floor's", self.ratios.gateway_call_p50_of_floor, "times", 1.0)?;
        ratio("accept to gateway call p99, of the floor's", self.ratios.gateway_call_p99_of_floor, "times", 1.0)?;
        ratio("accepted, furthest from its part by weight", self.ratios.accepted_off_weight, "%", 100.0)?;
        ratio("left, furthest from its part by weight", self.ratios.left_off_weight, "%", 100.0)?;
        if let Some(floor) = &self.floor {
            writeln!(f, "\nfloor")?;
            rate(f, "streamed", floor.streamed_per_second)?;
            rate(f, "single calls", floor.single_per_second)?;
            writeln!(f, "  accept to commit        {}", floor.latency.accept_to_commit)?;
            writeln!(f, "  accept to handler       {}", floor.latency.accept_to_handler)?;
            writeln!(f, "  accept to outcome       {}", floor.latency.accept_to_outcome)?;
        }
        if let Some(own) = &self.null_gateway {
            writeln!(f, "\nnull gateway")?;
            rate(f, "streamed", own.streamed_per_second)?;
            rate(f, "single calls", own.single_per_second)?;
        }
        if let Some(peers) = &self.peers {
            writeln!(f, "\npeers")?;
            for (name, peer) in [("BullMQ", &peers.bullmq), ("graphile-worker", &peers.graphile_worker)] {
                rate(f, name, peer.per_second)?;
                write!(f, "{peer}")?;
            }
        }
        if let Some(http) = &self.http_gateway {
            writeln!(f, "\nHTTP gateway")?;
            rate(f, "streamed", http.streamed_per_second)?;
            rate(f, "bare loop", http.loop_per_second)?;
        }
        if let Some(latency) = &self.latency {
            writeln!(f, "\nlatency at 100 a second")?;
            writeln!(f, "  accept to commit        {}", latency.accept_to_commit)?;
            writeln!(f, "  accept to gateway call  {}", latency.accept_to_gateway_call)?;
            writeln!(f, "  accept to outcome       {}", latency.accept_to_outcome)?;
        }
        if let Some(fairness) = &self.fairness {
            writeln!(f, "\nfairness, all tenants at full load")?;
            rate(f, "accepted", fairness.accepted_per_second)?;
            rate(f, "left", fairness.left_per_second)?;
            for TenantShare { weight, by_weight, accepted, left } in &fairness.tenants {
                let [by_weight, accepted, left] = [by_weight, accepted, left].map(|share| share * 100.0);
                writeln!(
                    f,
                    "  weight {weight}: {by_weight:>5.1} % by weight, {accepted:>5.1} % of what was accepted, {left:>5.1} % of what left"
                )?;
            }
        }
        if let Some(rest) = &self.at_rest {
            writeln!(f, "\nat rest, with {} streams and {} bots", rest.streams, rest.bots)?;
            writeln!(
                f,
                "  per stream {:.1} KiB, per bot {:.2} KiB",
                kib(rest.bytes_per_stream),
                kib(rest.bytes_per_bot)
            )?;
            writeln!(f, "  {:.2} % of a core, {:.1} commits a second", rest.cpu_percent, rest.commits_per_second)?;
        }
        if let Some(recovery) = &self.recovery {
            writeln!(f, "\nrecovery with {} waiting messages", recovery.waiting)?;
            writeln!(
                f,
                "  serving after {:.0} ms, first dispatch after {:.0} ms",
                recovery.serving_ms, recovery.first_dispatch_ms
            )?;
            let steady = (recovery.steady_dispatch_ms, recovery.steady_per_second);
            writeln!(f, "  steady after {:.0} ms at {:.0} a second", steady.0, steady.1)?;
            writeln!(f, "  {:.0} MiB at the most", kib(recovery.server_peak_bytes as f64) / 1024.0)?;
        }
        if let Some(start) = &self.start {
            writeln!(f, "\nstart")?;
            writeln!(f, "  serving after {:.0} ms on a database with {} messages", start.serving_ms, start.messages)?;
            writeln!(f, "  demo: first message delivered after {:.0} ms", start.first_delivered_ms)?;
        }
        let Machine { cores, sync_p50_ms, .. } = self.machine;
        writeln!(f, "\n{cores} cores, {sync_p50_ms:.2} ms for a write and its sync")
    }
}

fn rate(f: &mut fmt::Formatter<'_>, name: &str, per_second: f64) -> fmt::Result {
    writeln!(f, "  {name:<16} {per_second:>10.0} a second")
}

fn kib(bytes: f64) -> f64 {
    bytes / 1024.0
}
