//! The clients of the floor.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::service::FRAME_ITEMS;
use super::{CLIENTS, FloorLatency, Moment, PATIENCE, Stage};
use crate::bench::load::{PACED_PER_SECOND, SINGLE_CALLS_IN_FLIGHT, STREAM_FRAMES_IN_FLIGHT};
use crate::floor_v1::floor_service_client::FloorServiceClient;
use crate::floor_v1::{AcceptManyRequest, AcceptRequest, Item};
use crate::measure::{Latencies, pace};

/// Messages a second, in frames, until the last one is settled.
pub(super) async fn streamed(stage: &mut Stage, count: u64) -> Result<f64> {
    let ids = stage.take_ids(count);
    let share = count / CLIENTS as u64;
    let begin = Instant::now();
    let mut streams = JoinSet::new();
    for (index, client) in stage.clients.iter().enumerate() {
        let from = ids.start + index as u64 * share;
        let until = if index + 1 == CLIENTS { ids.end } else { from + share };
        streams.spawn(stream(client.clone(), from..until));
    }
    stage.settle(count).await?;
    let took = begin.elapsed();
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    Ok(count as f64 / took.as_secs_f64())
}

async fn stream(mut client: FloorServiceClient<Channel>, ids: std::ops::Range<u64>) -> Result<()> {
    let (frames, sent) = mpsc::channel(1);
    let mut answers = client.accept_many(ReceiverStream::new(sent)).await?.into_inner();
    let mut items = ids.map(item).peekable();
    let mut in_flight = 0;
    while items.peek().is_some() || in_flight > 0 {
        if items.peek().is_some() && in_flight < STREAM_FRAMES_IN_FLIGHT {
            frames.send(AcceptManyRequest { items: items.by_ref().take(FRAME_ITEMS).collect() }).await?;
            in_flight += 1;
        } else {
            answers.message().await?.context("the floor ended the stream early")?;
            in_flight -= 1;
        }
    }
    Ok(())
}

/// Messages a second by single calls, until the last one is settled.
pub(super) async fn single(stage: &mut Stage, count: u64) -> Result<f64> {
    let ids = stage.take_ids(count);
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..SINGLE_CALLS_IN_FLIGHT {
        let mut client = stage.clients[caller % CLIENTS].clone();
        let own = ids.clone().skip(caller).step_by(SINGLE_CALLS_IN_FLIGHT);
        callers.spawn(async move {
            for id in own {
                client.accept(AcceptRequest { item: Some(item(id)) }).await?;
            }
            anyhow::Ok(())
        });
    }
    stage.settle(count).await?;
    let took = begin.elapsed();
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(count as f64 / took.as_secs_f64())
}

/// Latencies of an open loop.
pub(super) async fn paced(stage: &mut Stage, count: u64) -> Result<FloorLatency> {
    while stage.handled.try_recv().is_ok() {}
    let ids = stage.take_ids(count);
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
