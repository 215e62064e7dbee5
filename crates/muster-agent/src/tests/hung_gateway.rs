//! A gateway that hangs, beside one that does not, and bots that are slow beside fast ones.

use muster_domain::GatewayId;
use muster_gateway::GatewaySettings;
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::Outcome::{Sent, Uncertain};
use muster_proto::agent_v1::server_frame::Body as ServerBody;

use super::server::{Conversation, desired};
use super::{Bench, attempt, until};

/// Messages of each bot that hangs.
const HANGING: u64 = 3;

/// Messages of each bot that does not.
const FAST: u64 = 40;

async fn ended(session: &mut Conversation, count: u64) -> Vec<(u64, wire::Outcome)> {
    let outcomes = session.outcomes(usize::try_from(count).unwrap()).await;
    outcomes.iter().map(|(_, report)| (report.attempt.unwrap().message_id, report.outcome())).collect()
}

/// An agent with the bots `a` and `b` at one gateway and `c` at another.
async fn two_gateways() -> (Bench, Conversation) {
    let (bench, mut session) = Bench::with(|config| {
        config.gateways.insert(GatewayId::new("h").unwrap(), GatewaySettings::default());
    })
    .await;
    let mut state = desired(2, true);
    state.gateways.push(wire::DesiredGateway { id: "h".to_owned(), ..state.gateways[0].clone() });
    state.bots.push(wire::DesiredBot { id: "c".to_owned(), gateway: "h".to_owned(), ..state.bots[0].clone() });
    session.send(ServerBody::DesiredState(state)).await;
    assert_eq!(session.desired_status().await.version, 2);
    (bench, session)
}

#[tokio::test]
async fn bots_of_another_gateway_and_fast_bots_of_the_same_one_go_on() {
    let (bench, mut session) = two_gateways().await;
    // `a` hangs: one of its calls is answered late, one never, and one waits behind them.
    let texts = ["hang", "lost", "ok"];
    let hanging = (1..=HANGING).zip(texts).map(|(message, text)| attempt(message, "a", text));
    session.dispatch(0, hanging.collect()).await;
    until("the call that hangs", || bench.agent.gateway.sent() == [1]).await;
    let fast = |begin: u64, bot: &'static str| (begin..begin + FAST).map(move |message| attempt(message, bot, "ok"));
    session.dispatch(0, fast(100, "b").chain(fast(200, "c")).collect()).await;
    let mut others = ended(&mut session, 2 * FAST).await;
    others.sort_by_key(|(message, _)| *message);
    let all: Vec<_> = (100..100 + FAST).chain(200..200 + FAST).map(|message| (message, Sent)).collect();
    assert_eq!(others, all, "they end although the gateway has not answered yet");

    // What hung ends by what is known of it, in its order, and nothing is called twice.
    bench.agent.gateway.release(2);
    assert_eq!(ended(&mut session, HANGING).await, [(1, Sent), (2, Uncertain), (3, Sent)]);
    let mut sent = bench.agent.gateway.sent();
    sent.sort_unstable();
    let each: Vec<_> = (1..=HANGING).chain(100..100 + FAST).chain(200..200 + FAST).map(u64::cast_signed).collect();
    assert_eq!(sent, each, "each once");
}

#[tokio::test]
async fn bots_that_hang_leave_room_to_the_others() {
    let (_bench, mut session) = Bench::with(|config| {
        (config.attempts_max, config.attempts_per_bot_max) = (8, 8);
    })
    .await;
    session.acknowledge(0).await;
    let window = session.credit().await.per_bot;
    assert_eq!(window, 4, "a bot that takes its whole window leaves as much to the other");
    let hanging = (1..=u64::from(window)).map(|message| attempt(message, "a", "hang"));
    session.dispatch(0, hanging.collect()).await;
    let fast = (100..100 + u64::from(window)).map(|message| attempt(message, "b", "ok"));
    session.dispatch(0, fast.collect()).await;
    assert_eq!(ended(&mut session, window.into()).await.len(), 4);
}
