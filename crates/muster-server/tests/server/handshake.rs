//! Who may have a session, and how sessions end.

use std::time::Duration;

use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::close::Reason;
use muster_proto::agent_v1::server_frame::Body;
use muster_proto::agent_v1::{self as wire, AgentFrame};
use muster_server::Config;

use crate::agent::{Agent, first_answer, hello, refused_hello, stream};
use crate::world::{World, text, until};

/// Signs of life are due quickly.
fn hurried() -> Config {
    Config {
        heartbeat_interval: Duration::from_millis(150),
        stall_timeout: Duration::from_millis(600),
        ..Config::default()
    }
}

#[tokio::test]
async fn the_first_frame_is_hello_with_the_number_one() {
    let world = World::with_bots(&[]).await;
    let heartbeat = Some(AgentBody::Heartbeat(wire::Heartbeat::default()));
    let Body::Close(close) = first_answer(&world, AgentFrame { seq: 1, ack: 0, body: heartbeat }).await else {
        panic!("not refused")
    };
    assert_eq!(close.reason(), Reason::ProtocolFault);
    let numbered = AgentFrame { seq: 2, ack: 0, body: Some(AgentBody::Hello(hello())) };
    assert!(
        matches!(first_answer(&world, numbered).await, Body::Close(close) if close.reason() == Reason::ProtocolFault)
    );
}

#[tokio::test]
async fn what_no_retry_mends_is_permanent_and_says_what_to_do() {
    let world = World::with_bots(&[]).await;
    let (reason, close) = refused_hello(&world, wire::Hello { node: "nodes/other".into(), ..hello() }).await;
    assert_eq!((reason, close.permanent), (Reason::NodeUnknown, true));
    assert!(close.message.contains("Declare it"));
    for bad in [
        wire::Hello { protocol_min: 3, protocol_max: 1, ..hello() },
        wire::Hello { node: "Not A Node".into(), ..hello() },
        wire::Hello { journal_id: vec![1; 15], ..hello() },
        wire::Hello { process_id: vec![], ..hello() },
        wire::Hello { receive_bytes_max: 1_000, ..hello() },
        wire::Hello { held: vec![wire::HeldAttempt::default()], ..hello() },
    ] {
        let (reason, close) = refused_hello(&world, bad).await;
        assert_eq!((reason, close.permanent), (Reason::ProtocolFault, true), "{}", close.message);
        assert!(close.message.starts_with("hello."), "{}", close.message);
    }
}

#[tokio::test]
async fn without_a_common_revision_the_older_side_is_named() {
    let world = World::with_bots(&[]).await;
    for (protocol_min, protocol_max, expected) in [
        (0, 0, "the agent speaks revision 0 of the protocol, this server revision 1. Upgrade the agent"),
        (
            2,
            3,
            "the agent speaks revisions 2 to 3 of the protocol, this server revision 1. Upgrade the server, or go back to the \
             agent of before",
        ),
    ] {
        let (reason, close) = refused_hello(&world, wire::Hello { protocol_min, protocol_max, ..hello() }).await;
        assert_eq!((reason, close.permanent, close.message.as_str()), (Reason::ProtocolUnsupported, true, expected));
    }
    assert!(!world.node().await.online);
}

#[tokio::test]
async fn an_older_agent_that_speaks_our_revision_is_welcome() {
    let world = World::with_bots(&[]).await;
    let older = wire::Hello { protocol_min: 0, protocol_max: 1, ..hello() };
    assert_eq!(Agent::open_with(&world, older).await.welcome.protocol, 1);
}

#[tokio::test]
async fn a_newer_agent_that_still_speaks_our_revision_is_welcome() {
    let world = World::with_bots(&[]).await;
    let newer = wire::Hello { protocol_max: 9, capabilities: vec!["teleport".into()], ..hello() };
    let agent = Agent::open_with(&world, newer).await;
    assert_eq!((agent.welcome.protocol, agent.welcome.epoch), (1, 1));
    assert!(agent.welcome.capabilities.is_empty());
    assert_eq!(agent.welcome.heartbeat_interval_ms, 10_000);
    assert_eq!(agent.welcome.stall_timeout_ms, 30_000);
    assert!(world.node().await.online);
    assert_eq!(world.node().await.agent_version, "test");
}

