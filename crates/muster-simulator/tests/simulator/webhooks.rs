//! Webhooks: what they carry, when they come again, and how they fail.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use muster_simulator::{Delay, Faults};
use serde_json::{Value, json};

use crate::world::{GATEWAY, World, quick, until};

const TO: &str = "5511900000002";

/// How many posts came per message status, for one event.
fn posts(world: &World, event: &str) -> usize {
    world.receiver.of(event).len()
}

#[tokio::test]
async fn a_webhook_says_where_it_comes_from() {
    let world = World::with_bot(quick()).await;
    world.sent(TO, "hello").await;
    let post = world.receiver.first("send.message", |_| true).await;
    for (name, want) in [
        ("event", json!("send.message")),
        ("instance", json!("bot-1")),
        ("destination", json!(world.receiver.url)),
        ("sender", json!("5511900000001@s.whatsapp.net")),
        ("server_url", json!(world.url)),
        ("apikey", json!("bot-token")),
    ] {
        assert_eq!(post.body[name], want, "{name}");
    }
    let date = post.body["date_time"].as_str().unwrap();
    assert!(date.len() == 24 && date.ends_with('Z'), "{date}");
    assert_eq!(post.headers["content-type"], "application/json");
}

#[tokio::test]
async fn events_can_be_chosen_and_named_in_the_address() {
    let world = World::with_bot(quick()).await;
    let webhook = json!({"enabled": true, "url": world.receiver.url, "byEvents": true, "events": ["MESSAGES_UPDATE"]});
    assert_eq!(world.post("/webhook/set/bot-1", json!({"webhook": webhook})).await.status, 201);
    world.receiver.clear();
    world.sent(TO, "hello").await;
    let post = world.receiver.first("messages.update", |data| data["status"] == "READ").await;
    assert_eq!(post.path, "/hook/messages-update");
    assert_eq!(posts(&world, "send.message"), 0);

    let webhook = json!({"enabled": false, "url": world.receiver.url, "events": []});
    assert_eq!(world.post("/webhook/set/bot-1", json!({"webhook": webhook})).await.status, 201);
    world.receiver.clear();
    let id = world.sent(TO, "hello").await;
    until("the network is done", async || (world.statuses(&id).await.len() == 3).then_some(())).await;
    assert!(world.receiver.all().is_empty());
}

#[tokio::test]
async fn a_key_for_tokens_becomes_a_token() {
    let world = World::with_bot(quick()).await;
    world.subscribe("bot-1", json!({"jwt_key": "secret", "x-other": 5})).await;
    world.sent(TO, "hello").await;
    let post = world.receiver.first("send.message", |_| true).await;
    assert!(post.headers.get("jwt_key").is_none());
    assert_eq!(post.headers["x-other"], "5");
    let token = post.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["app"], &claims["action"]), (&json!("evolution"), &json!("webhook")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
}

#[tokio::test]
async fn a_webhook_comes_again_until_it_is_taken() {
    let world = World::with_bot(quick()).await;
    world.set_faults(|faults| faults.receipts.never = 1.0).await;
    for refusals in [&[500][..], &[500, 503, 429, 302]] {
        world.receiver.clear();
        world.receiver.answer_next(refusals);
        world.sent(TO, "hello").await;
        until("it is taken", async || (posts(&world, "send.message") == refusals.len() + 1).then_some(())).await;
    }
    // Ten attempts, and then it is dropped.
    world.receiver.clear();
    world.receiver.answer_next(&[500; 12]);
    world.sent(TO, "hello").await;
    until("it is given up", async || (posts(&world, "send.message") == 10).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(posts(&world, "send.message"), 10);
}

#[tokio::test]
async fn some_refusals_are_final() {
    let world = World::with_bot(quick()).await;
    world.set_faults(|faults| faults.receipts.never = 1.0).await;
    for status in [400, 401, 403, 404, 422] {
        world.receiver.clear();
        world.receiver.answer_next(&[status]);
        let dropped = world.sent(TO, "dropped").await;
        world.receiver.first("send.message", |data| data["key"]["id"] == dropped.as_str()).await;
        // The longest first wait is 6 ms at this scale.
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(posts(&world, "send.message"), 1, "{status}");
    }
}

#[tokio::test]
async fn credentials_survive_until_the_logout_webhook_is_done() {
    let world = World::with_bot(quick()).await;
    // At this scale ten attempts take about a second.
    world.receiver.answer_next(&[500; 40]);
    world.delete("/instance/logout/bot-1").await;
    // The gateway still has the credentials, so it connects with them, and the network refuses them.
    let answer = world.get("/instance/connect/bot-1").await;
    assert_eq!(answer.body.get("code"), None, "{}", answer.body);
    world.receiver.answer_next(&[]);
    until("they are wiped", async || world.get("/instance/connect/bot-1").await.body["code"].is_string().then_some(()))
        .await;
}

#[tokio::test]
async fn webhooks_are_dropped_doubled_and_late_as_told() {
    let world = World::with_bot(quick()).await;
    world.set_faults(|faults| faults.webhooks.drop = 1.0).await;
    let id = world.sent(TO, "dropped").await;
    until("the network is done", async || (world.statuses(&id).await.len() == 3).then_some(())).await;

    world.set_faults(|faults| faults.webhooks.double = 1.0).await;
    let id = world.sent(TO, "doubled").await;
    until("all came twice", async || (world.receiver.statuses(&id).len() == 6).then_some(())).await;
    assert!(
        world.receiver.of("send.message").iter().all(|post| post.body["data"]["message"]["conversation"] == "doubled")
    );
    assert_eq!(posts(&world, "send.message"), 2);

    world
        .set_faults(|faults| {
            faults.webhooks.late = 1.0;
            faults.webhooks.late_by = Delay::FixedMs(150);
        })
        .await;
    world.receiver.clear();
    let begun = std::time::Instant::now();
    world.sent(TO, "late").await;
    world.receiver.first("send.message", |_| true).await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn webhooks_overtake_each_other_as_told() {
    let world = World::with_bot(quick()).await;
    world
        .set_faults(|faults| {
            faults.webhooks.out_of_order = 0.5;
            faults.receipts.never = 1.0;
        })
        .await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(world.sent(TO, &n.to_string()).await);
        // One at a time, so that nothing but the fault changes the order.
        if n % 2 == 1 {
            until("both came", async || (posts(&world, "send.message") >= n).then_some(())).await;
        }
    }
    until("all came", async || (posts(&world, "send.message") == 40).then_some(())).await;
    let came: Vec<_> = world
        .receiver
        .of("send.message")
        .iter()
        .map(|p| p.body["data"]["key"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_ne!(came, ids);
    let count = |list: &[String]| {
        list.iter().fold(BTreeMap::new(), |mut map, id| {
            *map.entry(id.clone()).or_insert(0) += 1;
            map
        })
    };
    assert_eq!(count(&came), count(&ids));
}

#[tokio::test]
async fn a_dead_receiver_holds_up_nobody_else() {
    let world = World::with_bot(quick()).await;
    let webhook = json!({"enabled": true, "url": "http://127.0.0.1:1/hook", "events": []});
    assert_eq!(world.post("/webhook/set/bot-1", json!({"webhook": webhook})).await.status, 201);
    for n in 0..20 {
        world.sent(TO, &n.to_string()).await;
    }
    world.subscribe("bot-1", json!({})).await;
    let id = world.sent(TO, "heard").await;
    world.receiver.first("messages.update", |data| data["keyId"] == id.as_str()).await;
    let faults = Faults::default();
    assert_eq!(world.admin.faults().await.unwrap()[GATEWAY].gateway, faults);
}
