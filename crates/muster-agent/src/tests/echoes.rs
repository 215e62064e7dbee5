//! Echoes that tell what became of calls that nobody answered.

use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::server_frame::Body as ServerBody;
use wire::Outcome::{Sent, Uncertain};

use super::server::{Conversation, desired, welcome};
use super::webhook::{post, target};
use super::{Bench, attempt, until};

/// A desired state whose gateway tells what it sends.
fn with_echoes(version: u64) -> wire::DesiredState {
    let gateways = vec![wire::DesiredGateway { id: "g".to_owned(), kind: "evolution".to_owned() }];
    wire::DesiredState { gateways, ..desired(version, true) }
}

async fn bench() -> (Bench, Conversation) {
    let (bench, mut session) = Bench::new().await;
    session.send(ServerBody::DesiredState(with_echoes(2))).await;
    session.desired_status().await;
    (bench, session)
}

async fn echo(bench: &Bench, said: &str) {
    let to = target(bench).await;
    assert_eq!(post(&to.url, &to.secret, format!("echo {said}")).await, 200);
}

/// The next outcome: the message, what it came to, and its id on the network.
async fn next(session: &mut Conversation) -> (u64, wire::Outcome, String) {
    let (_, outcome) = session.outcomes(1).await.remove(0);
    (outcome.attempt.unwrap().message_id, outcome.outcome(), outcome.network_id)
}

#[tokio::test]
async fn an_echo_settles_what_was_uncertain() {
    let (bench, mut session) = bench().await;
    session.dispatch(0, vec![attempt(1, "a", "unknown")]).await;
    assert_eq!(next(&mut session).await, (1, Uncertain, String::new()));
    echo(&bench, "X unknown").await;
    assert_eq!(next(&mut session).await, (1, Sent, "X".to_owned()));
    // From now on the agent answers with what it knows, whoever asks it again.
    let again = wire::AttemptRef { message_id: 1, attempt_no: 2 };
    session
        .dispatch(0, vec![wire::Attempt { r#ref: Some(again), resend_after: 1, ..attempt(1, "a", "unknown") }])
        .await;
    assert_eq!(next(&mut session).await, (1, Sent, "X".to_owned()));
    assert_eq!(bench.agent.gateway.sent(), [1]);
}

#[tokio::test]
async fn an_echo_during_the_call_leaves_nothing_uncertain() {
    let (bench, mut session) = bench().await;
    session.dispatch(0, vec![attempt(1, "a", "lost")]).await;
    until("the call", || bench.agent.gateway.sent() == [1]).await;
    echo(&bench, "X lost").await;
    bench.agent.gateway.release(1);
    assert_eq!(next(&mut session).await, (1, Sent, "X".to_owned()));
}

#[tokio::test]
async fn an_echo_settles_what_a_crash_left() {
    let (mut bench, mut session) = bench().await;
    session.dispatch(0, vec![attempt(1, "a", "hang")]).await;
    until("the call", || bench.agent.gateway.sent() == [1]).await;
    bench.restart().await;
    let mut session = bench.server.session().await;
    session.hello().await;
    session.send(ServerBody::Welcome(welcome(0))).await;
    assert_eq!(next(&mut session).await, (1, Uncertain, String::new()));
    echo(&bench, "X hang").await;
    assert_eq!(next(&mut session).await, (1, Sent, "X".to_owned()));
}
