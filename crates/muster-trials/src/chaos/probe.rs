//! Looks at the server while everything breaks: does each waiting message have its reason, and which sessions are there?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::node_service_client::NodeServiceClient;
use muster_proto::v1::{ListMessagesRequest, ListNodesRequest, MessageFilter, MessageState, TraceMessageRequest};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::attempts::Sighting;
use super::timeline::Timeline;

/// How often the server is asked.
const EVERY: Duration = Duration::from_millis(200);

/// How long an answer may take: the server may be frozen.
const PATIENCE: Duration = Duration::from_secs(2);

/// Messages that are asked about at a time.
const SAMPLE: i32 = 5;

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Waiting messages that explained themselves.
    pub(super) explained: u64,
    pub(super) sightings: Vec<Sighting>,
}

/// Asks until `stop`.
pub(super) async fn run(server: String, timeline: Arc<Timeline>, stop: Arc<AtomicBool>) -> Result<Seen> {
    let channel = Endpoint::from_shared(server)?.connect_timeout(PATIENCE).connect_lazy();
    let mut messages = MessageServiceClient::new(channel.clone());
    let mut nodes = NodeServiceClient::new(channel);
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        // A server that is down tells nothing; the next time it may.
        if let Ok(Ok(count)) = tokio::time::timeout(PATIENCE, sample(&mut messages, &timeline)).await {
            seen.explained += count;
        }
        if let Ok(Ok(sightings)) = tokio::time::timeout(PATIENCE, sessions(&mut nodes)).await {
            seen.sightings.extend(sightings);
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(seen)
}

async fn sessions(client: &mut NodeServiceClient<Channel>) -> Result<Vec<Sighting>, Status> {
    let nodes = client.list_nodes(ListNodesRequest::default()).await?.into_inner().nodes;
    // After the answer: by now every session that it tells of has begun.
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    Ok(nodes.into_iter().map(|node| Sighting { node: node.name, epoch: node.epoch, at }).collect())
}

async fn sample(client: &mut MessageServiceClient<Channel>, timeline: &Timeline) -> Result<u64, Status> {
    let filter = MessageFilter { states: vec![MessageState::Waiting.into()], ..MessageFilter::default() };
    let request = ListMessagesRequest { page_size: SAMPLE, filter: Some(filter), ..ListMessagesRequest::default() };
    let mut explained = 0;
    for waiting in client.list_messages(request).await?.into_inner().messages {
        let traced = client.trace_message(TraceMessageRequest { name: waiting.name }).await?.into_inner();
        let Some(message) = traced.message.filter(|message| message.state() == MessageState::Waiting) else { continue };
        match message.waiting {
            Some(reason) if !reason.reason.is_empty() && !reason.explanation.is_empty() => explained += 1,
            _ => timeline.violation("P7", format!("{} waits without a reason", message.name)),
        }
    }
    Ok(explained)
}
