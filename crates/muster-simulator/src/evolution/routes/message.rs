//! `/message`: reading what a caller wants to send, per operation.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::{Host, Url};

use super::super::answer::Problem;
use super::super::call::{Call, Form};
use super::super::emoji::is_single_emoji;
use super::super::schema::{DELAY, NUMBER, PropertyKind, Schema, plain};
use super::super::send::Draft;
use super::Answer;
use crate::ledger::{Content, Kind, Media, content_sha256};

const TEXT: Schema = Schema {
    path: "",
    properties: &[
        NUMBER,
        ("text", plain(PropertyKind::Text)),
        ("linkPreview", plain(PropertyKind::Boolean)),
        DELAY,
        ("quoted", plain(PropertyKind::Object)),
        ("mentionsEveryOne", plain(PropertyKind::Boolean)),
        ("mentioned", plain(PropertyKind::Texts { min: 1 })),
    ],
    required: &["number", "text"],
};

const MEDIA: Schema = Schema {
    path: "",
    properties: &[
        NUMBER,
        ("mediatype", plain(PropertyKind::OneOf(&["image", "document", "video", "audio"]))),
        ("mimetype", plain(PropertyKind::Text)),
        ("media", plain(PropertyKind::Text)),
        ("fileName", plain(PropertyKind::Text)),
        ("caption", plain(PropertyKind::Text)),
        DELAY,
        ("quoted", plain(PropertyKind::Object)),
    ],
    required: &["number", "mediatype"],
};

const AUDIO: Schema = Schema {
    path: "",
    properties: &[NUMBER, ("audio", plain(PropertyKind::Text)), ("encoding", plain(PropertyKind::Boolean)), DELAY],
    required: &["number"],
};

const STICKER: Schema =
    Schema { path: "", properties: &[NUMBER, ("sticker", plain(PropertyKind::Text)), DELAY], required: &["number"] };

const VIDEO_NOTE: Schema =
    Schema { path: "", properties: &[NUMBER, ("video", plain(PropertyKind::Text)), DELAY], required: &["number"] };

const REACTION: Schema = Schema {
    path: "",
    properties: &[("key", plain(PropertyKind::Object)), ("reaction", plain(PropertyKind::Text))],
    required: &["key", "reaction"],
};

const REACTION_KEY: Schema = Schema {
    path: "key",
    properties: &[
        ("id", plain(PropertyKind::Text)),
        ("remoteJid", plain(PropertyKind::Text)),
        ("fromMe", plain(PropertyKind::Boolean)),
    ],
    required: &["id", "remoteJid", "fromMe"],
};

const LOCATION: Schema = Schema {
    path: "",
    properties: &[
        NUMBER,
        ("latitude", plain(PropertyKind::Number)),
        ("longitude", plain(PropertyKind::Number)),
        ("name", plain(PropertyKind::Text)),
        ("address", plain(PropertyKind::Text)),
        DELAY,
    ],
    required: &["number", "latitude", "longitude", "name", "address"],
};

const CONTACT: Schema = Schema {
    path: "",
    properties: &[NUMBER, ("contact", plain(PropertyKind::List { min: 1 }))],
    required: &["number", "contact"],
};

const POLL: Schema = Schema {
    path: "",
    properties: &[
        NUMBER,
        ("name", plain(PropertyKind::Text)),
        ("selectableCount", plain(PropertyKind::Integer { min: 0, max: 10 })),
        ("values", plain(PropertyKind::Texts { min: 2 })),
        DELAY,
    ],
    required: &["number", "name", "selectableCount", "values"],
};

/// Most choices of a poll.
const POLL_VALUES_MAX: usize = 10;

fn check(call: &Call, schema: &Schema) -> Result<(), Problem> {
    schema.check(&call.form.fields, call.gateway.behaviour.nested_schema_errors)
}

/// A draft to the `number` of the body.
fn draft(form: &Form, content: Content, sha256: String) -> Draft {
    Draft {
        number: form.text("number").unwrap_or_default().to_owned(),
        content: Content { quoted: form.text_in(&["quoted", "key", "id"]).map(str::to_owned), ..content },
        sha256,
        delay: super::chat::delay_of(form.fields.get("delay")),
    }
}

