//! What a message says.

use std::time::Duration;

use crate::Violation;
use crate::limits::{
    CAPTION_CHARS_MAX, FILE_NAME_CHARS_MAX, MEDIA_BYTES_MAX, REACTION_BYTES_MAX, TEXT_CHARS_MAX, TYPING_MAX,
    URL_CHARS_MAX,
};

/// The content of an outbound or inbound message. `Debug` shows kinds and sizes only: texts stay out of logs.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Plain text.
    Text {
        /// 1 to 4,096 characters.
        body: String,
    },
    /// A picture.
    Image {
        /// The picture itself.
        media: Media,
        /// Text below it; may be empty.
        caption: String,
    },
    /// A voice note or a piece of sound.
    Audio {
        /// The sound itself.
        media: Media,
    },
    /// A file.
    Document {
        /// The file itself.
        media: Media,
        /// Text below it; may be empty.
        caption: String,
        /// The name that the recipient sees.
        file_name: String,
    },
    /// An emoji on an earlier message; the empty text takes it back.
    Reaction {
        /// The message that is reacted to.
        target: ReactionTarget,
        /// One emoji, or nothing.
        emoji: String,
    },
    /// Something that the network delivered and that has no form here, such as a poll. Inbound only.
    Unsupported {
        /// The gateway's own word for the kind.
        kind: String,
    },
}

/// The message that a reaction belongs to, by the network's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactionTarget {
    /// The network's id.
    pub network_id: String,
    /// Whether the bot itself had sent it.
    pub from_bot: bool,
    /// Its name in the API, as far as it is known.
    pub resource: Option<String>,
}

/// The inbound message that a message answers, by the network's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTarget {
    /// The network's id.
    pub network_id: String,
    /// Its name in the API, as far as it is known.
    pub resource: Option<String>,
}

/// A picture, a sound or a file, by where it can be had.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// Where the bytes are.
    pub source: MediaSource,
    /// IANA media type, such as `image/png`.
    pub mime_type: String,
}

/// Where the bytes of a medium are.
#[derive(Clone, PartialEq, Eq)]
pub enum MediaSource {
    /// At an http or https address that the gateway can reach.
    Url(String),
    /// In Muster's store, by the SHA-256 of the bytes.
    Stored(MediaDigest),
}

/// SHA-256 of a stored medium: its id, so that one picture for 500 recipients is stored once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaDigest(pub [u8; 32]);

impl MediaDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        MediaDigest(sha2::Sha256::digest(bytes).into())
    }

    /// The name of the medium in the API: `media/{hex}`.
    pub fn resource_name(&self) -> String {
        format!("media/{}", data_encoding::HEXLOWER.encode(&self.0))
    }

    /// Reads `media/{hex}` or the bare digest.
    pub fn from_resource_name(name: &str) -> Result<Self, Violation> {
        let bare = name.strip_prefix("media/").unwrap_or(name);
        let wrong = || {
            Violation::new(
                "",
                "must be a medium's name, \"media/\" and 64 hexadecimal digits, as UploadMedia returned it",
            )
        };
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(bare.as_bytes()).map_err(|_| wrong())?;
        Ok(MediaDigest(bytes.try_into().map_err(|_| wrong())?))
    }
}

impl Content {
    /// The kind, as the API and the screens name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Content::Text { .. } => "text",
            Content::Image { .. } => "image",
            Content::Audio { .. } => "audio",
            Content::Document { .. } => "document",
            Content::Reaction { .. } => "reaction",
            Content::Unsupported { .. } => "unsupported",
        }
    }

    /// The medium that the content carries, if it carries one.
    pub fn media(&self) -> Option<&Media> {
        match self {
            Content::Image { media, .. } | Content::Audio { media } | Content::Document { media, .. } => Some(media),
            Content::Text { .. } | Content::Reaction { .. } | Content::Unsupported { .. } => None,
        }
    }

    /// Checks an outbound content against the limits. All violations are returned, not only the first.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        match self {
            Content::Text { body } => {
                if body.is_empty() {
                    found.push(Violation::new("text.body", "must not be empty"));
                }
                too_long(&mut found, "text.body", body, TEXT_CHARS_MAX);
            }
            Content::Image { media, caption } => {
                media.check(&mut found, "image.media", "image/");
                too_long(&mut found, "image.caption", caption, CAPTION_CHARS_MAX);
            }
            Content::Audio { media } => media.check(&mut found, "audio.media", "audio/"),
            Content::Document { media, caption, file_name } => {
                media.check(&mut found, "document.media", "");
                too_long(&mut found, "document.caption", caption, CAPTION_CHARS_MAX);
                if file_name.is_empty() {
                    found.push(Violation::new(
                        "document.file_name",
                        "must not be empty: the recipient sees the file under it",
                    ));
                }
                if file_name.contains(['/', '\\', '\0']) {
                    found.push(Violation::new("document.file_name", "must be a plain name without '/', '\\' or NUL"));
                }
                too_long(&mut found, "document.file_name", file_name, FILE_NAME_CHARS_MAX);
            }
            Content::Reaction { target, emoji } => {
                if emoji.len() > REACTION_BYTES_MAX || emoji.bytes().any(|b| b.is_ascii_alphabetic() || b == b' ') {
                    found.push(Violation::new(
                        "reaction.emoji",
                        "must be one emoji, or empty to take the reaction back",
                    ));
                }
                if target.network_id.is_empty() || target.network_id.len() > 128 {
                    found.push(Violation::new("reaction.target", "must name the message that is reacted to"));
                }
            }
            Content::Unsupported { .. } => {
                found.push(Violation::new("content", "must be set to a kind that can be sent"))
            }
        }
        found
    }
}

