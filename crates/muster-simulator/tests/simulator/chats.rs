//! Number checks, courtesies and queries.

use std::time::{Duration, Instant};

use muster_simulator::{LedgerEvent, Status};
use serde_json::{Value, json};

use crate::world::{GATEWAY, World, quick, until};

#[tokio::test]
async fn numbers_are_checked() {
    let mut behaviour = quick();
    behaviour.not_on_whatsapp_suffixes = vec!["99".to_owned()];
    let world = World::with_bot(behaviour).await;
    let answer =
        world.post("/chat/whatsappNumbers/bot-1", json!({"numbers": ["5531987654321", "5511900000099", "12"]})).await;
    assert_eq!(answer.status, 200);
    let row = |at: usize| (answer.body[at]["jid"].as_str().unwrap(), answer.body[at]["exists"].as_bool().unwrap());
    assert_eq!(row(0), ("553187654321@s.whatsapp.net", true));
    assert_eq!(row(1), ("5511900000099@s.whatsapp.net", false));
    assert_eq!(row(2), ("12@s.whatsapp.net", false));
    assert_eq!(answer.body[0]["number"], "5531987654321");
}

#[tokio::test]
async fn reading_is_told_to_the_network() {
    let world = World::with_bot(quick()).await;
    let sent = world.admin.inbound(GATEWAY, "bot-1", "5511900000002", "hi").await.unwrap();
    let inbound = world.receiver.first("messages.upsert", |_| true).await;
    assert_eq!(inbound.body["data"]["key"]["id"], sent.network_id.as_str());
    let key = json!({"id": sent.network_id, "fromMe": false, "remoteJid": "5511900000002@s.whatsapp.net"});
    let answer = world.post("/chat/markMessageAsRead/bot-1", json!({"readMessages": [key]})).await;
    assert_eq!((answer.status, answer.body), (201, json!({"message": "Read messages", "read": "success"})));
    let marked = until("the mark is in the ledger", async || {
        world.admin.ledger().await.unwrap().into_iter().find_map(|line| match line.entry.event {
            LedgerEvent::MarkedRead { network_id, .. } => Some(network_id),
            _ => None,
        })
    })
    .await;
    assert_eq!(marked, sent.network_id);
    let answer = world.post("/chat/markMessageAsRead/bot-1", json!({"readMessages": [{"id": "x"}]})).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn presence_blocks_for_its_delay() {
    let world = World::with_bot(quick()).await;
    let begun = Instant::now();
    let body = json!({"number": "5511900000002", "presence": "composing", "delay": 100});
    let answer = world.post("/chat/sendPresence/bot-1", body).await;
    assert_eq!((answer.status, answer.body), (201, json!({"presence": "composing"})));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let answer =
        world.post("/chat/sendPresence/bot-1", json!({"number": "5511900000002", "presence": "composing"})).await;
    assert_eq!(answer.body["response"]["message"], json!(["instance requires property \"delay\""]));
    let answer = world.post("/instance/setPresence/bot-1", json!({"presence": "available"})).await;
    assert_eq!((answer.status, answer.body), (201, json!({"presence": "available"})));
    assert_eq!(world.post("/instance/setPresence/bot-1", json!({"presence": "asleep"})).await.status, 400);
}

#[tokio::test]
async fn messages_and_statuses_can_be_looked_up() {
    let world = World::with_bot(quick()).await;
    let id = world.sent("5531987654321", "first").await;
    world.sent("5511900000002", "second").await;
    world.admin.inbound(GATEWAY, "bot-1", "5511900000002", "third").await.unwrap();
    until("the first is read", async || (world.statuses(&id).await.last() == Some(&Status::Read)).then_some(())).await;

    let find = async |body: Value| world.post("/chat/findMessages/bot-1", body).await.body["messages"].clone();
    let one = find(json!({"where": {"key": {"id": id}}})).await;
    assert_eq!((&one["total"], &one["pages"], &one["currentPage"]), (&json!(1), &json!(1), &json!(1)));
    let record = &one["records"][0];
    assert_eq!(record["message"]["conversation"], "first");
    assert_eq!(
        record["MessageUpdate"],
        json!([{"status": "SERVER_ACK"}, {"status": "DELIVERY_ACK"}, {"status": "READ"}])
    );
    let chat = find(json!({"where": {"key": {"remoteJid": "5511900000002@s.whatsapp.net"}}})).await;
    let texts: Vec<_> =
        chat["records"].as_array().unwrap().iter().map(|r| r["message"]["conversation"].clone()).collect();
    assert_eq!(texts, [json!("third"), json!("second")]);
    let page = find(json!({"page": 2, "offset": 2})).await;
    assert_eq!((&page["total"], &page["pages"], page["records"].as_array().unwrap().len()), (&json!(3), &json!(2), 1));

    let body = json!({"where": {"remoteJid": "553187654321@s.whatsapp.net", "id": id}});
    let rows = world.post("/chat/findStatusMessage/bot-1", body).await;
    let statuses: Vec<_> = rows.body.as_array().unwrap().iter().map(|row| row["status"].clone()).collect();
    assert_eq!(statuses, [json!("SERVER_ACK"), json!("DELIVERY_ACK"), json!("READ")]);
    assert_eq!(rows.body[0]["keyId"], id.as_str());
    let body = json!({"where": {"id": "3EB0NONE"}});
    assert_eq!(world.post("/chat/findStatusMessage/bot-1", body).await.body, json!([]));
}
