//! What a message says, from the words of a command line or a row.

use muster_proto::v1::{self, content as wire, media::Source};

use super::media::MediaKind;

/// The parts that a content is made of.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// The text; below a picture or a file it is the caption, if there is no other.
    pub text: Option<String>,
    /// A medium that goes with it.
    pub media: Option<MediaPart>,
    /// Text below a picture or a file.
    pub caption: Option<String>,
}

/// A medium, with what the network has to know about it.
#[derive(Debug, Clone)]
pub struct MediaPart {
    /// As what it is sent.
    pub kind: MediaKind,
    /// Where it can be had.
    pub source: Source,
    /// IANA media type.
    pub mime_type: String,
    /// The name that the recipient of a document sees.
    pub file_name: String,
}

/// The content that the parts make, or why they make none.
pub fn content(parts: Parts) -> Result<v1::Content, &'static str> {
    let Parts { text, media, caption } = parts;
    let kind = match media {
        None if caption.is_some() => return Err("a caption needs an image or a document"),
        None => {
            let missing = "there is nothing to send: pass --text, --image, --audio or --document";
            wire::Kind::Text(wire::Text { body: text.ok_or(missing)? })
        }
        Some(MediaPart { kind, source, mime_type, file_name }) => {
            let media = Some(v1::Media { mime_type, source: Some(source) });
            let below = caption.clone().or(text).unwrap_or_default();
            match kind {
                MediaKind::Image => wire::Kind::Image(wire::Image { media, caption: below }),
                MediaKind::Document => wire::Kind::Document(wire::Document { media, caption: below, file_name }),
                // A voice note has no caption on any network. A text for all rows of a file simply does not apply here.
                MediaKind::Audio if caption.is_some() => return Err("a caption needs an image or a document"),
                MediaKind::Audio => wire::Kind::Audio(wire::Audio { media }),
            }
        }
    };
    Ok(v1::Content { kind: Some(kind) })
}
