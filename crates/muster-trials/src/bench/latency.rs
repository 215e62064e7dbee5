//! Latency of a nearly idle system, by an open loop of single calls.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::{MessageState, SendMessageRequest, WatchMessagesRequest};
use muster_simulator::{AdminClient, LedgerEvent};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::Extent;
use super::null_gateway::PATIENCE;
use super::simulated::Simulated;
use crate::load::PACED_PER_SECOND;
use crate::measure::{Latencies, Quantiles, pace};
use crate::product;

/// Times from the appointed moment of a call, through the simulator.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// To the answer, which comes after the commit.
    pub accept_to_commit: Quantiles,
    /// To the gateway, as its own ledger notes the arrival.
    pub accept_to_gateway_call: Quantiles,
    /// To the outcome, as a client sees it that watches.
    pub accept_to_outcome: Quantiles,
}

/// Bots that share the load.
const BOTS: usize = 16;

pub(super) async fn measure(extent: Extent) -> Result<Latency> {
    let count = extent.paced_calls();
    let mut stage = Simulated::start(BOTS).await?;
    let ledger = AdminClient::new(stage.simulator.address("admin").parse().context("read the simulator's address")?)?;
    let arrived_before = ledger.summary().await?.last_seq;
    let channel = stage.run.clients[0].clone();
    let mut outcomes = watch(channel.clone()).await?;

    let numbers = stage.run.sent..stage.run.sent + count;
    stage.run.sent = numbers.end;
    let mut appointments = pace(count, PACED_PER_SECOND);
    let mut calls = JoinSet::new();
    for number in numbers {
        let appointed = appointments.recv().await.context("the open loop ended early")?;
        let message = product::message(&stage.run.fleet, number);
        let mut client = MessageServiceClient::new(channel.clone());
        calls.spawn(async move {
            let text = product::text(number);
            let answer = client.send_message(SendMessageRequest { message: Some(message) }).await;
            let latency = appointed.elapsed();
            let sent = answer.context("send a message")?.into_inner().message.context("an answer without a message")?;
            anyhow::Ok(Sent { name: sent.name, text, appointed, latency })
        });
    }
    let mut sent = Vec::new();
    while let Some(call) = calls.join_next().await {
        sent.push(call??);
    }

    let mut accept_to_commit = Latencies::new();
    sent.iter().for_each(|sent| accept_to_commit.record(sent.latency));
    let accept_to_outcome = until_outcome(&sent, &mut outcomes).await?.quantiles();
    let accept_to_gateway_call = until_gateway(&sent, &ledger, arrived_before).await?.quantiles();
    Ok(Latency { accept_to_commit: accept_to_commit.quantiles(), accept_to_gateway_call, accept_to_outcome })
}

struct Sent {
    name: String,
    text: String,
    appointed: Instant,
    latency: Duration,
}

/// Follows the changes of state from now on: the names of messages that were sent, and when that was seen.
async fn watch(channel: Channel) -> Result<mpsc::UnboundedReceiver<(String, Instant)>> {
    let mut client = MessageServiceClient::new(channel);
    let mut changes = client.watch_messages(WatchMessagesRequest::default()).await.context("watch")?.into_inner();
    // The first answer says from where the watch goes on: before it, a change could be missed.
    changes.message().await?.context("the watch ended at once")?;
    let (sink, outcomes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(answer)) = changes.message().await {
            let at = Instant::now();
            for change in answer.changes.into_iter().filter(|change| change.state() == MessageState::Sent) {
                if sink.send((change.message, at)).is_err() {
                    return;
                }
            }
        }
    });
    Ok(outcomes)
}

async fn until_outcome(sent: &[Sent], outcomes: &mut mpsc::UnboundedReceiver<(String, Instant)>) -> Result<Latencies> {
    let mut missing: HashMap<&str, Instant> = sent.iter().map(|sent| (sent.name.as_str(), sent.appointed)).collect();
    let mut latencies = Latencies::new();
    while !missing.is_empty() {
        let outcome = tokio::time::timeout(PATIENCE, outcomes.recv()).await.context("outcomes are missing")?;
        let (name, at) = outcome.context("the watch ended early")?;
        if let Some(appointed) = missing.remove(name.as_str()) {
            latencies.record(at - appointed);
        }
    }
    Ok(latencies)
}

/// Looks up in the simulator's ledger when each message arrived there.
async fn until_gateway(sent: &[Sent], ledger: &AdminClient, after: u64) -> Result<Latencies> {
    // The ledger knows the time of day, the loop a clock of its own: both are read now, and differences taken.
    let (now, today) = (Instant::now(), SystemTime::now());
    let mut latencies = Latencies::new();
    let mut arrivals = HashMap::new();
    let mut last = after;
    loop {
        let page = ledger.ledger_page(last, 10_000).await?;
        let Some(end) = page.last() else { break };
        last = end.seq;
        for line in page {
            if let LedgerEvent::Accepted(accepted) = line.entry.event {
                arrivals.insert(accepted.content.text.unwrap_or_default(), SystemTime::from(line.entry.at));
            }
        }
    }
    for message in sent {
        let arrived = arrivals.get(&message.text).context("a message is not in the simulator's ledger")?;
        let ago = today.duration_since(*arrived).unwrap_or_default();
        latencies.record((now - message.appointed).saturating_sub(ago));
    }
    Ok(latencies)
}
