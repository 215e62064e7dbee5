//! A node that takes nothing, as one does whose journal's disk is full: its messages wait, and nobody else's do.

use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::v1::{self, MessageState};

use crate::agent::{Agent, connected, credit, hello};
use crate::nodes::{declare_second, second_agent};
use crate::world::{World, text};

/// Messages to each node.
const MESSAGES: usize = 20;

#[tokio::test]
async fn a_node_that_takes_nothing_keeps_only_its_own_messages_waiting() {
    let world = World::with_bots(&["a"]).await;
    declare_second(&world).await;
    let bot = v1::Bot { name: "bots/b".into(), gateway: "gateways/h".into(), ..Default::default() };
    world.fleet().apply_fleet(v1::ApplyFleetRequest { bots: vec![bot], ..Default::default() }).await.unwrap();
    let mut full = Agent::open_with(&world, wire::Hello { credit: Some(credit(0)), ..hello() }).await;
    full.report(vec![connected("a")]).await;
    let mut good = second_agent(&world).await;
    good.report(vec![connected("b")]).await;

    let of = |bot: &str| (0..MESSAGES).map(|i| text(bot, &format!("r{i}"), "x")).collect::<Vec<_>>();
    let answers = world.send_frames(vec![of("a"), of("b")]).await.unwrap();
    assert_eq!(answers.iter().flat_map(|answer| &answer.results).count(), 2 * MESSAGES, "all are accepted");
    good.attempts(MESSAGES).await;
    full.quiet().await;
    let waiting = v1::StateCount { state: MessageState::Waiting.into(), count: MESSAGES as u64 };
    assert_eq!(world.bot("a").await.message_counts, [waiting]);

    full.send(AgentBody::Credit(credit(MESSAGES as u64))).await;
    let attempts = full.attempts(MESSAGES).await;
    let recipients: Vec<_> = attempts.iter().map(|attempt| attempt.recipient.clone()).collect();
    assert_eq!(recipients, (0..MESSAGES).map(|i| format!("r{i}")).collect::<Vec<_>>(), "in their order, each once");
    full.quiet().await;
}
