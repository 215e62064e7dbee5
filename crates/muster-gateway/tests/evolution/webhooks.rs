//! Every webhook that is used, as the product posts it.

use std::fmt::Write as _;

use muster_domain::content::{Content, Media, MediaSource};
use muster_domain::{Address, BotId};
use muster_gateway::{Event, Gateway, LinkProgress, WebhookRequest};
use serde::Deserialize;
use serde_json::Value;

use crate::replay;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    name: String,
    event: String,
    data: Value,
    expect: Vec<String>,
}

#[test]
fn every_event_that_is_used() {
    let gateway = replay::gateway("127.0.0.1:9".parse().unwrap());
    let bot = BotId::new("bot-01").unwrap();
    let headers = [("x-muster-webhook-secret".to_owned(), "agreed-secret".to_owned())];
    let fixtures: Vec<Fixture> = serde_json::from_str(include_str!("../fixtures/webhooks.json")).unwrap();
    let mut wrong = Vec::new();
    for fixture in fixtures {
        let body = serde_json::json!({
            "event": fixture.event, "instance": "bot-01", "data": fixture.data,
            "destination": "http://127.0.0.1:9090/evo", "date_time": "2026-01-01T00:00:03.000Z",
            "sender": "5511900000009@s.whatsapp.net", "server_url": "http://127.0.0.1:8080", "apikey": "0F1E2D3C4B5A69788796A5B4C3D2E1F0",
            "isLatest": true,
        });
        let body = body.to_string();
        let request = WebhookRequest { bot: &bot, secret: "agreed-secret", headers: &headers, body: body.as_bytes() };
        let events: Vec<_> = gateway.read_webhook(&request).unwrap().iter().map(told).collect();
        if events != fixture.expect {
            wrong.push(format!("{}: {events:?} instead of {:?}", fixture.name, fixture.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn told(event: &Event) -> String {
    let own =
        |address: &Option<Address>| address.as_ref().map_or("-".to_owned(), |address| address.as_str().to_owned());
    match event {
        Event::Receipt { network_id, kind, failure } => {
            let failure = failure.as_ref().map_or(String::new(), |failure| format!(" {}", failure.reason));
            format!("receipt {network_id} {kind:?}{failure}")
        }
        Event::Echo { network_id, recipient, content } => {
            let content = content.as_ref().map_or("-".to_owned(), content_told);
            format!("echo {network_id} to {}: {content}", recipient.as_str())
        }
        Event::Inbound { network_id, sender, participant, sender_name, content, reply_to, time } => {
            let mut text = format!("inbound {network_id} from {}", sender.as_str());
            if let Some(participant) = participant {
                write!(text, " by {}", participant.as_str()).unwrap();
            }
            write!(text, " ({sender_name}): {}", content_told(content)).unwrap();
            if let Some(id) = reply_to {
                write!(text, " answers {id}").unwrap();
            }
            if let Some(time) = time {
                write!(text, " at {time}").unwrap();
            }
            text
        }
        Event::Connected { address } => format!("connected {}", own(address)),
        Event::Connecting => "connecting".into(),
        Event::Closed { reason, detail } => format!("closed {}: {detail}", reason.as_str()),
        Event::Link(LinkProgress::Code { qr, pairing_code }) => {
            format!("code {qr} {}", pairing_code.as_deref().unwrap_or("-"))
        }
        Event::Link(LinkProgress::Expired) => "link expired".into(),
        Event::Link(other) => format!("{other:?}"),
    }
}

fn content_told(content: &Content) -> String {
    let medium = |media: &Media| match &media.source {
        MediaSource::Url(url) => format!("{} {url}", media.mime_type),
        MediaSource::Stored(_) => panic!("a webhook stores nothing"),
    };
    match content {
        Content::Text { body } => format!("text {body:?}"),
        Content::Image { media, caption } => format!("image {} {caption:?}", medium(media)),
        Content::Audio { media } => format!("audio {}", medium(media)),
        Content::Document { media, caption, file_name } => {
            format!("document {} {caption:?} {file_name:?}", medium(media))
        }
        Content::Reaction { target, emoji } => {
            format!("reaction {emoji:?} to {} {}", target.network_id, target.from_bot)
        }
        Content::Unsupported { kind } => format!("unsupported {kind}"),
    }
}
