//! The cold half of a message as one column: a small protobuf message of its own, so that fields can be added without a
//! migration and old rows stay readable.

use std::time::Duration;

use muster_domain::content::{Content, Courtesy, Media, MediaDigest, MediaSource, ReactionTarget, ReplyTarget};
use muster_domain::on_uncertain::OnUncertain;
use prost::Message as _;

use super::code::Code as _;
use crate::{Result, StoreError};

#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// Body of a text, caption of a medium, emoji of a reaction, name of an unsupported kind.
    #[prost(string, tag = "2")]
    text: String,
    #[prost(string, tag = "3")]
    media_url: String,
    #[prost(bytes = "vec", tag = "4")]
    media_digest: Vec<u8>,
    #[prost(string, tag = "5")]
    mime_type: String,
    #[prost(string, tag = "6")]
    file_name: String,
    #[prost(string, tag = "7")]
    target_network_id: String,
    #[prost(bool, tag = "8")]
    target_from_bot: bool,
    #[prost(string, optional, tag = "9")]
    target_resource: Option<String>,
    #[prost(string, optional, tag = "10")]
    reply_to_network_id: Option<String>,
    #[prost(bool, tag = "11")]
    mark_read: bool,
    #[prost(uint64, tag = "12")]
    typing_ms: u64,
    #[prost(string, optional, tag = "13")]
    idempotency_key: Option<String>,
    #[prost(string, optional, tag = "14")]
    reply_to_resource: Option<String>,
    #[prost(int64, tag = "15")]
    on_uncertain: i64,
}

/// Everything of a message that is written once.
pub(super) struct Body {
    pub(super) content: Content,
    pub(super) reply_to: Option<ReplyTarget>,
    pub(super) courtesy: Courtesy,
    pub(super) idempotency_key: Option<String>,
    pub(super) on_uncertain: OnUncertain,
}

pub(super) fn encode(
    content: &Content,
    reply_to: Option<&ReplyTarget>,
    courtesy: Courtesy,
    idempotency_key: Option<&str>,
    on_uncertain: OnUncertain,
) -> Vec<u8> {
    let mut row = Row {
        reply_to_network_id: reply_to.map(|target| target.network_id.clone()),
        reply_to_resource: reply_to.and_then(|target| target.resource.clone()),
        mark_read: courtesy.mark_read,
        typing_ms: u64::try_from(courtesy.typing.as_millis()).unwrap_or(u64::MAX),
        idempotency_key: idempotency_key.map(str::to_owned),
        on_uncertain: on_uncertain.code(),
        ..Row::default()
    };
    let put_media = |row: &mut Row, media: &Media| {
        row.mime_type.clone_from(&media.mime_type);
        match &media.source {
            MediaSource::Url(url) => row.media_url.clone_from(url),
            MediaSource::Stored(digest) => row.media_digest = digest.0.to_vec(),
        }
    };
    match content {
        Content::Text { body } => (row.kind, row.text) = (1, body.clone()),
        Content::Image { media, caption } => {
            put_media(&mut row, media);
            (row.kind, row.text) = (2, caption.clone());
        }
        Content::Audio { media } => {
            put_media(&mut row, media);
            row.kind = 3;
        }
        Content::Document { media, caption, file_name } => {
            put_media(&mut row, media);
            (row.kind, row.text, row.file_name) = (4, caption.clone(), file_name.clone());
        }
        Content::Reaction { target, emoji } => {
            (row.kind, row.text) = (5, emoji.clone());
            (row.target_network_id, row.target_from_bot) = (target.network_id.clone(), target.from_bot);
            row.target_resource.clone_from(&target.resource);
        }
        Content::Unsupported { kind } => (row.kind, row.text) = (6, kind.clone()),
    }
    row.encode_to_vec()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Body> {
    let corrupt = || StoreError::Corrupt("the body of a message cannot be read".into());
    let row = Row::decode(bytes).map_err(|_| corrupt())?;
    let media = || -> Result<Media> {
        let source = if row.media_digest.is_empty() {
            MediaSource::Url(row.media_url.clone())
        } else {
            MediaSource::Stored(MediaDigest(row.media_digest.as_slice().try_into().map_err(|_| corrupt())?))
        };
        Ok(Media { source, mime_type: row.mime_type.clone() })
    };
    let content = match row.kind {
        1 => Content::Text { body: row.text },
        2 => Content::Image { media: media()?, caption: row.text },
        3 => Content::Audio { media: media()? },
        4 => Content::Document { media: media()?, caption: row.text, file_name: row.file_name },
        5 => Content::Reaction {
            target: ReactionTarget {
                network_id: row.target_network_id,
                from_bot: row.target_from_bot,
                resource: row.target_resource,
            },
            emoji: row.text,
        },
        6 => Content::Unsupported { kind: row.text },
        _ => return Err(corrupt()),
    };
    Ok(Body {
        content,
        reply_to: row.reply_to_network_id.map(|network_id| ReplyTarget { network_id, resource: row.reply_to_resource }),
        courtesy: Courtesy { mark_read: row.mark_read, typing: Duration::from_millis(row.typing_ms) },
        idempotency_key: row.idempotency_key,
        on_uncertain: OnUncertain::decode(row.on_uncertain)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn media() -> impl Strategy<Value = Media> {
        let source = prop_oneof![
            "https://[a-z]{1,20}".prop_map(MediaSource::Url),
            any::<[u8; 32]>().prop_map(|digest| MediaSource::Stored(MediaDigest(digest))),
        ];
        (source, "[a-z]{1,9}/[a-z]{1,9}").prop_map(|(source, mime_type)| Media { source, mime_type })
    }

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![
            ".{0,200}".prop_map(|body| Content::Text { body }),
            (media(), ".{0,50}").prop_map(|(media, caption)| Content::Image { media, caption }),
            media().prop_map(|media| Content::Audio { media }),
            (media(), ".{0,50}", ".{1,20}").prop_map(|(media, caption, file_name)| Content::Document {
                media,
                caption,
                file_name
            }),
            (".{1,20}", any::<bool>(), prop::option::of(".{1,20}"), ".{0,4}").prop_map(
                |(network_id, from_bot, resource, emoji)| {
                    Content::Reaction { target: ReactionTarget { network_id, from_bot, resource }, emoji }
                }
            ),
            "[a-z]{1,9}".prop_map(|kind| Content::Unsupported { kind }),
        ]
    }

    fn reply_to() -> impl Strategy<Value = Option<ReplyTarget>> {
        let target = (".{1,20}", prop::option::of(".{1,20}"));
        prop::option::of(target.prop_map(|(network_id, resource)| ReplyTarget { network_id, resource }))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            content in content(), reply_to in reply_to(), typing in 0u64..20_000, policy in 0..OnUncertain::ALL.len(),
        ) {
            let courtesy = Courtesy { mark_read: true, typing: Duration::from_millis(typing) };
            let on_uncertain = OnUncertain::ALL[policy];
            let body = decode(&encode(&content, reply_to.as_ref(), courtesy, Some("k"), on_uncertain)).unwrap();
            prop_assert_eq!(body.content, content);
            prop_assert_eq!(body.reply_to, reply_to);
            prop_assert_eq!(body.courtesy, courtesy);
            prop_assert_eq!(body.on_uncertain, on_uncertain);
            prop_assert_eq!(body.idempotency_key.as_deref(), Some("k"));
        }

        #[test]
        fn damage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }
    }
}
