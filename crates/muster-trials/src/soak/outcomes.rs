//! What became of the messages, as a client sees it that watches every change.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::{MessageState, WatchMessagesRequest, WatchMessagesResponse};
use tonic::Streaming;
use tonic::transport::Channel;

/// A stream of changes, and how many messages were sent by its account.
pub(super) struct Outcomes {
    changes: Streaming<WatchMessagesResponse>,
    sent: u64,
}

impl Outcomes {
    /// Watches from now on.
    pub(super) async fn watch(server: &Channel) -> Result<Self> {
        let opened = MessageServiceClient::new(server.clone()).watch_messages(WatchMessagesRequest::default()).await;
        let mut changes = opened.context("watch the messages")?.into_inner();
        // The first answer tells where the stream begins; what is sent after it is seen.
        changes.message().await?.context("the server ended the watch early")?;
        Ok(Self { changes, sent: 0 })
    }

    /// Waits until `total` messages were sent. Each counts once: a message that is sent twice would be one too many at the end,
    /// and one that ends otherwise is an error, as is that nothing moves for `patience`.
    pub(super) async fn until(&mut self, total: u64, patience: Duration) -> Result<()> {
        while self.sent < total {
            let page = tokio::time::timeout(patience, self.next_page());
            let page =
                page.await.with_context(|| format!("{} of {total} messages were sent, and then no more", self.sent))?;
            for change in page?.changes {
                match change.state() {
                    MessageState::Waiting | MessageState::Dispatched => {}
                    MessageState::Sent => self.sent += 1,
                    other => bail!("{} came to be {}", change.message, other.as_str_name()),
                }
            }
        }
        if self.sent > total {
            bail!("{} outcomes of {total} messages", self.sent);
        }
        Ok(())
    }

    /// The next page with changes in it.
    async fn next_page(&mut self) -> Result<WatchMessagesResponse> {
        loop {
            let page = self.changes.message().await?.context("the server ended the watch early")?;
            if !page.changes.is_empty() {
                return Ok(page);
            }
        }
    }
}
