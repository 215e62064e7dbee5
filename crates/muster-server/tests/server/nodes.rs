//! What operators decide about nodes, and what is seen of them.

use std::time::Duration;

use muster_proto::agent_v1 as wire;
use muster_proto::v1::{self, NodeState};
use muster_server::Config;
use tonic::Code;

use crate::agent::{Agent, hello, sent};
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

/// The report of an attempt that was not started.
fn handed_back(attempt: &wire::Attempt) -> wire::report::Body {
    wire::report::Body::Outcome(wire::OutcomeReport {
        attempt: attempt.r#ref,
        outcome: wire::Outcome::HandedBack.into(),
        handback_reason: wire::HandbackReason::Draining.into(),
        ..Default::default()
    })
}

fn drain(seconds: i64) -> v1::DrainNodeRequest {
    let deadline = Some(prost_types::Duration { seconds, nanos: 0 });
    v1::DrainNodeRequest { name: "n".into(), reason: "upgrade".into(), deadline, ..Default::default() }
}

async fn drained(world: &World) -> Vec<(String, v1::AttemptOutcome)> {
    let request = v1::ListDrainedAttemptsRequest { name: "n".into(), ..Default::default() };
    let rows = world.nodes().list_drained_attempts(request).await.unwrap().into_inner().attempts;
    rows.into_iter().map(|row| (row.message.clone(), row.outcome())).collect()
}

async fn drain_state(world: &World) -> v1::drain::State {
    world.node().await.drain.unwrap().state()
}

#[tokio::test]
async fn a_drain_tells_the_agent_and_shows_how_far_it_is() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let names = [world.send_text("a", "r", "x").await.name, world.send_text("a", "s", "y").await.name];
    let attempts = agent.attempts(2).await;
    world.nodes().drain_node(drain(60)).await.unwrap();
    // The state of the begin may come behind the attempts.
    while !agent.desired().await.draining {}
    assert_eq!(drain_state(&world).await, v1::drain::State::Draining);
    agent.report(vec![handed_back(&attempts[1])]).await;
    let [x, y] = names.clone();
    use v1::AttemptOutcome::{HandedBack, Sent, Unspecified};
    assert_eq!(drained(&world).await, [(x, Unspecified), (y, HandedBack)]);
    world.nodes().drain_node(drain(0)).await.unwrap();
    assert_eq!(drain_state(&world).await, v1::drain::State::Overdue);
    agent.report(vec![sent(&attempts[0], "w1")]).await;
    assert_eq!(drain_state(&world).await, v1::drain::State::Drained);
    assert_eq!(drained(&world).await[0].1, Sent);
    assert_eq!(world.message(&names[1]).await.waiting.unwrap().reason, "NODE_CORDONED");
    world.nodes().uncordon_node(uncordon()).await.unwrap();
    assert_eq!(world.node().await.drain, None);
    assert_eq!(agent.attempts(1).await[0].recipient, "s");
}

#[tokio::test]
async fn a_drain_waits_for_an_agent_that_is_away() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    world.send_text("a", "r", "x").await;
    agent.attempts(1).await;
    agent.gone();
    until(async || (!world.node().await.online).then_some(())).await;
    world.nodes().drain_node(drain(60)).await.unwrap();
    assert_eq!(drain_state(&world).await, v1::drain::State::Draining);
    // It comes back without what it was given: that never arrived.
    let report_head = 1;
    let mut agent = Agent::open_with(&world, wire::Hello { report_head, report_acknowledged: 1, ..hello() }).await;
    assert!(agent.desired().await.draining);
    assert_eq!(drain_state(&world).await, v1::drain::State::Drained);
    assert_eq!(drained(&world).await[0].1, v1::AttemptOutcome::NotReceived);
}

#[tokio::test]
async fn a_drain_has_its_bounds_and_lists_theirs() {
    let world = World::with_bots(&[]).await;
    let request = v1::DrainNodeRequest { reason: String::new(), ..drain(24 * 3_600 + 1) };
    let status = refused(world.nodes().drain_node(request).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["reason", "deadline"]);
    let status = refused(world.nodes().drain_node(drain(-1)).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["deadline"]);
    let nowhere = v1::DrainNodeRequest { name: "x".into(), ..drain(1) };
    refused(world.nodes().drain_node(nowhere).await, Code::NotFound, "NODE_UNKNOWN");
    let nowhere = v1::ListDrainedAttemptsRequest { name: "x".into(), ..Default::default() };
    refused(world.nodes().list_drained_attempts(nowhere).await, Code::NotFound, "NODE_UNKNOWN");
    let bad =
        v1::ListAttemptsUnderWayRequest { node: "N".into(), bot: "B".into(), page_size: -1, ..Default::default() };
    let status = refused(world.nodes().list_attempts_under_way(bad).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["node", "bot", "page_size"]);
}

