//! The shape of every load, the same for Muster and for its references, so that a ratio compares like with like.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// Connections that the clients of a load spread over.
pub(crate) const CLIENTS: usize = 4;

/// Messages of one streamed frame.
pub(crate) const FRAME_MESSAGES: u64 = 64;

/// Frames of one stream that may be unanswered.
pub(crate) const FRAMES_IN_FLIGHT: usize = 32;

/// Single calls that are open at a time, over all clients.
pub(crate) const CALLS_IN_FLIGHT: usize = 256;

/// Rate of the open loop by which latency is measured: a machine that is nearly idle.
pub(crate) const PACED_PER_SECOND: u32 = 100;

/// Sends frames over one stream, never more than [`FRAMES_IN_FLIGHT`] of them unanswered, and shows each answer to `check`.
pub(crate) async fn stream<Q, A, F>(
    frames: impl Iterator<Item = Q>,
    open: impl FnOnce(ReceiverStream<Q>) -> F,
    mut check: impl FnMut(A) -> Result<()>,
) -> Result<()>
where
    F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    Q: Send + Sync + 'static,
{
    let (sender, sent) = mpsc::channel(1);
    let mut answers = open(ReceiverStream::new(sent)).await.context("open the stream")?.into_inner();
    let mut frames = frames.peekable();
    let mut in_flight = 0;
    while frames.peek().is_some() || in_flight > 0 {
        match frames.next_if(|_| in_flight < FRAMES_IN_FLIGHT) {
            Some(frame) => {
                sender.send(frame).await.context("the server ended the stream early")?;
                in_flight += 1;
            }
            None => {
                check(answers.message().await?.context("the server ended the stream early")?)?;
                in_flight -= 1;
            }
        }
    }
    Ok(())
}

/// Calls with numbers until the supply ends, `in_flight` of them open at a time. `call` is told which of the callers it
/// serves.
pub(crate) async fn calls<F>(
    supply: &Arc<Supply>,
    in_flight: usize,
    call: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let mut callers = JoinSet::new();
    for caller in 0..in_flight {
        let (supply, call) = (Arc::clone(supply), call.clone());
        callers.spawn(async move {
            while let Some(number) = supply.one() {
                call(caller, number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Numbers of messages that were not used before, for a time or up to an end. Clients take from it as they get on, so that
/// all of them end together.
#[derive(Debug)]
pub(crate) struct Supply {
    first: u64,
    next: AtomicU64,
    end: u64,
    until: Instant,
}

impl Supply {
    /// Gives `count` numbers from `first`.
    pub(crate) fn of(first: u64, count: u64) -> Arc<Self> {
        // A year from now stands for never.
        let until = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        Arc::new(Self { first, next: first.into(), end: first + count, until })
    }

    /// Gives numbers from `first` for `duration`, counted from now.
    pub(crate) fn lasting(first: u64, duration: Duration) -> Arc<Self> {
        Arc::new(Self { first, next: first.into(), end: u64::MAX, until: Instant::now() + duration })
    }

    /// The next number.
    pub(crate) fn one(&self) -> Option<u64> {
        self.take(1).map(|numbers| numbers.start)
    }

    /// The numbers of the next frame.
    pub(crate) fn frame(&self) -> Option<Range<u64>> {
        self.take(FRAME_MESSAGES)
    }

    /// How many were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.end) - self.first
    }

    fn take(&self, count: u64) -> Option<Range<u64>> {
        if Instant::now() >= self.until {
            return None;
        }
        let start = self.next.fetch_add(count, Ordering::Relaxed);
        (start < self.end).then(|| start..self.end.min(start + count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supply_gives_each_number_once() {
        for count in [0, 1, 63, 64, 65, 1000] {
            let supply = Supply::of(7, count);
            let dealt: Vec<u64> = std::iter::from_fn(|| supply.frame()).flatten().collect();
            assert_eq!(dealt, (7..7 + count).collect::<Vec<_>>());
            assert_eq!(supply.taken(), count);
        }
        let over = Supply::lasting(7, Duration::ZERO);
        assert_eq!((over.one(), over.taken()), (None, 0));
    }

    #[tokio::test]
    async fn every_number_is_called_once() {
        let sum = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&sum);
        let call = move |_, number| {
            let sum = Arc::clone(&shared);
            async move {
                sum.fetch_add(number, Ordering::Relaxed);
                Ok(())
            }
        };
        calls(&Supply::of(1, 100), 8, call).await.unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), 5_050);
    }
}