#[tokio::test]
async fn the_same_journal_takes_over() {
    let world = World::with_bots(&[]).await;
    let mut old = Agent::open(&world).await;
    let mut new = Agent::open_with(&world, wire::Hello { journal_opening: 2, ..hello() }).await;
    assert_eq!(new.welcome.epoch, old.welcome.epoch + 1);
    assert_eq!(old.closed().await.0, Reason::Superseded);
    new.heartbeat().await;
    assert!(world.node().await.online, "the end of the old session does not take the node offline");
}

#[tokio::test]
async fn a_second_agent_with_its_own_journal_is_refused_while_the_first_one_lives() {
    let world = World::start_with(hurried()).await;
    world.declare(&[]).await;
    let mut first = Agent::open(&world).await;
    let other = || wire::Hello { journal_id: [9; 16].to_vec(), process_id: [2; 16].to_vec(), ..hello() };
    let (reason, close) = refused_hello(&world, other()).await;
    assert_eq!((reason, close.permanent), (Reason::DuplicateIdentity, false));
    first.heartbeat().await;
    // Once the first one gives no more signs, the node goes to whoever is there.
    let taken = until(async || {
        match first_answer(&world, AgentFrame { seq: 1, ack: 0, body: Some(AgentBody::Hello(other())) }).await {
            Body::Welcome(welcome) => Some(welcome),
            _ => None,
        }
    })
    .await;
    assert!(taken.epoch > first.welcome.epoch);
}

#[tokio::test]
async fn a_copied_journal_is_found_out() {
    let world = World::with_bots(&[]).await;
    let agent = Agent::open_with(&world, wire::Hello { journal_opening: 5, ..hello() }).await;
    agent.gone();
    let copy = wire::Hello { journal_opening: 5, process_id: [2; 16].to_vec(), ..hello() };
    let (reason, close) = refused_hello(&world, copy).await;
    assert_eq!((reason, close.permanent), (Reason::JournalForked, true));
    let restored = wire::Hello { journal_opening: 4, process_id: [3; 16].to_vec(), ..hello() };
    assert_eq!(refused_hello(&world, restored).await.0, Reason::JournalForked);
}

#[tokio::test]
async fn a_restored_server_begins_anew_with_an_agent_that_knows_more() {
    let world = World::with_bots(&["a"]).await;
    let forgotten = Some(wire::ForgottenOutcomes { through: 6, age_ms: 1_000 });
    let knows_more = wire::Hello { report_head: 9, report_acknowledged: 9, forgotten, desired_version: 1, ..hello() };
    let mut agent = Agent::open_with(&world, knows_more).await;
    assert_eq!(agent.welcome.report_committed, 6);
    let desired = agent.desired().await;
    assert_eq!((desired.base_version, desired.bots.len()), (0, 1), "the whole: versions are of another history");
    agent.report(vec![wire::report::Body::Receipt(wire::ReceiptReport::default()); 3]).await;
    agent.report_connected(&["a"]).await;
    world.send_text("a", "r", "x").await;
    agent.attempts(1).await;
}

#[tokio::test]
async fn a_gap_in_the_numbers_ends_the_session() {
    let world = World::with_bots(&[]).await;
    let mut agent = Agent::open(&world).await;
    agent.send_raw(AgentFrame { seq: 3, ack: 0, body: Some(AgentBody::Heartbeat(wire::Heartbeat::default())) }).await;
    let (reason, close) = agent.closed().await;
    assert_eq!((reason, close.permanent), (Reason::ProtocolFault, false));
    let mut agent = Agent::open_with(&world, wire::Hello { journal_opening: 2, ..hello() }).await;
    agent.send_raw(AgentFrame { seq: 2, ack: 99, body: None }).await;
    assert_eq!(agent.closed().await.0, Reason::ProtocolFault);
}

