//! What agents are told about their nodes.

use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::{self as wire};
use muster_proto::v1;
use prost::Message as _;

use crate::agent::{Agent, hello};
use crate::world::{World, bot, fleet, until};

#[tokio::test]
async fn an_agent_hears_everything_once_and_then_what_changes() {
    let world = World::with_bots(&["a", "b"]).await;
    let mut agent = Agent::open(&world).await;
    let state = agent.desired().await;
    assert_eq!((state.base_version, state.more), (0, false));
    assert_eq!(state.gateways, [wire::DesiredGateway { id: "g".into(), kind: "null".into() }]);
    assert_eq!(state.bots.iter().map(|bot| bot.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(state.bots.iter().all(|bot| bot.connect));
    applied(&world, &mut agent, &state).await;

    hold(&world, "a").await;
    let change = agent.desired().await;
    assert_eq!(change.base_version, state.version);
    assert_eq!(change.bots.len(), 1);
    assert!(!change.bots[0].may_send);
    applied(&world, &mut agent, &change).await;

    agent.gone();
    let mut agent = Agent::open_with(&world, knows(&change, 2)).await;
    let retire = v1::RetireBotRequest { name: "b".into(), reason: "sold".into(), ..Default::default() };
    world.bots().retire_bot(retire).await.unwrap();
    let next = agent.desired().await;
    assert_eq!(next.base_version, change.version, "nothing was told before it");
    assert!(!next.bots[0].connect && !next.bots[0].may_send);
}

#[tokio::test]
async fn an_agent_that_has_everything_is_told_nothing_when_the_server_restarts() {
    let world = World::with_bots(&["a", "b"]).await;
    let mut agent = Agent::open(&world).await;
    let state = agent.desired().await;
    applied(&world, &mut agent, &state).await;
    let world = world.restarted().await;
    let mut agent = Agent::open_with(&world, knows(&state, 2)).await;
    hold(&world, "a").await;
    let change = agent.desired().await;
    assert_eq!((change.base_version, change.bots.len()), (state.version, 1), "nothing was told before it");
    assert_ne!(change.lineage, state.lineage, "what this server makes is of another lineage");
    applied(&world, &mut agent, &change).await;
    // While the agent is away, the state goes on in the same lineage, and then in one that the agent does not know.
    agent.gone();
    hold(&world, "b").await;
    let mut agent = Agent::open_with(&world, knows(&change, 3)).await;
    let next = agent.desired().await;
    assert_eq!((next.base_version, next.bots.len(), next.lineage), (change.version, 1, change.lineage));
    applied(&world, &mut agent, &next).await;
    let world = world.restarted().await;
    hold(&world, "a").await;
    let mut agent = Agent::open_with(&world, knows(&next, 4)).await;
    let whole = agent.desired().await;
    assert_eq!((whole.base_version, whole.bots.len()), (0, 2));
}

#[tokio::test]
async fn what_an_agent_knows_of_another_history_counts_for_nothing() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let state = agent.desired().await;
    applied(&world, &mut agent, &state).await;
    agent.gone();
    // As after a backup was restored: the same version, and perhaps another state. And an agent that does not tell.
    for (opening, lineage) in [(2, state.lineage + 1), (3, 0)] {
        let other = wire::DesiredState { lineage, ..state.clone() };
        let mut agent = Agent::open_with(&world, knows(&other, opening)).await;
        assert_eq!(agent.desired().await, state);
        agent.gone();
    }
}

#[tokio::test]
async fn an_agent_whose_status_was_lost_is_told_again() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let state = agent.desired().await;
    agent.gone();
    let mut agent = Agent::open_with(&world, knows(&state, 2)).await;
    assert_eq!(agent.desired().await, state);
    applied(&world, &mut agent, &state).await;
}

/// What an agent says that has this state, at its `opening`th start.
fn knows(state: &wire::DesiredState, opening: u64) -> wire::Hello {
    let (desired_version, desired_lineage) = (state.version, state.lineage);
    wire::Hello { journal_opening: opening, desired_version, desired_lineage, ..hello() }
}

/// Has the agent say that it applied a state, and waits until the server knows it.
async fn applied(world: &World, agent: &mut Agent, state: &wire::DesiredState) {
    let version = state.version;
    agent.send(AgentBody::DesiredStatus(wire::DesiredStatus { version, errors: vec![] })).await;
    until(async || (world.node().await.applied_version == version).then_some(())).await;
}

async fn hold(world: &World, bot: &str) {
    let hold = v1::HoldBotRequest { name: bot.into(), reason: "x".into(), ..Default::default() };
    world.bots().hold_bot(hold).await.unwrap();
}

#[tokio::test]
async fn a_large_state_comes_in_frames_that_the_agent_can_read() {
    let world = World::start().await;
    let mut request = fleet(&[]);
    request.bots = (0..4_000).map(|i| bot(&format!("a-bot-with-a-long-name-{i}"))).collect();
    world.fleet().apply_fleet(request).await.unwrap();
    let mut agent = Agent::open_with(&world, wire::Hello { receive_bytes_max: 64 * 1024, ..hello() }).await;
    let (mut count, mut frames) = (0, 0);
    loop {
        let state = agent.desired().await;
        assert!(state.encoded_len() < 64 * 1024);
        count += state.bots.len();
        frames += 1;
        if !state.more {
            break;
        }
    }
    assert_eq!(count, 4_000);
    assert!(frames > 1);
}

#[tokio::test]
async fn what_an_agent_cannot_apply_is_seen_by_operators() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let version = agent.desired().await.version;
    let error = |name: &str| wire::ResourceError { name: name.into(), message: "no section of this name".into() };
    let errors = vec![error("gateways/g"), error("bots/a"), error("what/is this")];
    agent.send(AgentBody::DesiredStatus(wire::DesiredStatus { version, errors })).await;
    until(async || (world.bot("a").await.apply_error == "no section of this name").then_some(())).await;
    agent.send(AgentBody::DesiredStatus(wire::DesiredStatus { version, errors: vec![] })).await;
    until(async || world.bot("a").await.apply_error.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_gateway_that_moves_takes_its_bots_along() {
    let world = World::with_bots(&["a"]).await;
    let mut old = Agent::open(&world).await;
    old.desired().await;
    let node = v1::CreateNodeRequest { node_id: "m".into(), ..Default::default() };
    world.nodes().create_node(node).await.unwrap();
    let other = wire::Hello { node: "m".into(), journal_id: [9; 16].to_vec(), ..hello() };
    let mut new = Agent::open_with(&world, other).await;
    let gateway = v1::Gateway { name: "g".into(), node: "nodes/m".into(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["node".into()] });
    let request = v1::UpdateGatewayRequest { gateway: Some(gateway), update_mask, ..Default::default() };
    world.gateways().update_gateway(request).await.unwrap();
    let left = old.desired().await;
    assert_eq!((left.removed_gateways, left.removed_bots), (vec!["g".to_owned()], vec!["a".to_owned()]));
    let arrived = loop {
        let state = new.desired().await;
        if !state.gateways.is_empty() {
            break state;
        }
    };
    assert_eq!((arrived.gateways.len(), arrived.bots.len()), (1, 1));
    assert_eq!(world.bot("a").await.node, "nodes/m");
}
