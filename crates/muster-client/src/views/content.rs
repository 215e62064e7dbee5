//! What messages say.

use muster_proto::v1::{self, content::Kind, media::Source};
use serde::Serialize;

/// Characters of a text that a page shows of what a message says.
const EXCERPT_CHARS: usize = 60;

/// A content as JSON: its kind, and the fields that the kind has.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Content")]
pub enum ContentView {
    Text {
        body: String,
    },
    Image {
        media: MediaView,
        caption: String,
    },
    Audio {
        media: MediaView,
    },
    Document {
        media: MediaView,
        caption: String,
        file_name: String,
    },
    Reaction {
        target: String,
        emoji: String,
    },
    Unsupported {
        network_kind: String,
    },
    /// A kind that is newer than this build, or none.
    Unknown,
}

/// Where a medium can be had: exactly one of `url` and `media`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Media")]
pub struct MediaView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
    pub mime_type: String,
}

impl From<Option<v1::Media>> for MediaView {
    fn from(media: Option<v1::Media>) -> Self {
        let media = media.unwrap_or_default();
        let (url, name) = match media.source {
            Some(Source::Url(url)) => (Some(url), None),
            Some(Source::Media(name)) => (None, Some(name)),
            None => (None, None),
        };
        MediaView { url, media: name, mime_type: media.mime_type }
    }
}

impl From<v1::Content> for ContentView {
    fn from(content: v1::Content) -> Self {
        match content.kind {
            Some(Kind::Text(v1::content::Text { body })) => ContentView::Text { body },
            Some(Kind::Image(v1::content::Image { media, caption })) => {
                ContentView::Image { media: media.into(), caption }
            }
            Some(Kind::Audio(v1::content::Audio { media })) => ContentView::Audio { media: media.into() },
            Some(Kind::Document(v1::content::Document { media, caption, file_name })) => {
                ContentView::Document { media: media.into(), caption, file_name }
            }
            Some(Kind::Reaction(v1::content::Reaction { target, emoji })) => ContentView::Reaction { target, emoji },
            Some(Kind::Unsupported(v1::content::Unsupported { kind })) => {
                ContentView::Unsupported { network_kind: kind }
            }
            None => ContentView::Unknown,
        }
    }
}

impl ContentView {
    /// The content on one line: its kind and how it begins.
    pub fn summary(&self) -> String {
        match self {
            ContentView::Text { body } => format!("text {}", excerpt(body)),
            ContentView::Image { media, caption } => joined("image", media, caption),
            ContentView::Audio { media } => joined("audio", media, ""),
            ContentView::Document { media, caption, file_name } => {
                joined(&format!("document {file_name}"), media, caption)
            }
            ContentView::Reaction { target, emoji } if emoji.is_empty() => format!("no reaction any more on {target}"),
            ContentView::Reaction { target, emoji } => format!("reaction {emoji} on {target}"),
            ContentView::Unsupported { network_kind } => format!("{network_kind} (not supported)"),
            ContentView::Unknown => "of a kind that this build does not know".to_owned(),
        }
    }
}

fn joined(what: &str, media: &MediaView, caption: &str) -> String {
    let caption = if caption.is_empty() { String::new() } else { format!(" {}", excerpt(caption)) };
    format!("{what} ({}){caption}", media.mime_type)
}

/// The beginning of a text in quotes, on one line.
fn excerpt(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let begin: String = chars.by_ref().take(EXCERPT_CHARS).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("\"{begin}{rest}\"")
}
