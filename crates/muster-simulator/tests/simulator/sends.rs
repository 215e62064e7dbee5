//! Sends: what is taken, in which shape, and what follows.

use std::time::{Duration, Instant};

use muster_simulator::{Answer, Kind, Status, content_sha256};
use serde_json::{Value, json};

use crate::world::{World, quick, until};

#[tokio::test]
async fn a_text_is_pending_and_then_read() {
    let world = World::with_bot(quick()).await;
    let answer = world.send_text("5511900000002", "hello").await;
    assert_eq!(answer.status, 201);
    let id = answer.body["key"]["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 22 && id.starts_with("3EB0"), "{id}");
    assert!(id[4..].bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)), "{id}");
    for (pointer, want) in [
        ("/key/remoteJid", json!("5511900000002@s.whatsapp.net")),
        ("/key/fromMe", json!(true)),
        ("/pushName", json!("Você")),
        ("/status", json!("PENDING")),
        ("/message/conversation", json!("hello")),
        ("/contextInfo", Value::Null),
        ("/messageType", json!("conversation")),
        ("/source", json!("web")),
    ] {
        assert_eq!(answer.body.pointer(pointer), Some(&want), "{pointer}");
    }
    let echo = world.receiver.first("send.message", |_| true).await;
    assert_eq!(echo.body["data"], answer.body);

    let read = world.receiver.first("messages.update", |data| data["status"] == "READ").await;
    assert_eq!(read.body["data"]["keyId"], id.as_str());
    assert_eq!(read.body["data"]["remoteJid"], "5511900000002@s.whatsapp.net");
    assert_ne!(read.body["data"]["messageId"], id.as_str());
    assert_eq!(world.statuses(&id).await, [Status::ServerAck, Status::DeliveryAck, Status::Read]);

    let accepted = world.accepted().await.pop().unwrap();
    assert_eq!((accepted.network_id.as_str(), accepted.sender.as_str()), (id.as_str(), "5511900000001"));
    assert_eq!(accepted.recipient, "5511900000002@s.whatsapp.net");
    assert_eq!((accepted.content.kind, accepted.content.text.as_deref()), (Kind::Text, Some("hello")));
    assert_eq!((accepted.sha256, accepted.answer), (content_sha256(b"hello", None), Answer::Pending));
}

#[tokio::test]
async fn the_network_knows_some_numbers_by_another_name() {
    let world = World::with_bot(quick()).await;
    for (number, jid) in [
        ("5531987654321", "553187654321@s.whatsapp.net"),
        ("+55 (31) 98765-4321", "553187654321@s.whatsapp.net"),
        ("5215512345678", "525512345678@s.whatsapp.net"),
        ("120363025246125486", "120363025246125486@g.us"),
        ("99887766554433@lid", "99887766554433@lid"),
    ] {
        let answer = world.send_text(number, "hello").await;
        assert_eq!((answer.status, answer.body["key"]["remoteJid"].as_str()), (201, Some(jid)), "{number}");
    }
}

#[tokio::test]
async fn numbers_that_do_not_exist_are_refused() {
    let mut behaviour = quick();
    behaviour.not_on_whatsapp_suffixes = vec!["99".to_owned()];
    behaviour.missing_group_suffixes = vec!["00".to_owned()];
    let world = World::with_bot(behaviour).await;
    let answer = world.send_text("5511900000099", "hello").await;
    let row = json!({"jid": "5511900000099@s.whatsapp.net", "exists": false, "number": "5511900000099"});
    assert_eq!(answer.body, json!({"status": 400, "error": "Bad Request", "response": {"message": [row]}}));
    let answer = world.send_text("12036302524612540000@g.us", "hello").await;
    assert_eq!((answer.status, &answer.body["response"]["message"]), (400, &json!(["[object Object]"])));
    let presence = json!({"number": "5511900000099", "presence": "composing", "delay": 0});
    let answer = world.post("/chat/sendPresence/bot-1", presence).await;
    assert_eq!((answer.status, &answer.body["response"]["message"]), (400, &json!(["[object Object]"])));
    assert!(world.accepted().await.is_empty());
}

