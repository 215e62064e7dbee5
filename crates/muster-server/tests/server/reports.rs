//! What agents report.

use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::close::Reason;
use muster_proto::agent_v1::{self as wire};
use muster_proto::v1::{self, AttemptOutcome, MessageState};

use crate::agent::{Agent, connected, hello, outcome, sent};
use crate::world::World;

fn receipt(bot: &str, network_id: &str, kind: wire::ReceiptKind) -> wire::report::Body {
    wire::report::Body::Receipt(wire::ReceiptReport {
        bot: bot.into(),
        network_id: network_id.into(),
        kind: kind.into(),
        failure: None,
    })
}

#[tokio::test]
async fn an_acknowledged_report_is_durable() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let attempt = agent.attempts(1).await.remove(0);
    agent.report(vec![sent(&attempt, "N0")]).await;
    let seen = world.message(&message.name).await;
    assert_eq!((seen.state(), seen.network_id.as_str()), (MessageState::Sent, "N0"));
    agent.report(vec![receipt("a", "N0", wire::ReceiptKind::Read)]).await;
    agent.report(vec![receipt("a", "N0", wire::ReceiptKind::Delivered)]).await;
    let seen = world.message(&message.name).await;
    assert_eq!(seen.state(), MessageState::Read);
    assert!(seen.read_time.is_some());
}

#[tokio::test]
async fn a_gap_ends_the_session_and_a_repetition_does_not() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let reports = vec![wire::Report { age_ms: 0, body: Some(connected("a")) }; 2];
    // Offset 1 was taken already: only the second one is new.
    agent.send(AgentBody::Reports(wire::Reports { first_offset: 1, reports: reports.clone() })).await;
    assert_eq!(agent.heartbeat_until_committed(2).await, 2);
    agent.send(AgentBody::Reports(wire::Reports { first_offset: 4, reports })).await;
    let (reason, close) = agent.closed().await;
    assert_eq!(reason, Reason::ProtocolFault);
    assert!(close.message.contains("the next one is 3"), "{}", close.message);
}

#[tokio::test]
async fn a_session_goes_on_behind_the_last_commit() {
    let world = World::with_bots(&["a"]).await;
    let agent = world.agent(&["a"]).await;
    agent.gone();
    let agent = Agent::open_with(&world, wire::Hello { journal_opening: 2, report_head: 5, ..hello() }).await;
    assert_eq!(agent.welcome.report_committed, 1);
    let lost = wire::Hello { journal_id: [9; 16].to_vec(), ..hello() };
    agent.gone();
    crate::world::until(async || (!world.node().await.online).then_some(())).await;
    assert_eq!(Agent::open_with(&world, lost).await.welcome.report_committed, 0);
}

#[tokio::test]
async fn a_report_that_cannot_be_read_does_not_stop_those_behind_it() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let attempt = agent.attempts(1).await.remove(0);
    let nonsense = wire::report::Body::Receipt(wire::ReceiptReport { bot: "NOT A BOT".into(), ..Default::default() });
    agent.report(vec![nonsense, sent(&attempt, "N0")]).await;
    assert_eq!(world.message(&message.name).await.state(), MessageState::Sent);
}

#[tokio::test]
async fn a_report_that_its_agent_forgot_takes_its_offset_and_no_more() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let forgotten = wire::report::Body::Forgotten(wire::ForgottenReport {});
    let reports = vec![wire::Report { age_ms: 0, body: Some(forgotten) }];
    agent.send(AgentBody::Reports(wire::Reports { first_offset: 2, reports })).await;
    assert_eq!(agent.heartbeat_until_committed(2).await, 2);
}

#[tokio::test]
async fn an_unknown_kind_of_report_ends_the_session_and_is_not_committed() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let unknown = wire::Report { age_ms: 0, body: None };
    agent.send(AgentBody::Reports(wire::Reports { first_offset: 2, reports: vec![unknown] })).await;
    let (reason, close) = agent.closed().await;
    assert_eq!((reason, close.permanent), (Reason::ProtocolFault, false));
    assert!(close.message.contains("report 2 is of a kind") && close.message.contains("Upgrade the server"));
    let back = Agent::open_with(&world, wire::Hello { journal_opening: 2, report_head: 2, ..hello() }).await;
    assert_eq!(back.welcome.report_committed, 1);
}

#[tokio::test]
async fn a_trace_tells_every_attempt() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let attempt = agent.attempts(1).await.remove(0);
    let handed_back = wire::report::Body::Outcome(wire::OutcomeReport {
        attempt: attempt.r#ref,
        outcome: wire::Outcome::HandedBack.into(),
        handback_reason: wire::HandbackReason::BotUnavailable.into(),
        ..Default::default()
    });
    agent.report_only(vec![handed_back]).await;
    let attempt = agent.attempts(1).await.remove(0);
    agent.report(vec![outcome(&attempt, wire::Outcome::Sent, "N0")]).await;
    let request = v1::TraceMessageRequest { name: message.name };
    let trace = world.messages().trace_message(request).await.unwrap().into_inner();
    let outcomes: Vec<_> = trace.attempts.iter().map(v1::Attempt::outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::HandedBack, AttemptOutcome::Sent]);
    assert_eq!(trace.attempts[0].handback_reason, "BOT_UNAVAILABLE");
    assert_eq!(trace.attempts[1].node, "nodes/n");
    assert_eq!(trace.attempts[1].epoch, 1);
}

#[tokio::test]
async fn a_thousand_outcomes_are_taken_in_a_few_acknowledgements() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let messages: Vec<_> = (0..1_000).map(|i| crate::world::text("a", &format!("r{i}"), "x")).collect();
    world.send_frames(vec![messages]).await.unwrap();
    let attempts = agent.attempts(1_000).await;
    let outcomes = attempts.iter().enumerate().map(|(i, attempt)| sent(attempt, &format!("N{i}"))).collect();
    agent.report(outcomes).await;
    let counts = world.bot("a").await.message_counts;
    assert_eq!(counts, [v1::StateCount { state: MessageState::Sent.into(), count: 1_000 }]);
}

impl Agent {
    /// Asks by heartbeats until reports up to `offset` are durable.
    pub(crate) async fn heartbeat_until_committed(&mut self, offset: u64) -> u64 {
        loop {
            let committed = self.heartbeat().await.report_committed;
            if committed >= offset {
                return committed;
            }
        }
    }
}
