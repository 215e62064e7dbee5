//! Streams that go on where they broke.

use std::collections::HashMap;

use muster_proto::agent_v1::{self as agent_wire};
use muster_proto::v1::{self, MessageState};
use tonic::Code;

use crate::agent::sent;
use crate::world::{LIMIT, World, fields, refused, text, until};

async fn watch(world: &World, cursor: &str, bot: &str) -> tonic::Streaming<v1::WatchMessagesResponse> {
    let request = v1::WatchMessagesRequest { cursor: cursor.to_owned(), bot: bot.to_owned() };
    world.messages().watch_messages(request).await.unwrap().into_inner()
}

async fn answer<T>(stream: &mut tonic::Streaming<T>) -> T {
    tokio::time::timeout(LIMIT, stream.message()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn nothing_is_skipped_and_nothing_is_repeated_over_breaks() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    // The first answer tells where the stream begins.
    let mut cursor = answer(&mut watch(&world, "", "").await).await.cursor;
    let mut client = world.messages();
    let sending = tokio::spawn(async move {
        for frame in 0..20 {
            let messages = (0..50).map(|i| text("a", &format!("r{frame}-{i}"), "x")).collect();
            let frame = tokio_stream::iter([v1::SendMessagesRequest { messages }]);
            client.send_messages(frame).await.unwrap().into_inner().message().await.unwrap().unwrap();
        }
    });
    let working = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 1_000 {
            let attempts = agent.dispatch().await.attempts;
            seen += attempts.len();
            agent.acknowledge().await;
            let outcomes =
                attempts.iter().map(|attempt| sent(attempt, &format!("N{}", attempt.r#ref.unwrap().message_id)));
            agent.report_only(outcomes.collect()).await;
        }
        agent
    });
    let mut seen: HashMap<String, Vec<MessageState>> = HashMap::new();
    let mut breaks = 0;
    while seen.values().filter(|states| states.last() == Some(&MessageState::Sent)).count() < 1_000 {
        let mut stream = watch(&world, &cursor, "").await;
        // Each stream breaks after a few answers, whatever it has in flight.
        for _ in 0..3 {
            let page = answer(&mut stream).await;
            for change in &page.changes {
                seen.entry(change.message.clone()).or_default().push(change.state());
            }
            cursor = page.cursor;
        }
        breaks += 1;
    }
    sending.await.unwrap();
    working.await.unwrap();
    assert!(breaks > 1);
    let life = [MessageState::Waiting, MessageState::Dispatched, MessageState::Sent];
    assert_eq!(seen.len(), 1_000);
    assert!(seen.values().all(|states| states == &life));
}

#[tokio::test]
async fn a_watch_of_one_bot_shows_only_that_bot() {
    let world = World::with_bots(&["a", "b"]).await;
    let mut stream = watch(&world, "", "bots/a").await;
    assert_eq!(answer(&mut stream).await.changes, []);
    world.send_text("b", "r", "x").await;
    let message = world.send_text("a", "r", "x").await;
    let page = answer(&mut stream).await;
    assert_eq!(page.changes.len(), 1);
    assert_eq!(page.changes[0].message, message.name);
    let oldest = watch(&world, "0", "").await;
    let mut oldest = oldest;
    answer(&mut oldest).await;
    assert_eq!(answer(&mut oldest).await.changes.len(), 2);
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused() {
    let world = World::with_bots(&["a"]).await;
    let refuse = async |cursor: &str, bot: &str| {
        let request = v1::WatchMessagesRequest { cursor: cursor.to_owned(), bot: bot.to_owned() };
        world.messages().watch_messages(request).await.map(|_| ())
    };
    let status = refused(refuse("x", "").await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["cursor"]);
    let status = refused(refuse("999999", "").await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["cursor"]);
    refused(refuse("", "c").await, Code::NotFound, "BOT_UNKNOWN");
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_out_of_range() {
    let config = muster_server::Config {
        retention: muster_store::RetentionPolicy { changes: std::time::Duration::ZERO, ..Default::default() },
        ..Default::default()
    };
    let world = World::start_with(config.clone()).await;
    world.declare(&["a"]).await;
    // The background task removes them in its own time; the test does not wait for it.
    until(async || {
        use muster_store::Store as _;
        world.store.retention_run(&config.retention, 1_000).await.unwrap();
        world.send_text("a", "r", "x").await;
        let request = v1::WatchMessagesRequest { cursor: "1".into(), ..Default::default() };
        world.messages().watch_messages(request).await.err().filter(|status| status.code() == Code::OutOfRange)
    })
    .await;
    let request = v1::WatchMessagesRequest { cursor: "1".into(), ..Default::default() };
    refused(world.messages().watch_messages(request).await.map(|_| ()), Code::OutOfRange, "CURSOR_TOO_OLD");
}

#[tokio::test]
async fn a_stopping_server_ends_the_stream_with_a_reason() {
    let world = World::with_bots(&["a"]).await;
    let mut stream = watch(&world, "", "").await;
    answer(&mut stream).await;
    world.shutdown.cancel();
    refused(stream.message().await, Code::Unavailable, "SERVER_STOPPING");
    drop(stream);
    world.stop().await;
}

#[tokio::test]
async fn inbound_messages_are_watched_alike() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let inbound = |i: usize| {
        let content = agent_wire::Content {
            kind: Some(agent_wire::content::Kind::Text(agent_wire::content::Text { body: format!("hi {i}") })),
        };
        agent_wire::report::Body::Inbound(agent_wire::InboundReport {
            bot: "a".into(),
            network_id: format!("IN{i}"),
            sender: "r".into(),
            content: Some(content),
            ..Default::default()
        })
    };
    agent.report(vec![inbound(0)]).await;
    let mut client = world.inbound();
    let request = |cursor: &str| v1::WatchInboundMessagesRequest { cursor: cursor.into(), ..Default::default() };
    let mut stream = client.watch_inbound_messages(request("")).await.unwrap().into_inner();
    assert_eq!(answer(&mut stream).await.inbound_messages, []);
    agent.report(vec![inbound(1), inbound(1), inbound(2)]).await;
    let page = answer(&mut stream).await;
    let ids: Vec<_> = page.inbound_messages.iter().map(|message| message.network_id.as_str()).collect();
    assert_eq!(ids, ["IN1", "IN2"]);
    drop(stream);
    agent.report(vec![inbound(3)]).await;
    let mut stream = client.watch_inbound_messages(request(&page.cursor)).await.unwrap().into_inner();
    answer(&mut stream).await;
    let page = answer(&mut stream).await;
    assert_eq!(page.inbound_messages[0].network_id, "IN3");
    let mut stream = client.watch_inbound_messages(request("0")).await.unwrap().into_inner();
    answer(&mut stream).await;
    assert_eq!(answer(&mut stream).await.inbound_messages.len(), 4);
}
