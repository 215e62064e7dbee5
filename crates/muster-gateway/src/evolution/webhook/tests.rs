use muster_domain::BotId;
use muster_domain::message::ReceiptKind;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const SECRET: &str = "agreed-secret";

fn read_as(headers: &[(String, String)], body: &[u8]) -> Result<Vec<Event>, WebhookError> {
    let bot = BotId::new("bot-01").unwrap();
    read(&WebhookRequest { bot: &bot, secret: SECRET, headers, body })
}

fn authentic() -> Vec<(String, String)> {
    vec![("content-type".into(), "application/json".into()), (SECRET_HEADER.into(), SECRET.into())]
}

fn event(event: &str, data: Value) -> Vec<Event> {
    let body = json!({ "event": event, "instance": "bot-01", "data": data, "date_time": "2026-01-01T00:00:03.000Z" });
    read_as(&authentic(), body.to_string().as_bytes()).unwrap()
}

#[test]
fn only_the_agreed_secret_opens() {
    let body = json!({ "event": "logout.instance", "instance": "bot-01", "data": null }).to_string();
    let with = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read_as(&headers, body.as_bytes())
    };
    assert_eq!(with(&[(SECRET_HEADER, SECRET)]).unwrap().len(), 1);
    for headers in [
        &[][..],
        &[(SECRET_HEADER, "")],
        &[(SECRET_HEADER, "agreed-secres")],
        &[(SECRET_HEADER, "agreed-secret ")],
        &[(SECRET_HEADER, SECRET), (SECRET_HEADER, "other")],
        &[("authorization", "Bearer agreed-secret")],
    ] {
        assert_eq!(with(headers), Err(WebhookError::Forged), "{headers:?}");
    }
    let bot = BotId::new("bot-01").unwrap();
    let headers = [(SECRET_HEADER.to_owned(), String::new())];
    let unset = WebhookRequest { bot: &bot, secret: "", headers: &headers, body: body.as_bytes() };
    assert_eq!(read(&unset), Err(WebhookError::Forged), "an empty secret opens nothing");
}

#[test]
fn what_is_no_webhook_is_refused_and_what_is_unknown_is_not() {
    for body in ["", "null", "[]", "{}", "{\"event\":\"call\"}", "{\"event\":1,\"instance\":\"bot-01\"}", "not json"] {
        assert_eq!(read_as(&authentic(), body.as_bytes()), Err(WebhookError::Malformed), "{body}");
    }
    let deep = format!("{{\"event\":\"call\",\"instance\":\"bot-01\",\"data\":{}", "[".repeat(100_000));
    assert_eq!(read_as(&authentic(), deep.as_bytes()), Err(WebhookError::Malformed));
    let other = json!({ "event": "call", "instance": "bot-02", "data": {} }).to_string();
    assert_eq!(read_as(&authentic(), other.as_bytes()), Err(WebhookError::OtherBot));
    assert_eq!(event("call", json!({ "id": "x" })), vec![]);
    assert_eq!(event("presence.update", json!({})), vec![]);
    assert_eq!(event("messages.delete", json!({ "id": "3EB0", "fromMe": true, "status": "DELETED" })), vec![]);
}

#[test]
fn every_status_in_every_spelling() {
    let kinds = |data: Value| -> Vec<_> {
        let kind = |event| match event {
            Event::Receipt { network_id, kind, failure } => {
                assert_eq!(network_id, "3EB0C1");
                assert_eq!(failure.is_some(), kind == ReceiptKind::Failed);
                kind
            }
            other => panic!("no receipt: {other:?}"),
        };
        event("messages.update", data).into_iter().map(kind).collect()
    };
    for (word, number, kind) in [
        ("ERROR", 0, Some(ReceiptKind::Failed)),
        ("PENDING", 1, None),
        ("SERVER_ACK", 2, Some(ReceiptKind::Acknowledged)),
        ("DELIVERY_ACK", 3, Some(ReceiptKind::Delivered)),
        ("READ", 4, Some(ReceiptKind::Read)),
        ("PLAYED", 5, Some(ReceiptKind::Read)),
        ("DELETED", 6, None),
    ] {
        for status in [json!(word), json!(number), json!(number.to_string())] {
            let item = json!({ "keyId": "3EB0C1", "fromMe": true, "status": status });
            assert_eq!(kinds(item.clone()), Vec::from_iter(kind), "{item}");
            assert_eq!(kinds(json!([item, item])), [kind, kind].into_iter().flatten().collect::<Vec<_>>());
        }
        let raw = json!({ "key": { "id": "3EB0C1", "fromMe": true }, "update": { "status": number } });
        assert_eq!(kinds(raw), Vec::from_iter(kind));
    }
    assert_eq!(kinds(json!({ "keyId": "3EB0C1", "fromMe": false, "status": "READ" })), vec![]);
    assert_eq!(kinds(json!({ "fromMe": true, "status": "READ" })), vec![]);
}

/// JSON that is built of the words which the readers look for, so that every branch meets every type.
fn json_of_known_words() -> impl Strategy<Value = Value> {
    const WORDS: [&str; 36] = [
        "key",
        "id",
        "remoteJid",
        "remoteJidAlt",
        "fromMe",
        "participant",
        "message",
        "messageTimestamp",
        "messageType",
        "pushName",
        "conversation",
        "extendedTextMessage",
        "text",
        "imageMessage",
        "audioMessage",
        "documentMessage",
        "reactionMessage",
        "ephemeralMessage",
        "contextInfo",
        "stanzaId",
        "url",
        "mediaUrl",
        "mimetype",
        "caption",
        "fileName",
        "keyId",
        "status",
        "update",
        "state",
        "statusReason",
        "wuid",
        "qrcode",
        "code",
        "disconnectionReasonCode",
        "low",
        "high",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(vec![
            "5511900000001@s.whatsapp.net",
            "99887766554433@lid",
            "120363025246125486@g.us",
            "status@broadcast",
            "@",
            ":@:",
            "3EB0C1D2E3F405162738AB",
            "READ",
            "open",
            "close",
            "closed",
            "https://files.example/a.png",
            "image/png",
            "515",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(&WORDS[..]), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_as(&authentic(), &body).is_err());
        prop_assert_eq!(read_as(&[], &body), Err(WebhookError::Forged));
    }

    #[test]
    fn any_data_is_read(name in prop::sample::select(EVENTS), data in json_of_known_words()) {
        for event in event(&name.to_ascii_lowercase().replace('_', "."), data) {
            if let Event::Receipt { network_id, .. } | Event::Echo { network_id, .. } | Event::Inbound { network_id, .. } = event {
                prop_assert!((1..=128).contains(&network_id.len()));
            }
        }
    }
}
