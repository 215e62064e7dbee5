//! Accepting messages, and reading them back.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use muster_domain::Timestamp;
use muster_proto::agent_v1::agent_service_client::AgentServiceClient;
use muster_proto::agent_v1::{self as agent_wire};
use muster_proto::v1::content::{Image, Kind, Reaction};
use muster_proto::v1::{self, MessageState, send_result};
use muster_store::{RetentionPolicy, Store as _};
use tonic::Code;

use crate::agent::{Agent, sent};
use crate::world::{World, fields, fleet, refused, text, until};

fn name(result: &v1::SendResult) -> &str {
    match &result.result {
        Some(send_result::Result::Name(name)) => name,
        other => panic!("not accepted: {other:?}"),
    }
}

fn refusal(result: &v1::SendResult) -> &v1::SendRefusal {
    match &result.result {
        Some(send_result::Result::Refusal(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn with_content(kind: Kind) -> v1::Message {
    v1::Message { content: Some(v1::Content { kind: Some(kind) }), ..text("a", "r", "") }
}

fn reaction(target: &str) -> v1::Message {
    with_content(Kind::Reaction(Reaction { target: target.to_owned(), emoji: "👍".into() }))
}

#[tokio::test]
async fn an_answer_is_the_message_as_it_was_accepted() {
    let world = World::with_bots(&["a"]).await;
    let message = world.send_text("a", "r", "Olá").await;
    assert_eq!(message.state(), MessageState::Waiting);
    let mut seen = world.message(&message.name).await;
    assert_eq!(seen.waiting.take().unwrap().reason, "NODE_OFFLINE");
    assert_eq!(seen, message);
}

#[tokio::test]
async fn a_bad_message_is_refused_with_every_field() {
    let world = World::with_bots(&["a"]).await;
    let status = refused(world.send(v1::Message::default()).await, Code::InvalidArgument, "INVALID_MESSAGE");
    assert_eq!(fields(&status), ["message.bot", "message.content", "message.recipient"]);
    let status = refused(world.send(text("a", "r", "")).await, Code::InvalidArgument, "INVALID_MESSAGE");
    assert_eq!(fields(&status), ["message.content.text.body"]);
    let long = text("a", "r", &"x".repeat(4_097));
    refused(world.send(long).await, Code::InvalidArgument, "INVALID_MESSAGE");
    let early = prost_types::Timestamp { seconds: 1_600_000_000, nanos: 0 };
    let status = refused(
        world.send(v1::Message { not_before: Some(early), ..text("a", "r", "x") }).await,
        Code::InvalidArgument,
        "INVALID_MESSAGE",
    );
    assert_eq!(fields(&status), ["message.not_before"]);
    refused(world.send(text("b", "r", "x")).await, Code::NotFound, "BOT_UNKNOWN");
    let nothing = v1::SendMessageRequest { message: None };
    let status = refused(world.messages().send_message(nothing).await, Code::InvalidArgument, "INVALID_MESSAGE");
    assert_eq!(fields(&status), ["message"]);
}

#[tokio::test]
async fn the_recipient_must_be_an_address_of_the_bots_network() {
    let world = World::start().await;
    let mut request = fleet(&["a"]);
    request.gateways[0].kind = v1::GatewayKind::Evolution.into();
    world.fleet().apply_fleet(request).await.unwrap();
    let status = refused(world.send(text("a", "ana", "x")).await, Code::InvalidArgument, "INVALID_MESSAGE");
    assert_eq!(fields(&status), ["message.recipient"]);
    assert!(!status.message().contains("ana"), "addresses stay out of errors");
    let message = world.send(text("a", "+55 (11) 90000-0001", "x")).await.unwrap();
    assert_eq!(message.recipient, "+5511900000001");
}

#[tokio::test]
async fn the_same_key_returns_the_first_answer() {
    let world = World::with_bots(&["a"]).await;
    let keyed = |body: &str| v1::Message { idempotency_key: "order-1".into(), ..text("a", "r", body) };
    let first = world.send(keyed("x")).await.unwrap();
    let request = v1::SendMessageRequest { message: Some(keyed("x")) };
    let again = world.messages().send_message(request).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(again.message.unwrap().name, first.name);
    let status = refused(world.send(keyed("y")).await, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert!(status.message().contains(&first.name));

    let answers = world.send_frames(vec![vec![keyed("x"), keyed("y")]]).await.unwrap();
    assert!(answers[0].results[0].replayed);
    assert_eq!(name(&answers[0].results[0]), first.name);
    assert_eq!(refusal(&answers[0].results[1]).reason, "IDEMPOTENCY_KEY_REUSED");
}

/// Some seconds less than what `not_before` may lie in the past.
const ALMOST_TOO_LATE: i64 = 297;

#[tokio::test]
async fn a_repeat_is_answered_whatever_the_clock_says() {
    let world = World::with_bots(&["a"]).await;
    let not_before = prost_types::Timestamp { seconds: Timestamp::now().as_second() - ALMOST_TOO_LATE, nanos: 0 };
    let at = |body: &str| v1::Message { not_before: Some(not_before), ..text("a", "r", body) };
    let keyed = |body: &str| v1::Message { idempotency_key: "order-1".into(), ..at(body) };
    let first = world.send(keyed("x")).await.unwrap();
    until(async || world.send(at("x")).await.err()).await;

    let request = v1::SendMessageRequest { message: Some(keyed("x")) };
    let again = world.messages().send_message(request).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(again.message.unwrap().name, first.name);
    refused(world.send(keyed("y")).await, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let other_key = v1::Message { idempotency_key: "order-2".into(), ..at("x") };
    let frame = vec![text("a", "r", "z"), keyed("x"), other_key, keyed("y")];
    let answers = world.send_frames(vec![frame]).await.unwrap();
    let results = &answers[0].results;
    assert_eq!((name(&results[1]), results[1].replayed), (first.name.as_str(), true));
    assert_eq!(refusal(&results[2]).reason, "INVALID_MESSAGE");
    assert_eq!(refusal(&results[3]).reason, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn a_repeat_is_answered_when_what_it_refers_to_is_gone() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let received = inbound(&world, &mut agent, "IN1").await;
    let reply =
        |key: &str| v1::Message { reply_to: received.clone(), idempotency_key: key.to_owned(), ..text("a", "r", "y") };
    let first = world.send(reply("k")).await.unwrap();
    let policy = RetentionPolicy { inbound: Duration::ZERO, ..RetentionPolicy::default() };
    until(async || (world.store.retention_run(&policy, 10).await.unwrap() > 0).then_some(())).await;
    refused(world.send(reply("l")).await, Code::FailedPrecondition, "TARGET_UNKNOWN");
    assert_eq!(world.send(reply("k")).await.unwrap().name, first.name);
}

#[tokio::test]
async fn a_refused_message_does_not_stop_the_others() {
    let world = World::with_bots(&["a"]).await;
    let row = vec![text("a", "r", "1"), text("a", "r", ""), text("b", "r", "x"), text("a", "r", "2")];
    let answers = world.send_frames(vec![row]).await.unwrap();
    let results = &answers[0].results;
    assert_eq!(results.len(), 4);
    assert!(name(&results[0]) < name(&results[3]));
    let bad = refusal(&results[1]);
    assert_eq!((bad.reason.as_str(), bad.code), ("INVALID_MESSAGE", Code::InvalidArgument as i32));
    assert_eq!(bad.field_violations[0].field, "content.text.body");
    assert_eq!(refusal(&results[2]).reason, "BOT_UNKNOWN");
}

#[tokio::test]
async fn frames_are_answered_and_accepted_in_their_order() {
    let world = World::with_bots(&["a"]).await;
    let frame = |i: usize| (0..50).map(|j| text("a", "r", &format!("{i}-{j}"))).collect::<Vec<_>>();
    let answers = world.send_frames((0..40).map(frame).collect()).await.unwrap();
    let names: Vec<_> = answers.iter().flat_map(|answer| answer.results.iter().map(name)).collect();
    assert_eq!(names.len(), 2_000);
    assert!(names.is_sorted());
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 2_000);
    let last = world.message(names[1_999]).await;
    let Some(Kind::Text(body)) = last.content.unwrap().kind else { panic!("no text") };
    assert_eq!(body.body, "39-49");
}

#[tokio::test]
async fn a_frame_has_a_limit_and_what_came_before_it_stands() {
    let world = World::with_bots(&["a"]).await;
    let many: Vec<_> = (0..1_001).map(|_| text("a", "r", "x")).collect();
    let (frames, receiver) = tokio::sync::mpsc::channel(4);
    frames.send(v1::SendMessagesRequest { messages: vec![text("a", "r", "x")] }).await.unwrap();
    frames.send(v1::SendMessagesRequest { messages: many }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = world.messages().send_messages(stream).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    world.message(name(&first.results[0])).await;
    let status = refused(answers.message().await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["messages"]);
    refused(world.send_frames(vec![vec![]]).await, Code::InvalidArgument, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_and_the_server_goes_on() {
    let world = World::with_bots(&["a"]).await;
    let large: Vec<_> = (0..1_000).map(|_| text("a", "r", &"x".repeat(5_000))).collect();
    refused(world.send_frames(vec![large]).await, Code::InvalidArgument, "REQUEST_TOO_LARGE");
    world.send_text("a", "r", "x").await;
}

#[tokio::test]
async fn media_must_be_there_and_reach_the_agent() {
    let world = World::with_bots(&["a"]).await;
    let image = |name: &str| {
        let source = Some(v1::media::Source::Media(name.to_owned()));
        let media = Some(v1::Media { mime_type: "image/png".into(), source });
        with_content(Kind::Image(Image { media, caption: String::new() }))
    };
    let unknown = format!("media/{}", "0".repeat(64));
    refused(world.send(image(&unknown)).await, Code::FailedPrecondition, "MEDIA_UNKNOWN");
    let bytes = Bytes::from(vec![7; 700_000]);
    let parts: Vec<_> = bytes.chunks(300_000).map(Bytes::copy_from_slice).collect();
    let upload = tokio_stream::iter(parts.into_iter().map(|data| v1::UploadMediaRequest { data }));
    let uploaded = world.media().upload_media(upload).await.unwrap().into_inner();
    assert_eq!(uploaded.size_bytes, 700_000);
    world.send(image(&uploaded.name)).await.unwrap();

    let digest = muster_domain::content::MediaDigest::of(&bytes).0.to_vec();
    let mut agent = AgentServiceClient::new(world.channel.clone());
    let request = agent_wire::FetchMediaRequest { digest };
    let mut stream = agent.fetch_media(request).await.unwrap().into_inner();
    let mut fetched = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        fetched.extend_from_slice(&chunk.data);
    }
    assert_eq!(fetched, bytes);
    let gone = agent_wire::FetchMediaRequest { digest: vec![0; 32] };
    refused(agent.fetch_media(gone).await, Code::NotFound, "MEDIA_GONE");
    let short = agent_wire::FetchMediaRequest { digest: vec![0; 31] };
    refused(agent.fetch_media(short).await, Code::InvalidArgument, "INVALID_REQUEST");
}

#[tokio::test]
async fn uploads_have_limits() {
    let world = World::start().await;
    let upload = async |parts: Vec<usize>| {
        let frames = parts.into_iter().map(|size| v1::UploadMediaRequest { data: Bytes::from(vec![1; size]) });
        world.media().upload_media(tokio_stream::iter(frames)).await
    };
    for parts in [vec![], vec![0], vec![1024 * 1024 + 1], vec![1024 * 1024; 17]] {
        let status = refused(upload(parts).await, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(fields(&status), ["data"]);
    }
    assert_eq!(upload(vec![1024 * 1024; 16]).await.unwrap().into_inner().size_bytes, 16 * 1024 * 1024);
}

/// A message that somebody wrote to bot `a`, by its name.
async fn inbound(world: &World, agent: &mut Agent, network_id: &str) -> String {
    let content = agent_wire::Content {
        kind: Some(agent_wire::content::Kind::Text(agent_wire::content::Text { body: "hi".into() })),
    };
    let report = agent_wire::InboundReport {
        bot: "a".into(),
        network_id: network_id.into(),
        sender: "r".into(),
        content: Some(content),
        ..Default::default()
    };
    agent.report(vec![agent_wire::report::Body::Inbound(report)]).await;
    let list = world.inbound().list_inbound_messages(v1::ListInboundMessagesRequest::default()).await.unwrap();
    list.into_inner().inbound_messages.remove(0).name
}

#[tokio::test]
async fn replies_and_reactions_name_what_the_network_knows() {
    let world = World::with_bots(&["a", "b"]).await;
    let mut agent = world.agent(&["a", "b"]).await;
    let received = inbound(&world, &mut agent, "IN1").await;

    let message = world.send_text("a", "r", "x").await;
    refused(world.send(reaction(&message.name)).await, Code::FailedPrecondition, "TARGET_NOT_SENT");
    let attempt = agent.attempts(1).await.remove(0);
    agent.report(vec![sent(&attempt, "OUT1")]).await;
    world.send(reaction(&message.name)).await.unwrap();
    world.send(reaction(&received)).await.unwrap();
    let courtesy = Some(v1::Courtesy { mark_read: true, typing: None });
    let reply = v1::Message { reply_to: received.clone(), courtesy, ..text("a", "r", "y") };
    let answer = world.send(reply.clone()).await.unwrap();
    assert_eq!(answer.reply_to, received);
    assert_eq!(world.message(&answer.name).await.reply_to, received);
    let list = world.messages().list_messages(v1::ListMessagesRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.messages[0].reply_to, received);
    let trace = v1::TraceMessageRequest { name: answer.name };
    let trace = world.messages().trace_message(trace).await.unwrap().into_inner();
    assert_eq!(trace.message.unwrap().reply_to, received);
    let attempts = agent.attempts(3).await;
    let target = |attempt: &agent_wire::Attempt| match attempt.content.clone().unwrap().kind.unwrap() {
        agent_wire::content::Kind::Reaction(reaction) => (reaction.network_id, reaction.from_bot),
        other => panic!("no reaction: {other:?}"),
    };
    assert_eq!(target(&attempts[0]), ("OUT1".into(), true));
    assert_eq!(target(&attempts[1]), ("IN1".into(), false));
    assert_eq!((attempts[2].reply_to.as_str(), attempts[2].mark_read), ("IN1", true));

    // Another bot's messages are none of its business.
    let foreign = v1::Message { bot: "bots/b".into(), ..reply };
    refused(world.send(foreign).await, Code::FailedPrecondition, "TARGET_UNKNOWN");
    let foreign = v1::Message { bot: "bots/b".into(), ..reaction(&message.name) };
    refused(world.send(foreign).await, Code::FailedPrecondition, "TARGET_UNKNOWN");
    let bad = v1::Message { courtesy, ..text("a", "r", "y") };
    let status = refused(world.send(bad).await, Code::InvalidArgument, "INVALID_MESSAGE");
    assert_eq!(fields(&status), ["message.courtesy"]);
}

#[tokio::test]
async fn an_inbound_message_is_marked_as_read_by_the_agent() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let name = inbound(&world, &mut agent, "IN1").await;
    let mut client = world.inbound();
    let request = v1::MarkInboundMessageReadRequest { name };
    let call = tokio::spawn(async move { client.mark_inbound_message_read(request).await });
    let command = agent.command().await;
    let Some(agent_wire::command::Body::MarkRead(mark)) = command.body else { panic!("no MarkRead") };
    assert_eq!((mark.chat.as_str(), mark.network_id.as_str()), ("r", "IN1"));
    let done = agent_wire::CommandUpdate { command_id: command.command_id, r#final: true, ..Default::default() };
    agent.send(agent_wire::agent_frame::Body::CommandUpdate(done)).await;
    call.await.unwrap().unwrap();
    let unknown = v1::MarkInboundMessageReadRequest { name: "inboundMessages/0000000000002".into() };
    refused(world.inbound().mark_inbound_message_read(unknown).await, Code::NotFound, "INBOUND_MESSAGE_UNKNOWN");
}

#[tokio::test]
async fn a_list_is_read_page_by_page_without_content() {
    let world = World::with_bots(&["a", "b"]).await;
    let mut sent = Vec::new();
    for i in 0..7 {
        sent.push(world.send_text(if i == 3 { "b" } else { "a" }, &format!("r{i}"), "x").await.name);
    }
    let filter = Some(v1::MessageFilter { bot: "bots/a".into(), ..Default::default() });
    let mut request = v1::ListMessagesRequest { page_size: 4, filter, ..Default::default() };
    let first = world.messages().list_messages(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.messages.len(), 4);
    assert!(first.messages.iter().all(|message| message.content.is_none()));
    request.page_token = first.next_page_token;
    let second = world.messages().list_messages(request.clone()).await.unwrap().into_inner();
    assert_eq!(second.next_page_token, "");
    let names: Vec<_> = first.messages.iter().chain(&second.messages).map(|message| message.name.clone()).collect();
    let expected: Vec<_> = (0..7).rev().filter(|i| *i != 3).map(|i| sent[i].clone()).collect();
    assert_eq!(names, expected);

    request.filter = None;
    let status = refused(world.messages().list_messages(request).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["page_token"]);
    let list = async |filter: v1::MessageFilter| {
        let request = v1::ListMessagesRequest { filter: Some(filter), ..Default::default() };
        world.messages().list_messages(request).await.map(|answer| answer.into_inner().messages.len())
    };
    assert_eq!(list(v1::MessageFilter { recipient: "r5".into(), ..Default::default() }).await.unwrap(), 1);
    let states = vec![MessageState::Sent.into()];
    assert_eq!(list(v1::MessageFilter { states, ..Default::default() }).await.unwrap(), 0);
    let bad = v1::MessageFilter { bot: "B".into(), states: vec![77], ..Default::default() };
    let status = refused(list(bad).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["filter.bot", "filter.states"]);
    let unknown = v1::MessageFilter { bot: "c".into(), ..Default::default() };
    refused(list(unknown).await, Code::NotFound, "BOT_UNKNOWN");
}

#[tokio::test]
async fn a_waiting_message_is_taken_back_once() {
    let world = World::with_bots(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let cancel = || v1::CancelMessageRequest { name: message.name.clone() };
    let answer = world.messages().cancel_message(cancel()).await.unwrap().into_inner().message.unwrap();
    assert_eq!(answer.state(), MessageState::Cancelled);
    refused(world.messages().cancel_message(cancel()).await, Code::FailedPrecondition, "MESSAGE_FINAL");
    let unknown = v1::CancelMessageRequest { name: "messages/0000000000002".into() };
    refused(world.messages().cancel_message(unknown).await, Code::NotFound, "MESSAGE_UNKNOWN");
    let nonsense = v1::CancelMessageRequest { name: "messages/x".into() };
    let status = refused(world.messages().cancel_message(nonsense).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["name"]);
}

#[tokio::test]
async fn an_uncertain_message_is_resolved_and_the_trace_tells_it() {
    let world = World::with_bots(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let resolve = |name: &str, resolution: v1::Resolution| v1::ResolveMessageRequest {
        name: name.to_owned(),
        r#as: resolution.into(),
        reason: "seen in the chat".into(),
    };
    let waiting = world.messages().resolve_message(resolve(&message.name, v1::Resolution::Drop)).await;
    let status = refused(waiting, Code::FailedPrecondition, "MESSAGE_NOT_UNCERTAIN");
    assert!(status.message().contains("WAITING"), "{}", status.message());
    let mut agent = Agent::open(&world).await;
    agent.report_connected(&["a"]).await;
    let first = agent.attempts(1).await.remove(0);
    assert_eq!(first.resend_after, 0);
    let failure = agent_wire::Failure {
        reason: agent_wire::FailureReason::OutcomeUnknown.into(),
        detail: "no answer".into(),
        retry_after_ms: 0,
        scope: 0,
    };
    let unknown = agent_wire::OutcomeReport {
        attempt: first.r#ref,
        outcome: agent_wire::Outcome::Uncertain.into(),
        failure: Some(failure),
        ..Default::default()
    };
    agent.report(vec![agent_wire::report::Body::Outcome(unknown)]).await;
    let answer = world.messages().resolve_message(resolve(&message.name, v1::Resolution::Resend)).await.unwrap();
    assert_eq!(answer.into_inner().message.unwrap().name, message.name);
    let second = agent.attempts(1).await.remove(0);
    assert_eq!((second.r#ref.unwrap().attempt_no, second.resend_after), (2, 1));
    let trace = v1::TraceMessageRequest { name: message.name.clone() };
    let trace = world.messages().trace_message(trace).await.unwrap().into_inner();
    assert_eq!(trace.resolutions.len(), 1);
    assert_eq!(trace.resolutions[0].resolution(), v1::Resolution::Resend);
    assert_eq!(trace.resolutions[0].reason, "seen in the chat");
    let nonsense = v1::ResolveMessageRequest { name: "x".into(), r#as: 9, reason: "\n".into() };
    let status = refused(world.messages().resolve_message(nonsense).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["name", "as", "reason"]);
    let unknown = resolve("messages/0000000000002", v1::Resolution::Sent);
    refused(world.messages().resolve_message(unknown).await, Code::NotFound, "MESSAGE_UNKNOWN");
}

#[tokio::test]
async fn each_wait_is_explained() {
    let world = World::with_bots(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let reason = async || world.message(&message.name).await.waiting.unwrap();
    let offline = reason().await;
    assert_eq!(offline.reason, "NODE_OFFLINE");
    assert!(offline.explanation.contains("nodes/n"), "{}", offline.explanation);
    let mut agent = Agent::open_with(&world, agent_wire::Hello { credit: None, ..crate::agent::hello() }).await;
    let unlinked = reason().await;
    assert_eq!(unlinked.reason, "BOT_NOT_CONNECTED");
    assert!(unlinked.explanation.contains("UNLINKED"), "{}", unlinked.explanation);
    agent.report_connected(&["a"]).await;
    assert_eq!(reason().await.reason, "QUEUED");
    let behind = world.send_text("a", "r", "y").await;
    let waiting = world.message(&behind.name).await.waiting.unwrap();
    assert!(waiting.explanation.contains("One message"), "{}", waiting.explanation);
}

#[tokio::test]
async fn a_retired_bot_takes_no_messages_and_what_waits_fails() {
    let world = World::with_bots(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let retire = v1::RetireBotRequest { name: "a".into(), ..Default::default() };
    world.bots().retire_bot(retire.clone()).await.unwrap();
    world.bots().retire_bot(retire).await.unwrap();
    assert_eq!(world.message(&message.name).await.state(), MessageState::Failed);
    refused(world.send(text("a", "r", "x")).await, Code::FailedPrecondition, "BOT_RETIRED");
    let hold = v1::HoldBotRequest { name: "a".into(), reason: "x".into(), ..Default::default() };
    refused(world.bots().hold_bot(hold).await, Code::FailedPrecondition, "BOT_RETIRED");
    let counts = world.messages().count_messages(v1::CountMessagesRequest::default()).await.unwrap().into_inner();
    assert_eq!(counts.counts, [v1::StateCount { state: MessageState::Failed.into(), count: 1 }]);
}
