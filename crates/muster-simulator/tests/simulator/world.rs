//! A simulator of one gateway, a receiver of its webhooks, and the calls that tests make.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use muster_simulator::{
    Accepted, AdminClient, Behaviour, Config, Delay, Faults, GatewayConfig, LedgerEvent, Preprovisioned, Simulator,
    Status, WebhookPolicy, start,
};
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) const KEY: &str = "global-key";
pub(crate) const GATEWAY: &str = "evo-1";

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulator, and everything around it.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) admin: AdminClient,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) receiver: Receiver,
    config: Config,
    /// Held so that it outlives the simulator.
    pub(crate) dir: tempfile::TempDir,
}

/// What a gateway answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Quick timings: receipts within milliseconds, every message delivered and read.
pub(crate) fn quick() -> Behaviour {
    Behaviour {
        create_wait_ms: 5,
        connect_wait_ms: 5,
        link_bounce_ms: 5,
        reconnect_ms: 5,
        server_ack: Delay::FixedMs(1),
        delivery: Delay::FixedMs(1),
        read: Delay::FixedMs(1),
        read_share: 1.0,
        reply: Delay::FixedMs(1),
        webhook: WebhookPolicy { retry_scale: 0.001, ..WebhookPolicy::default() },
        ..Behaviour::default()
    }
}

/// A gateway with instance `bot-1`, linked and open.
pub(crate) fn linked(behaviour: Behaviour) -> GatewayConfig {
    let bot = Preprovisioned { name: "bot-1".into(), number: "5511900000001".into(), token: Some("bot-token".into()) };
    GatewayConfig { behaviour, seed: 7, instances: vec![bot], ..GatewayConfig::new(GATEWAY, KEY) }
}

impl World {
    /// Starts a simulator of one gateway.
    pub(crate) async fn start(gateway: GatewayConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("ledger.jsonl"), vec![gateway]);
        let receiver = Receiver::start().await;
        Self::run(config, receiver, dir).await
    }

    /// A world whose `bot-1` is linked, open, and tells the receiver everything.
    pub(crate) async fn with_bot(behaviour: Behaviour) -> Self {
        let world = Self::start(linked(behaviour)).await;
        world.until_open("bot-1").await;
        world.subscribe("bot-1", json!({})).await;
        world
    }

    async fn run(config: Config, receiver: Receiver, dir: tempfile::TempDir) -> Self {
        let simulator = start(config.clone()).await.unwrap();
        World {
            admin: simulator.admin().unwrap(),
            url: simulator.gateways()[0].url.as_str().trim_end_matches('/').to_owned(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            simulator,
            receiver,
            config,
            dir,
        }
    }

    /// Stops the simulator and starts it again on the same files.
    pub(crate) async fn restarted(self) -> Self {
        self.simulator.stop().await;
        Self::run(self.config, self.receiver, self.dir).await
    }

    /// Calls the gateway with a key.
    pub(crate) async fn call_as(&self, key: Option<&str>, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(key) = key {
            request = request.header("apikey", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Answer { status, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call_as(Some(KEY), Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call_as(Some(KEY), Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call_as(Some(KEY), Method::DELETE, path, None).await
    }

    /// Sends a text from `bot-1`.
    pub(crate) async fn send_text(&self, number: &str, text: &str) -> Answer {
        self.post("/message/sendText/bot-1", json!({"number": number, "text": text})).await
    }

    /// Sends a text from `bot-1` that must be accepted, and returns its network id.
    pub(crate) async fn sent(&self, number: &str, text: &str) -> String {
        let answer = self.send_text(number, text).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["key"]["id"].as_str().unwrap().to_owned()
    }

    /// Points the instance's webhook at the receiver, for all events.
    pub(crate) async fn subscribe(&self, instance: &str, headers: Value) {
        let webhook = json!({"enabled": true, "url": self.receiver.url, "headers": headers, "events": []});
        let answer = self.post(&format!("/webhook/set/{instance}"), json!({"webhook": webhook})).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }

    pub(crate) async fn state(&self, instance: &str) -> Value {
        self.get(&format!("/instance/connectionState/{instance}")).await.body["instance"]["state"].clone()
    }

    pub(crate) async fn until_open(&self, instance: &str) {
        until("the instance is open", async || (self.state(instance).await == "open").then_some(())).await;
    }

    pub(crate) async fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = Faults::default();
        change(&mut faults);
        self.admin.set_gateway_faults(GATEWAY, &faults).await.unwrap();
    }

    /// The messages that the network took, as the ledger has them.
    pub(crate) async fn accepted(&self) -> Vec<Accepted> {
        let lines = self.admin.ledger().await.unwrap().into_iter();
        lines
            .filter_map(|line| match line.entry.event {
                LedgerEvent::Accepted(accepted) => Some(*accepted),
                _ => None,
            })
            .collect()
    }

    /// The statuses that the ledger has for a message, in order.
    pub(crate) async fn statuses(&self, id: &str) -> Vec<Status> {
        let lines = self.admin.ledger().await.unwrap().into_iter();
        lines
            .filter_map(|line| match line.entry.event {
                LedgerEvent::Status { network_id, status } if network_id == id => Some(status),
                _ => None,
            })
            .collect()
    }
}

/// Polls until there is a result.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut poll: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(result) = poll().await {
            return result;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A webhook as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn event(&self) -> &str {
        self.body["event"].as_str().unwrap_or_default()
    }
}

/// An HTTP server that takes webhooks.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Received>>>,
    /// Answers to come, the next one last; 200 when there are none.
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Receiver { url, seen: Arc::default(), answers: Arc::default() };
        let router = axum::Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// The next webhooks are answered with these statuses.
    pub(crate) fn answer_next(&self, statuses: &[u16]) {
        let mut answers = self.answers.lock().unwrap();
        *answers = statuses.iter().rev().copied().collect();
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets what arrived.
    pub(crate) fn clear(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// What arrived for one event, in the order of arrival.
    pub(crate) fn of(&self, event: &str) -> Vec<Received> {
        self.all().into_iter().filter(|received| received.event() == event).collect()
    }

    /// Waits for the first webhook of an event that fits.
    pub(crate) async fn first(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Received {
        until(&format!("{event} arrives"), async || {
            self.of(event).into_iter().find(|received| fits(&received.body["data"]))
        })
        .await
    }

    /// The statuses that arrived for a message.
    pub(crate) fn statuses(&self, id: &str) -> Vec<String> {
        let of_message = self.of("messages.update").into_iter().filter(|received| received.body["data"]["keyId"] == id);
        of_message.map(|received| received.body["data"]["status"].as_str().unwrap().to_owned()).collect()
    }
}

async fn take(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap();
    receiver.seen.lock().unwrap().push(Received { path: uri.path().to_owned(), headers, body });
    let status = receiver.answers.lock().unwrap().pop().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}
