//! `muster.v1.MediaService`.

use std::sync::Arc;

use muster_proto::v1::media_service_server::MediaService;
use muster_proto::v1::{UploadMediaRequest, UploadMediaResponse};
use tonic::{Request, Response, Status, Streaming};

use super::caller;
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
        while let Some(frame) = frames.message().await? {
            upload.add(&frame.data)?;
        }
        let (digest, size_bytes) = upload.finish(&self.0, &tenant).await?;
        Ok(Response::new(UploadMediaResponse { name: digest.resource_name(), size_bytes }))
    }
}
