//! Nodes that are drained, and bots that move, with real processes and under load.

use muster_demo::check::{Evidence, check};
use muster_demo::facts::{Contents, Look, believed, taken};
use muster_domain::MessageId;
use muster_simulator::{AdminClient, Delay, Faults};
use serde_json::Value;

use crate::stage::{Stage, agent, simulator, until};

fn node(stage: &Stage, id: &str) -> Value {
    stage.muster(&["node", "show", id, "-o", "json"]).done().json()
}

fn rows(stage: &Stage, args: &[&str]) -> Vec<Value> {
    stage.muster(args).done().json().as_array().unwrap().clone()
}

/// Sends a file of messages of `sales-1`, several to each of a few recipients, and returns their ids.
fn send(stage: &Stage, name: &str, count: usize) -> Vec<MessageId> {
    let line = |i: usize| format!("{{\"to\":\"+551190000000{}\",\"text\":\"{name} {i}\"}}\n", i % 4);
    let file = stage.file(&format!("{name}.jsonl"), (0..count).map(line).collect::<String>());
    stage.muster(&["send", "--bot", "sales-1", "--file", &file]).done();
    let all = rows(stage, &["message", "ls", "--bot", "sales-1", "--all", "-o", "json"]);
    all.iter().map(|message| message["name"].as_str().unwrap().parse().unwrap()).collect()
}

/// Compares what the server believes with what the simulated network took: nothing lost, nothing twice, order per recipient.
async fn agrees(stage: &Stage, admin: &AdminClient, acknowledged: &[MessageId]) {
    let address = stage.address().parse().unwrap();
    let server = muster_client::Server::connect(&address).await.unwrap();
    let believed = believed(&server, &Contents::default(), Look::All).await.unwrap();
    let taken = taken(admin).await.unwrap();
    let verdict = check(&Evidence { believed: &believed, taken: &taken, acknowledged, settled: true });
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
}

