//! `muster uncertain`: what nobody can tell is listed and decided.

use muster_demo::processes::Process;
use muster_simulator::{AdminClient, Faults};

use crate::stage::{Stage, agent, simulator, until};

/// A stage with its agent and simulator, where the bot `sales-1` is linked.
async fn linked() -> (Stage, Process, Process) {
    let stage = Stage::with_fleet().await;
    let sim = simulator(&stage).await;
    let agent = agent(&stage, &sim, "a").await;
    until("the agent is online", || {
        stage.muster(&["node", "get", "node-a", "-o", "json"]).done().json()["online"] == true
    });
    stage.muster(&["bot", "link", "sales-1"]).done();
    (stage, agent, sim)
}

#[tokio::test(flavor = "multi_thread")]
async fn uncertain_messages_are_listed_and_decided() {
    let (stage, _agent, sim) = linked().await;
    let admin = AdminClient::new(sim.address("admin").parse().unwrap()).unwrap();
    let mut faults = Faults::default();
    faults.send.reset_before = 1.0;
    admin.set_gateway_faults("evolution-a", &faults).await.unwrap();

    let send = |recipient: &str| {
        let sent = stage.muster(&["send", "sales-1", recipient, "--text", "Olá!", "-o", "json"]).done().json();
        sent["name"].as_str().unwrap().strip_prefix("messages/").unwrap().to_owned()
    };
    let ids = ["+5511900000001", "+5511900000002", "+5511900000003"].map(send);
    until("all are uncertain", || stage.count("UNCERTAIN") == 3);
    admin.set_gateway_faults("evolution-a", &Faults::default()).await.unwrap();

    let listed = stage.muster(&["uncertain", "ls", "--bot", "sales-1"]).done().out;
    assert!(listed.contains("OUTCOME_UNKNOWN") && ids.iter().all(|id| listed.contains(id.as_str())), "{listed}");
    assert!(listed.contains("+55*******0001") && !listed.contains("+5511900000001"), "{listed}");
    assert_eq!(stage.muster(&["uncertain", "ls", "-o", "json"]).done().json().as_array().unwrap().len(), 3);

    let args = ["uncertain", "resolve", &ids[0], "--as", "resend", "--reason", "not in the chat"];
    let told = stage.muster(&args).done().err;
    assert!(told.contains("1 of 1 resolved as RESEND"), "{told}");
    let state = |id: &str| stage.muster(&["message", "get", id, "-o", "json"]).done().json()["state"].clone();
    until("it is sent", || ["SENT", "DELIVERED", "READ"].iter().any(|wanted| state(&ids[0]) == *wanted));
    let shown = stage.muster(&["uncertain", "show", &ids[0]]).done().out;
    for step in ["may have been sent", "an operator had it sent again: not in the chat", "attempt 2 handed to node-a"] {
        assert!(shown.contains(step), "{step}: {shown}");
    }

    // One that is not uncertain any more does not stop the other.
    let told = stage.muster(&["uncertain", "resolve", &ids[0], &ids[1], "--as", "sent"]).ended(1).err;
    assert!(told.contains(&ids[0]) && told.contains("MESSAGE_NOT_UNCERTAIN"), "{told}");
    assert!(told.contains("1 of 2 resolved as SENT"), "{told}");
    assert_eq!(state(&ids[1]), "SENT");

    let told = stage.muster(&["uncertain", "resolve", "--all", "--bot", "sales-1", "--as", "drop"]).done().err;
    assert!(told.contains("1 of 1 resolved as DROP"), "{told}");
    assert_eq!(state(&ids[2]), "FAILED");
    assert_eq!(stage.count("UNCERTAIN"), 0);
    for wrong in [&["--as", "drop"][..], &["--all", "--as", "drop"], &[&ids[0], "--as", "maybe"]] {
        stage.muster(&[&["uncertain", "resolve"], wrong].concat()).ended(2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_goes_before_what_a_policy_decided() {
    let (stage, _agent, sim) = linked().await;
    let admin = AdminClient::new(sim.address("admin").parse().unwrap()).unwrap();
    let mut faults = Faults::default();
    (faults.send.reset_after, faults.webhooks.late) = (1.0, 1.0);
    admin.set_gateway_faults("evolution-a", &faults).await.unwrap();
    let args = ["send", "sales-1", "+5511900000001", "--text", "Olá!", "--on-uncertain", "drop", "-o", "json"];
    let sent = stage.muster(&args).done().json();
    assert_eq!(sent["on_uncertain"], "DROP");
    let name = sent["name"].as_str().unwrap();
    let state = || stage.muster(&["message", "get", name, "-o", "json"]).done().json()["state"].clone();
    // What it became comes from the echo, which names it for its receipts.
    until("it is delivered", || ["DELIVERED", "READ"].iter().any(|wanted| state() == *wanted));
    let shown = stage.muster(&["uncertain", "show", name]).done().out;
    for step in ["its policy dropped it", "but a late report says: attempt 1 was sent", "sent by the gateway"] {
        assert!(shown.contains(step), "{step}: {shown}");
    }
}