/// The fleet of the world with a second node `m` and its gateway `h`.
pub(crate) async fn declare_second(world: &World) {
    let fleet = v1::ApplyFleetRequest {
        nodes: vec![v1::Node { name: "nodes/m".into(), ..Default::default() }],
        gateways: vec![v1::Gateway {
            name: "gateways/h".into(),
            kind: v1::GatewayKind::Null.into(),
            node: "nodes/m".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    world.fleet().apply_fleet(fleet).await.unwrap();
}

/// The agent of the node `m`, which has a journal of its own.
pub(crate) async fn second_agent(world: &World) -> Agent {
    Agent::open_with(world, wire::Hello { node: "m".into(), journal_id: vec![9; 16], ..hello() }).await
}

async fn move_bot(world: &World, bot: &str, gateway: &str) -> v1::Bot {
    let bot = v1::Bot { name: format!("bots/{bot}"), gateway: format!("gateways/{gateway}"), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["gateway".into()] });
    let request = v1::UpdateBotRequest { bot: Some(bot), update_mask, ..Default::default() };
    world.bots().update_bot(request).await.unwrap().into_inner().bot.unwrap()
}

#[tokio::test]
async fn what_the_old_node_hands_back_leaves_from_the_new_one() {
    let world = World::with_bots(&["a"]).await;
    declare_second(&world).await;
    let mut old = world.agent(&["a"]).await;
    let (first, second) = (world.send_text("a", "r", "x").await, world.send_text("a", "r", "y").await);
    let attempts = old.attempts(2).await;
    let mut new = second_agent(&world).await;
    move_bot(&world, "a", "h").await;
    new.report_connected(&["a"]).await;
    let third = world.send_text("a", "r", "z").await;
    new.quiet().await;
    let list = v1::ListAttemptsUnderWayRequest { bot: "a".into(), ..Default::default() };
    let under_way = world.nodes().list_attempts_under_way(list).await.unwrap().into_inner().attempts;
    assert!(under_way.len() == 2 && under_way.iter().all(|attempt| attempt.node == "nodes/n"));
    old.report(vec![sent(&attempts[0], "w1"), handed_back(&attempts[1])]).await;
    let sent_there = new.attempts(2).await;
    let order: Vec<_> = sent_there.iter().map(|attempt| attempt.r#ref.unwrap().attempt_no).collect();
    assert_eq!(order, [2, 1], "what came back goes before what came later");
    assert_eq!(world.message(&first.name).await.state(), v1::MessageState::Sent);
    for message in [second, third] {
        assert_eq!(world.message(&message.name).await.state(), v1::MessageState::Dispatched);
    }
}

#[tokio::test]
async fn what_never_arrived_at_the_old_node_leaves_from_the_new_one() {
    let world = World::with_bots(&["a"]).await;
    declare_second(&world).await;
    let mut old = world.agent(&["a"]).await;
    world.send_text("a", "r", "x").await;
    old.attempts(1).await;
    old.gone();
    let mut new = second_agent(&world).await;
    move_bot(&world, "a", "h").await;
    new.report_connected(&["a"]).await;
    new.quiet().await;
    let _old = Agent::open_with(&world, wire::Hello { report_head: 1, report_acknowledged: 1, ..hello() }).await;
    assert_eq!(new.attempts(1).await[0].r#ref.unwrap().attempt_no, 2);
}

#[tokio::test]
async fn a_lost_node_is_heard_when_it_is_back() {
    let world = World::with_bots(&["a"]).await;
    declare_second(&world).await;
    let mut old = world.agent(&["a"]).await;
    let first = world.send_text("a", "r", "x").await;
    let attempt = old.attempts(1).await.remove(0);
    old.gone();
    until(async || (!world.node().await.online).then_some(())).await;
    let mut new = second_agent(&world).await;
    move_bot(&world, "a", "h").await;
    new.report_connected(&["a"]).await;
    let behind = world.send_text("a", "r", "y").await;
    world.send_text("a", "s", "z").await;
    assert_eq!(new.attempts(1).await[0].recipient, "s", "what is under way at the lost node is overtaken by nobody");
    assert_eq!(world.message(&behind.name).await.waiting.unwrap().reason, "CHAIN_BLOCKED");

    let held = vec![wire::HeldAttempt { attempt: attempt.r#ref, started: true, report_offset: 0 }];
    let back = wire::Hello { report_head: 1, report_acknowledged: 1, held, ..hello() };
    let mut old = Agent::open_with(&world, back).await;
    assert!(old.welcome.drop.is_empty());
    old.report(vec![sent(&attempt, "late")]).await;
    assert_eq!(world.message(&first.name).await.state(), v1::MessageState::Sent);
    assert_eq!(new.attempts(1).await[0].recipient, "r");
}