#[tokio::test]
async fn an_unknown_frame_is_answered_and_changes_nothing() {
    let world = World::with_bots(&[]).await;
    let mut agent = Agent::open(&world).await;
    let seq = agent.send_frame(None).await;
    let unsupported =
        agent.wait(|body| if let Body::Unsupported(unsupported) = body { Ok(unsupported) } else { Err(body) }).await;
    assert_eq!(unsupported.seq, seq);
    agent.heartbeat().await;
}

#[tokio::test]
async fn an_agent_that_refuses_a_frame_that_it_must_know_is_told_to_be_upgraded() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open(&world).await;
    agent.desired().await;
    agent.send(AgentBody::Unsupported(wire::Unsupported { seq: 2 })).await;
    let (reason, close) = agent.closed().await;
    assert_eq!((reason, close.permanent), (Reason::ProtocolFault, false));
    assert_eq!(close.message, "the agent does not know frame 2, which a session cannot do without. Upgrade the agent");
}

#[tokio::test]
async fn a_silent_agent_is_let_go_and_its_node_is_offline() {
    let world = World::start_with(hurried()).await;
    world.declare(&[]).await;
    let mut agent = Agent::open(&world).await;
    assert_eq!(agent.closed().await.0, Reason::Stalled);
    until(async || (!world.node().await.online).then_some(())).await;
}

#[tokio::test]
async fn an_agent_that_acknowledges_no_dispatch_is_let_go_although_it_lives() {
    let world = World::start_with(hurried()).await;
    world.declare(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    world.send_text("a", "r", "x").await;
    agent.dispatch().await;
    let close = loop {
        agent.send(AgentBody::Heartbeat(wire::Heartbeat::default())).await;
        match tokio::time::timeout(Duration::from_secs(5), agent.next()).await.unwrap() {
            Body::Close(close) => break close,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!(close.reason(), Reason::Stalled);
    assert!(close.message.contains("Dispatch"), "{}", close.message);
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_let_go_and_holds_nobody_up() {
    let world = World::start_with(hurried()).await;
    world.declare(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    // More than the transport takes ahead of what is read.
    let long = "\u{1F600}".repeat(4_000);
    for frame in 0..6 {
        let messages = (0..200).map(|i| text("a", &format!("r{frame}-{i}"), &long)).collect();
        world.send_frames(vec![messages]).await.unwrap();
    }
    let offline = async || {
        agent.send(AgentBody::Heartbeat(wire::Heartbeat::default())).await;
        (!world.node().await.online).then_some(())
    };
    until(offline).await;
}

#[tokio::test]
async fn heartbeats_tell_where_the_server_stands() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    assert_eq!(agent.heartbeat().await.report_committed, 1);
    let desired = world.node().await.desired_version;
    until(async || (agent.heartbeat().await.desired_version == desired).then_some(())).await;
}

#[tokio::test]
async fn a_goodbye_ends_the_session_cleanly() {
    let world = World::with_bots(&[]).await;
    let mut agent = Agent::open(&world).await;
    let reason = wire::goodbye::Reason::Drained.into();
    agent.send(AgentBody::Goodbye(wire::Goodbye { reason })).await;
    agent.ended().await;
    until(async || (!world.node().await.online).then_some(())).await;
}

#[tokio::test]
async fn a_stopping_server_says_so_and_ends() {
    let world = World::with_bots(&[]).await;
    let mut agent = Agent::open(&world).await;
    let (silent, _reader) = stream(&world).await;
    world.shutdown.cancel();
    let (reason, close) = agent.closed().await;
    assert_eq!((reason, close.permanent), (Reason::ServerStopping, false));
    drop(silent);
    world.stop().await;
}
