//! What a message says.

use muster_domain::content::{Content, Courtesy, Media, MediaDigest, MediaSource, ReactionTarget};
use muster_domain::inbound::InboundId;
use muster_domain::{MessageId, Violation};

use super::time::{duration, write_duration};
use crate::v1 as wire;
use crate::v1::content::{Audio, Document, Image, Kind, Reaction, Text, Unsupported};

/// The message that a reaction names. The network's id, which the reaction carries, has to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A message that the bot sent.
    Sent(MessageId),
    /// A message that the bot received.
    Received(InboundId),
}

impl Target {
    fn read(name: &str) -> Result<Self, Violation> {
        if name.starts_with("messages/") {
            MessageId::from_resource_name(name).map(Target::Sent)
        } else if name.starts_with("inboundMessages/") {
            InboundId::from_resource_name(name).map(Target::Received)
        } else {
            Err(Violation::new("", "must name a message, as \"messages/{id}\" or \"inboundMessages/{id}\""))
        }
    }

    /// The name of the message in the API.
    pub fn resource_name(self) -> String {
        match self {
            Target::Sent(id) => id.resource_name(),
            Target::Received(id) => id.resource_name(),
        }
    }
}

/// Reads an outbound content, and what a reaction names. The target of a reaction has no network id yet, and the limits are
/// not checked yet: [`super::message::Draft::resolve`] does both.
pub(super) fn read(content: Option<wire::Content>) -> Result<(Content, Option<Target>), Violation> {
    let kind = content
        .and_then(|content| content.kind)
        .ok_or_else(|| Violation::new("", "must be set: one of text, image, audio, document, reaction"))?;
    let content = match kind {
        Kind::Text(Text { body }) => Content::Text { body },
        Kind::Image(Image { media, caption }) => Content::Image { media: read_media("image", media)?, caption },
        Kind::Audio(Audio { media }) => Content::Audio { media: read_media("audio", media)? },
        Kind::Document(Document { media, caption, file_name }) => {
            Content::Document { media: read_media("document", media)?, caption, file_name }
        }
        Kind::Reaction(Reaction { target, emoji }) => {
            let named = Target::read(&target).map_err(|violation| violation.below("reaction.target"))?;
            let resource = Some(named.resource_name());
            let target =
                ReactionTarget { network_id: String::new(), from_bot: matches!(named, Target::Sent(_)), resource };
            return Ok((Content::Reaction { target, emoji }, Some(named)));
        }
        Kind::Unsupported(_) => return Err(Violation::new("unsupported", "is for inbound messages only")),
    };
    Ok((content, None))
}

fn read_media(parent: &str, media: Option<wire::Media>) -> Result<Media, Violation> {
    let field = || format!("{parent}.media");
    let missing = || Violation::new(field(), "must have a url, or the name of an uploaded medium");
    let wire::Media { mime_type, source } = media.ok_or_else(missing)?;
    let source = match source.ok_or_else(missing)? {
        wire::media::Source::Url(url) => MediaSource::Url(url),
        wire::media::Source::Media(name) => MediaSource::Stored(
            MediaDigest::from_resource_name(&name).map_err(|violation| violation.below("media").below(&field()))?,
        ),
    };
    Ok(Media { source, mime_type })
}

/// Reads what is done around a reply.
pub(super) fn read_courtesy(courtesy: Option<wire::Courtesy>) -> Result<Courtesy, Violation> {
    let Some(wire::Courtesy { mark_read, typing }) = courtesy else { return Ok(Courtesy::default()) };
    let typing = typing.map(duration).transpose().map_err(|violation| violation.below("typing"))?.unwrap_or_default();
    Ok(Courtesy { mark_read, typing })
}

/// Writes what is done around a reply; `None` where nothing is.
pub(super) fn write_courtesy(courtesy: Courtesy) -> Option<wire::Courtesy> {
    let Courtesy { mark_read, typing } = courtesy;
    (courtesy != Courtesy::default())
        .then(|| wire::Courtesy { mark_read, typing: (!typing.is_zero()).then(|| write_duration(typing)) })
}

/// Writes a content.
pub(super) fn write(content: Content) -> wire::Content {
    let kind = match content {
        Content::Text { body } => Kind::Text(Text { body }),
        Content::Image { media, caption } => Kind::Image(Image { media: Some(write_media(media)), caption }),
        Content::Audio { media } => Kind::Audio(Audio { media: Some(write_media(media)) }),
        Content::Document { media, caption, file_name } => {
            Kind::Document(Document { media: Some(write_media(media)), caption, file_name })
        }
        Content::Reaction { target, emoji } => {
            Kind::Reaction(Reaction { target: target.resource.unwrap_or_default(), emoji })
        }
        Content::Unsupported { kind } => Kind::Unsupported(Unsupported { kind }),
    };
    wire::Content { kind: Some(kind) }
}

fn write_media(media: Media) -> wire::Media {
    let source = match media.source {
        MediaSource::Url(url) => wire::media::Source::Url(url),
        MediaSource::Stored(digest) => wire::media::Source::Media(digest.resource_name()),
    };
    wire::Media { source: Some(source), mime_type: media.mime_type }
}