fn too_long(found: &mut Vec<Violation>, field: &str, text: &str, max: usize) {
    let count = text.chars().count();
    if count > max {
        found.push(Violation::new(field, format!("must have at most {max} characters, has {count}")));
    }
}

impl Media {
    fn check(&self, found: &mut Vec<Violation>, field: &str, mime_prefix: &str) {
        let (kind, subtype) = self.mime_type.split_once('/').unwrap_or_default();
        let token = |s: &str| !s.is_empty() && s.len() <= 100 && s.bytes().all(|b| b.is_ascii_graphic());
        if !token(kind)
            || !token(subtype.split(';').next().unwrap_or_default())
            || !self.mime_type.starts_with(mime_prefix)
        {
            let expected = if mime_prefix.is_empty() { "type/subtype" } else { mime_prefix };
            found.push(Violation::new(
                format!("{field}.mime_type"),
                format!("must be a media type of the form \"{expected}…\""),
            ));
        }
        if let MediaSource::Url(url) = &self.source {
            let plain = url.len() <= URL_CHARS_MAX && !url.chars().any(|c| c.is_whitespace() || c.is_control());
            if !plain || !(url.starts_with("http://") || url.starts_with("https://")) {
                found.push(Violation::new(
                    format!("{field}.url"),
                    format!("must be an http or https address of at most {URL_CHARS_MAX} characters; upload local files with UploadMedia"),
                ));
            }
        }
    }
}

/// Checks the size of an uploaded medium.
pub fn check_media_size(bytes: u64) -> Result<(), Violation> {
    if bytes == 0 {
        return Err(Violation::new("data", "must not be empty"));
    }
    if bytes > MEDIA_BYTES_MAX {
        return Err(Violation::new(
            "data",
            format!("must have at most {MEDIA_BYTES_MAX} bytes; pass larger documents by URL"),
        ));
    }
    Ok(())
}

/// What is done around a reply, as one would in a conversation. Never used on messages that open one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Courtesy {
    /// Marks the message that is replied to as read before the reply leaves.
    pub mark_read: bool,
    /// Shows the typing indicator for this long before the reply leaves; zero shows none.
    pub typing: Duration,
}

impl Courtesy {
    /// Checks the typing time; courtesies need a message that is replied to.
    pub fn violations(&self, is_reply: bool) -> Vec<Violation> {
        let mut found = Vec::new();
        if *self != Courtesy::default() && !is_reply {
            found.push(Violation::new("courtesy", "needs reply_to: typing indicator and read mark belong to replies"));
        }
        if self.typing > TYPING_MAX {
            found.push(Violation::new("courtesy.typing", format!("must be at most {} s", TYPING_MAX.as_secs())));
        }
        found
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Text { body } => write!(f, "Text({} bytes)", body.len()),
            other => f.write_str(other.kind()),
        }
    }
}

impl std::fmt::Debug for MediaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MediaSource::Url(_) => "Url(…)",
            MediaSource::Stored(_) => "Stored(…)",
        })
    }
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Media({})", self.mime_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chars: usize) -> Content {
        Content::Text { body: "ä".repeat(chars) }
    }

    #[test]
    fn text_limit_counts_characters_not_bytes() {
        assert!(text(TEXT_CHARS_MAX).violations().is_empty());
        assert_eq!(text(TEXT_CHARS_MAX + 1).violations()[0].field, "text.body");
        assert_eq!(text(0).violations()[0].field, "text.body");
    }

    #[test]
    fn media_needs_a_fitting_type_and_a_reachable_place() {
        let media = |mime: &str, url: &str| Media { source: MediaSource::Url(url.into()), mime_type: mime.into() };
        let image = |media| Content::Image { media, caption: String::new() }.violations();
        assert!(image(media("image/png", "https://files.example/a.png")).is_empty());
        assert_eq!(image(media("audio/ogg", "https://files.example/a.ogg"))[0].field, "image.media.mime_type");
        assert_eq!(image(media("image/png", "file:///etc/passwd"))[0].field, "image.media.url");
        assert_eq!(image(media("image/", "ftp://x"))[..].len(), 2);
    }

    #[test]
    fn reactions_are_emoji() {
        let reaction = |emoji: &str| {
            let target = ReactionTarget { network_id: "3EB0".into(), from_bot: false, resource: None };
            Content::Reaction { target, emoji: emoji.into() }.violations()
        };
        assert!(reaction("👍🏽").is_empty());
        assert!(reaction("").is_empty());
        assert!(!reaction("ok").is_empty());
    }

    #[test]
    fn courtesies_belong_to_replies() {
        let courtesy = Courtesy { mark_read: true, typing: Duration::from_secs(3) };
        assert!(courtesy.violations(true).is_empty());
        assert!(!courtesy.violations(false).is_empty());
        assert!(!Courtesy { typing: TYPING_MAX + Duration::from_millis(1), ..courtesy }.violations(true).is_empty());
    }

    #[test]
    fn debug_keeps_texts_out_of_logs() {
        assert!(!format!("{:?}", Content::Text { body: "secret".into() }).contains("secret"));
    }
}
