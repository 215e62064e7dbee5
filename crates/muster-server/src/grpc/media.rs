//! `muster.v1.MediaService`.

use std::sync::Arc;

use futures::{Stream, TryStreamExt as _};
use muster_proto::v1::media_service_server::MediaService;
use muster_proto::v1::{UploadMediaRequest, UploadMediaResponse};
use tonic::{Request, Response, Status, Streaming};

use super::caller;
use crate::app::error::{Error, Reason};
use crate::app::media::UPLOAD_SILENCE_MAX;
use crate::app::{App, media};

pub(super) struct Media(pub(super) Arc<App>);

#[tonic::async_trait]
impl MediaService for Media {
    async fn upload_media(
        &self,
        request: Request<Streaming<UploadMediaRequest>>,
    ) -> Result<Response<UploadMediaResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let mut frames = request.into_inner();
        let mut upload = media::begin(&self.0)?;
        while let Some(frame) = next(&mut frames).await? {
            upload.add(&frame.data)?;
        }
        let (digest, size_bytes) = upload.finish(&self.0, &tenant).await?;
        Ok(Response::new(UploadMediaResponse { name: digest.resource_name(), size_bytes }))
    }
}

/// The next frame of an upload that goes on.
async fn next<S>(frames: &mut S) -> Result<Option<UploadMediaRequest>, Status>
where
    S: Stream<Item = Result<UploadMediaRequest, Status>> + Unpin,
{
    let next = tokio::time::timeout(UPLOAD_SILENCE_MAX, frames.try_next());
    next.await.unwrap_or_else(|_| {
        let message = format!("nothing came of the upload for {} s; upload it again", UPLOAD_SILENCE_MAX.as_secs());
        Err(Error::new(Reason::UploadSilent, message).into())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;
    use tonic::Code;

    use super::*;

    /// What comes of an upload whose next frame comes after a while.
    async fn after(silence: Duration) -> Result<Option<UploadMediaRequest>, Status> {
        let frame = async move {
            tokio::time::sleep(silence).await;
            Ok(UploadMediaRequest::default())
        };
        next(&mut futures::stream::once(frame).boxed()).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_falls_silent_is_ended() {
        let moment = Duration::from_millis(1);
        assert_eq!(after(UPLOAD_SILENCE_MAX - moment).await.unwrap(), Some(UploadMediaRequest::default()));
        assert_eq!(after(UPLOAD_SILENCE_MAX + moment).await.unwrap_err().code(), Code::Aborted);
    }
}
