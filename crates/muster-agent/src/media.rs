//! Media that attempts carry by digest: fetched from the server, verified, and kept for the next attempt that needs them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use muster_domain::content::MediaDigest;
use muster_domain::failure::{Failure, FailureReason, Scope};
use muster_domain::limits::MEDIA_BYTES_MAX;
use muster_proto::agent_v1::FetchMediaRequest;
use muster_proto::agent_v1::agent_service_client::AgentServiceClient;
use tokio::sync::OnceCell;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Bytes of media that are kept. Four of the largest, or a campaign's pictures many times over.
const KEPT_BYTES_MAX: u64 = 4 * MEDIA_BYTES_MAX;

/// How long fetching one medium may take: the largest over a 4 Mbit/s line.
const FETCH_TIMEOUT: Duration = Duration::from_secs(35);

type Fetch = Arc<OnceCell<Result<Bytes, Failure>>>;

/// The node's media. Clones share what is kept.
#[derive(Clone)]
pub(crate) struct Media {
    client: AgentServiceClient<Channel>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// Fetches under way and media that are here. Callers of one digest share one fetch.
    by_digest: HashMap<MediaDigest, Fetch>,
    /// Media that are here, the longest unused first, with their sizes.
    order: VecDeque<(MediaDigest, u64)>,
    bytes: u64,
}

impl Kept {
    fn touch(&mut self, digest: MediaDigest) {
        if let Some(at) = self.order.iter().position(|(kept, _)| *kept == digest)
            && let Some(entry) = self.order.remove(at)
        {
            self.order.push_back(entry);
        }
    }

    fn keep(&mut self, digest: MediaDigest, bytes: u64) {
        if self.order.iter().any(|(kept, _)| *kept == digest) {
            return;
        }
        self.order.push_back((digest, bytes));
        self.bytes += bytes;
        while self.bytes > KEPT_BYTES_MAX
            && let Some((oldest, bytes)) = self.order.pop_front()
        {
            self.by_digest.remove(&oldest);
            self.bytes -= bytes;
        }
    }
}

impl Media {
    /// Media of the server behind `channel`.
    pub(crate) fn new(channel: Channel) -> Self {
        Media { client: AgentServiceClient::new(channel), kept: Arc::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches a medium that will be needed before long.
    pub(crate) fn prefetch(&self, digest: MediaDigest) {
        if !self.kept().by_digest.contains_key(&digest) {
            let media = self.clone();
            tokio::spawn(async move { media.get(digest).await });
        }
    }

    /// The bytes of a medium, if it is here.
    pub(crate) fn ready(&self, digest: MediaDigest) -> Option<Bytes> {
        let mut kept = self.kept();
        let bytes = kept.by_digest.get(&digest)?.get()?.as_ref().ok()?.clone();
        kept.touch(digest);
        Some(bytes)
    }

    /// The bytes of a medium, fetched if it is not here. A failure means that nothing was sent: it can be tried again, unless the medium is gone.
    pub(crate) async fn get(&self, digest: MediaDigest) -> Result<Bytes, Failure> {
        let fetch = {
            let mut kept = self.kept();
            kept.touch(digest);
            Arc::clone(kept.by_digest.entry(digest).or_default())
        };
        let fetched = fetch.get_or_init(|| self.fetch(digest)).await.clone();
        let mut kept = self.kept();
        match &fetched {
            Ok(bytes) => kept.keep(digest, bytes.len() as u64),
            // The next caller tries again.
            Err(_) => {
                if kept.by_digest.get(&digest).is_some_and(|present| Arc::ptr_eq(present, &fetch)) {
                    kept.by_digest.remove(&digest);
                }
            }
        }
        fetched
    }

    async fn fetch(&self, digest: MediaDigest) -> Result<Bytes, Failure> {
        match tokio::time::timeout(FETCH_TIMEOUT, self.download(digest)).await {
            Err(_) => Err(unavailable("fetching the medium from the server took too long")),
            Ok(Err(status)) if status.code() == Code::NotFound => {
                Err(Failure::new(FailureReason::ContentRejected, "the medium is gone from the server: upload it again"))
            }
            Ok(Err(status)) => {
                tracing::warn!(code = ?status.code(), "cannot fetch a medium from the server");
                Err(unavailable("the medium cannot be fetched from the server"))
            }
            Ok(Ok(bytes)) if MediaDigest::of(&bytes) != digest => {
                Err(unavailable("the medium arrived damaged from the server"))
            }
            Ok(Ok(bytes)) => Ok(bytes),
        }
    }

    async fn download(&self, digest: MediaDigest) -> Result<Bytes, Status> {
        let request = FetchMediaRequest { digest: digest.0.to_vec() };
        let mut chunks = self.client.clone().fetch_media(request).await?.into_inner();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.message().await? {
            if (bytes.len() + chunk.data.len()) as u64 > MEDIA_BYTES_MAX {
                return Err(Status::out_of_range("the medium is larger than a medium may be"));
            }
            bytes.extend_from_slice(&chunk.data);
        }
        Ok(bytes.freeze())
    }
}

/// The gateway was not asked, so nothing is said about it.
fn unavailable(detail: &str) -> Failure {
    Failure::new(FailureReason::GatewayUnavailable, detail).of(Scope::Message)
}
