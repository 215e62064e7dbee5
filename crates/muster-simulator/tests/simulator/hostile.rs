//! Whatever is sent, there is an answer.

use muster_simulator::Delay;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::world::{KEY, World, quick};

/// Any JSON, of bounded size.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[0-9]{1,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Keys that routes look at, and others.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "number",
            "text",
            "mediatype",
            "media",
            "audio",
            "key",
            "id",
            "remoteJid",
            "fromMe",
            "reaction",
            "numbers",
            "where",
            "page",
            "offset",
            "readMessages",
            "presence",
            "webhook",
            "events",
            "url",
            "enabled",
            "instanceName",
            "integration",
            "contact",
            "values",
            "quoted",
            "headers",
            "send",
            "latency",
            "code",
            "from",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,5}",
    ]
}

const ROUTES: [&str; 18] = [
    "/message/sendText/bot-1",
    "/message/sendMedia/bot-1",
    "/message/sendWhatsAppAudio/bot-1",
    "/message/sendSticker/bot-1",
    "/message/sendReaction/bot-1",
    "/message/sendLocation/bot-1",
    "/message/sendContact/bot-1",
    "/message/sendPoll/bot-1",
    "/chat/whatsappNumbers/bot-1",
    "/chat/markMessageAsRead/bot-1",
    "/chat/sendPresence/bot-1",
    "/chat/findMessages/bot-1",
    "/chat/findStatusMessage/bot-1",
    "/instance/create",
    "/instance/setPresence/bot-1",
    "/webhook/set/bot-1",
    "/settings/set/bot-1",
    "/instance/restart/bot-1",
];

#[tokio::test(flavor = "multi_thread")]
async fn any_json_gets_an_answer() {
    let mut behaviour = quick();
    behaviour.read = Delay::FixedMs(60_000);
    let world = World::with_bot(behaviour).await;
    let handle = tokio::runtime::Handle::current();
    let run = || {
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() });
        runner.run(&(proptest::sample::select(ROUTES.to_vec()), any_json()), |(route, body)| {
            // A delay would only make the test slow.
            let mut body = body;
            if let Some(fields) = body.as_object_mut() {
                fields.remove("delay");
            }
            let answer = handle.block_on(world.call_as(Some(KEY), Method::POST, route, Some(body)));
            prop_assert!((200..=500).contains(&answer.status), "{} {}", route, answer.body);
            let message = answer.body["response"]["message"].as_str().unwrap_or_default();
            prop_assert!(!message.starts_with("simulator:"), "{} {}", route, message);
            Ok(())
        })
    };
    tokio::task::block_in_place(run).unwrap();
    // Whatever that was, the simulator still works.
    world.admin.health().await.unwrap();
    assert_eq!(world.get("/instance/connectionState/bot-1").await.status, 200);
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let world = World::with_bot(quick()).await;
    for body in [&b"{"[..], b"\xff\xfe", b"null", b"5", b"\"text\""] {
        let request = world.http.post(format!("{}/message/sendText/bot-1", world.url)).header("apikey", KEY);
        let response = request.header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(response.status(), 400);
        let body: Value = response.json().await.unwrap();
        assert!(body["response"]["message"].is_string(), "{body}");
    }
    // Another type is not read at all.
    let request = world.http.post(format!("{}/message/sendText/bot-1", world.url)).header("apikey", KEY);
    let response = request.header("content-type", "text/plain").body("{}").send().await.unwrap();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["response"]["message"][0], "instance requires property \"number\"");
    let request = world.http.post(format!("{}/message/sendMedia/bot-1", world.url)).header("apikey", KEY);
    let response =
        request.header("content-type", "multipart/form-data; boundary=x").body("no parts").send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(world.accepted().await.is_empty());
}

#[tokio::test]
async fn a_huge_body_is_refused_and_a_large_one_is_not() {
    let world = World::with_bot(quick()).await;
    let send = async |size: usize| {
        let media = "A".repeat(size);
        let body = json!({"number": "5511900000002", "mediatype": "image", "media": media});
        world.post("/message/sendMedia/bot-1", body).await.status
    };
    assert_eq!(send(8 * 1024 * 1024).await, 201);
    assert_eq!(send(136 * 1024 * 1024).await, 413);
}
