//! `muster.agent.v1.AgentService`: the agents' side.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use muster_domain::limits::{FRAME_BYTES_MAX, MEDIA_CHUNK_BYTES};
use muster_proto::agent_v1::agent_service_server::AgentService;
use muster_proto::agent_v1::{AgentFrame, FetchMediaRequest, FetchMediaResponse, ServerFrame};
use muster_proto::convert::agent_v1::media_digest;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, caller, stream, transport};
use crate::app::error::Error;
use crate::app::{App, media};
use crate::session::{self, Broken};

pub(super) struct Agents {
    pub(super) app: Arc<App>,
    pub(super) sessions: Arc<session::Context>,
    /// The sessions under way, so that a stopping server can wait for their last frames.
    pub(super) running: TaskTracker,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type SessionStream = Answers<ServerFrame>;
    type FetchMediaStream = Answers<FetchMediaResponse>;

    async fn session(&self, request: Request<Streaming<AgentFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        let tenant = caller::tenant(&self.app, request.metadata()).await?;
        let frames = request.into_inner().map_err(|status| match transport::refusal(&status, FRAME_BYTES_MAX) {
            Some(error) => Broken::Unreadable(error.message),
            None => Broken::Lost,
        });
        let (reader, session) = session::serve(Arc::clone(&self.sessions), tenant, frames);
        self.running.spawn(session);
        Ok(Response::new(ReceiverStream::new(reader).map(|frame| Ok(*frame)).boxed()))
    }

    async fn fetch_media(
        &self,
        request: Request<FetchMediaRequest>,
    ) -> Result<Response<Self::FetchMediaStream>, Status> {
        let digest = media_digest("digest", &request.get_ref().digest).map_err(Error::from)?;
        let bytes = media::fetch(&self.app, &digest).await?;
        Ok(stream(futures::stream::iter(chunks(bytes)).map(|data| Ok(FetchMediaResponse { data }))))
    }
}

fn chunks(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let chunk = bytes.split_to(bytes.len().min(MEDIA_CHUNK_BYTES));
        (!chunk.is_empty()).then_some(chunk)
    })
}
