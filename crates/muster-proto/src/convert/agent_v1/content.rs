//! What a message says.

use muster_domain::Violation;
use muster_domain::content::{Content, Media, MediaDigest, MediaSource, ReactionTarget};

use super::required;
use crate::agent_v1 as wire;
use crate::agent_v1::content::{Audio, Document, Image, Kind, Reaction, Text, Unsupported};

impl From<&Content> for wire::Content {
    fn from(content: &Content) -> Self {
        let kind = match content {
            Content::Text { body } => Kind::Text(Text { body: body.clone() }),
            Content::Image { media, caption } => {
                Kind::Image(Image { media: Some(media.into()), caption: caption.clone() })
            }
            Content::Audio { media } => Kind::Audio(Audio { media: Some(media.into()) }),
            Content::Document { media, caption, file_name } => Kind::Document(Document {
                media: Some(media.into()),
                caption: caption.clone(),
                file_name: file_name.clone(),
            }),
            Content::Reaction { target, emoji } => Kind::Reaction(Reaction {
                network_id: target.network_id.clone(),
                from_bot: target.from_bot,
                emoji: emoji.clone(),
            }),
            Content::Unsupported { kind } => Kind::Unsupported(Unsupported { kind: kind.clone() }),
        };
        wire::Content { kind: Some(kind) }
    }
}

impl TryFrom<wire::Content> for Content {
    type Error = Violation;
    /// Checks the form. The limits of outbound content are the business of [`super::Attempt`]: what comes in from a network
    /// keeps the network's own limits.
    fn try_from(content: wire::Content) -> Result<Self, Violation> {
        Ok(match required("kind", content.kind)? {
            Kind::Text(Text { body }) => Content::Text { body },
            Kind::Image(Image { media, caption }) => Content::Image { media: medium("image.media", media)?, caption },
            Kind::Audio(Audio { media }) => Content::Audio { media: medium("audio.media", media)? },
            Kind::Document(Document { media, caption, file_name }) => {
                Content::Document { media: medium("document.media", media)?, caption, file_name }
            }
            Kind::Reaction(Reaction { network_id, from_bot, emoji }) => {
                let network_id = super::network_id("reaction.network_id", network_id)?;
                Content::Reaction { target: ReactionTarget { network_id, from_bot, resource: None }, emoji }
            }
            Kind::Unsupported(Unsupported { kind }) => Content::Unsupported { kind },
        })
    }
}

fn medium(field: &str, media: Option<wire::Media>) -> Result<Media, Violation> {
    required(field, media)?.try_into().map_err(|violation: Violation| violation.below(field))
}

impl From<&Media> for wire::Media {
    fn from(media: &Media) -> Self {
        let source = match &media.source {
            MediaSource::Url(url) => wire::media::Source::Url(url.clone()),
            MediaSource::Stored(digest) => wire::media::Source::Digest(digest.0.to_vec()),
        };
        wire::Media { source: Some(source), mime_type: media.mime_type.clone() }
    }
}

impl TryFrom<wire::Media> for Media {
    type Error = Violation;
    fn try_from(media: wire::Media) -> Result<Self, Violation> {
        let source = match required("source", media.source)? {
            wire::media::Source::Url(url) => MediaSource::Url(url),
            wire::media::Source::Digest(digest) => MediaSource::Stored(media_digest("digest", &digest)?),
        };
        Ok(Media { source, mime_type: media.mime_type })
    }
}

/// Reads a SHA-256 digest, such as the one of FetchMedia.
pub fn media_digest(field: &str, bytes: &[u8]) -> Result<MediaDigest, Violation> {
    let digest = bytes
        .try_into()
        .map_err(|_| Violation::new(field, format!("must be a SHA-256 digest of 32 bytes, has {}", bytes.len())))?;
    Ok(MediaDigest(digest))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn media() -> impl Strategy<Value = Media> {
        let stored = any::<[u8; 32]>();
        (prop::option::of(stored), "[a-z]{0,9}", "[a-z]{1,9}/[a-z]{1,9}").prop_map(|(stored, name, mime_type)| {
            let source = match stored {
                Some(digest) => MediaSource::Stored(MediaDigest(digest)),
                None => MediaSource::Url(format!("https://files.example/{name}")),
            };
            Media { source, mime_type }
        })
    }

    pub(in crate::convert::agent_v1) fn contents() -> impl Strategy<Value = Content> {
        prop_oneof![
            "\\PC{0,60}".prop_map(|body| Content::Text { body }),
            (media(), "\\PC{0,30}").prop_map(|(media, caption)| Content::Image { media, caption }),
            media().prop_map(|media| Content::Audio { media }),
            (media(), "\\PC{0,30}", "\\PC{0,30}").prop_map(|(media, caption, file_name)| Content::Document {
                media,
                caption,
                file_name
            }),
            ("[A-Z0-9]{1,40}", any::<bool>(), "[👍🏽]{0,2}").prop_map(|(network_id, from_bot, emoji)| {
                Content::Reaction { target: ReactionTarget { network_id, from_bot, resource: None }, emoji }
            }),
            "[a-z]{0,20}".prop_map(|kind| Content::Unsupported { kind }),
        ]
    }

    proptest! {
        #[test]
        fn contents_survive_the_wire(content in contents()) {
            prop_assert_eq!(Content::try_from(wire::Content::from(&content)).unwrap(), content);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = |kind| Content::try_from(wire::Content { kind }).unwrap_err().field;
        assert_eq!(refused(None), "kind");
        assert_eq!(refused(Some(Kind::Audio(Audio { media: None }))), "audio.media");
        let media =
            wire::Media { source: Some(wire::media::Source::Digest([1; 31].to_vec())), mime_type: String::new() };
        assert_eq!(refused(Some(Kind::Audio(Audio { media: Some(media) }))), "audio.media.digest");
        assert_eq!(refused(Some(Kind::Reaction(Reaction::default()))), "reaction.network_id");
    }
}
