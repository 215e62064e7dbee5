//! The worker: takes items, does nothing, and says so.

use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::Moment;
use crate::floor_v1::WorkRequest;
use crate::floor_v1::floor_service_client::FloorServiceClient;

/// Acknowledgements that may wait for the stream.
const QUEUE_FRAMES: usize = 1_024;

/// Starts the worker, and tells when items reached it.
pub(super) async fn spawn(
    mut server: FloorServiceClient<Channel>,
    handled: mpsc::UnboundedSender<Moment>,
) -> Result<()> {
    let (answers, frames) = mpsc::channel(QUEUE_FRAMES);
    let mut work = server.work(ReceiverStream::new(frames)).await.context("open the worker's stream")?.into_inner();
    tokio::spawn(async move {
        while let Ok(Some(frame)) = work.message().await {
            let ids: Vec<u64> = frame.items.iter().map(|item| item.id).collect();
            let moment = Moment { ids: ids.clone(), at: Instant::now() };
            if handled.send(moment).is_err() || answers.send(WorkRequest { handled: ids }).await.is_err() {
                break;
            }
        }
    });
    Ok(())
}