fn is_settled(stage: &Stage) -> bool {
    stage.count("WAITING") + stage.count("DISPATCHED") == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_in_the_middle_of_a_drain_is_drained_all_the_same() {
    let stage = Stage::with_fleet().await;
    let sim = simulator(&stage).await;
    let mut agent_a = agent(&stage, &sim, "a").await;
    until("the agent is online", || node(&stage, "node-a")["state"] == "ONLINE");
    stage.muster(&["bot", "link", "sales-1"]).done();
    let admin = AdminClient::new(sim.address("admin").parse().unwrap()).unwrap();
    // Slow enough for the drain to begin while a call is under way and others wait behind it.
    let slow = Faults { latency: Some(Delay::FixedMs(1_500)), ..Faults::default() };
    admin.set_gateway_faults("evolution-a", &slow).await.unwrap();
    let ids = send(&stage, "load", 12);
    until("attempts are under way", || node(&stage, "node-a")["under_way"].as_u64().unwrap() > 2);

    let begun =
        stage.muster(&["node", "drain", "node-a", "--no-wait", "--reason", "upgrade", "-o", "json"]).done().json();
    assert_eq!(begun["cordon"]["reason"], "upgrade");
    agent_a.kill().await.unwrap();
    // Nobody is there: the deadline passes, and what is open is named.
    let args = ["node", "drain", "node-a", "--deadline", "1s", "-o", "json"];
    until("the server knows that the agent is gone", || node(&stage, "node-a")["online"] == false);
    let overdue = stage.muster(&args).ended(1);
    assert!(overdue.err.contains("its agent has no session"), "{}", overdue.err);
    assert!(!overdue.json()["open"].as_array().unwrap().is_empty(), "{}", overdue.out);
    agent_a.start().await.unwrap();
    let drained = stage.muster(&["node", "drain", "node-a", "--deadline", "1m", "-o", "json"]).done();
    let list = |name: &str| drained.json()[name].as_array().unwrap().len();
    assert!(list("open") == 0 && list("handed_back") > 0 && list("finished") > 0, "{}", drained.out);
    assert_eq!(node(&stage, "node-a")["drain"]["state"], "DRAINED");
    let waiting = rows(&stage, &["message", "ls", "--state", "waiting", "-o", "json"]);
    let waiting = waiting[0]["name"].as_str().unwrap().strip_prefix("messages/").unwrap().to_owned();
    let trace = stage.muster(&["message", "trace", &waiting]).done().out;
    assert!(trace.contains("NODE_CORDONED") && trace.contains("upgrade"), "{trace}");

    // Killed once more: a drain that is done stays done.
    agent_a.kill().await.unwrap();
    agent_a.start().await.unwrap();
    until("the agent is back", || node(&stage, "node-a")["state"] == "ONLINE");
    assert_eq!(node(&stage, "node-a")["drain"]["state"], "DRAINED");
    admin.set_gateway_faults("evolution-a", &Faults::default()).await.unwrap();
    stage.muster(&["node", "uncordon", "node-a"]).done();
    until("everything has come to its end", || is_settled(&stage));
    agrees(&stage, &admin, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_moves_under_load_sends_nothing_twice_and_keeps_its_order() {
    let stage = Stage::with_fleet().await;
    let sim = simulator(&stage).await;
    let _agents = [agent(&stage, &sim, "a").await, agent(&stage, &sim, "b").await];
    for id in ["node-a", "node-b"] {
        until("the agents are online", || node(&stage, id)["state"] == "ONLINE");
    }
    stage.muster(&["bot", "link", "sales-1"]).done();
    let admin = AdminClient::new(sim.address("admin").parse().unwrap()).unwrap();
    let slow = Faults { latency: Some(Delay::FixedMs(200)), ..Faults::default() };
    for gateway in ["evolution-a", "evolution-b"] {
        admin.set_gateway_faults(gateway, &slow).await.unwrap();
    }
    send(&stage, "first", 30);
    until("attempts are under way", || node(&stage, "node-a")["under_way"].as_u64().unwrap() > 2);
    let moved = stage.muster(&["bot", "move", "sales-1", "--gateway", "evolution-b", "-o", "json"]).done().json();
    assert_eq!(moved["node"], "nodes/node-b");
    assert_eq!(rows(&stage, &["node", "attempts", "node-a", "-o", "json"]), Vec::<Value>::new());
    let ids = send(&stage, "second", 30);
    stage.muster(&["bot", "link", "sales-1"]).done();
    until("some left from the new node", || {
        ["SENT", "DELIVERED", "READ"].iter().map(|state| stage.count(state)).sum::<u64>() > 20
    });
    stage.muster(&["bot", "move", "sales-1", "--gateway", "evolution-a"]).done();
    until("everything has come to its end", || is_settled(&stage));
    assert_eq!(ids.len(), 60);
    agrees(&stage, &admin, &ids).await;
}

/// The sample fleet, of which `sales-1` fails over.
const FAILS_OVER: &str = r#"
    node = [{ id = "node-a", display_name = "Sales office", labels = { site = "recife" } }, { id = "node-b", display_name = "Support office", labels = { site = "porto" } }]
    gateway = [{ id = "evolution-a", kind = "evolution", node = "node-a" }, { id = "evolution-b", kind = "evolution", node = "node-b" }]

    [[bot]]
    id = "sales-1"
    gateway = "evolution-a"
    address = "+5511900009001"
    display_name = "Sales 1"
    labels = { team = "sales" }
    on_node_absent = "fail_over"
    absent_after = "5s"
    standby_gateway = "evolution-b"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_whose_node_dies_under_load_fails_over_and_sends_nothing_twice() {
    let stage = Stage::with_fleet().await;
    let sim = simulator(&stage).await;
    let (mut agent_a, _agent_b) = (agent(&stage, &sim, "a").await, agent(&stage, &sim, "b").await);
    for id in ["node-a", "node-b"] {
        until("the agents are online", || node(&stage, id)["state"] == "ONLINE");
    }
    let file = stage.file("fails-over.toml", FAILS_OVER);
    let applied = stage.muster(&["apply", "-f", &file]).done().out;
    assert!(applied.contains("on_node_absent") && applied.contains("FAIL_OVER"), "{applied}");
    stage.muster(&["bot", "link", "sales-1"]).done();
    let admin = AdminClient::new(sim.address("admin").parse().unwrap()).unwrap();
    let slow = Faults { latency: Some(Delay::FixedMs(500)), ..Faults::default() };
    admin.set_gateway_faults("evolution-a", &slow).await.unwrap();
    send(&stage, "first", 30);
    until("attempts are under way", || node(&stage, "node-a")["under_way"].as_u64().unwrap() > 2);
    agent_a.kill().await.unwrap();
    let ids = send(&stage, "second", 12);
    assert!(stage.count("WAITING") > 0, "nobody is there to take it");
    let bot = || stage.muster(&["bot", "get", "sales-1", "-o", "json"]).done().json();
    until("the bot fails over", || bot()["node"] == "nodes/node-b");
    assert_eq!(bot()["fail_over"]["from_gateway"], "gateways/evolution-a");
    let page = stage.muster(&["bot", "get", "sales-1"]).done().out;
    assert!(page.contains("failed over") && page.contains("at its standby gateway already"), "{page}");
    stage.muster(&["bot", "link", "sales-1"]).done();
    agent_a.start().await.unwrap();
    until("everything has come to its end", || is_settled(&stage));
    assert_eq!((bot()["node"].as_str(), ids.len()), (Some("nodes/node-b"), 42));
    agrees(&stage, &admin, &ids).await;
}
