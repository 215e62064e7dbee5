//! A server whose database is put back from a backup, while its agents went on.

use std::collections::BTreeMap;

use muster_simulator::{AdminClient, LedgerEvent};

use crate::stage::{Stage, agent, simulator, until};

/// Messages that the network has, by the server's account.
fn sent(stage: &Stage) -> u64 {
    ["SENT", "DELIVERED", "READ"].iter().map(|state| stage.count(state)).sum()
}

fn send(stage: &Stage, bot: &str, texts: &[&str]) {
    for text in texts {
        stage.muster(&["send", bot, "+5511900000001", "--text", text]).done();
    }
}

/// Puts a database in the place of another one. What a server that was killed left in its log belongs to it.
fn copy_database(stage: &Stage, from: &str, to: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let path = |name: &str| stage.folder.path().join(format!("{name}{suffix}"));
        let _ = std::fs::remove_file(path(to));
        if path(from).exists() {
            std::fs::copy(path(from), path(to)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_from_a_backup_sends_nothing_twice() {
    let mut stage = Stage::with_fleet().await;
    let address = stage.address();
    stage.server.set_option("--listen", address.strip_prefix("http://").unwrap());
    let sim = simulator(&stage).await;
    let agent = agent(&stage, &sim, "a").await;
    until("the agent is online", || {
        stage.muster(&["node", "get", "node-a", "-o", "json"]).done().json()["online"] == true
    });
    stage.muster(&["bot", "link", "sales-1"]).done();
    send(&stage, "sales-1", &["before 1", "before 2"]);
    until("the first messages are sent", || sent(&stage) == 2);

    // In the backup some messages are under way, and others wait for a bot that is not linked yet.
    agent.pause().unwrap();
    send(&stage, "sales-1", &["under way 1", "under way 2", "under way 3"]);
    until("the next messages are under way", || stage.count("DISPATCHED") == 3);
    send(&stage, "sales-2", &["waiting 1", "waiting 2"]);
    stage.server.kill().await.unwrap();
    copy_database(&stage, "muster.db", "backup.db");

    // All of them are sent, and messages that the backup does not know.
    agent.resume().unwrap();
    stage.server.start().await.unwrap();
    until("the agent is back and links the bot", || stage.muster(&["bot", "link", "sales-2"]).code == Some(0));
    send(&stage, "sales-1", &["unknown to the backup 1", "unknown to the backup 2"]);
    until("everything is sent", || sent(&stage) == 9);

    stage.server.stop().await.unwrap();
    copy_database(&stage, "backup.db", "muster.db");
    stage.server.start().await.unwrap();
    until("the restored server knows what was sent", || sent(&stage) == 7);
    // The bot was linked after the backup: the agent tells so without being asked.
    send(&stage, "sales-2", &["after"]);
    until("the next message is sent", || sent(&stage) == 8);

    let admin = AdminClient::new(sim.address("admin").parse().unwrap()).unwrap();
    let mut taken = BTreeMap::<String, u32>::new();
    for line in admin.ledger().await.unwrap() {
        if let LedgerEvent::Accepted(accepted) = line.entry.event {
            *taken.entry(accepted.content.text.unwrap()).or_default() += 1;
        }
    }
    assert_eq!(taken.len(), 10, "{taken:?}");
    assert!(taken.values().all(|count| *count == 1), "{taken:?}");
}
