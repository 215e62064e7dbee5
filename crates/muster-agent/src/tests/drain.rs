//! A node that the server drains, while its agent goes on.

use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::Outcome::{HandedBack, Sent};
use muster_proto::agent_v1::server_frame::Body as ServerBody;

use super::server::{Conversation, desired};
use super::{Bench, attempt, until};

async fn drain(session: &mut Conversation, version: u64, draining: bool) {
    let state = wire::DesiredState { draining, ..desired(version, true) };
    session.send(ServerBody::DesiredState(state)).await;
    assert_eq!(session.desired_status().await.version, version);
}

async fn ended(session: &mut Conversation, count: usize) -> Vec<(u64, wire::Outcome)> {
    let outcomes = session.outcomes(count).await;
    outcomes.iter().map(|(_, report)| (report.attempt.unwrap().message_id, report.outcome())).collect()
}

#[tokio::test]
async fn what_is_not_started_is_handed_back_and_what_is_started_ends() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok"), attempt(3, "b", "hang")]).await;
    until("both calls", || bench.agent.gateway.sent().len() == 2).await;
    drain(&mut session, 2, true).await;
    // What the server had on its way meanwhile comes back as well.
    session.dispatch(0, vec![attempt(4, "b", "ok")]).await;
    bench.agent.gateway.release(2);
    let mut outcomes = ended(&mut session, 4).await;
    outcomes.sort_by_key(|(message, _)| *message);
    assert_eq!(outcomes, [(1, Sent), (2, HandedBack), (3, Sent), (4, HandedBack)]);
    drain(&mut session, 3, false).await;
    session.dispatch(0, vec![attempt(5, "a", "ok")]).await;
    assert_eq!(ended(&mut session, 1).await, [(5, Sent)]);
}

#[tokio::test]
async fn an_agent_that_dies_while_it_is_drained_goes_on_with_that() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    until("the call", || bench.agent.gateway.sent().len() == 1).await;
    drain(&mut session, 2, true).await;
    bench.restart().await;
    let mut session = bench.server.session().await;
    session.hello().await;
    session.welcome(0).await;
    let mut outcomes = ended(&mut session, 2).await;
    outcomes.sort_by_key(|(message, _)| *message);
    assert_eq!(outcomes, [(1, wire::Outcome::Uncertain), (2, HandedBack)]);
    assert!(bench.agent.gateway.sent().is_empty(), "the kept state says that the node is drained");
}
