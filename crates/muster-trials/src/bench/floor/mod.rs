//! The floor: the path of a message with nothing of Muster in it.
//!
//! Client stream → bare tonic server → group commit to SQLite → bare tonic stream → a worker that does nothing →
//! acknowledgement → group commit. It is the physical limit that Muster is held against, so it spares itself everything
//! that is not on this path: no checks, no index but the primary key, no journal, one process.

mod commit;
mod load;
mod service;
mod worker;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use super::Extent;
use crate::floor_v1::floor_service_client::FloorServiceClient;
use crate::load::CLIENTS;
use crate::measure::Quantiles;

/// What the machine can do on the bare path.
#[derive(Debug, Clone, Serialize)]
pub struct Floor {
    /// Messages a second, from the client to the second commit, in streamed frames of 64.
    pub streamed_per_second: f64,
    /// The same by single calls, 256 in flight.
    pub single_per_second: f64,
    /// Unloaded, at 100 messages a second.
    pub latency: FloorLatency,
}

/// Times from the appointed moment of a call.
#[derive(Debug, Clone, Serialize)]
pub struct FloorLatency {
    /// To the answer, which comes after the commit.
    pub accept_to_commit: Quantiles,
    /// To the worker's hands.
    pub accept_to_handler: Quantiles,
    /// To the second commit.
    pub accept_to_outcome: Quantiles,
}

/// Measures it, on a fresh database.
pub(super) async fn measure(extent: Extent) -> Result<Floor> {
    let mut stage = Stage::set().await?;
    let streamed_per_second = load::streamed(&mut stage, extent.load()).await?;
    let single_per_second = load::single(&mut stage, extent.load()).await?;
    let latency = load::paced(&mut stage, extent.paced_calls()).await?;
    Ok(Floor { streamed_per_second, single_per_second, latency })
}

/// Server, worker and clients, joined by loopback TCP.
struct Stage {
    clients: Vec<FloorServiceClient<Channel>>,
    /// What the worker received.
    handled: mpsc::UnboundedReceiver<Moment>,
    /// What was committed as done.
    settled: mpsc::UnboundedReceiver<Moment>,
    /// The next unused id.
    next_id: u64,
    _folder: tempfile::TempDir,
}

/// Items that reached a point of the path together.
struct Moment {
    ids: Vec<u64>,
    at: Instant,
}

/// The longest that any wait may take before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);

impl Stage {
    async fn set() -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for the floor's database")?;
        let (settled_sink, settled) = mpsc::unbounded_channel();
        let (handled_sink, handled) = mpsc::unbounded_channel();
        let (writer, committed) = commit::spawn(&folder.path().join("floor.db"), settled_sink).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the floor's clients")?;
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr()?))?;
        service::spawn(listener, writer, committed);
        worker::spawn(FloorServiceClient::new(endpoint.connect().await?), handled_sink).await?;
        let mut clients = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            clients.push(FloorServiceClient::new(endpoint.connect().await?));
        }
        Ok(Self { clients, handled, settled, next_id: 1, _folder: folder })
    }

    /// Waits until `count` items are settled.
    async fn settle(&mut self, count: u64) -> Result<()> {
        let mut missing = count;
        while missing > 0 {
            let moment = tokio::time::timeout(PATIENCE, self.settled.recv()).await;
            let moment = moment.context("the floor came to a halt")?.context("the floor's writer ended")?;
            missing = missing.saturating_sub(moment.ids.len() as u64);
        }
        Ok(())
    }
}
