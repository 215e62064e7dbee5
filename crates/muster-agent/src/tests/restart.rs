//! An agent that is killed and starts again.

use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::server_frame::Body as ServerBody;
use wire::Outcome::{HandedBack, Sent, Uncertain};

use super::server::{desired, welcome};
use super::{Bench, attempt, until};

#[tokio::test]
async fn after_a_crash_what_was_started_is_uncertain_and_the_rest_goes_on() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok"), attempt(3, "b", "ok")]).await;
    session.outcomes(1).await;
    until("the sends", || bench.agent.gateway.sent().len() == 2).await;
    bench.restart().await;
    let mut session = bench.server.session().await;
    let hello = session.hello().await;
    assert_eq!(hello.desired_version, 0, "a new process asks for the whole");
    assert_eq!(hello.journal_opening, 2);
    session.welcome(0).await;
    let mut outcomes = session.outcomes(3).await;
    outcomes.sort_by_key(|(_, outcome)| outcome.attempt.unwrap().message_id);
    let kinds: Vec<_> = outcomes.iter().map(|(_, outcome)| outcome.outcome()).collect();
    assert_eq!(kinds, [Uncertain, Sent, Sent]);
    let evidence = &outcomes[0].1.failure.as_ref().unwrap().detail;
    assert!(evidence.contains("stopped while the gateway was being called"), "{evidence}");
    assert_eq!(bench.agent.gateway.sent(), [2], "sent by the new process, with the desired state of the old one");
}

#[tokio::test]
async fn a_restarted_agent_asks_before_it_goes_on() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok"), attempt(3, "a", "ok")]).await;
    until("the send", || bench.agent.gateway.sent().len() == 1).await;
    bench.restart().await;
    let mut session = bench.server.session().await;
    session.hello().await;
    assert!(bench.agent.gateway.sent().is_empty());
    let drop = vec![wire::AttemptRef { message_id: 2, attempt_no: 1 }];
    session.send(ServerBody::Welcome(wire::Welcome { drop, ..welcome(0) })).await;
    let outcomes = session.outcomes(2).await;
    let kinds: Vec<_> = outcomes.iter().map(|(_, o)| (o.attempt.unwrap().message_id, o.outcome())).collect();
    assert_eq!(kinds, [(1, Uncertain), (3, Sent)]);
}

#[tokio::test]
async fn a_restarted_agent_finishes_while_the_server_is_away() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    until("the send", || bench.agent.gateway.sent().len() == 1).await;
    bench.restart().await;
    // It connects, and nobody says Welcome.
    let _silent = bench.server.session().await;
    until("the rest", || bench.agent.gateway.sent() == [2]).await;
}

#[tokio::test]
async fn a_broken_chain_stays_broken_over_a_restart() {
    let (mut bench, mut session) = Bench::new().await;
    let chain = |id, text: &str| wire::Attempt { chain: 7, ..attempt(id, "a", text) };
    session.dispatch(0, vec![chain(1, "retry")]).await;
    let failed = session.outcomes(1).await[0].0;
    session.dispatch(0, vec![attempt(2, "a", "hang")]).await;
    session.dispatch(failed - 1, vec![chain(3, "ok")]).await;
    until("the sends", || bench.agent.gateway.sent() == [1, 2]).await;
    bench.restart().await;
    let mut session = bench.server.session().await;
    session.hello().await;
    session.welcome(failed).await;
    let mut outcomes = session.outcomes(2).await;
    outcomes.sort_by_key(|(_, outcome)| outcome.attempt.unwrap().message_id);
    let kinds: Vec<_> = outcomes.iter().map(|(_, o)| (o.attempt.unwrap().message_id, o.outcome())).collect();
    assert_eq!(kinds, [(2, Uncertain), (3, HandedBack)]);
    session.send(ServerBody::DesiredState(desired(1, true))).await;
    // Chosen before the return of the third was known.
    session.dispatch(failed, vec![chain(4, "ok")]).await;
    let (offset, back) = session.outcomes(1).await.remove(0);
    assert_eq!(back.outcome(), HandedBack);
    session.dispatch(offset, vec![chain(5, "ok")]).await;
    assert_eq!(session.outcomes(1).await[0].1.outcome(), Sent);
}

#[tokio::test]
async fn an_agent_that_was_refused_can_be_run_again_at_the_same_place() {
    let mut server = super::HandDriven::start().await;
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = crate::Config { webhook_listen: free, ..super::config(&server, dir.path()) };
    for opening in 1..4 {
        let agent = super::Agent::start(config.clone());
        let mut session = server.session().await;
        assert_eq!(session.hello().await.journal_opening, opening);
        let reason = wire::close::Reason::ProtocolUnsupported.into();
        let close = wire::Close { reason, permanent: true, ..wire::Close::default() };
        session.send(ServerBody::Close(close)).await;
        assert!(agent.ended().await.is_err());
    }
}
