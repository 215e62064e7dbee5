//! A message: courtesies, body, verdict.

use std::time::Duration;

use muster_domain::content::{Content, Media, MediaSource};
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::{Address, BotId};
use serde_json::Value;

use super::client::{Answer, Client};
use super::errors::{Verdict, unanswered};
use super::{chat, jid, wire};
use crate::contract::{CallError, SendError, SendRequest, Sent};

/// Longest wait for a courtesy, beside the time that the typing indicator itself is shown. A message does not wait long for
/// its manners.
const COURTESY_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a network id that are taken. WhatsApp's have 20 to 32; a longer one is no id.
pub(super) const NETWORK_ID_BYTES_MAX: usize = 128;

/// Hands one message over.
pub(super) async fn send(client: &Client, bot: &BotId, request: SendRequest<'_>) -> Result<Sent, SendError> {
    let to = Recipient::of(request.recipient)?;
    let body = body(&request, &to)?;
    courtesies(client, bot, &request, &to.number).await?;
    let answer = client.post(&["message", body.operation(), bot.as_str()], &body, request.timeout).await?;
    judge(&answer, &private(client, request.content))
}

/// The recipient in the product's two spellings.
struct Recipient {
    number: String,
    jid: String,
}

impl Recipient {
    fn of(address: &Address) -> Result<Self, SendError> {
        match (jid::number(address), jid::jid(address)) {
            (Some(number), Some(jid)) => Ok(Recipient { number, jid }),
            _ => Err(invalid("the recipient is no WhatsApp address")),
        }
    }
}

/// What an answer to a send means. The product took the message only if it names its id; it refused it only if the table of
/// errors lists the answer. Anything between may have been sent.
fn judge(answer: &Answer, private: &[&str]) -> Result<Sent, SendError> {
    let success = answer.status.is_success();
    if success && let Some(network_id) = network_id(&answer.body) {
        return Ok(Sent { network_id });
    }
    let status = answer.status.as_u16();
    let text = match Verdict::of(answer, private) {
        Verdict::Refused(failure) if !success => return Err(SendError::NotSent(failure)),
        // An error inside a success: on this channel the product passes on errors of others, from before and after the fact.
        Verdict::Refused(failure) => format!("HTTP {status} with an error: {}", failure.detail),
        Verdict::Unlisted(text) => text,
        Verdict::Accepted if answer.body.is_empty() => format!("HTTP {status} with an empty body"),
        Verdict::Accepted => format!("HTTP {status} without a message id"),
    };
    Err(SendError::Unknown(Failure::new(FailureReason::OutcomeUnknown, text)))
}

fn network_id(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let id = body.pointer("/key/id")?.as_str()?;
    (1..=NETWORK_ID_BYTES_MAX).contains(&id.len()).then(|| id.to_owned())
}

/// Read mark and typing indicator. They do not decide about the message: if one fails, the send itself will tell why. Only
/// when the product cannot be reached at all does the message not wait for a second proof of that.
async fn courtesies(client: &Client, bot: &BotId, request: &SendRequest<'_>, number: &str) -> Result<(), SendError> {
    if request.courtesy.mark_read
        && let Some(network_id) = request.reply_to
    {
        forgive(chat::mark_read(client, bot, request.recipient, network_id, COURTESY_TIMEOUT).await)?;
    }
    let typing = request.courtesy.typing;
    if !typing.is_zero() && !matches!(request.content, Content::Reaction { .. }) {
        let presence = if matches!(request.content, Content::Audio { .. }) { "recording" } else { "composing" };
        let delay = u64::try_from(typing.as_millis()).unwrap_or(u64::MAX);
        forgive(
            send_presence(
                client,
                bot,
                &wire::SendPresence { number, presence, delay },
                typing.saturating_add(COURTESY_TIMEOUT),
            )
            .await,
        )?;
    }
    Ok(())
}

async fn send_presence(
    client: &Client,
    bot: &BotId,
    body: &wire::SendPresence<'_>,
    timeout: Duration,
) -> Result<(), CallError> {
    const CALL: &str = "chat/sendPresence";
    let answer = client.post(&["chat", "sendPresence", bot.as_str()], body, timeout).await.map_err(unanswered(CALL))?;
    Verdict::of(&answer, &[client.api_key()]).into_call(CALL)
}

fn forgive(courtesy: Result<(), CallError>) -> Result<(), SendError> {
    match courtesy {
        Err(error) if error.failure.reason == FailureReason::GatewayUnavailable => {
            Err(SendError::NotSent(error.failure))
        }
        Err(error) => {
            tracing::debug!(%error, "a courtesy before a message failed; the message is sent without it");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Texts of the message and the key, none of which may show up in an error.
fn private<'a>(client: &'a Client, content: &'a Content) -> Vec<&'a str> {
    let mut private = vec![client.api_key()];
    match content {
        Content::Text { body } => private.push(body),
        Content::Image { caption, .. } => private.push(caption),
        Content::Document { caption, file_name, .. } => private.extend([caption.as_str(), file_name]),
        Content::Audio { .. } | Content::Reaction { .. } | Content::Unsupported { .. } => {}
    }
    private
}

/// The body for the content, or what is wrong with it. Nothing has been sent at this point.
fn body<'a>(request: &SendRequest<'a>, to: &'a Recipient) -> Result<wire::SendBody<'a>, SendError> {
    let number = to.number.as_str();
    let quoted = request.reply_to.map(|id| wire::Quoted { key: wire::Key { id, remote_jid: &to.jid, from_me: false } });
    Ok(match request.content {
        Content::Text { body: text } => wire::SendBody::Text(wire::SendText { number, text, quoted }),
        Content::Image { media, caption } => wire::SendBody::Media(wire::SendMedia {
            number,
            media_type: "image",
            mime_type: &media.mime_type,
            media: medium(media, request)?,
            caption,
            file_name: "",
            quoted,
        }),
        Content::Document { media, caption, file_name } => wire::SendBody::Media(wire::SendMedia {
            number,
            media_type: "document",
            mime_type: &media.mime_type,
            media: medium(media, request)?,
            caption,
            file_name,
            quoted,
        }),
        Content::Audio { media } => {
            wire::SendBody::Audio(wire::SendAudio { number, audio: medium(media, request)?, quoted })
        }
        Content::Reaction { target, emoji } => wire::SendBody::Reaction(wire::SendReaction {
            key: wire::Key { id: &target.network_id, remote_jid: &to.jid, from_me: target.from_bot },
            reaction: emoji,
        }),
        Content::Unsupported { .. } => return Err(invalid("this kind of content can only be received")),
    })
}

fn medium<'a>(media: &'a Media, request: &SendRequest<'a>) -> Result<wire::MediaValue<'a>, SendError> {
    match (&media.source, request.media) {
        (MediaSource::Url(url), _) => Ok(wire::MediaValue::Url(url)),
        (MediaSource::Stored(_), Some(bytes)) => Ok(wire::MediaValue::Bytes(bytes)),
        (MediaSource::Stored(_), None) => Err(invalid("the bytes of the stored medium were not passed")),
    }
}

fn invalid(text: &str) -> SendError {
    SendError::NotSent(Failure::new(FailureReason::InvalidRequest, text))
}
