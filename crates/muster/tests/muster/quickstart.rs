//! The README's quickstart, by hand.

use crate::stage::{Stage, agent, sample, simulator, until};

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_server_to_a_read_receipt() {
    let stage = Stage::start().await;
    let sim = simulator(&stage).await;
    // In the order of the README: the agent comes before the fleet that declares its node.
    let _agent = agent(&stage, &sim, "a").await;
    stage.muster(&["apply", "-f", sample("fleet.toml").to_str().unwrap()]).done();
    until("the agent is online", || {
        stage.muster(&["node", "get", "node-a", "-o", "json"]).done().json()["online"] == true
    });

    let linked = stage.muster(&["bot", "link", "sales-1"]).done().out;
    assert!(linked.contains("scan it with the phone") && linked.contains("type this code on the phone"), "{linked}");
    assert!(linked.ends_with("sales-1 is linked as +55*******9001\n"), "{linked}");
    let linked = stage.muster(&["bot", "link", "sales-2", "-o", "jsonl"]).done().out;
    assert!(linked.lines().any(|line| line.contains("\"state\":\"CODE\"")), "{linked}");

    let sent = stage.muster(&["send", "sales-1", "+5511900000001", "--text", "Olá!", "-o", "json"]).done().json();
    let id = sent["name"].as_str().unwrap().to_owned();
    let state = |id: &str| {
        stage.muster(&["message", "get", id, "-o", "json"]).done().json()["state"].as_str().unwrap().to_owned()
    };
    until("it is delivered", || matches!(state(&id).as_str(), "DELIVERED" | "READ"));
    let trace = stage.muster(&["message", "trace", &id]).done().out;
    for step in ["accepted", "attempt 1 handed to node-a", "sent by the gateway", "delivered to the recipient's device"]
    {
        assert!(trace.contains(step), "{step}: {trace}");
    }

    let picture = sample("media/welcome.png");
    let args =
        ["send", "sales-2", "+5511900000002", "--image", picture.to_str().unwrap(), "--caption", "Olá", "-o", "json"];
    let id = stage.muster(&args).done().json()["name"].as_str().unwrap().to_owned();
    until("the picture is sent", || matches!(state(&id).as_str(), "SENT" | "DELIVERED" | "READ"));

    let checked = stage.muster(&["bot", "check", "sales-1", "+5511900000001", "-o", "json"]).done().json();
    assert_eq!(checked[0]["exists"], true);

    let admin = muster_simulator::AdminClient::new(sim.address("admin").parse().unwrap()).unwrap();
    admin.inbound("evolution-a", "sales-1", "5511900000001", "Oi").await.unwrap();
    until("the answer has come in", || {
        !stage.muster(&["inbound", "ls", "-o", "json"]).done().json().as_array().unwrap().is_empty()
    });
    let inbound = stage.muster(&["inbound", "ls", "-o", "json"]).done().json();
    assert_eq!(inbound[0]["content"]["body"], "Oi");
    let name = inbound[0]["name"].as_str().unwrap();
    stage.muster(&["inbound", "read", name]).done();
    let args =
        ["send", "sales-1", "+5511900000001", "--text", "Tudo bem?", "--reply-to", name, "--mark-read", "-o", "json"];
    let id = stage.muster(&args).done().json()["name"].as_str().unwrap().to_owned();
    until("the reply is sent", || matches!(state(&id).as_str(), "SENT" | "DELIVERED" | "READ"));
    let args = ["send", "sales-1", "+5511900000001", "--react", "👍", "--on", name, "-o", "json"];
    let id = stage.muster(&args).done().json()["name"].as_str().unwrap().to_owned();
    until("the reaction is sent", || matches!(state(&id).as_str(), "SENT" | "DELIVERED" | "READ"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_ready_once_it_listens_for_webhooks_and_not_before() {
    let stage = Stage::start().await;
    let sim = simulator(&stage).await;
    stage.server.pause().unwrap();
    let first = agent(&stage, &sim, "a").await;
    let webhooks = first.address("webhooks").strip_prefix("http://").unwrap().to_owned();
    std::net::TcpStream::connect(&webhooks).unwrap();
    let journal = stage.folder.path().join("journal-other");
    let config = sample("agent-a.toml");
    let args = [
        "agent",
        "--config",
        config.to_str().unwrap(),
        "--journal",
        journal.to_str().unwrap(),
        "--webhook-listen",
        &webhooks,
    ];
    let error = stage.program.start("other", args).await.unwrap_err().to_string();
    assert!(error.contains("before it was ready") && error.contains("cannot listen for webhooks"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_stops_in_order_when_it_is_asked_to() {
    let mut stage = Stage::with_fleet().await;
    let mut sim = simulator(&stage).await;
    let mut agent = agent(&stage, &sim, "a").await;
    until("the agent is online", || {
        stage.muster(&["node", "get", "node-a", "-o", "json"]).done().json()["online"] == true
    });
    for process in [&mut agent, &mut stage.server, &mut sim] {
        let status = process.stop().await.unwrap().unwrap();
        assert!(status.success(), "{} ended with {status}: {}", process.name(), process.log_tail());
    }
}