#[tokio::test]
async fn every_kind_is_taken_with_its_digest() {
    let world = World::with_bot(quick()).await;
    let to = "5511900000002";
    let picture =
        json!({"number": to, "mediatype": "image", "media": "aGVsbG8=", "caption": "c", "mimetype": "image/png"});
    let link = json!({"number": to, "mediatype": "document", "media": "https://files.example/a.pdf"});
    let key = json!({"id": "3EB0AAAA", "remoteJid": format!("{to}@s.whatsapp.net"), "fromMe": false});
    for (op, body, kind, digest, message_type) in [
        ("sendMedia", picture, Kind::Image, content_sha256(b"hello", Some("c")), "imageMessage"),
        ("sendMedia", link, Kind::Document, content_sha256(b"https://files.example/a.pdf", None), "documentMessage"),
        (
            "sendWhatsAppAudio",
            json!({"number": to, "audio": "aGVsbG8="}),
            Kind::Voice,
            content_sha256(b"hello", None),
            "audioMessage",
        ),
        (
            "sendReaction",
            json!({"key": key, "reaction": "👍"}),
            Kind::Reaction,
            content_sha256("👍".as_bytes(), None),
            "reactionMessage",
        ),
        (
            "sendSticker",
            json!({"number": to, "sticker": "aGVsbG8="}),
            Kind::Sticker,
            content_sha256(b"hello", None),
            "stickerMessage",
        ),
        (
            "sendPtv",
            json!({"number": to, "video": "aGVsbG8="}),
            Kind::VideoNote,
            content_sha256(b"hello", None),
            "ptvMessage",
        ),
    ] {
        let answer = world.post(&format!("/message/{op}/bot-1"), body).await;
        assert_eq!(answer.status, 201, "{op}: {}", answer.body);
        assert_eq!(answer.body["messageType"], message_type, "{op}");
        let accepted = world.accepted().await.pop().unwrap();
        assert_eq!((accepted.content.kind, accepted.sha256), (kind, digest), "{op}");
        assert_eq!(accepted.recipient, "5511900000002@s.whatsapp.net", "{op}");
    }
    for (op, body) in [
        ("sendLocation", json!({"number": to, "latitude": 1.5, "longitude": -2, "name": "n", "address": "a"})),
        ("sendContact", json!({"number": to, "contact": [{"fullName": "Ana", "phoneNumber": "1"}]})),
        ("sendPoll", json!({"number": to, "name": "n", "selectableCount": 1, "values": ["a", "b"]})),
    ] {
        let answer = world.post(&format!("/message/{op}/bot-1"), body).await;
        assert_eq!(answer.status, 201, "{op}: {}", answer.body);
        assert!(answer.body["message"].as_object().unwrap().values().all(|inner| inner.is_object()), "{op}");
    }
    let accepted = world.accepted().await;
    assert_eq!(accepted[0].content.media.as_ref().unwrap().bytes, Some(5));
    assert_eq!(accepted[3].content.reaction_to.as_deref(), Some("3EB0AAAA"));
    let summary = world.admin.summary().await.unwrap();
    assert_eq!(summary.accepted, 9);
    assert_eq!(summary.gateways["evo-1"]["bot-1"].accepted[&Kind::Image], 1);
}

