//! Supervisors and commands, through the whole agent.

use std::sync::atomic::Ordering;

use muster_domain::bot::Connection;
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::command::Body as CommandBody;
use muster_proto::agent_v1::server_frame::Body as ServerBody;

use super::server::{Conversation, desired};
use super::{Bench, until};

/// The next change of bot `a`'s login.
async fn login(session: &mut Conversation) -> wire::ConnectionReport {
    loop {
        for report in session.reports().await.reports {
            if let Some(wire::report::Body::Connection(change)) = report.body
                && change.bot == "a"
            {
                return change;
            }
        }
    }
}

async fn command(session: &mut Conversation, command_id: u64, bot: &str, body: CommandBody) {
    let command = wire::Command { command_id, bot: bot.to_owned(), body: Some(body) };
    session.send(ServerBody::Command(command)).await;
}

async fn update(session: &mut Conversation, command_id: u64) -> wire::CommandUpdate {
    session
        .expect("CommandUpdate", |body| match body {
            AgentBody::CommandUpdate(update) if update.command_id == command_id => Some(update.clone()),
            _ => None,
        })
        .await
}

async fn webhook(bench: &Bench, body: &'static str) {
    let target = bench.agent.gateway.webhook.lock().unwrap().clone().unwrap();
    let client = reqwest::Client::new();
    let posted = client.post(target.url).header("x-secret", target.secret).body(body).send().await.unwrap();
    assert_eq!(posted.status().as_u16(), 200);
}

#[tokio::test]
async fn the_login_is_told_again_where_the_bot_moved_away_and_back_unseen() {
    let (_bench, mut session) = Bench::new().await;
    assert_eq!(login(&mut session).await.connection(), wire::Connection::Connected);
    let named = wire::DesiredState { version: 3, base_version: 1, gateways: Vec::new(), ..desired(3, true) };
    session.send(ServerBody::DesiredState(named)).await;
    assert_eq!(session.desired_status().await.version, 3);
    assert_eq!(login(&mut session).await.connection(), wire::Connection::Connected);
}

#[tokio::test]
async fn the_login_is_told_at_the_start_and_when_it_changes() {
    let (bench, mut session) = Bench::new().await;
    assert_eq!(login(&mut session).await.connection(), wire::Connection::Connected);
    webhook(&bench, "closed").await;
    let down = login(&mut session).await;
    assert_eq!((down.connection(), down.detail.as_str()), (wire::Connection::Disconnected, "LOST: 408"));
    webhook(&bench, "connected").await;
    let up = login(&mut session).await;
    assert_eq!((up.connection(), up.address.as_str()), (wire::Connection::Connected, "+5511900000009"));
}

#[tokio::test]
async fn a_failed_send_makes_the_supervisor_look() {
    let (bench, mut session) = Bench::new().await;
    login(&mut session).await;
    *bench.agent.gateway.connection.lock().unwrap() = Connection::LoggedOut;
    session.dispatch(0, vec![super::attempt(1, "a", "down")]).await;
    assert_eq!(login(&mut session).await.connection(), wire::Connection::LoggedOut);
}

#[tokio::test]
async fn a_link_shows_its_code_and_ends_when_the_bot_is_linked() {
    let (bench, mut session) = Bench::new().await;
    login(&mut session).await;
    let start = wire::StartLink { pairing_address: "+5511900000009".into() };
    command(&mut session, 1, "a", CommandBody::StartLink(start)).await;
    let code = update(&mut session, 1).await;
    let link = code.link.unwrap();
    assert_eq!((code.r#final, link.qr.as_str(), link.pairing_code.as_str()), (false, "1@qr", "ABCD-1234"));
    assert_eq!(login(&mut session).await.connection(), wire::Connection::Linking);
    // A hold that comes meanwhile does not disturb it.
    session.send(ServerBody::DesiredState(super::server::desired(2, false))).await;
    session.desired_status().await;
    webhook(&bench, "connected").await;
    let linked = update(&mut session, 1).await;
    assert_eq!((linked.r#final, linked.link.unwrap().state()), (true, wire::link_progress::State::Linked));
}

#[tokio::test]
async fn commands_are_answered_once_and_failures_say_why() {
    let (bench, mut session) = Bench::new().await;
    login(&mut session).await;
    let check = wire::CheckRecipients { recipients: vec!["+5511900000001".into()] };
    command(&mut session, 1, "a", CommandBody::CheckRecipients(check)).await;
    assert!(update(&mut session, 1).await.recipients[0].exists);
    command(&mut session, 2, "a", CommandBody::CheckRecipients(wire::CheckRecipients { recipients: Vec::new() })).await;
    assert!(update(&mut session, 2).await.failure.unwrap().detail.contains("1 to 50"));
    let mark = wire::MarkRead { chat: "+5511900000001".into(), network_id: "in-1".into() };
    command(&mut session, 3, "a", CommandBody::MarkRead(mark)).await;
    assert_eq!(update(&mut session, 3).await.failure, None);
    command(&mut session, 4, "stranger", CommandBody::Unlink(wire::Unlink {})).await;
    assert!(update(&mut session, 4).await.failure.unwrap().detail.contains("not known"));
    command(&mut session, 5, "a", CommandBody::Unlink(wire::Unlink {})).await;
    assert_eq!(update(&mut session, 5).await.failure, None);
    assert_eq!(login(&mut session).await.connection(), wire::Connection::Unlinked);
    command(&mut session, 6, "a", CommandBody::Reconnect(wire::Reconnect {})).await;
    assert!(update(&mut session, 6).await.r#final);
    until("a restart", || bench.agent.gateway.calls().iter().any(|call| call == "restart")).await;
    bench.agent.gateway.is_away.store(true, Ordering::Relaxed);
    command(&mut session, 7, "a", CommandBody::StartLink(wire::StartLink::default())).await;
    assert_eq!(update(&mut session, 7).await.failure.unwrap().reason(), wire::FailureReason::GatewayUnavailable);
    session.send(ServerBody::Command(wire::Command { command_id: 8, bot: "a".into(), body: None })).await;
    assert!(update(&mut session, 8).await.failure.unwrap().detail.contains("update it"));
}
