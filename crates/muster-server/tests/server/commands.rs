//! What operators ask of agents, and wait for.

use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::command::Body as CommandBody;
use muster_proto::agent_v1::{self as wire, link_progress};
use muster_proto::v1::{self, link_bot_response::State};
use tonic::Code;

use crate::agent::Agent;
use crate::world::{World, fields, fleet, refused};

fn update(command: &wire::Command) -> wire::CommandUpdate {
    wire::CommandUpdate { command_id: command.command_id, ..Default::default() }
}

fn done(command: &wire::Command) -> AgentBody {
    AgentBody::CommandUpdate(wire::CommandUpdate { r#final: true, ..update(command) })
}

fn link(command: &wire::Command, state: link_progress::State) -> AgentBody {
    let link = wire::LinkProgress { state: state.into(), qr: "2@code".into(), ..Default::default() };
    let last = matches!(state, link_progress::State::Linked | link_progress::State::Expired);
    AgentBody::CommandUpdate(wire::CommandUpdate { link: Some(link), r#final: last, ..update(command) })
}

fn unlink(bot: &str) -> v1::UnlinkBotRequest {
    v1::UnlinkBotRequest { name: format!("bots/{bot}") }
}

#[tokio::test]
async fn a_link_shows_each_code_until_it_is_done() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let request = v1::LinkBotRequest { name: "a".into(), pairing_address: "+5511900000001".into() };
    let mut steps = world.bots().link_bot(request).await.unwrap().into_inner();
    let first = steps.message().await.unwrap().unwrap();
    assert_eq!(first.state(), State::Preparing);
    assert_eq!(first.bot.unwrap().name, "bots/a");
    let command = agent.command().await;
    assert_eq!(command.bot, "a");
    let Some(CommandBody::StartLink(start)) = &command.body else { panic!("no StartLink") };
    assert_eq!(start.pairing_address, "+5511900000001");
    agent.send(link(&command, link_progress::State::Code)).await;
    let code = steps.message().await.unwrap().unwrap();
    assert_eq!((code.state(), code.qr_text.as_str()), (State::Code, "2@code"));
    assert!(code.qr_png.starts_with(b"\x89PNG"));
    agent.send(link(&command, link_progress::State::Linked)).await;
    assert_eq!(steps.message().await.unwrap().unwrap().state(), State::Linked);
    assert_eq!(steps.message().await.unwrap(), None);
    agent.quiet().await;
}

#[tokio::test]
async fn a_link_asks_for_a_code_for_the_bots_own_number() {
    let world = World::start().await;
    let mut request = fleet(&["a"]);
    request.bots[0].address = "+5511900000009".into();
    world.fleet().apply_fleet(request).await.unwrap();
    let mut agent = Agent::open(&world).await;
    let request = v1::LinkBotRequest { name: "a".into(), ..Default::default() };
    let _steps = world.bots().link_bot(request).await.unwrap();
    let Some(CommandBody::StartLink(start)) = agent.command().await.body else { panic!("no StartLink") };
    assert_eq!(start.pairing_address, "+5511900000009");
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_command() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let request = v1::LinkBotRequest { name: "a".into(), ..Default::default() };
    let steps = world.bots().link_bot(request).await.unwrap().into_inner();
    let command = agent.command().await;
    drop(steps);
    let cancel = agent.command().await;
    assert_eq!(cancel.command_id, command.command_id);
    assert!(matches!(cancel.body, Some(CommandBody::Cancel(_))));
    // An update that was under way already hurts nobody.
    agent.send(link(&command, link_progress::State::Code)).await;
    agent.heartbeat().await;
}

#[tokio::test]
async fn without_an_agent_there_is_nobody_to_ask() {
    let world = World::with_bots(&["a"]).await;
    refused(world.bots().unlink_bot(unlink("a")).await, Code::Unavailable, "AGENT_OFFLINE");
    let link = v1::LinkBotRequest { name: "a".into(), ..Default::default() };
    refused(world.bots().link_bot(link).await, Code::Unavailable, "AGENT_OFFLINE");
    refused(world.bots().unlink_bot(unlink("b")).await, Code::NotFound, "BOT_UNKNOWN");
}

#[tokio::test]
async fn a_session_that_ends_leaves_no_caller_waiting() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let mut bots = world.bots();
    let call = tokio::spawn(async move { bots.unlink_bot(unlink("a")).await });
    agent.command().await;
    agent.gone();
    refused(call.await.unwrap(), Code::Unavailable, "AGENT_OFFLINE");
}

#[tokio::test]
async fn commands_end_with_what_the_gateway_says() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let mut bots = world.bots();
    let call = tokio::spawn(async move { bots.unlink_bot(unlink("a")).await });
    let command = agent.command().await;
    assert!(matches!(command.body, Some(CommandBody::Unlink(_))));
    agent.send(done(&command)).await;
    assert_eq!(call.await.unwrap().unwrap().into_inner().bot.unwrap().name, "bots/a");

    for (reason, code, expected) in [
        (wire::FailureReason::NotConnected, Code::FailedPrecondition, "GATEWAY_REFUSED"),
        (wire::FailureReason::RateLimited, Code::ResourceExhausted, "GATEWAY_RATE_LIMITED"),
        (wire::FailureReason::GatewayUnavailable, Code::Unavailable, "GATEWAY_UNAVAILABLE"),
    ] {
        let mut bots = world.bots();
        let request = v1::ReconnectBotRequest { name: "a".into() };
        let call = tokio::spawn(async move { bots.reconnect_bot(request).await });
        let command = agent.command().await;
        let failure = wire::Failure { reason: reason.into(), detail: "HTTP 400".into(), retry_after_ms: 0, scope: 0 };
        let failed = wire::CommandUpdate { r#final: true, failure: Some(failure), ..update(&command) };
        agent.send(AgentBody::CommandUpdate(failed)).await;
        refused(call.await.unwrap(), code, expected);
    }
}

#[tokio::test]
async fn an_agent_that_is_too_old_for_a_command_says_so() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    // Nothing else may come before the command: its frame is then the next one.
    agent.desired().await;
    let mut bots = world.bots();
    let call = tokio::spawn(async move { bots.unlink_bot(unlink("a")).await });
    agent.command().await;
    agent.send(AgentBody::Unsupported(wire::Unsupported { seq: 3 })).await;
    refused(call.await.unwrap(), Code::FailedPrecondition, "COMMAND_UNSUPPORTED");
}

#[tokio::test]
async fn recipients_are_checked_in_the_order_of_the_question() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    let ask = |recipients: Vec<String>| v1::CheckRecipientsRequest { bot: "bots/a".into(), recipients };
    let status = refused(world.bots().check_recipients(ask(vec![])).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["recipients"]);
    let many = ask(vec!["x".into(); 51]);
    refused(world.bots().check_recipients(many).await, Code::InvalidArgument, "INVALID_REQUEST");
    let bad = ask(vec!["ana".into(), String::new()]);
    let status = refused(world.bots().check_recipients(bad).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["recipients[1]"]);

    let mut bots = world.bots();
    let request = ask(vec!["one".into(), "two".into(), "three".into()]);
    let call = tokio::spawn(async move { bots.check_recipients(request).await });
    let command = agent.command().await;
    let recipients = vec![
        wire::RecipientStatus { address: "two".into(), exists: true, network_address: "2".into() },
        wire::RecipientStatus { address: "one".into(), exists: false, ..Default::default() },
    ];
    let answer = wire::CommandUpdate { r#final: true, recipients, ..update(&command) };
    agent.send(AgentBody::CommandUpdate(answer)).await;
    let found = call.await.unwrap().unwrap().into_inner().recipients;
    let seen: Vec<_> = found
        .iter()
        .map(|status| (status.recipient.as_str(), status.exists, status.network_address.as_str()))
        .collect();
    assert_eq!(seen, [("one", false, ""), ("two", true, "2"), ("three", false, "")]);
}
