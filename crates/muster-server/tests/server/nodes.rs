//! What operators decide about nodes, and what is seen of them.

use std::time::Duration;

use muster_proto::v1::{self, NodeState};
use muster_server::Config;
use tonic::Code;

use crate::agent::{Agent, sent};
use crate::world::{World, fields, refused, until};

fn cordon(reason: &str) -> v1::CordonNodeRequest {
    v1::CordonNodeRequest { name: "n".into(), reason: reason.into(), author: "ana".into(), request_id: String::new() }
}

fn uncordon() -> v1::UncordonNodeRequest {
    v1::UncordonNodeRequest { name: "n".into(), ..Default::default() }
}

#[tokio::test]
async fn a_cordoned_node_ends_what_it_has_and_gets_nothing_new() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let held = world.send_text("a", "r", "held").await;
    let attempt = agent.attempts(1).await.remove(0);
    for _ in 0..2 {
        let node = world.nodes().cordon_node(cordon("disk")).await.unwrap().into_inner().node.unwrap();
        assert_eq!((node.cordon.unwrap().reason.as_str(), node.under_way), ("disk", 1));
    }
    let message = world.send_text("a", "s", "x").await;
    agent.quiet().await;
    let waiting = world.message(&message.name).await.waiting.unwrap();
    assert_eq!(waiting.reason, "NODE_CORDONED");
    for fact in ["nodes/n", "by ana", "disk", "muster node uncordon n"] {
        assert!(waiting.explanation.contains(fact), "{}", waiting.explanation);
    }
    assert!(waiting.since.is_some());
    agent.report(vec![sent(&attempt, "w1")]).await;
    assert_eq!(world.message(&held.name).await.state(), v1::MessageState::Sent);
    assert_eq!(world.node().await.under_way, 0);
    for _ in 0..2 {
        let node = world.nodes().uncordon_node(uncordon()).await.unwrap().into_inner().node.unwrap();
        assert_eq!(node.cordon, None);
    }
    let attempt = agent.attempts(1).await.remove(0);
    assert_eq!(attempt.recipient, "s");
}

#[tokio::test]
async fn a_cordon_outlives_sessions_and_a_new_one_is_told_when_it_ends() {
    let world = World::with_bots(&["a"]).await;
    world.nodes().cordon_node(cordon("disk")).await.unwrap();
    world.send_text("a", "r", "x").await;
    let mut agent = world.agent(&["a"]).await;
    agent.quiet().await;
    world.nodes().uncordon_node(uncordon()).await.unwrap();
    agent.attempts(1).await;
}

#[tokio::test]
async fn a_cordon_needs_a_reason_and_a_node() {
    let world = World::with_bots(&[]).await;
    let nameless = v1::CordonNodeRequest { author: "x".repeat(257), ..cordon("") };
    let status = refused(world.nodes().cordon_node(nameless).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["reason", "author"]);
    let nowhere = v1::CordonNodeRequest { name: "x".into(), ..cordon("disk") };
    refused(world.nodes().cordon_node(nowhere).await, Code::NotFound, "NODE_UNKNOWN");
    let nowhere = v1::UncordonNodeRequest { name: "x".into(), ..uncordon() };
    refused(world.nodes().uncordon_node(nowhere).await, Code::NotFound, "NODE_UNKNOWN");
    let keyed = v1::CordonNodeRequest { request_id: "k".into(), ..cordon("disk") };
    world.nodes().cordon_node(keyed.clone()).await.unwrap();
    world.nodes().uncordon_node(uncordon()).await.unwrap();
    let again = world.nodes().cordon_node(keyed.clone()).await.unwrap().into_inner().node.unwrap();
    assert_eq!(again.cordon, None, "a request that comes again late does not cordon the node again");
    let other = v1::CordonNodeRequest { reason: "other".into(), ..keyed };
    refused(world.nodes().cordon_node(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn the_state_of_a_node_follows_its_agent() {
    let patience = Config {
        heartbeat_interval: Duration::from_millis(200),
        stall_timeout: Duration::from_secs(2),
        lost_after: Duration::from_secs(2),
        ..Config::default()
    };
    let world = World::start_with(patience).await;
    world.declare(&["a"]).await;
    let node = world.node().await;
    assert_eq!((node.state(), node.state_time), (NodeState::Offline, None));
    let mut agent = Agent::open(&world).await;
    assert_eq!(world.node().await.state(), NodeState::Online);
    let becomes = async |state| until(async || (world.node().await.state() == state).then_some(())).await;
    becomes(NodeState::Suspect).await;
    agent.heartbeat().await;
    becomes(NodeState::Online).await;
    agent.gone();
    becomes(NodeState::Offline).await;
    let offline = world.node().await.state_time.unwrap();
    becomes(NodeState::Lost).await;
    let lost = world.node().await.state_time.unwrap();
    assert_eq!(lost.seconds - offline.seconds, 2);
    let _agent = Agent::open(&world).await;
    becomes(NodeState::Online).await;
}
