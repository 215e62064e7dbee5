//! The whole agent against a server that the test drives by hand, and a gateway that does what the message says.

mod drain;
mod echoes;
mod full_disk;
mod gateway;
mod hung_gateway;
mod model;
mod order;
mod restart;
mod server;
mod session;
mod supervision;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::gateway::GatewayKind;
use muster_domain::{GatewayId, NodeId};
use muster_gateway::GatewaySettings;
use muster_proto::agent_v1 as wire;
use tokio_util::sync::CancellationToken;

use self::gateway::Scripted;
use self::server::{Conversation, HandDriven};
use crate::agent::Surroundings;
use crate::config::Config;
use crate::error::AgentError;
use crate::machine::Machine;

/// How long a test waits for something that has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that has to come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Polls until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn config(server: &HandDriven, journal: &Path) -> Config {
    let gateways: BTreeMap<_, _> = [(GatewayId::new("g").unwrap(), GatewaySettings::default())].into();
    Config {
        webhook_listen: "127.0.0.1:0".parse().unwrap(),
        gateways,
        journal_free_bytes_min: 0,
        drain_deadline: Duration::from_secs(5),
        ..Config::new(NodeId::new("n").unwrap(), server.url(), journal.to_owned())
    }
}

/// An agent under test, in a runtime of its own, so that it can be killed.
struct Agent {
    gateway: Arc<Scripted>,
    shutdown: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
    task: tokio::task::JoinHandle<Result<(), AgentError>>,
}

impl Agent {
    fn start(config: Config) -> Agent {
        Self::start_on(Machine::system(), config)
    }

    fn start_on(machine: Machine, config: Config) -> Agent {
        let gateway = Arc::new(Scripted::default());
        let shutdown = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let opened = Arc::clone(&gateway);
        let open = Box::new(move |_: GatewayKind, _: GatewaySettings| {
            Ok(Arc::clone(&opened) as Arc<dyn muster_gateway::Gateway>)
        });
        let surroundings = Surroundings { machine, open, ..Surroundings::default() };
        let token = shutdown.clone();
        let task = runtime.spawn(async move { crate::agent::start_in(config, surroundings).await?.run(token).await });
        Agent { gateway, shutdown, runtime: Some(runtime), task }
    }

    /// Ends it without giving it a chance to do anything.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Waits for it to end by itself.
    async fn ended(mut self) -> Result<(), AgentError> {
        let result = soon("the agent's end", &mut self.task).await.unwrap();
        self.kill();
        result
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server, an agent, and their first session with the bots `a` and `b` declared.
struct Bench {
    server: HandDriven,
    dir: tempfile::TempDir,
    agent: Agent,
}

impl Bench {
    async fn new() -> (Bench, Conversation) {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> (Bench, Conversation) {
        Self::on(Machine::system(), change).await
    }

    async fn on(machine: Machine, change: impl FnOnce(&mut Config)) -> (Bench, Conversation) {
        let mut server = HandDriven::start().await;
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&server, dir.path());
        change(&mut config);
        let agent = Agent::start_on(machine, config);
        let mut session = server.session().await;
        session.hello().await;
        session.welcome(0).await;
        session.declare(1).await;
        (Bench { server, dir, agent }, session)
    }

    /// Kills the agent and starts it again on the same journal.
    async fn restart(&mut self) {
        let config = config(&self.server, self.dir.path());
        self.agent.kill();
        let dir = self.dir.path().to_owned();
        until("the lock of the killed agent", move || {
            let lock = std::fs::File::open(dir.join("lock")).unwrap();
            lock.try_lock().is_ok()
        })
        .await;
        self.agent = Agent::start(config);
    }
}

/// An attempt of bot `bot` whose text says what the gateway does with it.
fn attempt(message_id: u64, bot: &str, text: &str) -> wire::Attempt {
    wire::Attempt {
        r#ref: Some(wire::AttemptRef { message_id, attempt_no: 1 }),
        bot: bot.to_owned(),
        recipient: "+5511900000001".to_owned(),
        content: Some(wire::Content {
            kind: Some(wire::content::Kind::Text(wire::content::Text { body: text.to_owned() })),
        }),
        chain: message_id,
        start_within_ms: 600_000,
        ..wire::Attempt::default()
    }
}

fn outcome(report: &wire::Report) -> (u64, wire::Outcome) {
    match &report.body {
        Some(wire::report::Body::Outcome(outcome)) => (outcome.attempt.unwrap().message_id, outcome.outcome()),
        other => panic!("no outcome: {other:?}"),
    }
}
