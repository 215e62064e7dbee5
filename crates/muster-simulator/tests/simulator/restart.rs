//! What outlives a simulator.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_simulator::{Config, Delay, GatewayConfig, LedgerEvent, LedgerOpenError, StartError, Status, start};
use serde_json::json;

use crate::world::{GATEWAY, KEY, World, linked, quick, until};

const TO: &str = "5511900000002";

#[tokio::test]
async fn messages_links_and_webhooks_outlive_it() {
    let mut behaviour = quick();
    behaviour.read = Delay::FixedMs(300);
    let world = World::with_bot(behaviour).await;
    let body = json!({"instanceName": "bot-2", "integration": "WHATSAPP-BAILEYS", "token": "t2"});
    assert_eq!(world.post("/instance/create", body).await.status, 201);
    let id = world.sent(TO, "before").await;
    until("it is delivered", async || world.statuses(&id).await.contains(&Status::DeliveryAck).then_some(())).await;

    let mut world = world.restarted().await;
    world.until_open("bot-1").await;
    assert_eq!(world.state("bot-2").await, "close");
    // The rest of the receipts follow, to the webhook of before.
    world.receiver.first("messages.update", |data| data["keyId"] == id.as_str() && data["status"] == "READ").await;
    assert_eq!(world.statuses(&id).await, [Status::ServerAck, Status::DeliveryAck, Status::Read]);
    let found = world.post("/chat/findMessages/bot-1", json!({"where": {"key": {"id": id}}})).await;
    assert_eq!(found.body["messages"]["records"][0]["message"]["conversation"], "before");

    let mut ids = vec![id];
    for round in 0..3 {
        ids.push(world.sent(TO, &format!("round {round}")).await);
        world = world.restarted().await;
        world.until_open("bot-1").await;
    }
    let accepted = world.accepted().await;
    assert_eq!(accepted.iter().map(|a| &a.network_id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "no run draws the ids of another");
    let seqs: Vec<_> = world.admin.ledger().await.unwrap().iter().map(|line| line.seq).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64));
}

#[tokio::test]
async fn a_new_instance_does_not_inherit_the_messages_of_an_old_one() {
    let world = World::with_bot(quick()).await;
    world.sent(TO, "old").await;
    world.delete("/instance/delete/bot-1").await;
    until("it is gone", async || (world.state("bot-1").await.is_null()).then_some(())).await;
    let body = json!({"instanceName": "bot-1", "integration": "WHATSAPP-BAILEYS"});
    assert_eq!(world.post("/instance/create", body).await.status, 201);
    let world = world.restarted().await;
    let found = world.post("/chat/findMessages/bot-1", json!({})).await;
    assert_eq!(found.body["messages"]["total"], 0);
    assert_eq!(world.accepted().await.len(), 1);
}

#[tokio::test]
async fn a_start_that_cannot_work_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config::new(dir.path().join("ledger.jsonl"), vec![GatewayConfig::new(GATEWAY, KEY)]);
    let why = async |config: Config| start(config).await.unwrap_err();

    let running = start(config()).await.unwrap();
    assert!(matches!(why(config()).await, StartError::Ledger(LedgerOpenError::InUse(_))));
    let taken = running.gateways()[0].url.socket_addrs(|| None).unwrap()[0];
    let mut other = Config::new(dir.path().join("other.jsonl"), vec![GatewayConfig::new(GATEWAY, KEY)]);
    other.gateways[0].listen = taken;
    let error = why(other).await;
    assert!(matches!(error, StartError::Listen { .. }) && error.to_string().contains("choose another port"), "{error}");
    running.stop().await;

    let nowhere = Config::new(dir.path().join("no/such/ledger.jsonl"), vec![GatewayConfig::new(GATEWAY, KEY)]);
    assert!(why(nowhere).await.to_string().contains("may write"));
    let twice = Config::new("x", vec![GatewayConfig::new(GATEWAY, KEY), GatewayConfig::new(GATEWAY, KEY)]);
    assert!(matches!(why(twice).await, StartError::Config(what) if what.starts_with("gateways[1].name:")));
    let mut wrong = Config::new("x", vec![linked(quick())]);
    wrong.gateways[0].behaviour.read_share = 2.0;
    assert!(
        matches!(why(wrong).await, StartError::Config(what) if what.starts_with("gateways[0].behaviour.read_share:"))
    );

    fs::write(dir.path().join("ledger.jsonl"), "no ledger\n").unwrap();
    assert!(why(config()).await.to_string().contains("line 1 of"));
    fs::write(dir.path().join("ledger.jsonl"), "").unwrap();
    fs::write(dir.path().join("ledger.jsonl.state.json"), "no state").unwrap();
    assert!(matches!(why(config()).await, StartError::State(_)));
}

