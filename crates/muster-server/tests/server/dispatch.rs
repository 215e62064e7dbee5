//! What leaves, when, and how much of it at a time.

use std::time::Duration;

use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::server_frame::Body;
use muster_proto::agent_v1::{self as wire};
use muster_proto::v1::{self, MessageState};
use prost::Message as _;

use crate::agent::{Agent, credit, failed, hello, outcome, sent};
use crate::world::{World, text, until};

fn body(attempt: &wire::Attempt) -> &str {
    match attempt.content.as_ref().and_then(|content| content.kind.as_ref()) {
        Some(wire::content::Kind::Text(text)) => &text.body,
        other => panic!("no text: {other:?}"),
    }
}

#[tokio::test]
async fn messages_leave_in_the_order_of_acceptance_and_of_priority() {
    let world = World::with_bots(&["a"]).await;
    for i in 0..5 {
        world.send_text("a", "r", &i.to_string()).await;
    }
    let urgent = v1::Message { priority: v1::Priority::Conversation.into(), ..text("a", "r", "urgent") };
    world.send(urgent).await.unwrap();
    let mut agent = Agent::open(&world).await;
    agent.quiet().await;
    agent.report_only(vec![crate::agent::connected("a")]).await;
    let bodies: Vec<_> = agent.attempts(6).await.iter().map(|attempt| body(attempt).to_owned()).collect();
    assert_eq!(bodies, ["urgent", "0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn no_more_attempts_leave_than_were_granted() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = Agent::open_with(&world, wire::Hello { credit: Some(credit(3)), ..hello() }).await;
    agent.report_connected(&["a"]).await;
    for i in 0..5 {
        world.send_text("a", &format!("r{i}"), "x").await;
    }
    agent.attempts(3).await;
    agent.quiet().await;
    // A grant that comes late changes nothing, a larger one does.
    agent.send(AgentBody::Credit(credit(2))).await;
    agent.quiet().await;
    agent.send(AgentBody::Credit(credit(4))).await;
    agent.attempts(1).await;
    agent.quiet().await;
    agent.send(AgentBody::Credit(credit(9))).await;
    agent.attempts(1).await;
}

#[tokio::test]
async fn no_more_bytes_leave_than_were_granted() {
    let world = World::with_bots(&["a"]).await;
    let bytes = |bytes_total| wire::Credit { attempts_total: 100, bytes_total, per_bot: 100 };
    let mut agent = Agent::open_with(&world, wire::Hello { credit: Some(bytes(2_500)), ..hello() }).await;
    for i in 0..4 {
        world.send_text("a", &format!("r{i}"), &"x".repeat(1_000)).await;
    }
    agent.report_only(vec![crate::agent::connected("a")]).await;
    // Two fit; the third one does not, but the last bytes of a credit let one message through.
    let mut count = 0;
    while count < 3 {
        count += agent.dispatch().await.attempts.len();
    }
    assert_eq!(count, 3);
    agent.acknowledge().await;
    agent.quiet().await;
    agent.send(AgentBody::Credit(bytes(10_000))).await;
    agent.attempts(1).await;
}

#[tokio::test]
async fn a_bot_has_no_more_attempts_at_the_agent_than_its_window() {
    let world = World::with_bots(&["a", "b"]).await;
    let windowed = wire::Credit { attempts_total: 100, bytes_total: 1 << 20, per_bot: 2 };
    let mut agent = Agent::open_with(&world, wire::Hello { credit: Some(windowed), ..hello() }).await;
    agent.report_connected(&["a", "b"]).await;
    for i in 0..5 {
        world.send_text("a", &format!("r{i}"), "x").await;
    }
    let of_a = agent.attempts(2).await;
    agent.quiet().await;
    world.send_text("b", "r", "x").await;
    assert_eq!(agent.attempts(1).await[0].bot, "b");
    agent.report_only(vec![sent(&of_a[0], "N0")]).await;
    assert_eq!(agent.attempts(1).await[0].bot, "a");
    agent.quiet().await;
}

#[tokio::test]
async fn what_an_agent_holds_from_before_takes_up_its_window() {
    let world = World::with_bots(&["a"]).await;
    let windowed = wire::Credit { attempts_total: 100, bytes_total: 1 << 20, per_bot: 2 };
    let mut agent = Agent::open_with(&world, wire::Hello { credit: Some(windowed), ..hello() }).await;
    agent.report_connected(&["a"]).await;
    for i in 0..5 {
        world.send_text("a", &format!("r{i}"), "x").await;
    }
    let first = agent.attempts(2).await;
    agent.gone();
    let held = first
        .iter()
        .map(|attempt| wire::HeldAttempt { attempt: attempt.r#ref, started: false, report_offset: 0 })
        .collect();
    let again = wire::Hello { credit: Some(windowed), report_head: 1, held, ..hello() };
    let mut agent = Agent::open_with(&world, again).await;
    agent.quiet().await;
    agent.report_only(vec![sent(&first[0], "N0")]).await;
    agent.attempts(1).await;
    agent.quiet().await;
}

#[tokio::test]
async fn dispatch_frames_are_as_small_as_the_agent_asks() {
    let world = World::with_bots(&["a"]).await;
    for i in 0..12 {
        world.send_text("a", &format!("r{i}"), &"\u{1F600}".repeat(4_096)).await;
    }
    let small = wire::Hello { receive_bytes_max: 64 * 1024, ..hello() };
    let mut agent = Agent::open_with(&world, small).await;
    agent.report_only(vec![crate::agent::connected("a")]).await;
    let (mut count, mut frames) = (0, 0);
    while count < 12 {
        let dispatch = agent.dispatch().await;
        assert!(dispatch.encoded_len() < 64 * 1024);
        count += dispatch.attempts.len();
        frames += 1;
    }
    assert!(frames >= 4);
}

#[tokio::test]
async fn a_hold_stops_and_a_resume_starts() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let hold =
        v1::HoldBotRequest { name: "a".into(), reason: "holiday".into(), author: "ana".into(), ..Default::default() };
    world.bots().hold_bot(hold).await.unwrap();
    let message = world.send_text("a", "r", "x").await;
    agent.quiet().await;
    let waiting = world.message(&message.name).await.waiting.unwrap();
    assert_eq!(waiting.reason, "BOT_HELD");
    assert!(waiting.explanation.contains("ana: holiday"), "{}", waiting.explanation);
    world.bots().resume_bot(v1::ResumeBotRequest { name: "a".into(), ..Default::default() }).await.unwrap();
    agent.attempts(1).await;
}

#[tokio::test]
async fn a_hold_ends_by_itself() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let until = std::time::SystemTime::now() + Duration::from_millis(400);
    let hold = v1::HoldBotRequest {
        name: "a".into(),
        reason: "lunch".into(),
        until: Some(until.into()),
        ..Default::default()
    };
    world.bots().hold_bot(hold).await.unwrap();
    world.send_text("a", "r", "x").await;
    agent.attempts(1).await;
    assert!(std::time::SystemTime::now() >= until);
    assert_eq!(world.bot("a").await.hold, None);
}

#[tokio::test]
async fn a_message_leaves_not_before_its_time() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let time = std::time::SystemTime::now() + Duration::from_millis(500);
    let message = world.send(v1::Message { not_before: Some(time.into()), ..text("a", "r", "x") }).await.unwrap();
    let waiting = world.message(&message.name).await.waiting.unwrap();
    assert_eq!(waiting.reason, "NOT_BEFORE");
    assert!(waiting.until.is_some());
    agent.attempts(1).await;
    assert!(std::time::SystemTime::now() >= time);
}

#[tokio::test]
async fn a_refused_attempt_is_tried_again_after_the_time_that_was_asked_for() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let first = agent.attempts(1).await.remove(0);
    agent.report(vec![failed(&first, wire::FailureReason::RateLimited, 400)]).await;
    let behind = world.send_text("a", "other", "x").await;
    for name in [&message.name, &behind.name] {
        let waiting = world.message(name).await.waiting.unwrap();
        assert_eq!(waiting.reason, "BOT_BACKOFF");
        assert!(waiting.explanation.contains("RATE_LIMITED"), "{}", waiting.explanation);
    }
    let backoff = world.bot("a").await.backoff.unwrap();
    assert_eq!((backoff.scope.as_str(), backoff.refusals), ("BOT", 1));
    let second = agent.attempts(1).await.remove(0);
    assert_eq!(second.r#ref.unwrap().attempt_no, 2);
    agent.report(vec![sent(&second, "N1")]).await;
    assert_eq!(world.message(&message.name).await.state(), MessageState::Sent);
    assert_eq!(agent.attempts(1).await.remove(0).r#ref.unwrap().attempt_no, 1);
    assert_eq!(world.bot("a").await.backoff, None);
}

#[tokio::test]
async fn a_message_expires_when_nobody_takes_it() {
    let world = World::with_bots(&["a"]).await;
    let validity = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let message = world.send(v1::Message { validity, ..text("a", "r", "x") }).await.unwrap();
    until(async || (world.message(&message.name).await.state() == MessageState::Expired).then_some(())).await;
}

#[tokio::test]
async fn what_never_arrived_leaves_again_and_what_is_held_does_not() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    world.send_text("a", "r0", "held").await;
    let held = agent.attempts(1).await.remove(0);
    world.send_text("a", "r1", "lost").await;
    agent.attempts(1).await;
    agent.gone();
    let held_attempt = wire::HeldAttempt { attempt: held.r#ref, started: true, report_offset: 0 };
    let again = wire::Hello { journal_opening: 2, held: vec![held_attempt], report_head: 1, ..hello() };
    let mut agent = Agent::open_with(&world, again).await;
    assert_eq!(agent.welcome.drop, []);
    let attempt = agent.attempts(1).await.remove(0);
    assert_eq!(body(&attempt), "lost");
    agent.report(vec![sent(&held, "N0"), sent(&attempt, "N1")]).await;
    let counts = world.bot("a").await.message_counts;
    assert_eq!(counts, [v1::StateCount { state: MessageState::Sent.into(), count: 2 }]);
}

#[tokio::test]
async fn what_was_decided_meanwhile_is_dropped() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let attempt = agent.attempts(1).await.remove(0);
    agent.report(vec![outcome(&attempt, wire::Outcome::Expired, "")]).await;
    assert_eq!(world.message(&message.name).await.state(), MessageState::Expired);
    agent.gone();
    let held = vec![wire::HeldAttempt { attempt: attempt.r#ref, started: false, report_offset: 0 }];
    let again = wire::Hello { journal_opening: 2, held, report_head: 2, ..hello() };
    assert_eq!(Agent::open_with(&world, again).await.welcome.drop, [attempt.r#ref.unwrap()]);
}

#[tokio::test]
async fn after_a_drain_nothing_leaves_until_the_next_session() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    agent.send(AgentBody::Drain(wire::Drain { deadline_ms: 1_000 })).await;
    agent.wait(|body| if let Body::DrainAck(ack) = body { Ok(ack) } else { Err(body) }).await;
    world.send_text("a", "r", "x").await;
    agent.quiet().await;
    agent.send(AgentBody::Goodbye(wire::Goodbye { reason: wire::goodbye::Reason::Drained.into() })).await;
    agent.ended().await;
    let mut agent = Agent::open_with(&world, wire::Hello { journal_opening: 2, report_head: 1, ..hello() }).await;
    agent.attempts(1).await;
}

#[tokio::test]
async fn under_load_no_dispatch_follows_a_drain_acknowledgement() {
    let world = World::with_bots(&["a", "b"]).await;
    let mut agent = world.agent(&["a", "b"]).await;
    agent.send(AgentBody::Credit(credit(5_000))).await;
    let messages: Vec<_> = (0..1_000).map(|i| text(if i % 2 == 0 { "a" } else { "b" }, "r", "x")).collect();
    let drain = async {
        agent.dispatch().await;
        agent.send(AgentBody::Drain(wire::Drain { deadline_ms: 1_000 })).await;
        while !matches!(agent.next().await, Body::DrainAck(_)) {}
        agent
    };
    let (answers, mut agent) = tokio::join!(world.send_frames(vec![messages; 5]), drain);
    assert_eq!(answers.unwrap().len(), 5);
    agent.quiet().await;
    let waiting = i32::from(MessageState::Waiting);
    assert!(world.bot("a").await.message_counts.iter().any(|row| row.state == waiting && row.count > 0));
}

#[tokio::test]
async fn a_cancellation_reaches_the_agent_that_has_the_attempt() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let attempt = agent.attempts(1).await.remove(0);
    let request = v1::CancelMessageRequest { name: message.name.clone() };
    let answer = world.messages().cancel_message(request).await.unwrap().into_inner().message.unwrap();
    assert!(answer.cancel_requested);
    let cancel = agent.wait(|body| if let Body::Cancel(cancel) = body { Ok(cancel) } else { Err(body) }).await;
    assert_eq!(cancel.attempts, [attempt.r#ref.unwrap()]);
    agent.report(vec![outcome(&attempt, wire::Outcome::Cancelled, "")]).await;
    assert_eq!(world.message(&message.name).await.state(), MessageState::Cancelled);
}

#[tokio::test]
async fn a_cancellation_waits_for_the_agent_to_come_back() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let attempt = agent.attempts(1).await.remove(0);
    agent.gone();
    until(async || (!world.node().await.online).then_some(())).await;
    world.messages().cancel_message(v1::CancelMessageRequest { name: message.name }).await.unwrap();
    let held = vec![wire::HeldAttempt { attempt: attempt.r#ref, started: false, report_offset: 0 }];
    let mut agent = Agent::open_with(&world, wire::Hello { journal_opening: 2, held, report_head: 1, ..hello() }).await;
    let cancel = agent.wait(|body| if let Body::Cancel(cancel) = body { Ok(cancel) } else { Err(body) }).await;
    assert_eq!(cancel.attempts, [attempt.r#ref.unwrap()]);
}
