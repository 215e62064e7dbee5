//! End to end through a gateway that answers at once: a real server, a real agent with its journal, and full durability,
//! from the client's call to the committed outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use muster_proto::v1::GatewayKind;
use serde::Serialize;
use tonic::transport::Channel;

use super::Extent;
use crate::load::{CLIENTS, Supply};
use crate::product::{self, Fleet};
use crate::rig::{GatewayEntry, Rig, connect_many};

/// What Muster itself can do.
#[derive(Debug, Clone, Serialize)]
pub struct NullGateway {
    /// Messages a second, from the client to the committed outcome, in streamed frames of 64.
    pub streamed_per_second: f64,
    /// The same by single calls, 256 in flight.
    pub single_per_second: f64,
}

/// Bots that share the load.
const BOTS: usize = 64;

/// How long nothing may move before a run counts as failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn measure(extent: Extent) -> Result<NullGateway> {
    let fleet = Fleet { kind: GatewayKind::Null, nodes: 1, bots: BOTS };
    let rig = Rig::new()?;
    let server = rig.server("").await?;
    let clients = connect_many(server.address("api"), CLIENTS).await?;
    product::declare(&clients[0], &fleet).await?;
    let gateway = GatewayEntry { id: Fleet::gateway(0), product: None };
    let _agent = rig.agent(&Fleet::node(0), server.address("api"), &[gateway], "").await?;

    let mut run = Run { clients, fleet, sent: 0 };
    run.warm_up().await?;
    let streamed_per_second = run.streamed(extent.load()).await?;
    let single_per_second = run.single(extent.load()).await?;
    Ok(NullGateway { streamed_per_second, single_per_second })
}

/// Loads on one fleet, one after the other.
pub(super) struct Run {
    pub(super) clients: Vec<Channel>,
    pub(super) fleet: Fleet,
    /// Messages that were sent so far: the next one takes this number.
    pub(super) sent: u64,
}

impl Run {
    /// Sends one message from every bot, so that all of them are connected afterwards.
    pub(super) async fn warm_up(&mut self) -> Result<()> {
        self.streamed_count(self.fleet.bots as u64).await.map(drop)
    }

    /// Messages a second in streamed frames for a time, until the last outcome is committed.
    pub(super) async fn streamed(&mut self, duration: Duration) -> Result<f64> {
        self.streamed_from(&Supply::lasting(self.sent, duration)).await
    }

    /// Messages a second in streamed frames, so many of them, until the last outcome is committed.
    pub(super) async fn streamed_count(&mut self, count: u64) -> Result<f64> {
        self.streamed_from(&Supply::of(self.sent, count)).await
    }

    async fn streamed_from(&mut self, supply: &Arc<Supply>) -> Result<f64> {
        let begin = Instant::now();
        product::streamed(&self.clients, self.fleet, supply).await?;
        self.finish(begin, supply).await
    }

    /// Messages a second by single calls, until the last outcome is committed.
    pub(super) async fn single(&mut self, duration: Duration) -> Result<f64> {
        let (begin, supply) = (Instant::now(), Supply::lasting(self.sent, duration));
        product::single(&self.clients, self.fleet, &supply).await?;
        self.finish(begin, &supply).await
    }

    async fn finish(&mut self, begin: Instant, supply: &Supply) -> Result<f64> {
        let count = supply.taken();
        self.sent += count;
        product::all_sent(&self.clients[0], self.sent, PATIENCE).await?;
        Ok(count as f64 / begin.elapsed().as_secs_f64())
    }
}
