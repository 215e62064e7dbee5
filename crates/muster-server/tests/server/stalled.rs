//! Clients that open a stream and do not read it: they wait for themselves, and nobody waits for them.

use std::time::Duration;

use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::{self, SendMessagesRequest, WatchMessagesRequest};
use muster_server::Config;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::world::{LIMIT, World, refused, text, until};

/// Messages in a frame.
pub(crate) const FRAME: usize = 100;

/// Frames that are more than the windows and buffers of a connection take, in either direction.
const FRAMES_MAX: usize = 100;

/// Bytes of answers that a client takes without reading them: less than the answer to a frame.
const WINDOW: u32 = 1_024;

/// A frame that is not taken for so long waits for its sender to read.
const STALLED: Duration = Duration::from_secs(2);

/// A frame that fills windows quickly: few messages, which are long.
fn frame(number: usize) -> SendMessagesRequest {
    let message = |i| v1::Message { idempotency_key: format!("k{number}-{i}"), ..text("a", "r", &"x".repeat(4_000)) };
    SendMessagesRequest { messages: (0..FRAME).map(message).collect() }
}

/// Sends frame after frame, until the server takes no more.
pub(crate) async fn fill(frames: &mpsc::Sender<SendMessagesRequest>, taken: &mut usize) {
    while let Ok(sent) = tokio::time::timeout(STALLED, frames.send(frame(*taken))).await {
        sent.unwrap();
        *taken += 1;
        assert!(*taken < FRAMES_MAX, "the server goes on although nobody reads its answers");
    }
}

async fn watch(channel: Channel, cursor: &str) -> tonic::Streaming<v1::WatchMessagesResponse> {
    let request = WatchMessagesRequest { cursor: cursor.to_owned(), bot: String::new() };
    MessageServiceClient::new(channel).watch_messages(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_only_itself() {
    let world = World::with_bots(&["a", "b"]).await;
    let connect = async || world.endpoint().initial_stream_window_size(WINDOW).connect().await.unwrap();
    let _unread = watch(connect().await, "0").await;
    let (frames, receiver) = mpsc::channel(1);
    let mut sender = MessageServiceClient::new(connect().await);
    let mut answers = sender.send_messages(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    // The server takes no more than it can answer: what is not read is not kept for the client.
    let mut taken = 0;
    fill(&frames, &mut taken).await;

    let mut watched = watch(connect().await, "").await;
    let name = world.send_text("b", "r", "hello").await.name;
    let seen = async {
        loop {
            let answer = watched.message().await.unwrap().unwrap();
            if answer.changes.iter().any(|change| change.message == name) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, seen).await.expect("others see what happens");

    drop(frames);
    let mut answered = 0;
    let mut next = async || tokio::time::timeout(LIMIT, answers.message()).await.expect("it goes on where it stopped");
    while let Some(answer) = next().await.unwrap() {
        assert_eq!(answer.results.len(), FRAME);
        answered += 1;
    }
    assert_eq!(answered, taken, "every frame is answered");
}

/// Messages that are in the log of changes before a watch begins: three of its pages.
const CHANGES: usize = 3_000;

/// A server that ends calls quickly which nobody reads, with more changes than a connection takes unread.
async fn impatient() -> World {
    let world = World::start_with(Config { unread_timeout: Duration::from_millis(200), ..Config::default() }).await;
    world.declare(&["a"]).await;
    world.send_frames(vec![vec![text("a", "r", "hello"); 1_000]; CHANGES / 1_000]).await.unwrap();
    world
}

/// Reads what a call has to say: how many answers, and why it ended if it did.
async fn end_of<T>(stream: &mut Streaming<T>) -> (usize, Option<Status>) {
    let mut read = 0;
    loop {
        match tokio::time::timeout(STALLED, stream.message()).await {
            Ok(Ok(Some(_))) => read += 1,
            Ok(Err(status)) => return (read, Some(status)),
            Ok(Ok(None)) | Err(_) => return (read, None),
        }
    }
}

#[tokio::test]
async fn a_watch_that_nobody_reads_is_ended_and_goes_on_from_its_cursor() {
    let world = impatient().await;
    let connect = async || world.endpoint().initial_stream_window_size(WINDOW).connect().await.unwrap();
    let cursor = until(async || {
        let mut unread = watch(connect().await, "0").await;
        let cursor = unread.message().await.unwrap().unwrap().cursor;
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut pages = Vec::new();
        loop {
            match tokio::time::timeout(STALLED, unread.message()).await {
                Ok(Ok(Some(page))) => pages.push(page),
                Ok(ended) => {
                    let status = refused(ended, Code::Aborted, "ANSWERS_UNREAD");
                    assert!(status.message().contains("latest cursor"), "{}", status.message());
                    return Some(pages.last().map_or(cursor, |page| page.cursor.clone()));
                }
                // The machine was too busy to send what would have lain unread.
                Err(_) => return None,
            }
        }
    })
    .await;
    let mut rest = CHANGES - cursor.parse::<usize>().unwrap();
    assert!(rest > 0, "it was ended before its end");
    let mut watched = watch(connect().await, &cursor).await;
    while rest > 0 {
        let page = tokio::time::timeout(LIMIT, watched.message()).await.unwrap().unwrap().unwrap();
        rest -= page.changes.len();
    }
}

#[tokio::test]
async fn a_streamed_send_whose_answers_nobody_reads_is_ended_and_can_be_repeated() {
    let world = impatient().await;
    let channel = world.endpoint().initial_stream_window_size(WINDOW).connect().await.unwrap();
    let (frames, receiver) = mpsc::channel(1);
    let mut sender = MessageServiceClient::new(channel);
    let mut answers = sender.send_messages(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let (mut sent, mut answered) = (0, 0);
    let status = loop {
        fill(&frames, &mut sent).await;
        let (read, status) = end_of(&mut answers).await;
        answered += read;
        // A busy machine may have stopped for a while, and not because of the answers.
        if let Some(status) = status {
            break status;
        }
    };
    refused(Err::<(), _>(status), Code::Aborted, "ANSWERS_UNREAD");
    assert!(answered < sent, "not everything was answered");
    // What was accepted without an answer is found again by its keys.
    drop((frames, answers));
    let again = (0..sent).map(|number| frame(number).messages).collect();
    let results = world.send_frames(again).await.unwrap().into_iter().flat_map(|answer| answer.results);
    let replayed = results.filter(|result| result.replayed).count();
    assert!(replayed >= answered * FRAME, "{replayed} of {answered} answered frames were known");
    let counts = v1::CountMessagesRequest { bot: "bots/a".to_owned() };
    let counts = world.messages().count_messages(counts).await.unwrap().into_inner().counts;
    let accepted: u64 = counts.iter().map(|state| state.count).sum();
    assert_eq!(accepted, (CHANGES + sent * FRAME) as u64, "nothing was accepted twice");
}
