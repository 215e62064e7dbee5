//! Clients that open a stream and do not read it: they wait for themselves, and nobody waits for them.

use std::time::Duration;

use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::{self, SendMessagesRequest, WatchMessagesRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::world::{LIMIT, World, text};

/// Messages in a frame.
const FRAME: usize = 100;

/// Frames that are more than the windows and buffers of a connection take, in either direction.
const FRAMES_MAX: usize = 4_000;

/// Bytes of answers that a client takes without reading them: the least that HTTP/2 begins with.
const WINDOW: u32 = 65_535;

/// A frame that is not taken for so long waits for its sender to read.
const STALLED: Duration = Duration::from_secs(2);

fn frame() -> SendMessagesRequest {
    SendMessagesRequest { messages: vec![text("a", "r", "hello"); FRAME] }
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
    while let Ok(sent) = tokio::time::timeout(STALLED, frames.send(frame())).await {
        sent.unwrap();
        taken += 1;
        assert!(taken < FRAMES_MAX, "the server goes on although nobody reads its answers");
    }

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
    let mut answer =
        async || tokio::time::timeout(LIMIT, answers.message()).await.expect("it goes on where it stopped");
    while let Some(answer) = answer().await.unwrap() {
        assert_eq!(answer.results.len(), FRAME);
        answered += 1;
    }
    assert_eq!(answered, taken, "every frame is answered");
}
