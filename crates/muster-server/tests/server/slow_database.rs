//! A database that stands still: its writes wait, and nothing else does.

use std::sync::{Arc, Condvar, Mutex};

use muster_domain::Timestamp;
use muster_domain::limits::REPORTS_UNACKNOWLEDGED_MAX;
use muster_proto::v1;
use muster_server::Config;
use muster_store::Clock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::agent::connected;
use crate::stalled::{FRAME, fill};
use crate::world::{LIMIT, World, refused, text, until};

/// The thread of the store that writes. It reads the clock whenever a transaction begins, and there it is kept.
const WRITER: &str = "store-writer";

/// Keeps the writer of a database from going on.
#[derive(Clone, Default)]
struct Brake(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    holds: bool,
    /// A transaction waits.
    is_felt: bool,
}

impl Brake {
    /// A clock at which the writer stands still while the brake holds.
    fn clock(&self) -> Clock {
        let brake = self.clone();
        Clock::new(move || {
            if std::thread::current().name() == Some(WRITER) {
                brake.stand_still();
            }
            Timestamp::now()
        })
    }

    fn stand_still(&self) {
        let (state, released) = &*self.0;
        let mut state = state.lock().unwrap();
        state.is_felt |= state.holds;
        drop(released.wait_while(state, |state| state.holds).unwrap());
    }

    fn hold(&self) {
        self.0.0.lock().unwrap().holds = true;
    }

    fn is_felt(&self) -> bool {
        self.0.0.lock().unwrap().is_felt
    }

    fn release(&self) {
        self.0.0.lock().unwrap().holds = false;
        self.0.1.notify_all();
    }
}

/// The store waits for its writer when it is dropped.
impl Drop for Brake {
    fn drop(&mut self) {
        self.release();
    }
}

async fn world(config: Config) -> (Brake, World) {
    let brake = Brake::default();
    let world = World::start_by(config, brake.clock()).await;
    world.declare(&["a"]).await;
    (brake, world)
}

/// Sends a message by a task of its own.
fn send(world: &World, recipient: &str) -> tokio::task::JoinHandle<Result<v1::Message, tonic::Status>> {
    let (mut messages, message) = (world.messages(), text("a", recipient, "x"));
    tokio::spawn(async move {
        let request = v1::SendMessageRequest { message: Some(message) };
        Ok(messages.send_message(request).await?.into_inner().message.unwrap())
    })
}

#[tokio::test]
async fn sessions_and_reads_live_on_and_nothing_is_lost() {
    let (brake, world) = world(Config::default()).await;
    let mut agent = world.agent(&["a"]).await;
    let before = world.send_text("a", "r", "x").await;
    agent.attempts(1).await;
    let committed = agent.heartbeat().await.report_committed;
    brake.hold();
    let sends: Vec<_> = (0..20).map(|i| send(&world, &format!("r{i}"))).collect();
    until(async || brake.is_felt().then_some(())).await;

    // As many reports as an agent sends without an answer. The first one is with the store, the others wait behind it.
    agent.report_only(vec![connected("a")]).await;
    agent.report_only(vec![connected("a"); REPORTS_UNACKNOWLEDGED_MAX as usize - 1]).await;
    for _ in 0..3 {
        assert_eq!(agent.heartbeat().await.report_committed, committed, "what is not durable is not acknowledged");
    }
    assert_eq!(world.message(&before.name).await.name, before.name);
    assert!(world.node().await.online);
    assert!(sends.iter().all(|send| !send.is_finished()), "nothing is acknowledged that is not durable");

    brake.release();
    for send in sends {
        tokio::time::timeout(LIMIT, send).await.unwrap().unwrap().unwrap();
    }
    let all = committed + REPORTS_UNACKNOWLEDGED_MAX;
    assert_eq!(agent.heartbeat_until_committed(all).await, all);
    world.stop().await;
}

#[tokio::test]
async fn producers_wait_in_front_of_it_and_beyond_a_number_are_told_so() {
    let (brake, world) = world(Config { calls_max: 8, ..Config::default() }).await;
    let channel = world.endpoint().connect().await.unwrap();
    let (frames, receiver) = mpsc::channel(1);
    let mut stream = v1::message_service_client::MessageServiceClient::new(channel);
    let mut answers = stream.send_messages(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    brake.hold();
    // The server takes some frames, and then none: what waits for the database is bounded.
    let mut taken = 0;
    fill(&frames, &mut taken).await;
    until(async || brake.is_felt().then_some(())).await;
    let mut sends = Vec::new();
    let status = until(async || {
        sends.push(send(&world, "r"));
        let waiting = sends.extract_if(.., |send| send.is_finished()).next()?;
        Some(waiting.await.unwrap())
    })
    .await;
    refused(status, Code::ResourceExhausted, "OVERLOADED");

    brake.release();
    drop(frames);
    let mut answered = 0;
    let mut next = async || tokio::time::timeout(LIMIT, answers.message()).await.expect("it goes on");
    while let Some(answer) = next().await.unwrap() {
        assert_eq!(answer.results.len(), FRAME);
        answered += 1;
    }
    assert_eq!(answered, taken, "every frame is answered");
    let mut accepted = 0;
    for send in sends {
        match tokio::time::timeout(LIMIT, send).await.unwrap().unwrap() {
            Ok(_) => accepted += 1,
            Err(status) => drop(refused(Err::<(), _>(status), Code::ResourceExhausted, "OVERLOADED")),
        }
    }
    assert_eq!(accepted, 8, "every call that was taken is answered");
}