#[tokio::test]
async fn an_upload_is_taken_as_bytes() {
    let world = World::with_bot(quick()).await;
    let part =
        reqwest::multipart::Part::bytes(vec![7; 300_000]).file_name("a.bin").mime_str("application/pdf").unwrap();
    let form = reqwest::multipart::Form::new()
        .text("number", "5511900000002")
        .text("mediatype", "document")
        .part("file", part);
    let request = world.http.post(format!("{}/message/sendMedia/bot-1", world.url)).header("apikey", "bot-token");
    let response = request.multipart(form).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let accepted = world.accepted().await.pop().unwrap();
    let media = accepted.content.media.unwrap();
    assert_eq!((media.bytes, media.file_name.as_deref()), (Some(300_000), Some("a.bin")));
    assert_eq!(accepted.sha256, content_sha256(&vec![7; 300_000], None));
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_products_texts() {
    let world = World::with_bot(quick()).await;
    let to = "5511900000002";
    for (op, body, messages) in [
        ("sendText", json!({"number": to}), json!(["instance requires property \"text\""])),
        (
            "sendText",
            json!({}),
            json!(["instance requires property \"number\"", "instance requires property \"text\""]),
        ),
        ("sendText", json!({"number": 5, "text": "x"}), json!(["Invalid format"])),
        ("sendText", json!({"number": to, "text": 5}), json!(["text is not of type(s) string"])),
        ("sendText", json!({"number": to, "text": "x", "delay": "soon"}), json!(["Enter a value in milliseconds"])),
        ("sendText", json!({"number": to, "text": " \n"}), json!(["Text is required"])),
        (
            "sendMedia",
            json!({"number": to, "mediatype": "gif"}),
            json!(["mediatype is not one of enum values: image,document,video,audio"]),
        ),
        (
            "sendMedia",
            json!({"number": to, "mediatype": "image", "media": "no base64!"}),
            json!(["Owned media must be a url or base64"]),
        ),
        (
            "sendMedia",
            json!({"number": to, "mediatype": "document", "media": "aGVsbG8="}),
            json!(["For base64 the file name must be informed."]),
        ),
        (
            "sendWhatsAppAudio",
            json!({"number": to}),
            json!(["Owned media must be a url, base64, or valid file with buffer"]),
        ),
        (
            "sendReaction",
            json!({"key": {"id": "x"}, "reaction": "👍"}),
            json!(["key requires property \"remoteJid\"", "key requires property \"fromMe\""]),
        ),
        (
            "sendReaction",
            json!({"key": {"id": "x", "remoteJid": to, "fromMe": true}, "reaction": "👍👍"}),
            json!(["Reaction must be a single emoji or empty string"]),
        ),
    ] {
        let answer = world.post(&format!("/message/{op}/bot-1"), body.clone()).await;
        let want = json!({"status": 400, "error": "Bad Request", "response": {"message": messages}});
        assert_eq!((answer.status, answer.body), (400, want), "{op} {body}");
    }
    let answer = world.post("/message/sendTemplate/bot-1", json!({"name": "n", "language": "en"})).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.body["response"]["message"], json!(["Method not available in the Baileys service"]));
    let answer = world.post("/message/sendSmoke/bot-1", json!({})).await;
    assert_eq!(
        (answer.status, &answer.body["response"]["message"]),
        (404, &json!(["Cannot POST /message/sendSmoke/bot-1"]))
    );
    assert!(world.accepted().await.is_empty());
}

#[tokio::test]
async fn a_delay_blocks_the_call_and_a_caller_who_leaves_does_not_stop_it() {
    let world = World::with_bot(quick()).await;
    let begun = Instant::now();
    let body = json!({"number": "5511900000002", "text": "slow", "delay": 150});
    assert_eq!(world.post("/message/sendText/bot-1", body).await.status, 201);
    assert!(begun.elapsed() >= Duration::from_millis(150));

    let url = format!("{}/message/sendText/bot-1", world.url);
    let body = json!({"number": "5511900000002", "text": "left alone", "delay": 150});
    let request = world.http.post(url).header("apikey", "bot-token").json(&body).timeout(Duration::from_millis(50));
    assert!(request.send().await.unwrap_err().is_timeout());
    let accepted = until("the message is taken", async || world.accepted().await.into_iter().nth(1)).await;
    assert_eq!(accepted.content.text.as_deref(), Some("left alone"));
}

#[tokio::test]
async fn groups_are_silent_where_they_are_ignored() {
    let world = World::with_bot(quick()).await;
    let settings = json!({"rejectCall": false, "groupsIgnore": true, "alwaysOnline": false, "readMessages": false,
        "readStatus": false, "syncFullHistory": false});
    assert_eq!(world.post("/settings/set/bot-1", settings).await.status, 201);
    let group = "120363025246125486@g.us";
    let id = world.sent(group, "hello all").await;
    until("the network took it", async || (world.statuses(&id).await == [Status::ServerAck]).then_some(())).await;
    world.admin.inbound("evo-1", "bot-1", group, "hello bot").await.unwrap();
    let person = world.admin.inbound("evo-1", "bot-1", "5511900000002", "hello bot").await.unwrap();
    world.receiver.first("messages.upsert", |data| data["key"]["id"] == person.network_id.as_str()).await;
    assert_eq!(world.receiver.of("messages.upsert").len(), 1);
    assert!(world.receiver.statuses(&id).is_empty());
}

#[tokio::test]
async fn recipients_answer() {
    let mut behaviour = quick();
    behaviour.reply_share = 1.0;
    behaviour.reply_text = "thanks".to_owned();
    let world = World::with_bot(behaviour).await;
    world.sent("5531987654321", "hello").await;
    let reply = world.receiver.first("messages.upsert", |_| true).await;
    let data = &reply.body["data"];
    assert_eq!(data["message"]["conversation"], "thanks");
    assert_eq!(data["key"]["remoteJid"], "553187654321@s.whatsapp.net");
    assert_eq!((&data["key"]["fromMe"], &data["status"]), (&json!(false), &json!("DELIVERY_ACK")));
}
