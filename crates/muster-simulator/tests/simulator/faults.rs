//! Faults on demand: each one as a caller meets it, and what the ledger says about it.

use std::time::{Duration, Instant};

use muster_simulator::{AdminError, Answer, Delay, Faults, Zombie};
use reqwest::Method;
use serde_json::json;

use crate::world::{GATEWAY, KEY, World, quick, until};

const TO: &str = "5511900000002";

#[tokio::test]
async fn refusals_are_not_sent() {
    let world = World::with_bot(quick()).await;
    let refusal = async |change: fn(&mut Faults)| {
        world.set_faults(change).await;
        let answer = world.send_text(TO, "hello").await;
        (answer.status, answer.body)
    };
    let (status, body) = refusal(|f| f.send.connection_closed_500 = 1.0).await;
    assert_eq!((status, &body["response"]["message"]), (500, &json!("Connection Closed")));
    let (status, body) = refusal(|f| f.send.connection_closed_400 = 1.0).await;
    assert_eq!((status, &body["response"]["message"]), (400, &json!(["Error: Connection Closed"])));
    let (status, body) = refusal(|f| f.send.not_on_whatsapp = 1.0).await;
    assert_eq!((status, &body["response"]["message"][0]["exists"]), (400, &json!(false)));
    let (status, body) = refusal(|f| f.send.unauthorized = 1.0).await;
    assert_eq!((status, &body["response"]["message"]), (401, &json!("Unauthorized")));
    let (status, body) = refusal(|f| f.send.server_error_500 = 1.0).await;
    assert_eq!((status, body["response"]["message"].is_string()), (500, true));
    let (status, body) = refusal(|f| f.send.license_503 = 1.0).await;
    assert_eq!((status, &body["code"]), (503, &json!("LICENSE_REQUIRED")));
    let (status, body) = refusal(|f| f.send.meta_error_201 = 1.0).await;
    assert_eq!((status, &body["code"], body.get("key")), (201, &json!(131_056), None));
    assert!(world.accepted().await.is_empty());
}

#[tokio::test]
async fn sent_messages_hide_behind_errors() {
    let world = World::with_bot(quick()).await;
    world.set_faults(|faults| faults.send.empty_201 = 1.0).await;
    let answer = world.send_text(TO, "empty").await;
    assert_eq!((answer.status, answer.body.is_null()), (201, true));
    world.receiver.first("send.message", |data| data["message"]["conversation"] == "empty").await;

    world.set_faults(|faults| faults.send.prisma_400_after_send = 1.0).await;
    let answer = world.send_text(TO, "prisma").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body["response"]["message"][0].as_str().unwrap().starts_with("PrismaClient"), "{}", answer.body);
    let accepted = world.accepted().await;
    assert_eq!(accepted.iter().map(|a| a.answer).collect::<Vec<_>>(), [Answer::Empty, Answer::Prisma]);
    // The gateway has no row of it: the network reports statuses, and the gateway tells nobody.
    let id = &accepted[1].network_id;
    until("the network is done", async || (world.statuses(id).await.len() == 3).then_some(())).await;
    world.set_faults(|_| ()).await;
    let next = world.sent(TO, "next").await;
    world.receiver.first("messages.update", |data| data["keyId"] == next.as_str() && data["status"] == "READ").await;
    assert!(world.receiver.statuses(id).is_empty());
    let found = world.post("/chat/findMessages/bot-1", json!({"where": {"key": {"id": id}}})).await;
    assert_eq!(found.body["messages"]["total"], 0);
}

