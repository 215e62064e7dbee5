//! The clients of the floor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{FloorLatency, Moment, PATIENCE, Stage};
use crate::floor_v1::{AcceptManyRequest, AcceptRequest, Item};
use crate::load::{self, CALLS_IN_FLIGHT, CLIENTS, PACED_PER_SECOND, Supply};
use crate::measure::{Latencies, pace};

/// Messages a second, in frames, until the last one is settled.
pub(super) async fn streamed(stage: &mut Stage, duration: Duration) -> Result<f64> {
    let begin = Instant::now();
    let supply = Supply::lasting(stage.next_id, duration);
    let mut streams = JoinSet::new();
    for client in &stage.clients {
        let (mut client, supply) = (client.clone(), Arc::clone(&supply));
        let frames = std::iter::from_fn(move || supply.frame());
        let frames = frames.map(|ids| AcceptManyRequest { items: ids.map(item).collect() });
        streams.spawn(async move { load::stream(frames, |sent| client.accept_many(sent), |_| Ok(())).await });
    }
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    finish(stage, begin, &supply).await
}

/// Messages a second by single calls, until the last one is settled.
pub(super) async fn single(stage: &mut Stage, duration: Duration) -> Result<f64> {
    let clients = stage.clients.clone();
    let call = move |caller: usize, id| {
        let mut client = clients[caller % CLIENTS].clone();
        async move { client.accept(AcceptRequest { item: Some(item(id)) }).await.context("call the floor").map(drop) }
    };
    let begin = Instant::now();
    let supply = Supply::lasting(stage.next_id, duration);
    load::calls(&supply, CALLS_IN_FLIGHT, call).await?;
    finish(stage, begin, &supply).await
}

async fn finish(stage: &mut Stage, begin: Instant, supply: &Supply) -> Result<f64> {
    let count = supply.taken();
    stage.next_id += count;
    stage.settle(count).await?;
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

/// Latencies of an open loop.
pub(super) async fn paced(stage: &mut Stage, count: u64) -> Result<FloorLatency> {
    while stage.handled.try_recv().is_ok() {}
    let ids = stage.next_id..stage.next_id + count;
    stage.next_id = ids.end;
    let mut appointments = pace(count, PACED_PER_SECOND);
    let mut appointed = HashMap::new();
    let mut calls = JoinSet::new();
    for id in ids {
        let at = appointments.recv().await.context("the open loop ended early")?;
        appointed.insert(id, at);
        let mut client = stage.clients[0].clone();
        calls.spawn(async move {
            client.accept(AcceptRequest { item: Some(item(id)) }).await?;
            anyhow::Ok(at.elapsed())
        });
    }
    let mut accept_to_commit = Latencies::new();
    while let Some(call) = calls.join_next().await {
        accept_to_commit.record(call??);
    }
    Ok(FloorLatency {
        accept_to_commit: accept_to_commit.quantiles(),
        accept_to_handler: since(&appointed, &mut stage.handled).await?.quantiles(),
        accept_to_outcome: since(&appointed, &mut stage.settled).await?.quantiles(),
    })
}

async fn since(appointed: &HashMap<u64, Instant>, moments: &mut mpsc::UnboundedReceiver<Moment>) -> Result<Latencies> {
    let mut latencies = Latencies::new();
    let mut missing = appointed.len();
    while missing > 0 {
        let moment = tokio::time::timeout(PATIENCE, moments.recv()).await.context("the floor came to a halt")?;
        let Moment { ids, at } = moment.context("the floor ended early")?;
        for begin in ids.iter().filter_map(|id| appointed.get(id)) {
            latencies.record(at - *begin);
            missing -= 1;
        }
    }
    Ok(latencies)
}

fn item(id: u64) -> Item {
    Item {
        id,
        bot: format!("bot-{:03}", id % 100),
        recipient: format!("+55119{:08}", id % 100_000_000),
        body: "Olá Ana, a consulta ficou para amanhã às 14h. Até lá!".to_owned(),
        key: format!("bench-{id}"),
    }
}
