//! What stands in the ledger: what the simulated network took, and what became of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// Position in the ledger: 1 for the first line, without gaps, in the order in which the network saw things.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: LedgerEntry,
}

/// Something that happened at a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// When.
    pub at: Timestamp,
    /// Name of the gateway.
    pub gateway: String,
    /// Name of the instance.
    pub instance: String,
    /// What.
    #[serde(flatten)]
    pub event: LedgerEvent,
}

/// The kinds of lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LedgerEvent {
    /// The network took a message. Written before the caller is answered, whatever the answer is.
    Accepted(Box<Accepted>),
    /// The network reported a status of a message that it had taken.
    Status {
        /// The message.
        network_id: String,
        /// Its new status.
        status: Status,
    },
    /// Somebody wrote to the instance.
    Inbound {
        /// The network's id of the message.
        network_id: String,
        /// Who wrote.
        from: String,
        /// What.
        text: String,
    },
    /// The instance marked an inbound message as read.
    MarkedRead {
        /// The network's id of the inbound message.
        network_id: String,
        /// The chat it is in.
        chat: String,
    },
}

/// A message that the simulated network took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The number that sent it, in digits.
    pub sender: String,
    /// The recipient's JID as the network knows it, which may differ from the number that the caller wrote.
    pub recipient: String,
    /// The network's id of the message.
    pub network_id: String,
    /// What it says.
    #[serde(flatten)]
    pub content: Content,
    /// [`content_sha256`] of what it says.
    pub sha256: String,
    /// What the caller was told, or would be.
    pub answer: Answer,
    /// The statuses that will follow, in order.
    pub plan: Vec<Status>,
    /// Whether the gateway kept a row of the message; without one it reports no status.
    pub stored: bool,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Of which kind it is.
    pub kind: Kind,
    /// The text, the caption, the emoji of a reaction, or for places, contacts and polls their JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    /// The message that a reaction is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaction_to: Option<String>,
    /// The message that this one quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<String>,
}

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `sendText`.
    Text,
    /// `sendMedia` with an image.
    Image,
    /// `sendMedia` with a video.
    Video,
    /// `sendMedia` with an audio file.
    Audio,
    /// `sendMedia` with a document.
    Document,
    /// `sendWhatsAppAudio`.
    Voice,
    /// `sendSticker`.
    Sticker,
    /// `sendPtv`.
    VideoNote,
    /// `sendReaction`.
    Reaction,
    /// `sendLocation`.
    Location,
    /// `sendContact`.
    Contact,
    /// `sendPoll`.
    Poll,
}

impl Kind {
    /// The kind as the ledger spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Image => "image",
            Kind::Video => "video",
            Kind::Audio => "audio",
            Kind::Document => "document",
            Kind::Voice => "voice",
            Kind::Sticker => "sticker",
            Kind::VideoNote => "video_note",
            Kind::Reaction => "reaction",
            Kind::Location => "location",
            Kind::Contact => "contact",
            Kind::Poll => "poll",
        }
    }
}

/// The medium of a message. Its bytes are not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// Where it lies, if the caller gave an address instead of bytes. The simulator does not fetch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Size in bytes, if the caller gave bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// MIME type as the caller wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mimetype: Option<String>,
    /// File name as the caller wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
}

/// What the caller of an accepted send was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// 201 with the message, `PENDING`.
    Pending,
    /// 201 with an empty body.
    Empty,
    /// 400 that speaks of the database.
    Prisma,
    /// Nothing; the call was left open.
    None,
    /// Nothing; the connection was reset.
    Reset,
}

impl Answer {
    /// Whether the caller could learn from the answer that the message was taken.
    pub fn tells_acceptance(self) -> bool {
        self == Answer::Pending
    }
}

/// Delivery status of a message, in the gateway's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The network refused it.
    Error,
    /// Handed to the socket.
    Pending,
    /// The network's server took it.
    ServerAck,
    /// On the recipient's device.
    DeliveryAck,
    /// Read.
    Read,
}

impl Status {
    /// The status as the gateway spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Error => "ERROR",
            Status::Pending => "PENDING",
            Status::ServerAck => "SERVER_ACK",
            Status::DeliveryAck => "DELIVERY_ACK",
            Status::Read => "READ",
        }
    }
}

/// SHA-256 in lower-case hex of what a message says.
///
/// `body` is the text, the emoji, the bytes of the medium, or its address if the caller gave one; a caption follows after a
/// zero byte. A checker computes the same from what it meant to send.
pub fn content_sha256(body: &[u8], caption: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(body);
    if let Some(caption) = caption {
        hash.update([0]);
        hash.update(caption.as_bytes());
    }
    to_hex(&hash.finalize())
}

/// Lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let line = LedgerLine {
            seq: 7,
            entry: LedgerEntry {
                at: "2026-01-01T00:00:00.000001Z".parse().unwrap(),
                gateway: "evo-1".into(),
                instance: "bot-1".into(),
                event: LedgerEvent::Accepted(Box::new(Accepted {
                    sender: "5511900000001".into(),
                    recipient: "5511900000002@s.whatsapp.net".into(),
                    network_id: "3EB0C1D2E3F405162738AB".into(),
                    content: Content {
                        kind: Kind::Image,
                        text: Some("c".into()),
                        media: Some(Media { url: None, bytes: Some(3), mimetype: None, file_name: None }),
                        reaction_to: None,
                        quoted: None,
                    },
                    sha256: content_sha256(b"abc", Some("c")),
                    answer: Answer::Pending,
                    plan: vec![Status::ServerAck, Status::Read],
                    stored: true,
                })),
            },
        };
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"seq":7,"at":"2026-01-01T00:00:00.000001Z","gateway":"evo-1""#), "{text}");
        assert_eq!(serde_json::from_str::<LedgerLine>(&text).unwrap(), line);
    }

    #[test]
    fn the_digest_of_a_text_is_plain_sha256() {
        assert_eq!(content_sha256(b"hello", None), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_ne!(content_sha256(b"hello", Some("")), content_sha256(b"hello", None));
    }
}
