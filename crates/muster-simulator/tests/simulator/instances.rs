//! Instances: keys, links, and the way between `close`, `connecting` and `open`.

use muster_simulator::{AdminError, Behaviour, GatewayConfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{GATEWAY, KEY, World, linked, quick, until};

fn empty(behaviour: Behaviour) -> GatewayConfig {
    GatewayConfig { behaviour, ..GatewayConfig::new(GATEWAY, KEY) }
}

/// A body that creates `bot-2` with the receiver as webhook.
fn create_body(world: &World) -> Value {
    json!({
        "instanceName": "bot-2", "integration": "WHATSAPP-BAILEYS", "token": "own-token", "number": "5511900000009",
        "qrcode": true, "groupsIgnore": true,
        "webhook": {"url": world.receiver.url, "byEvents": false, "base64": false, "headers": {"x-agent-secret": "s"}, "events": []},
    })
}

/// The states that `connection.update` told, in the order of arrival.
fn told_states(world: &World) -> Vec<(String, u64)> {
    let told = world.receiver.of("connection.update").into_iter();
    told.map(|received| {
        let data = &received.body["data"];
        (data["state"].as_str().unwrap().to_owned(), data["statusReason"].as_u64().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn an_unknown_instance_is_404_before_the_key_is_looked_at() {
    let world = World::start(linked(quick())).await;
    for key in [None, Some("wrong"), Some(KEY)] {
        let answer = world.call_as(key, Method::GET, "/instance/connectionState/nobody", None).await;
        let message = json!(["The \"nobody\" instance does not exist"]);
        assert_eq!(answer.body, json!({"status": 404, "error": "Not Found", "response": {"message": message}}));
        assert_eq!(answer.status, 404);
    }
    for key in [None, Some("wrong")] {
        let answer = world.call_as(key, Method::GET, "/instance/connectionState/bot-1", None).await;
        let want = json!({"status": 401, "error": "Unauthorized", "response": {"message": "Unauthorized"}});
        assert_eq!((answer.status, answer.body), (401, want));
    }
    for key in [KEY, "bot-token"] {
        let answer = world.call_as(Some(key), Method::GET, "/instance/connectionState/bot-1", None).await;
        assert_eq!(answer.status, 200, "{key}");
    }
    let answer = world.call_as(None, Method::GET, "/x?y=1", None).await;
    assert_eq!((answer.status, &answer.body["response"]["message"]), (404, &json!(["Cannot GET /x?y=1"])));
    let answer = world.call_as(Some(KEY), Method::PUT, "/instance/restart/bot-1", None).await;
    assert_eq!(
        (answer.status, &answer.body["response"]["message"]),
        (404, &json!(["Cannot PUT /instance/restart/bot-1"]))
    );
    let answer = world.call_as(None, Method::GET, "/", None).await;
    assert_eq!((answer.status, &answer.body["version"]), (200, &json!("2.3.7")));
}

#[tokio::test]
async fn only_the_global_key_creates_and_a_name_is_taken_once() {
    let world = World::start(linked(quick())).await;
    let create = async |key, body: Value| world.call_as(key, Method::POST, "/instance/create", Some(body)).await;
    let body = create_body(&world);
    assert_eq!(create(None, body.clone()).await.status, 401);
    assert_eq!(create(Some("bot-token"), body.clone()).await.status, 401);
    let answer = create(None, json!({"instanceName": "bot-1"})).await;
    assert_eq!(
        (answer.status, &answer.body["response"]["message"]),
        (403, &json!(["This name \"bot-1\" is already in use."]))
    );

    let answer = create(Some(KEY), body.clone()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["hash"], "own-token");
    assert_eq!(answer.body["instance"]["status"], "connecting");
    assert_eq!(answer.body["instance"]["integration"], "WHATSAPP-BAILEYS");
    assert_eq!(answer.body["webhook"]["webhookUrl"], world.receiver.url.as_str());
    assert_eq!(answer.body["settings"]["groupsIgnore"], true);
    let qrcode = &answer.body["qrcode"];
    assert_eq!((&qrcode["count"], qrcode["pairingCode"].as_str().unwrap().len()), (&json!(1), 8));
    assert!(qrcode["code"].as_str().unwrap().starts_with("2@"));
    assert!(qrcode["base64"].as_str().unwrap().starts_with("data:image/png;base64,"));
    assert_eq!(create(Some(KEY), body).await.status, 403);

    for (body, message) in [
        (json!({"integration": "WHATSAPP-BAILEYS"}), "instance requires property \"instanceName\""),
        (json!({"instanceName": "x"}), "Invalid integration"),
        (json!({"instanceName": "x", "integration": "SMOKE"}), "Invalid integration"),
        (
            json!({"instanceName": "x", "integration": "WHATSAPP-BAILEYS", "number": "+5"}),
            "number does not match pattern \"^\\\\d+[\\\\.@\\\\w-]+\"",
        ),
        (
            json!({"instanceName": "x", "integration": "WHATSAPP-BAILEYS", "qrcode": "yes"}),
            "qrcode is not of type(s) boolean",
        ),
        (
            json!({"instanceName": "x", "integration": "WHATSAPP-BAILEYS", "proxyHost": "127.0.0.1", "proxyPort": "1", "proxyProtocol": "http"}),
            "Invalid proxy",
        ),
        (
            json!({"instanceName": "x", "integration": "WHATSAPP-BAILEYS", "webhook": {"url": "http://127.0.0.1:1"}}),
            "Cannot read properties of undefined (reading 'length')",
        ),
    ] {
        let answer = create(Some(KEY), body.clone()).await;
        assert_eq!((answer.status, &answer.body["response"]["message"]), (400, &json!([message])), "{body}");
    }
}

#[tokio::test]
async fn a_scan_links_through_the_bounce() {
    let world = World::start(empty(quick())).await;
    let answer = world.post("/instance/create", create_body(&world)).await;
    assert_eq!(answer.status, 201);
    let shown = world.receiver.first("qrcode.updated", |_| true).await;
    assert_eq!(shown.body["data"]["qrcode"]["code"], answer.body["qrcode"]["code"]);
    assert_eq!(shown.body["apikey"], "own-token");
    assert_eq!(shown.headers["x-agent-secret"], "s");

    // Nothing can be sent yet, and a second connect shows the same code.
    let send = world.post("/message/sendText/bot-2", json!({"number": "5511900000002", "text": "early"})).await;
    assert_eq!((send.status, &send.body["response"]["message"]), (500, &json!("Connection Closed")));
    let again = world.get("/instance/connect/bot-2").await;
    assert_eq!(again.body["code"], answer.body["qrcode"]["code"]);

    let overview = world.admin.scan(GATEWAY, "bot-2", None).await.unwrap();
    assert!(overview.linked && overview.code.is_none());
    world.until_open("bot-2").await;
    let open = world.receiver.first("connection.update", |data| data["state"] == "open").await;
    assert_eq!(open.body["data"]["wuid"], "5511900000009@s.whatsapp.net");
    assert_eq!(open.body["sender"], "5511900000009@s.whatsapp.net");
    // The restart with 515 shows as `connecting` only: no close is told.
    assert!(told_states(&world).iter().all(|(state, _)| state != "close"));
    let open = world.get("/instance/connect/bot-2").await;
    assert_eq!(open.body, json!({"instance": {"instanceName": "bot-2", "state": "open"}}));
    assert!(matches!(world.admin.scan(GATEWAY, "bot-2", None).await, Err(AdminError::Refused { status: 409, .. })));
}

#[tokio::test]
async fn codes_tick_until_the_link_is_refused() {
    let world = World::start(empty(Behaviour { qr_period_ms: 5, qr_limit: 3, ..quick() })).await;
    world.post("/instance/create", create_body(&world)).await;
    let refused = world.receiver.first("connection.update", |data| data["state"] == "refused").await;
    assert_eq!(refused.body["data"]["statusReason"], 428);
    let last = world.receiver.first("qrcode.updated", |data| data["statusCode"] == 500).await;
    assert_eq!(last.body["data"]["message"], "QR code limit reached, please login again");
    let mut codes: Vec<_> = world
        .receiver
        .of("qrcode.updated")
        .iter()
        .filter_map(|r| r.body["data"]["qrcode"]["code"].as_str().map(str::to_owned))
        .collect();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 3);
    assert_eq!(world.state("bot-2").await, "close");
    // Connecting again begins with the first code.
    let answer = world.get("/instance/connect/bot-2?number=5511900000009").await;
    assert!(answer.body["count"].as_u64().unwrap() >= 1 && answer.body["pairingCode"].is_string(), "{}", answer.body);
}

#[tokio::test]
async fn instances_link_by_themselves_where_that_is_asked_for() {
    for behaviour in [Behaviour { auto_link: true, ..quick() }, Behaviour { auto_scan_after_ms: Some(5), ..quick() }] {
        let world = World::start(empty(behaviour)).await;
        world.post("/instance/create", create_body(&world)).await;
        world.until_open("bot-2").await;
    }
}

#[tokio::test]
async fn a_lost_connection_comes_back_without_a_close() {
    let world = World::with_bot(quick()).await;
    for code in [408, 428, 440, 500, 503, 515] {
        world.receiver.clear();
        world.admin.disconnect(GATEWAY, "bot-1", code).await.unwrap();
        world.until_open("bot-1").await;
        until("open is told", async || told_states(&world).iter().any(|(state, _)| state == "open").then_some(()))
            .await;
        assert!(told_states(&world).iter().all(|(state, _)| state != "close"), "{code}");
        assert!(world.receiver.of("status.instance").is_empty(), "{code}");
    }
}

#[tokio::test]
async fn a_final_close_is_told_by_three_events_and_needs_a_new_link() {
    let world = World::with_bot(quick()).await;
    for code in [401, 402, 403, 406] {
        world.receiver.clear();
        world.admin.disconnect(GATEWAY, "bot-1", code).await.unwrap();
        let status = world.receiver.first("status.instance", |_| true).await;
        assert_eq!(status.body["data"]["disconnectionReasonCode"], code);
        assert_eq!(status.body["data"]["status"], "closed");
        assert!(world.receiver.first("logout.instance", |_| true).await.body["data"].is_null());
        world
            .receiver
            .first("connection.update", |data| data["state"] == "close" && data["statusReason"] == code)
            .await;
        assert_eq!(world.state("bot-1").await, "close");
        let row = world.get("/instance/fetchInstances?instanceName=bot-1").await.body[0].clone();
        assert_eq!((&row["connectionStatus"], &row["disconnectionReasonCode"]), (&json!("close"), &json!(code)));
        assert!(row["disconnectionObject"].is_string());

        // Once the credentials are wiped, connecting shows a code.
        until("a code is shown", async || {
            let answer = world.get("/instance/connect/bot-1").await;
            answer.body["code"].is_string().then_some(())
        })
        .await;
        world.admin.scan(GATEWAY, "bot-1", None).await.unwrap();
        world.until_open("bot-1").await;
    }
}

#[tokio::test]
async fn errors_of_restart_and_connect_hide_in_200() {
    let world = World::with_bot(quick()).await;
    let answer = world.post("/instance/restart/bot-1", json!({})).await;
    assert_eq!((answer.status, &answer.body["instance"]["instanceName"]), (200, &json!("bot-1")));
    world.until_open("bot-1").await;
    assert_eq!(world.delete("/instance/logout/bot-1").await.status, 200);
    let answer = world.post("/instance/restart/bot-1", json!({})).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body["error"] == true && answer.body["message"].is_string(), "{}", answer.body);

    world.set_faults(|faults| faults.unloaded = true).await;
    let answer = world.get("/instance/connect/bot-1").await;
    assert_eq!((answer.status, &answer.body["error"]), (200, &json!(true)));
    assert_eq!(world.get("/instance/connectionState/bot-1").await.body, json!({"instance": {"instanceName": "bot-1"}}));
    let answer = world.send_text("5511900000002", "x").await;
    let message = "Cannot read properties of undefined (reading 'textMessage')";
    assert_eq!((answer.status, &answer.body["response"]["message"]), (500, &json!(message)));
}

#[tokio::test]
async fn logout_answers_at_once_and_a_second_one_is_refused() {
    let world = World::with_bot(quick()).await;
    let answer = world.delete("/instance/logout/bot-1").await;
    let want = json!({"status": "SUCCESS", "error": false, "response": {"message": "Instance logged out"}});
    assert_eq!((answer.status, answer.body), (200, want));
    let answer = world.delete("/instance/logout/bot-1").await;
    assert_eq!(
        (answer.status, &answer.body["response"]["message"]),
        (400, &json!(["The \"bot-1\" instance is not connected"]))
    );
}

#[tokio::test]
async fn a_deleted_instance_stays_until_its_webhook_is_done() {
    let world = World::with_bot(quick()).await;
    // The receiver refuses `remove.instance` and the events around it for about half a second.
    world.receiver.answer_next(&[500; 40]);
    let answer = world.delete("/instance/delete/bot-1").await;
    assert_eq!(answer.body["response"]["message"], "Instance deleted");
    assert_eq!(world.get("/instance/fetchInstances?instanceName=bot-1").await.status, 200);
    let body = json!({"instanceName": "bot-1", "integration": "WHATSAPP-BAILEYS"});
    assert_eq!(world.post("/instance/create", body.clone()).await.status, 403);
    let gone = until("the instance is gone", async || {
        let answer = world.get("/instance/fetchInstances?instanceName=bot-1").await;
        (answer.status == 404).then_some(answer)
    })
    .await;
    assert_eq!(gone.body["response"]["message"], json!(["Instance \"bot-1\" not found"]));
    world.receiver.first("remove.instance", |data| data.is_null()).await;
    world.receiver.first("instance.delete", |data| data["instanceName"] == "bot-1").await;
    let answer = world.post("/instance/create", body).await;
    assert_eq!((answer.status, &answer.body["instance"]["status"]), (201, &json!("close")));
}

#[tokio::test]
async fn instances_are_listed_for_the_key_that_asks() {
    let world = World::start(linked(quick())).await;
    world.post("/instance/create", create_body(&world)).await;
    let list = async |key, query: &str| {
        world.call_as(key, Method::GET, &format!("/instance/fetchInstances{query}"), None).await
    };
    assert_eq!(list(Some(KEY), "").await.body.as_array().unwrap().len(), 2);
    let own = list(Some("bot-token"), "").await;
    assert_eq!((own.body.as_array().unwrap().len(), &own.body[0]["name"]), (1, &json!("bot-1")));
    assert_eq!(own.body[0]["token"], "bot-token");
    assert_eq!(list(Some("bot-token"), "?instanceName=bot-2").await.status, 401);
    assert_eq!(list(Some("wrong"), "").await.status, 401);
    assert_eq!(list(None, "").await.status, 401);
    let id = own.body[0]["id"].as_str().unwrap();
    assert_eq!(list(Some(KEY), &format!("?instanceId={id}")).await.body[0]["name"], "bot-1");
    assert_eq!(list(Some(KEY), "?number=5511900000009").await.body[0]["name"], "bot-2");
    assert_eq!(list(Some(KEY), "?instanceName=nobody").await.status, 404);
}

#[tokio::test]
async fn settings_and_webhook_read_back() {
    let world = World::start(linked(quick())).await;
    let answer = world.post("/settings/set/bot-1", json!({"rejectCall": true})).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["response"]["message"][0], "instance requires property \"groupsIgnore\"");
    let settings = json!({"rejectCall": true, "groupsIgnore": true, "alwaysOnline": false, "readMessages": false,
        "readStatus": false, "syncFullHistory": false, "msgCall": "", "wavoipToken": ""});
    assert_eq!(world.post("/settings/set/bot-1", settings.clone()).await.status, 201);
    assert_eq!(world.get("/settings/find/bot-1").await.body, settings);

    assert_eq!(world.get("/webhook/find/bot-1").await.body, Value::Null);
    let set = async |webhook: Value| world.post("/webhook/set/bot-1", json!({"webhook": webhook})).await;
    let answer = world.post("/webhook/set/bot-1", json!({"enabled": true, "url": "http://127.0.0.1:1"})).await;
    assert_eq!(answer.body["response"]["message"], json!(["instance requires property \"webhook\""]));
    let answer = set(json!({"enabled": true})).await;
    assert_eq!(answer.body["response"]["message"], json!(["webhook requires property \"url\""]));
    let answer = set(json!({"enabled": true, "url": "http://127.0.0.1:1"})).await;
    assert_eq!(
        (answer.status, &answer.body["response"]["message"]),
        (500, &json!("Cannot read properties of undefined (reading 'length')"))
    );
    assert_eq!(set(json!({"enabled": true, "url": "http://127.0.0.1:1", "events": ["SMOKE"]})).await.status, 400);
    let answer = set(json!({"enabled": true, "url": "http://127.0.0.1:1", "events": ["SEND_MESSAGE"], "byEvents": true, "headers": {"a": "b"}})).await;
    assert_eq!(answer.status, 201);
    assert_eq!(world.get("/webhook/find/bot-1").await.body, answer.body);
    assert_eq!((&answer.body["webhookByEvents"], &answer.body["events"]), (&json!(true), &json!(["SEND_MESSAGE"])));
}
