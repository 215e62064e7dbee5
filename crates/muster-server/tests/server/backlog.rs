//! Producers that are faster than a bot.

use std::time::Duration;

use muster_proto::agent_v1 as wire;
use muster_proto::v1::{self, send_result};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::agent::Agent;
use crate::world::{World, refused, text};

fn valid_for(bot: &str, seconds: i64) -> v1::Message {
    v1::Message { validity: Some(prost_types::Duration { seconds, nanos: 0 }), ..text(bot, "r", "hello") }
}

/// An agent whose bot `a` took ten seconds for its last message, and has three before it.
async fn slow(world: &World) -> Agent {
    let mut agent = world.agent(&["a", "b"]).await;
    world.send_text("a", "r", "first").await;
    let attempt = agent.attempts(1).await[0].r#ref;
    let report = wire::OutcomeReport {
        attempt,
        outcome: wire::Outcome::Sent.into(),
        network_id: "N".into(),
        gateway_ms: 10_000,
        ..Default::default()
    };
    agent.report(vec![wire::report::Body::Outcome(report)]).await;
    for i in 0..3 {
        world.send_text("a", &format!("r{i}"), "next").await;
    }
    agent
}

#[tokio::test]
async fn what_would_not_leave_in_time_may_come_again_later() {
    let world = World::with_bots(&["a", "b"]).await;
    let _agent = slow(&world).await;
    world.send(valid_for("a", 31)).await.unwrap();
    let status = refused(world.send(valid_for("a", 31)).await, Code::ResourceExhausted, "BACKLOG_FULL");
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    let told = ["resource", "bound", "waiting", "wait_seconds"].map(|name| metadata[name].as_str());
    assert_eq!(told, ["bots/a", "VALIDITY", "4", "40"]);
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    assert!((Duration::from_secs(9)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
    assert!(status.message().contains("bots/a has 4 messages before this one"), "{status:?}");
}

#[tokio::test]
async fn a_refusal_in_a_stream_stops_nobody() {
    let world = World::with_bots(&["a", "b"]).await;
    let _agent = slow(&world).await;
    let keyed = v1::Message { idempotency_key: "k".into(), ..valid_for("a", 3_600) };
    let first = world.send(keyed.clone()).await.unwrap().name;
    let frames =
        vec![vec![valid_for("a", 5), valid_for("b", 5), keyed], vec![valid_for("a", 5), valid_for("a", 3_600)]];
    let answers = world.send_frames(frames).await.unwrap();
    let results: Vec<_> = answers.into_iter().flat_map(|answer| answer.results).collect();
    let codes = results.iter().map(|result| match &result.result {
        Some(send_result::Result::Refusal(refusal)) => Some(refusal.code),
        _ => None,
    });
    let full = Some(Code::ResourceExhausted as i32);
    assert_eq!(codes.collect::<Vec<_>>(), [full, None, None, full, None]);
    assert_eq!((results[2].replayed, &results[2].result), (true, &Some(send_result::Result::Name(first))));
    let Some(send_result::Result::Refusal(refusal)) = &results[3].result else { panic!("{results:?}") };
    assert_eq!((refusal.reason.as_str(), refusal.metadata["waiting"].as_str()), ("BACKLOG_FULL", "4"));
    assert_eq!(refusal.retry_after.unwrap().seconds, 35);
}
