//! From nothing to work: a server on a database that exists, and the demo until its first message is delivered.

use std::time::Instant;

use anyhow::{Context, Result};
use muster_proto::v1::GatewayKind;
use serde::Serialize;

use super::Extent;
use super::null_gateway::PATIENCE;
use crate::load::{CLIENTS, Supply};
use crate::product::{self, Fleet};
use crate::rig::{Rig, await_serving, connect_many};

/// What a start takes.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    /// Messages in the database.
    pub messages: u64,
    /// From the start of the server's process until it takes connections, in milliseconds: the slowest of several starts.
    pub serving_ms: f64,
    /// From the start of `muster demo` until the server has told that a message was delivered, in milliseconds. Until then
    /// it starts all processes, and declares and links 12 bots.
    pub first_delivered_ms: f64,
}

/// Bots that the messages wait for.
const BOTS: usize = 1_000;

/// How often the server is started.
const STARTS: u32 = 5;

pub(super) async fn measure(extent: Extent) -> Result<Start> {
    let messages = match extent {
        Extent::Quick => 20_000,
        Extent::Full => 1_000_000,
    };
    let rig = Rig::new()?;
    let serving_ms = serving(&rig, messages).await?;
    let report = rig.demo().await?;
    let first = report["first_delivered_ms"].as_f64();
    Ok(Start { messages, serving_ms, first_delivered_ms: first.context("the demo delivered nothing")? })
}

async fn serving(rig: &Rig, messages: u64) -> Result<f64> {
    let fleet = Fleet { kind: GatewayKind::Null, nodes: 1, bots: BOTS };
    let mut server = rig.server("").await?;
    let address = server.address("api").to_owned();
    let clients = connect_many(&address, CLIENTS).await?;
    product::declare(&clients[0], &fleet).await?;
    product::streamed(&clients, fleet, &Supply::of(0, messages)).await?;
    drop(clients);
    let mut slowest: f64 = 0.0;
    for _ in 0..STARTS {
        server.stop().await?;
        let begin = Instant::now();
        let started = async { server.start().await.map_err(anyhow::Error::from) };
        let served =
            async { tokio::time::timeout(PATIENCE, await_serving(&address)).await.context("the server is silent") };
        let ((), (_, at)) = tokio::try_join!(started, served)?;
        slowest = slowest.max((at - begin).as_secs_f64() * 1_000.0);
    }
    server.stop().await?;
    Ok(slowest)
}
