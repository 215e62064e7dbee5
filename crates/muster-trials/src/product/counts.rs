//! How many messages are where.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::{CountMessagesRequest, MessageState};

use super::Caller;

/// How often the counts are asked for: rare enough to cost nothing, often enough for a run of a second.
const POLL: Duration = Duration::from_millis(20);

/// Messages per state, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Vec<(MessageState, u64)>);

impl Counts {
    /// Those of the tenant that the caller acts for.
    pub(crate) async fn ask(caller: &(impl Clone + Into<Caller>)) -> Result<Self> {
        let caller: Caller = caller.clone().into();
        let request = caller.request(CountMessagesRequest::default());
        let answer = MessageServiceClient::new(caller.channel).count_messages(request).await;
        let counts = answer.context("count the messages")?.into_inner().counts;
        Ok(Self(counts.into_iter().map(|count| (count.state(), count.count)).collect()))
    }

    pub(crate) fn of(&self, states: &[MessageState]) -> u64 {
        self.0.iter().filter(|(state, _)| states.contains(state)).map(|(_, count)| count).sum()
    }

    /// The gateway took them.
    pub(crate) fn sent(&self) -> u64 {
        self.of(&[MessageState::Sent, MessageState::Delivered, MessageState::Read])
    }

    /// They have not come to an end.
    pub(crate) fn under_way(&self) -> u64 {
        self.of(&[MessageState::Waiting, MessageState::Dispatched])
    }

    /// They will not move by themselves any more, or only by receipts.
    pub(crate) fn settled(&self) -> u64 {
        let lost = [MessageState::Failed, MessageState::Expired, MessageState::Cancelled, MessageState::Uncertain];
        self.sent() + self.of(&lost)
    }
}

/// Waits until `total` messages were sent, and fails if one of them ends otherwise or nothing moves for `patience`.
pub(crate) async fn all_sent(caller: &(impl Clone + Into<Caller>), total: u64, patience: Duration) -> Result<()> {
    let (mut seen, mut moved) = (0, Instant::now());
    loop {
        let counts = Counts::ask(caller).await?;
        let sent = counts.sent();
        if counts.settled() != sent {
            bail!("{} messages ended without being sent", counts.settled() - sent);
        }
        if sent >= total {
            return Ok(());
        }
        if sent != seen {
            (seen, moved) = (sent, Instant::now());
        }
        if moved.elapsed() > patience {
            bail!("{sent} of {total} messages were sent, and then no more for {} s", patience.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}
