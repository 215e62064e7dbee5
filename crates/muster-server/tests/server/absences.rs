//! What is done about a bot whose node is absent.

use muster_proto::agent_v1 as wire;
use muster_proto::v1::{self, MessageState, OnNodeAbsent};
use tonic::Code;

use crate::agent::{Agent, connected, hello, sent};
use crate::world::{World, bot, fields, fleet, refused, until};

/// The shortest time that may be declared.
const AFTER: prost_types::Duration = prost_types::Duration { seconds: 5, nanos: 0 };

fn policy(word: OnNodeAbsent, standby: &str) -> v1::AbsencePolicy {
    v1::AbsencePolicy { on_node_absent: word.into(), absent_after: Some(AFTER), standby_gateway: standby.into() }
}

/// The bot `a` on the node `n`, and the gateway `s` on the node `m`.
async fn world(policy: v1::AbsencePolicy) -> World {
    let world = World::start().await;
    let mut fleet = fleet(&[]);
    fleet.nodes.push(v1::Node { name: "nodes/m".into(), ..Default::default() });
    let gateway = fleet.gateways[0].clone();
    fleet.gateways.push(v1::Gateway { name: "gateways/s".into(), node: "nodes/m".into(), ..gateway });
    fleet.bots.push(v1::Bot { absence: Some(policy), ..bot("a") });
    world.fleet().apply_fleet(fleet).await.unwrap();
    world
}

/// The agent comes back with an attempt that it has begun.
fn holding(attempt: &wire::Attempt) -> wire::Hello {
    wire::Hello {
        journal_opening: 2,
        report_head: 1,
        report_acknowledged: 1,
        held: vec![wire::HeldAttempt { attempt: attempt.r#ref, started: true, report_offset: 0 }],
        ..hello()
    }
}

#[tokio::test]
async fn a_bot_fails_over_with_what_waits_and_nothing_is_sent_twice() {
    let world = world(policy(OnNodeAbsent::FailOver, "gateways/s")).await;
    let mut first = world.agent(&["a"]).await;
    let standby = || wire::Hello { node: "nodes/m".into(), journal_id: [9; 16].to_vec(), ..hello() };
    let mut second = Agent::open_with(&world, standby()).await;
    let held = world.send_text("a", "r", "held").await;
    let attempt = first.attempts(1).await.remove(0);
    first.gone();
    until(async || (!world.node().await.online).then_some(())).await;
    let behind = world.send_text("a", "r", "behind").await;
    let free = world.send_text("a", "s", "free").await;
    let waiting = world.message(&free.name).await.waiting.unwrap();
    assert_eq!(waiting.reason, "NODE_OFFLINE");
    for fact in ["nodes/n", "no session since", "after 5 s", "gateways/s"] {
        assert!(waiting.explanation.contains(fact), "{}", waiting.explanation);
    }

    let moved = until(async || Some(world.bot("a").await).filter(|bot| bot.node == "nodes/m")).await;
    let told = moved.fail_over.unwrap();
    assert_eq!((moved.gateway.as_str(), told.from_gateway.as_str()), ("gateways/s", "gateways/g"));
    assert!(told.move_time.unwrap().seconds - told.absent_since.unwrap().seconds >= AFTER.seconds - 1);
    let waiting = world.message(&free.name).await.waiting.unwrap();
    assert_eq!(waiting.reason, "BOT_NOT_CONNECTED");
    assert!(waiting.explanation.contains("failed over from gateways/g"), "{}", waiting.explanation);
    while second.desired().await.bots.is_empty() {}
    second.report(vec![connected("a")]).await;
    let attempts = second.attempts(1).await;
    assert_eq!(attempts[0].recipient, "s", "what is under way at the absent node keeps its chain waiting");
    assert_eq!(world.message(&held.name).await.state(), MessageState::Dispatched);

    let back = holding(&attempt);
    let mut first = Agent::open_with(&world, back).await;
    first.report(vec![sent(&attempt, "w1")]).await;
    assert_eq!(world.message(&held.name).await.state(), MessageState::Sent);
    assert_eq!(second.attempts(1).await[0].recipient, "r");
    assert_eq!(world.message(&behind.name).await.state(), MessageState::Dispatched);
    assert_eq!(world.bot("a").await.node, "nodes/m", "it stays where it is");
}

#[tokio::test]
async fn what_waits_fails_and_what_is_under_way_does_not() {
    let world = world(policy(OnNodeAbsent::Fail, "")).await;
    let mut agent = world.agent(&["a"]).await;
    let held = world.send_text("a", "r", "held").await;
    let attempt = agent.attempts(1).await.remove(0);
    agent.gone();
    until(async || (!world.node().await.online).then_some(())).await;
    let waits = world.send_text("a", "s", "waits").await;
    assert_eq!(world.message(&waits.name).await.state(), MessageState::Waiting);
    let failed = until(async || {
        Some(world.message(&waits.name).await).filter(|message| message.state() == MessageState::Failed)
    })
    .await;
    assert_eq!(failed.failure.unwrap().reason, "NODE_ABSENT");
    let back = holding(&attempt);
    let mut agent = Agent::open_with(&world, back).await;
    agent.report(vec![sent(&attempt, "w1")]).await;
    assert_eq!(world.message(&held.name).await.state(), MessageState::Sent);
    // The node is there again, and nothing fails any more.
    world.send_text("a", "s", "again").await;
    agent.attempts(1).await;
}

#[tokio::test]
async fn a_policy_is_checked_where_it_is_declared() {
    let world = world(v1::AbsencePolicy::default()).await;
    let update = |absence| v1::UpdateBotRequest {
        bot: Some(v1::Bot { absence: Some(absence), ..bot("a") }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["absence".into()] }),
        ..Default::default()
    };
    for (wrong, field) in [
        (policy(OnNodeAbsent::Wait, ""), "bot.absence.absent_after"),
        (policy(OnNodeAbsent::FailOver, ""), "bot.absence.standby_gateway"),
        (policy(OnNodeAbsent::Fail, "gateways/s"), "bot.absence.standby_gateway"),
    ] {
        let status = refused(world.bots().update_bot(update(wrong)).await, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(fields(&status), [field]);
    }
    let nowhere = update(policy(OnNodeAbsent::FailOver, "gateways/x"));
    refused(world.bots().update_bot(nowhere).await, Code::NotFound, "GATEWAY_UNKNOWN");
    let other = v1::Gateway {
        name: "gateways/e".into(),
        kind: v1::GatewayKind::Evolution.into(),
        node: "nodes/m".into(),
        ..Default::default()
    };
    let create = v1::CreateGatewayRequest { gateway_id: "e".into(), gateway: Some(other), ..Default::default() };
    world.gateways().create_gateway(create).await.unwrap();
    let other = update(policy(OnNodeAbsent::FailOver, "gateways/e"));
    let status = refused(world.bots().update_bot(other).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["bot.absence.standby_gateway"]);
    let good = policy(OnNodeAbsent::FailOver, "gateways/s");
    let changed = world.bots().update_bot(update(good.clone())).await.unwrap().into_inner().bot.unwrap();
    assert_eq!(changed.absence, Some(good));
    let delete = v1::DeleteGatewayRequest { name: "s".into(), ..Default::default() };
    refused(world.gateways().delete_gateway(delete).await, Code::FailedPrecondition, "RESOURCE_IN_USE");
}
