//! What was not sent: counted, listed, replayed page by page.

use muster_proto::agent_v1 as wire;
use muster_proto::v1;
use tonic::Code;

use crate::agent::failed;
use crate::world::{World, fields, refused};

fn internal() -> Option<v1::FailureFilter> {
    Some(v1::FailureFilter { causes: vec!["INTERNAL".into()], ..v1::FailureFilter::default() })
}

#[tokio::test]
async fn failures_are_told_and_replayed_page_by_page_and_once() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let mut names = Vec::new();
    for recipient in ["r0", "r1", "r2"] {
        names.push(world.send_text("a", recipient, "x").await.name);
    }
    let attempts = agent.attempts(3).await;
    let reports = attempts.iter().map(|attempt| failed(attempt, wire::FailureReason::Internal, 0)).collect();
    agent.report(reports).await;

    let count = v1::CountFailuresRequest { filter: internal(), by: 0 };
    let groups = world.failures().count_failures(count).await.unwrap().into_inner().groups;
    assert_eq!((groups[0].key.as_str(), groups[0].count, groups.len()), ("INTERNAL", 3, 1));
    assert_eq!(groups[0].example, names[2]);
    assert!(!groups[0].advice.is_empty());

    let mut request = v1::ListFailuresRequest { page_size: 2, filter: internal(), ..Default::default() };
    let page = world.failures().list_failures(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.messages.iter().map(|message| &message.name).collect::<Vec<_>>(), [&names[2], &names[1]]);
    request.page_token = page.next_page_token;
    let page = world.failures().list_failures(request).await.unwrap().into_inner();
    assert_eq!((page.messages[0].name.as_str(), page.next_page_token.as_str()), (names[0].as_str(), ""));

    let mut request = v1::ReplayFailuresRequest { page_size: 2, filter: internal(), ..Default::default() };
    let first = world.failures().replay_failures(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.replayed.iter().map(|pair| &pair.message).collect::<Vec<_>>(), [&names[0], &names[1]]);
    // The new messages fail as well: they are not part of a replay that began before them.
    let attempts = agent.attempts(2).await;
    let reports = attempts.iter().map(|attempt| failed(attempt, wire::FailureReason::Internal, 0)).collect();
    agent.report(reports).await;
    request.page_token = first.next_page_token;
    let second = world.failures().replay_failures(request).await.unwrap().into_inner();
    assert_eq!((second.replayed.len(), second.next_page_token.as_str()), (1, ""));
    assert_eq!(second.replayed[0].message, names[2]);

    let trace = v1::TraceMessageRequest { name: second.replayed[0].replay.clone() };
    let trace = world.messages().trace_message(trace).await.unwrap().into_inner();
    assert_eq!((trace.replay_of.as_str(), trace.replayed_as.as_str()), (names[2].as_str(), ""));
}

#[tokio::test]
async fn a_filter_names_what_it_does_not_know() {
    let world = World::with_bots(&["a"]).await;
    let filter =
        v1::FailureFilter { causes: vec!["RAIN".into()], bot: "No bot".into(), ..v1::FailureFilter::default() };
    let request = v1::CountFailuresRequest { filter: Some(filter), by: 0 };
    let status = refused(world.failures().count_failures(request).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["filter.causes", "filter.bot"]);
    let validity = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let request = v1::ReplayFailuresRequest { validity, ..Default::default() };
    let status = refused(world.failures().replay_failures(request).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["validity"]);
}