#[test]
fn a_configuration_is_read_with_its_defaults_and_nothing_unknown() {
    let config: Config = toml::from_str(
        r#"
        [[gateways]]
        name = "evo-1"
        api_key = "k"
        behaviour.read = { log_normal_ms = { p50 = 500, p99 = 5000 } }
        behaviour.webhook.retry_scale = 0.1
        faults.latency = { uniform_ms = [10, 50] }
        instance_faults.bot-1 = { zombie = "until_restart", send.hang_after = 0.1 }
        instances = [{ name = "bot-1", number = "5511900000001" }]
        "#,
    )
    .unwrap();
    assert_eq!(config.gateways[0].faults.latency, Some(Delay::UniformMs(10, 50)));
    assert_eq!(config.gateways[0].behaviour.read, Delay::LogNormalMs { p50: 500, p99: 5000 });
    assert!(config.admin.ip().is_loopback() && config.gateways[0].listen.ip().is_loopback());
    assert_eq!(config.ledger.to_str(), Some("muster-sim.jsonl"));
    config.check().unwrap();
    assert!(!format!("{config:?}").contains("\"k\""));
    let error = serde_json::from_value::<Config>(json!({"gateways": [], "legder": "x"})).unwrap_err().to_string();
    assert!(error.contains("unknown field `legder`"), "{error}");
    let error =
        serde_json::from_value::<Config>(json!({"gateways": [{"name": "a", "api_key": "k", "behaviour": {"qr": 1}}]}));
    assert!(error.unwrap_err().to_string().contains("unknown field `qr`"));
}

/// Names the ledger of the child process of [`nothing_that_was_answered_is_lost_by_a_kill`].
const CHILD_LEDGER: &str = "MUSTER_SIMULATOR_TEST_LEDGER";

/// Begins the line by which the child tells its address.
const CHILD_ADDRESS: &str = "simulator at ";

#[test]
#[ignore = "run as a process of its own by nothing_that_was_answered_is_lost_by_a_kill"]
fn child() {
    let ledger = std::env::var_os(CHILD_LEDGER).unwrap();
    let config = Config::new(ledger, vec![linked(quick())]);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let simulator = start(config).await.unwrap();
        println!("\n{CHILD_ADDRESS}{}", simulator.gateways()[0].url);
        std::future::pending::<()>().await;
    });
}

/// Starts the simulator as a process and returns it with its address.
fn spawn_child(ledger: &std::path::Path) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["restart::child", "--exact", "--ignored", "--nocapture"]).env(CHILD_LEDGER, ledger);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|line| line.strip_prefix(CHILD_ADDRESS).map(str::to_owned));
    (child, told.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.jsonl");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answered: Vec<String> = Vec::new();
    for round in 0..3 {
        let (mut child, url) = spawn_child(&ledger);
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (http, url) = (http.clone(), format!("{url}message/sendText/bot-1"));
                tokio::spawn(async move {
                    let mut answered = Vec::new();
                    for n in 0.. {
                        let text = format!("{round}-{sender}-{n}");
                        let request = http.post(&url).header("apikey", KEY).json(&json!({"number": TO, "text": text}));
                        match request.send().await {
                            Ok(response) if response.status() == 201 => answered.push(text),
                            // Just started, it is not linked yet.
                            Ok(_) => {}
                            Err(_) => break,
                        }
                    }
                    answered
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + 130 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for sender in senders {
            answered.extend(sender.await.unwrap());
        }
    }
    let world = start(Config::new(&ledger, vec![linked(quick())])).await.unwrap();
    let lines = world.admin().unwrap().ledger().await.unwrap();
    assert!(lines.iter().map(|line| line.seq).eq(1..=lines.len() as u64));
    let taken: Vec<_> = lines
        .into_iter()
        .filter_map(|line| match line.entry.event {
            LedgerEvent::Accepted(accepted) => accepted.content.text,
            _ => None,
        })
        .collect();
    assert!(answered.len() > 30, "{}", answered.len());
    for text in &answered {
        assert_eq!(taken.iter().filter(|taken| *taken == text).count(), 1, "{text}");
    }
    // At most the calls under way at a kill were taken without an answer.
    assert!(taken.len() - answered.len() <= 3 * 4, "{} {}", taken.len(), answered.len());
    world.stop().await;
}