#[tokio::test]
async fn a_hanging_call_is_sent_or_not_as_the_ledger_says() {
    let world = World::with_bot(quick()).await;
    for (text, change, taken) in [
        ("before", (|f: &mut Faults| f.send.hang_before = 1.0) as fn(&mut Faults), 0),
        ("after", |f: &mut Faults| f.send.hang_after = 1.0, 1),
    ] {
        world.set_faults(change).await;
        let url = format!("{}/message/sendText/bot-1", world.url);
        let request = world.http.post(url).header("apikey", KEY).json(&json!({"number": TO, "text": text}));
        let error = request.timeout(Duration::from_millis(200)).send().await.unwrap_err();
        assert!(error.is_timeout(), "{text}: {error:?}");
        let accepted = world.accepted().await;
        assert_eq!(accepted.iter().filter(|a| a.content.text.as_deref() == Some(text)).count(), taken, "{text}");
        assert!(accepted.iter().all(|a| a.answer == Answer::None));
    }
    world.receiver.first("send.message", |data| data["message"]["conversation"] == "after").await;
    // Calls that hang do not keep the simulator from stopping.
    let begun = Instant::now();
    let url = format!("{}/message/sendText/bot-1", world.url);
    let hanging =
        tokio::spawn(world.http.post(url).header("apikey", KEY).json(&json!({"number": TO, "text": "x"})).send());
    until("the call hangs", async || (world.accepted().await.len() == 2).then_some(())).await;
    world.simulator.stop().await;
    assert!(hanging.await.unwrap().is_err());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_reset_is_a_reset_of_tcp() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::with_bot(quick()).await;
    for (text, change, taken) in [
        ("before", (|f: &mut Faults| f.send.reset_before = 1.0) as fn(&mut Faults), 0),
        ("after", |f: &mut Faults| f.send.reset_after = 1.0, 1),
    ] {
        world.set_faults(change).await;
        let body = json!({"number": TO, "text": text}).to_string();
        let request = format!(
            "POST /message/sendText/bot-1 HTTP/1.1\r\nhost: x\r\napikey: {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(world.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let error = stream.read_to_end(&mut answer).await.unwrap_err();
        assert_eq!((error.kind(), answer.len()), (std::io::ErrorKind::ConnectionReset, 0), "{text}");
        let accepted = world.accepted().await;
        assert_eq!(accepted.iter().filter(|a| a.content.text.as_deref() == Some(text)).count(), taken, "{text}");
        assert!(accepted.iter().all(|a| a.answer == Answer::Reset));
    }
}

#[tokio::test]
async fn receipts_go_wrong_as_told() {
    let world = World::with_bot(quick()).await;
    let chain = async |change: fn(&mut Faults), count: usize| {
        world.set_faults(change).await;
        let id = world.sent(TO, "hello").await;
        until("the statuses are reported", async || (world.statuses(&id).await.len() == count).then_some(())).await;
        world.statuses(&id).await.iter().map(|status| status.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(chain(|f| f.receipts.error = 1.0, 1).await, ["ERROR"]);
    assert_eq!(chain(|f| f.receipts.skip_server_ack = 1.0, 2).await, ["DELIVERY_ACK", "READ"]);
    assert_eq!(chain(|f| f.receipts.reversed = 1.0, 3).await, ["READ", "DELIVERY_ACK", "SERVER_ACK"]);
    world.set_faults(|faults| faults.receipts.never = 1.0).await;
    world.sent(TO, "stuck").await;
    assert!(world.accepted().await.last().unwrap().plan.is_empty());
}

#[tokio::test]
async fn a_restricted_account_keeps_its_chats_only() {
    let world = World::with_bot(quick()).await;
    world.sent(TO, "known").await;
    world.admin.inbound(GATEWAY, "bot-1", "5511900000003", "hi").await.unwrap();
    world.set_faults(|faults| faults.restricted = true).await;
    for (to, last) in [(TO, "READ"), ("5511900000003", "READ"), ("5511900000004", "ERROR"), ("5511900000004", "ERROR")]
    {
        let id = world.sent(to, "hello").await;
        world.receiver.first("messages.update", |data| data["keyId"] == id.as_str() && data["status"] == last).await;
        assert_eq!(world.receiver.statuses(&id).contains(&"ERROR".to_owned()), last == "ERROR", "{to}");
    }
}

#[tokio::test]
async fn a_zombie_says_open_and_fails_until_it_is_restarted() {
    let world = World::with_bot(quick()).await;
    world.sent(TO, "alive").await;
    world.set_faults(|faults| faults.zombie = Zombie::UntilRestart).await;
    assert_eq!(world.state("bot-1").await, "open");
    let answer = world.send_text("5511900000005", "x").await;
    assert_eq!((answer.status, &answer.body["response"]["message"]), (500, &json!("Connection Closed")));
    // The number check is skipped for numbers that were confirmed before, so the failure has another shape.
    let answer = world.send_text(TO, "x").await;
    assert_eq!((answer.status, &answer.body["response"]["message"]), (400, &json!(["Error: Connection Closed"])));
    assert!(matches!(
        world.admin.inbound(GATEWAY, "bot-1", TO, "hi").await,
        Err(AdminError::Refused { status: 409, .. })
    ));
    world.post("/instance/restart/bot-1", json!({})).await;
    world.until_open("bot-1").await;
    world.sent(TO, "alive again").await;

    world.set_faults(|faults| faults.zombie = Zombie::Always).await;
    world.post("/instance/restart/bot-1", json!({})).await;
    world.until_open("bot-1").await;
    assert_eq!(world.send_text(TO, "x").await.status, 400);
    assert_eq!(world.accepted().await.len(), 2);
}

#[tokio::test]
async fn receipts_wait_while_the_instance_is_away() {
    let mut behaviour = quick();
    behaviour.server_ack = Delay::FixedMs(100);
    let world = World::with_bot(behaviour).await;
    let id = world.sent(TO, "hello").await;
    world.set_faults(|faults| faults.zombie = Zombie::Always).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.statuses(&id).await.is_empty());
    world.set_faults(|_| ()).await;
    world.receiver.first("messages.update", |data| data["keyId"] == id.as_str() && data["status"] == "READ").await;
}

#[tokio::test]
async fn a_ban_closes_and_keeps_closing() {
    let world = World::with_bot(quick()).await;
    world.set_faults(|faults| faults.banned = true).await;
    let status = world.receiver.first("status.instance", |_| true).await;
    assert_eq!(status.body["data"]["disconnectionReasonCode"], 403);
    assert_eq!(world.state("bot-1").await, "close");
    until("a code is shown", async || {
        world.get("/instance/connect/bot-1").await.body["code"].is_string().then_some(())
    })
    .await;
    world.receiver.clear();
    world.admin.scan(GATEWAY, "bot-1", None).await.unwrap();
    world.receiver.first("connection.update", |data| data["state"] == "close" && data["statusReason"] == 403).await;
}

#[tokio::test]
async fn latency_comes_first_and_an_instance_can_have_faults_of_its_own() {
    let world = World::with_bot(quick()).await;
    let slow = Faults { latency: Some(Delay::FixedMs(120)), ..Faults::default() };
    world.admin.set_instance_faults(GATEWAY, "bot-1", &slow).await.unwrap();
    let broken =
        Faults { send: muster_simulator::SendFaults { unauthorized: 1.0, ..Default::default() }, ..Faults::default() };
    world.admin.set_faults(&broken).await.unwrap();
    let begun = Instant::now();
    world.sent(TO, "slow but sure").await;
    assert!(begun.elapsed() >= Duration::from_millis(120));
    let overview = world.admin.faults().await.unwrap();
    assert_eq!((&overview[GATEWAY].gateway, &overview[GATEWAY].instances["bot-1"]), (&broken, &slow));
    world.admin.clear_instance_faults(GATEWAY, "bot-1").await.unwrap();
    assert_eq!(world.send_text(TO, "x").await.status, 401);
}

#[tokio::test]
async fn wrong_settings_are_refused_by_name() {
    let world = World::with_bot(quick()).await;
    let put = async |path: &str, body: &'static str| {
        let url = world.simulator.admin_url().join(path).unwrap();
        let response = world.http.request(Method::PUT, url).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for (body, what) in [
        (r#"{"sned":{}}"#, "unknown field `sned`"),
        (r#"{"send":{"hang":1}}"#, "unknown field `hang`"),
        (r#"{"send":{"hang_before":1.5}}"#, "send.hang_before: must be a share from 0 to 1"),
        (r#"{"send":{"hang_before":0.6,"hang_after":0.6}}"#, "send: the shares exclude each other"),
        (r#"{"latency":{"fixed_s":1}}"#, "unknown variant `fixed_s`"),
        (r#"{"latency":{"uniform_ms":[5,1]}}"#, "latency: its first number (5) must not exceed"),
        ("{", "EOF while parsing"),
    ] {
        let (status, text) = put("faults", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(text.contains(what), "{body}: {text}");
    }
    let (status, text) = put("faults/evo-9", "{}").await;
    assert!(status == 404 && text.contains("evo-1"), "{text}");
    assert_eq!(world.admin.faults().await.unwrap()[GATEWAY].gateway, Faults::default());
    assert!(matches!(
        world.admin.disconnect(GATEWAY, "nobody", 401).await,
        Err(AdminError::Refused { status: 404, .. })
    ));
}
