//! Media that messages carry.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use muster_domain::content::{MediaDigest, check_media_size};
use muster_domain::limits::MEDIA_BYTES_MAX;
use muster_domain::{TenantId, Violation};
use tokio::sync::SemaphorePermit;

use super::App;
use super::error::{Error, Reason, Result};

/// Uploads that run side by side: each may hold a medium of 16 MiB in memory.
pub(crate) const UPLOADS_MAX: usize = 16;

/// How long an upload may be silent: a client that is alive sends on at once. One that is not would keep the place of another.
pub(crate) const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Bytes in one frame of an upload.
const UPLOAD_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// A medium that is being uploaded.
pub(crate) struct Upload<'a> {
    bytes: BytesMut,
    _place: SemaphorePermit<'a>,
}

/// Begins an upload.
pub(crate) fn begin(app: &App) -> Result<Upload<'_>> {
    let place = app.uploads.try_acquire().map_err(|_| {
        let message = format!("{UPLOADS_MAX} uploads run already; try again in a moment");
        Error::new(Reason::Overloaded, message)
    })?;
    Ok(Upload { bytes: BytesMut::new(), _place: place })
}

impl Upload<'_> {
    /// Takes the next bytes.
    pub(crate) fn add(&mut self, data: &[u8]) -> Result<()> {
        if data.len() > UPLOAD_FRAME_BYTES_MAX {
            let text = format!("must have at most {UPLOAD_FRAME_BYTES_MAX} bytes a frame, has {}", data.len());
            return Err(Violation::new("data", text).into());
        }
        if (self.bytes.len() + data.len()) as u64 > MEDIA_BYTES_MAX {
            check_media_size((self.bytes.len() + data.len()) as u64)?;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Keeps the medium.
    pub(crate) async fn finish(self, app: &App, tenant: &TenantId) -> Result<(MediaDigest, u64)> {
        let size = self.bytes.len() as u64;
        check_media_size(size)?;
        let bytes = self.bytes.freeze();
        let digest = MediaDigest::of(&bytes);
        app.store.media_put(tenant, digest, bytes).await?;
        Ok((digest, size))
    }
}

/// The bytes of a medium, for an agent.
pub(crate) async fn fetch(app: &App, digest: &MediaDigest) -> Result<Bytes> {
    let bytes = app.store.media_get(digest).await?;
    bytes.ok_or_else(|| {
        let message = "the medium is not kept, or not any more; upload it again";
        Error::new(Reason::MediaGone, message)
    })
}
