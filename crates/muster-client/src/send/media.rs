//! Pictures, sounds and files: by address, or from this machine.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures::stream;
use muster_domain::content::{MediaDigest, check_media_size};
use muster_domain::limits::{FRAME_BYTES_MAX, MEDIA_BYTES_MAX, MEDIA_CHUNK_BYTES};
use muster_proto::v1::{self, media::Source};
use prost::bytes::Bytes;

use super::content::MediaPart;
use crate::connection::Server;
use crate::error::Error;

const _: () = assert!(MEDIA_CHUNK_BYTES < FRAME_BYTES_MAX);

/// As what a medium is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A voice note or a piece of sound.
    Audio,
    /// A file.
    Document,
}

impl MediaKind {
    /// All kinds.
    pub const ALL: [MediaKind; 3] = [MediaKind::Image, MediaKind::Audio, MediaKind::Document];

    /// The name of the option and of the column.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaKind::Image => "image",
            MediaKind::Audio => "audio",
            MediaKind::Document => "document",
        }
    }
}

/// A medium that has to be uploaded before a message may name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMedia {
    /// The file.
    pub path: PathBuf,
    /// What it held when it was read first.
    pub digest: MediaDigest,
}

/// Reads media as people name them, each local file once.
#[derive(Debug, Default)]
pub struct MediaReader {
    digests: HashMap<PathBuf, MediaDigest>,
}

impl MediaReader {
    /// The medium that `named` stands for: an http address, or a file below `base`. A file has to be uploaded.
    pub fn read(
        &mut self,
        kind: MediaKind,
        named: &str,
        mime_type: Option<&str>,
        base: &Path,
    ) -> Result<(MediaPart, Option<LocalMedia>), String> {
        let is_url = named.starts_with("http://") || named.starts_with("https://");
        let plain = if is_url { named.split(['?', '#']).next().unwrap_or_default() } else { named };
        let file_name = plain.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let mime_type = match mime_type {
            Some(mime_type) => mime_type.to_owned(),
            None => guess(kind, &file_name)
                .ok_or_else(|| format!("the media type of \"{file_name}\" is unknown; name it, such as image/png"))?,
        };
        let (source, local) = if is_url {
            (Source::Url(named.to_owned()), None)
        } else {
            let path = base.join(named);
            let digest = self.digest(&path)?;
            (Source::Media(digest.resource_name()), Some(LocalMedia { path, digest }))
        };
        Ok((MediaPart { kind, source, mime_type, file_name }, local))
    }

    fn digest(&mut self, path: &Path) -> Result<MediaDigest, String> {
        if let Some(digest) = self.digests.get(path) {
            return Ok(*digest);
        }
        let bytes = read_file(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        check_media_size(bytes.len() as u64)
            .map_err(|violation| format!("{}: {}", path.display(), violation.description))?;
        let digest = MediaDigest::of(&bytes);
        self.digests.insert(path.to_owned(), digest);
        Ok(digest)
    }
}

/// Reads a file, but not more of it than shows that it is too large.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MEDIA_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The media type that a file's name suggests, where it fits the kind.
fn guess(kind: MediaKind, file_name: &str) -> Option<String> {
    let guesses = mime_guess::from_path(file_name);
    let fits = |mime: &str| match kind {
        MediaKind::Image => mime.starts_with("image/"),
        MediaKind::Audio => mime.starts_with("audio/"),
        MediaKind::Document => true,
    };
    match guesses.iter_raw().find(|mime| fits(mime)) {
        Some(mime) => Some(mime.to_owned()),
        None if kind == MediaKind::Document => {
            Some(mime_guess::mime::APPLICATION_OCTET_STREAM.essence_str().to_owned())
        }
        None => None,
    }
}

/// Uploads local media, each content once.
#[derive(Debug, Default)]
pub struct Uploader {
    done: HashSet<MediaDigest>,
}

impl Uploader {
    /// Makes sure that the server has the medium.
    pub async fn ensure(&mut self, server: &Server, media: &LocalMedia) -> Result<(), Error> {
        if self.done.contains(&media.digest) {
            return Ok(());
        }
        let path = media.path.clone();
        let read = tokio::task::spawn_blocking(move || read_file(&path)).await.map_err(io::Error::other);
        let bytes = read.flatten().map_err(|error| Error::read(&media.path, error))?;
        if MediaDigest::of(&bytes) != media.digest {
            return Err(Error::Content(format!("{} was changed while it was being sent", media.path.display())));
        }
        let bytes = Bytes::from(bytes);
        let chunks = (0..bytes.len()).step_by(MEDIA_CHUNK_BYTES).map(move |start| {
            let end = bytes.len().min(start + MEDIA_CHUNK_BYTES);
            v1::UploadMediaRequest { data: bytes.slice(start..end) }
        });
        let name = server.media().upload_media(stream::iter(chunks)).await?.into_inner().name;
        debug_assert_eq!(name, media.digest.resource_name());
        self.done.insert(media.digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_is_an_address_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), b"png").unwrap();
        let mut reader = MediaReader::default();
        let (part, local) = reader.read(MediaKind::Image, "a.png", None, folder.path()).unwrap();
        assert_eq!((part.mime_type.as_str(), part.file_name.as_str()), ("image/png", "a.png"));
        assert_eq!(local.unwrap().digest, MediaDigest::of(b"png"));
        let (part, local) =
            reader.read(MediaKind::Document, "https://x.example/d/a.pdf?v=1", None, folder.path()).unwrap();
        assert_eq!((part.mime_type.as_str(), part.file_name.as_str(), local), ("application/pdf", "a.pdf", None));
        assert!(reader.read(MediaKind::Image, "b.png", None, folder.path()).unwrap_err().contains("No such file"));
        assert!(reader.read(MediaKind::Image, "a.xyz", None, folder.path()).unwrap_err().contains("media type"));
        std::fs::write(folder.path().join("empty.png"), b"").unwrap();
        assert!(
            reader.read(MediaKind::Image, "empty.png", None, folder.path()).unwrap_err().contains("must not be empty")
        );
    }

    #[test]
    fn sounds_have_the_types_of_sounds() {
        for (name, mime) in
            [("a.ogg", "audio/ogg"), ("a.mp3", "audio/mpeg"), ("a.wav", "audio/wav"), ("a.m4a", "audio/")]
        {
            let guessed = guess(MediaKind::Audio, name).unwrap();
            assert!(guessed.starts_with(mime), "{name}: {guessed}");
        }
        assert_eq!(guess(MediaKind::Image, "a.mp3"), None);
        assert_eq!(guess(MediaKind::Document, "a.unknown").unwrap(), "application/octet-stream");
    }
}