/// Content that is a text.
fn text_content(kind: Kind, text: &str) -> Content {
    Content { kind, text: Some(text.to_owned()), media: None, reaction_to: None, quoted: None }
}

pub(super) async fn send_text(call: Call) -> Answer {
    check(&call, &TEXT)?;
    let text = call.form.text("text").unwrap_or_default();
    if text.trim().is_empty() {
        return Err(Problem::bad_request("Text is required"));
    }
    let draft = draft(&call.form, text_content(Kind::Text, text), content_sha256(text.as_bytes(), None));
    call.send(draft).await
}

pub(super) async fn send_media(call: Call) -> Answer {
    check(&call, &MEDIA)?;
    let kind = match call.form.text("mediatype") {
        Some("image") => Kind::Image,
        Some("video") => Kind::Video,
        Some("audio") => Kind::Audio,
        _ => Kind::Document,
    };
    let medium = read_medium(&call.form, "media");
    let unnamed = kind == Kind::Document && call.form.text("fileName").is_none_or(str::is_empty);
    if unnamed && matches!(medium, Some((_, Source::Base64))) {
        return Err(Problem::bad_request("For base64 the file name must be informed."));
    }
    send_medium(call, kind, medium, "Owned media must be a url or base64").await
}

pub(super) async fn send_audio(call: Call) -> Answer {
    check(&call, &AUDIO)?;
    let medium = read_medium(&call.form, "audio");
    send_medium(call, Kind::Voice, medium, "Owned media must be a url, base64, or valid file with buffer").await
}

pub(super) async fn send_sticker(call: Call) -> Answer {
    check(&call, &STICKER)?;
    let medium = read_medium(&call.form, "sticker");
    send_medium(call, Kind::Sticker, medium, "Owned media must be a url or base64").await
}

pub(super) async fn send_video_note(call: Call) -> Answer {
    check(&call, &VIDEO_NOTE)?;
    let medium = read_medium(&call.form, "video");
    send_medium(call, Kind::VideoNote, medium, "Owned media must be a url or base64").await
}

/// Where a medium came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Upload,
    Url,
    Base64,
}

/// The medium of a body and the digest of it with its caption: the uploaded file, else an address or base64 in `field`.
fn read_medium(form: &Form, field: &str) -> Option<((Media, String), Source)> {
    let caption = form.text("caption");
    let media = |url: Option<&str>, bytes: Option<usize>| Media {
        url: url.map(str::to_owned),
        bytes: bytes.map(|bytes| bytes as u64),
        mimetype: form.text("mimetype").map(str::to_owned),
        file_name: form.text("fileName").map(str::to_owned),
    };
    if let Some(file) = &form.file {
        let mut media = media(None, Some(file.bytes.len()));
        media.mimetype = media.mimetype.or_else(|| file.mimetype.clone());
        media.file_name = media.file_name.or_else(|| file.name.clone());
        return Some(((media, content_sha256(&file.bytes, caption)), Source::Upload));
    }
    let text = form.text(field).filter(|text| !text.is_empty())?;
    if is_url(text) {
        return Some(((media(Some(text), None), content_sha256(text.as_bytes(), caption)), Source::Url));
    }
    let bytes = STANDARD.decode(text).ok()?;
    Some(((media(None, Some(bytes.len())), content_sha256(&bytes, caption)), Source::Base64))
}

/// Whether the product takes a text for an address: its host is an IP address or has a dot, so `localhost` is none.
fn is_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let host = match url.host() {
        Some(Host::Domain(name)) => name.contains('.'),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    host && matches!(url.scheme(), "http" | "https" | "ftp")
}

async fn send_medium(call: Call, kind: Kind, medium: Option<((Media, String), Source)>, refusal: &str) -> Answer {
    let ((media, sha256), _) = medium.ok_or_else(|| Problem::bad_request(refusal))?;
    let text = call.form.text("caption").map(str::to_owned);
    let content = Content { kind, text, media: Some(media), reaction_to: None, quoted: None };
    let draft = draft(&call.form, content, sha256);
    call.send(draft).await
}

