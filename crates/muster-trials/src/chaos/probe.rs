//! While everything breaks: does each waiting message have its reason?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::{ListMessagesRequest, MessageFilter, MessageState, TraceMessageRequest};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::timeline::Timeline;

/// How often waiting messages are asked about.
const EVERY: Duration = Duration::from_millis(300);

/// How long an answer may take: the server may be frozen.
const PATIENCE: Duration = Duration::from_secs(2);

/// Messages that are asked about at a time.
const SAMPLE: i32 = 5;

/// Asks until `stop`, and returns how many waiting messages explained themselves.
pub(super) async fn run(server: String, timeline: Arc<Timeline>, stop: Arc<AtomicBool>) -> Result<u64> {
    let channel = Endpoint::from_shared(server)?.connect_timeout(PATIENCE).connect_lazy();
    let mut client = MessageServiceClient::new(channel);
    let mut explained = 0;
    while !stop.load(Ordering::Relaxed) {
        // A server that is down explains nothing; the next time it may.
        if let Ok(Ok(count)) = tokio::time::timeout(PATIENCE, sample(&mut client, &timeline)).await {
            explained += count;
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(explained)
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