pub(super) async fn send_reaction(call: Call) -> Answer {
    check(&call, &REACTION)?;
    let key = call.form.fields.get("key").and_then(Value::as_object).cloned().unwrap_or_default();
    REACTION_KEY.check(&key, call.gateway.behaviour.nested_schema_errors)?;
    let emoji = call.form.text("reaction").unwrap_or_default();
    if !emoji.is_empty() && !is_single_emoji(emoji) {
        return Err(Problem::bad_request("Reaction must be a single emoji or empty string"));
    }
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let content = Content { reaction_to: Some(text("id")), ..text_content(Kind::Reaction, emoji) };
    let mut draft = draft(&call.form, content, content_sha256(emoji.as_bytes(), None));
    draft.number = text("remoteJid");
    call.send(draft).await
}

pub(super) async fn send_location(call: Call) -> Answer {
    check(&call, &LOCATION)?;
    let field = |name: &str| call.form.fields.get(name).cloned().unwrap_or(Value::Null);
    let place = json!({
        "degreesLatitude": field("latitude"),
        "degreesLongitude": field("longitude"),
        "name": field("name"),
        "address": field("address"),
    });
    send_json(call, Kind::Location, &place).await
}

pub(super) async fn send_contact(call: Call) -> Answer {
    check(&call, &CONTACT)?;
    let contacts = json!({"contacts": call.form.fields.get("contact")});
    send_json(call, Kind::Contact, &contacts).await
}

pub(super) async fn send_poll(call: Call) -> Answer {
    check(&call, &POLL)?;
    let field = |name: &str| call.form.fields.get(name).cloned().unwrap_or(Value::Null);
    let values = field("values");
    if values.as_array().is_some_and(|values| values.len() > POLL_VALUES_MAX) {
        return Err(Problem::bad_request(format!("values does not meet maximum length of {POLL_VALUES_MAX}")));
    }
    let poll = json!({"name": field("name"), "selectableOptionsCount": field("selectableCount"), "values": values});
    send_json(call, Kind::Poll, &poll).await
}

/// Sends what the ledger keeps as JSON.
async fn send_json(call: Call, kind: Kind, content: &Value) -> Answer {
    let text = content.to_string();
    let draft = draft(&call.form, text_content(kind, &text), content_sha256(text.as_bytes(), None));
    call.send(draft).await
}

/// Templates exist only behind the Cloud API, which this simulator does not play.
pub(super) async fn send_template(_: Call) -> Answer {
    let message = vec!["Method not available in the Baileys service".into()];
    Err(Problem::Typed(StatusCode::INTERNAL_SERVER_ERROR, message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(fields: Value) -> Form {
        Form { fields: fields.as_object().unwrap().clone(), file: None }
    }

    #[test]
    fn media_come_as_address_or_bytes() {
        let source = |text: &str| read_medium(&form(json!({"media": text})), "media").map(|(_, source)| source);
        assert_eq!(source("https://files.example/a.png"), Some(Source::Url));
        assert_eq!(source("http://127.0.0.1:9/a.png"), Some(Source::Url));
        assert_eq!(source("aGVsbG8="), Some(Source::Base64));
        for wrong in ["http://localhost/a.png", "data:image/png;base64,aGVsbG8=", "aGVsbG8", "", "file:///etc/passwd"] {
            assert_eq!(source(wrong), None, "{wrong}");
        }
        let ((media, digest), _) = read_medium(&form(json!({"media": "aGVsbG8=", "caption": "c"})), "media").unwrap();
        assert_eq!((media.bytes, digest), (Some(5), content_sha256(b"hello", Some("c"))));
    }

    proptest! {
        #[test]
        fn any_text_is_a_medium_or_not(text in "\\PC{0,80}") {
            let _ = read_medium(&form(json!({"media": text})), "media");
        }
    }
}
