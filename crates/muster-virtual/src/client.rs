//! The clients: they send with idempotency keys and repeat each call until it is answered, and in the end they ask what
//! became of every message.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use muster_proto::v1::content::{Kind, Text};
use muster_proto::v1::fleet_service_client::FleetServiceClient;
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::{
    ApplyFleetRequest, Bot, CancelMessageRequest, Content, Gateway, GatewayKind, Message, MessageState, Node, Priority,
    Resolution, SendMessageRequest, TraceMessageRequest,
};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::chance::Chance;
use crate::gateway::{Ledger, Taken};
use crate::network::{Network, Stream};
use crate::operator::Operator;
use crate::receipts::{self, Receipts};
use crate::storm::{Storm, Weather};

/// How long a client waits for an answer before it asks again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// How long a client pauses before it asks again.
pub(crate) const PAUSE: Duration = Duration::from_millis(300);

/// How long an agent may wait before it tries for another session, and then some.
const AGENTS_RETURN_WITHIN: Duration = Duration::from_secs(70);

/// The host that all clients are on.
pub(crate) const HOST: &str = "clients";

/// The name of the server's host.
pub(crate) const SERVER: &str = "server";

/// Connects a host to the server through the simulated network, whenever it has to.
pub(crate) fn dial(network: &Network, from: &str, endpoint: Endpoint) -> Channel {
    let (network, from) = (network.clone(), from.to_owned());
    let connect = move |_: Uri| {
        let (network, from) = (network.clone(), from.clone());
        async move { network.connect(&from, SERVER).await.map(TokioIo::<Stream>::new) as io::Result<_> }
    };
    endpoint.connect_with_connector_lazy(tower::service_fn(connect))
}

/// A message whose acceptance was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    /// What the server called it.
    pub(crate) name: String,
    /// The text, which is the client's own name for it.
    pub(crate) body: String,
    pub(crate) priority: Priority,
    /// The first message of those that it repeats, or itself.
    pub(crate) origin: String,
}

/// What an operator decided, whether or not the server got to know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decided {
    pub(crate) at: Duration,
    pub(crate) resolution: Resolution,
}

/// What clients know. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    accepted: Vec<Accepted>,
    /// State of each message by its name; `None` for one that the server does not know.
    states: BTreeMap<String, Option<MessageState>>,
    /// Why each message waits, as the server said last.
    waits: BTreeMap<String, String>,
    /// What was decided about each message, by its name.
    decisions: BTreeMap<String, Vec<Decided>>,
    /// Bots that somebody moved, or tried to.
    moved: BTreeSet<String>,
}

impl Desk {
    /// Every message whose acceptance was acknowledged.
    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        self.known().accepted.clone()
    }

    /// What the server said last of a message: nothing, that it does not know it, or its state.
    pub(crate) fn state(&self, name: &str) -> Option<Option<MessageState>> {
        self.known().states.get(name).copied()
    }

    /// Why a message waits, as the server said last.
    pub(crate) fn why_it_waits(&self, name: &str) -> String {
        self.known().waits.get(name).cloned().unwrap_or_default()
    }

    /// What an operator decided about a message.
    pub(crate) fn decisions(&self, name: &str) -> Vec<Decided> {
        self.known().decisions.get(name).cloned().unwrap_or_default()
    }

    /// Whether somebody moved a bot, or tried to.
    pub(crate) fn was_moved(&self, bot: &str) -> bool {
        self.known().moved.contains(bot)
    }

    /// An operator is about to decide.
    pub(crate) fn note_decision(&self, name: &str, resolution: Resolution, at: Duration) {
        self.known().decisions.entry(name.to_owned()).or_default().push(Decided { at, resolution });
    }

    /// An operator is about to move a bot.
    pub(crate) fn note_move(&self, bot: &str) {
        self.known().moved.insert(bot.to_owned());
    }

    /// A message was sent once more, as another one. Tells whether that is news.
    pub(crate) fn note_replay(&self, of: &str, replay: String) -> bool {
        let mut known = self.known();
        let is_news = known.accepted.iter().all(|accepted| accepted.name != replay);
        // The acceptance of the first one may not be known here: then nothing is known of the second one either.
        if let Some(first) = known.accepted.iter().find(|accepted| accepted.name == of).filter(|_| is_news).cloned() {
            known.accepted.push(Accepted { name: replay, ..first });
            return true;
        }
        false
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fleet of a storm: each agent has a gateway and its bots.
pub(crate) fn fleet(storm: &Storm) -> ApplyFleetRequest {
    let agents = 0..storm.agents;
    let bots = agents.clone().flat_map(|agent| (0..storm.bots_per_agent).map(move |bot| (agent, bot)));
    ApplyFleetRequest {
        nodes: agents.clone().map(|agent| Node { name: format!("nodes/n{agent}"), ..Node::default() }).collect(),
        gateways: agents
            .map(|agent| Gateway {
                name: format!("gateways/g{agent}"),
                kind: GatewayKind::Null.into(),
                node: format!("nodes/n{agent}"),
                ..Gateway::default()
            })
            .collect(),
        bots: bots
            .map(|(agent, bot)| Bot {
                name: format!("bots/b{agent}{bot}"),
                gateway: format!("gateways/g{agent}"),
                ..Bot::default()
            })
            .collect(),
        ..ApplyFleetRequest::default()
    }
}

/// Everything that clients work with.
pub(crate) struct Clients {
    pub(crate) storm: Storm,
    pub(crate) weather: Weather,
    pub(crate) network: Network,
    pub(crate) desk: Desk,
    pub(crate) ledger: Ledger,
    pub(crate) receipts: Receipts,
    /// Chances of the operator, whose work does not change what clients draw.
    pub(crate) operator_chance: Chance,
}

impl Clients {
    /// Declares the fleet, sends, and asks until everything is settled.
    pub(crate) async fn run(self: Arc<Self>) {
        self.declare().await;
        let operator = tokio::spawn(Operator(Arc::clone(&self)).run());
        let clients = (0..self.storm.clients).map(|client| tokio::spawn(Arc::clone(&self).send_all(client)));
        for client in clients.collect::<Vec<_>>() {
            let _ = client.await;
        }
        while !self.weather.is_over() {
            tokio::time::sleep(PAUSE).await;
        }
        let _ = operator.await;
        self.ask_until_settled().await;
        self.wait_for_receipts().await;
        if self.was_restored() {
            // Agents that were away may still tell better than what the database gave up.
            tokio::time::sleep(AGENTS_RETURN_WITHIN).await;
            self.desk.known().states.clear();
            self.ask_until_settled().await;
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        dial(&self.network, HOST, Endpoint::from_static("http://server").connect_timeout(PATIENCE))
    }

    fn was_restored(&self) -> bool {
        self.weather.chronicle.struck("restored database") > 0
    }

    async fn declare(&self) {
        let mut fleet_service = FleetServiceClient::new(self.channel());
        loop {
            match tokio::time::timeout(PATIENCE, fleet_service.apply_fleet(fleet(&self.storm))).await {
                Ok(Ok(_)) => return,
                Ok(Err(status)) => self.note_refusal("the fleet", &status),
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A good call fails only for reasons that pass.
    pub(crate) fn note_refusal(&self, what: &str, status: &Status) {
        let passes = matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::ResourceExhausted
        );
        // What the transport itself failed with never came from the server: a connection that ends under a call is among it.
        let is_of_transport = std::error::Error::source(status).is_some();
        if !passes && !is_of_transport {
            self.weather.chronicle.violation("conduct", format_args!("{what} was refused: {status:?}"));
        }
    }

    async fn send_all(self: Arc<Self>, client: usize) {
        let chance = &self.weather.chance;
        let mut messages = MessageServiceClient::new(self.channel());
        let length = u64::try_from(self.storm.length.as_millis()).unwrap_or(u64::MAX);
        let gap = length / self.storm.messages_per_client as u64;
        for number in 0..self.storm.messages_per_client {
            let message = self.message(client, number);
            let accepted = self.send(&mut messages, &message).await;
            if chance.one_in(12) {
                // The key is used again: the answer is the first one.
                let again = self.send(&mut messages, &message).await;
                if again != accepted && !self.was_restored() {
                    let key = &message.idempotency_key;
                    self.weather.chronicle.violation("P1", format_args!("{key} gave {accepted}, and then {again}"));
                }
            }
            if chance.one_in(12) {
                let request = CancelMessageRequest { name: accepted };
                // Answered or not: what became of it is asked in the end.
                let _ = tokio::time::timeout(PATIENCE, messages.cancel_message(request)).await;
            }
            tokio::time::sleep(chance.millis(0, gap)).await;
        }
    }

    fn message(&self, client: usize, number: usize) -> Message {
        let chance = &self.weather.chance;
        let draw = |count: usize| chance.between(0, count as u64 - 1);
        let body = format!("c{client}-{number}");
        let priority = chance.pick(&[Priority::Campaign, Priority::Campaign, Priority::Conversation]);
        let seconds = chance.pick(&[86_400, 86_400, 86_400, 86_400, 5]);
        Message {
            bot: format!("bots/b{}{}", draw(self.storm.agents), draw(self.storm.bots_per_agent)),
            recipient: format!("r{}", draw(self.storm.recipients)),
            content: Some(Content { kind: Some(Kind::Text(Text { body: body.clone() })) }),
            priority: priority.into(),
            idempotency_key: body,
            validity: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..Message::default()
        }
    }

    /// Sends until the answer is there. Returns the message's name; empty if its recipient opted out.
    async fn send(&self, messages: &mut MessageServiceClient<Channel>, message: &Message) -> String {
        loop {
            let patience = if self.weather.strikes(self.weather.odds.impatient_client) {
                self.weather.chronicle.fault(HOST, "impatient client", &message.idempotency_key);
                self.weather.chance.millis(1, 60)
            } else {
                PATIENCE
            };
            let request = SendMessageRequest { message: Some(message.clone()) };
            match tokio::time::timeout(patience, messages.send_message(request)).await {
                Ok(Ok(answer)) => {
                    let name = answer.into_inner().message.map(|message| message.name).unwrap_or_default();
                    self.weather
                        .chronicle
                        .event(HOST, format_args!("{} is accepted as {name}", message.idempotency_key));
                    let mut known = self.desk.known();
                    if known.accepted.iter().all(|accepted| accepted.name != name) {
                        known.accepted.push(Accepted {
                            name: name.clone(),
                            body: message.idempotency_key.clone(),
                            priority: message.priority(),
                            origin: name.clone(),
                        });
                    }
                    return name;
                }
                // The backup may be older than the fleet: whoever puts it back declares what is missing.
                Ok(Err(status)) if status.code() == Code::NotFound && self.was_restored() => self.declare().await,
                // The recipient wants nothing any more: there is nothing to call by a name.
                Ok(Err(status)) if self.storm.habits.opts_out && status.code() == Code::FailedPrecondition => {
                    let key = &message.idempotency_key;
                    self.weather.chronicle.event(HOST, format_args!("{key} is refused: {}", status.message()));
                    return String::new();
                }
                Ok(Err(status)) => self.note_refusal("a good message", &status),
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_until_settled(&self) {
        let mut messages = MessageServiceClient::new(self.channel());
        loop {
            let mut open = 0;
            for accepted in self.desk.accepted() {
                let settled = |state: Option<MessageState>| {
                    state.is_none_or(|state| !matches!(state, MessageState::Waiting | MessageState::Dispatched))
                };
                if self.desk.state(&accepted.name).is_some_and(settled) {
                    continue;
                }
                let request = TraceMessageRequest { name: accepted.name.clone() };
                let state = match tokio::time::timeout(PATIENCE, messages.trace_message(request)).await {
                    Ok(Ok(answer)) => {
                        let trace = answer.into_inner();
                        let replay = trace.replayed_as;
                        open += usize::from(!replay.is_empty() && self.desk.note_replay(&accepted.name, replay));
                        let message = trace.message.unwrap_or_default();
                        let why = message.waiting.as_ref().map(|waiting| waiting.explanation.clone());
                        self.desk.known().waits.insert(accepted.name.clone(), why.unwrap_or_default());
                        Some(message.state())
                    }
                    Ok(Err(status)) if status.code() == Code::NotFound => None,
                    _ => {
                        open += 1;
                        continue;
                    }
                };
                self.desk.known().states.insert(accepted.name, state);
                open += usize::from(!settled(state));
            }
            if open == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until the networks have told everything, and until the server has heard what the agents heard.
    async fn wait_for_receipts(&self) {
        while !self.receipts.are_told() {
            tokio::time::sleep(PAUSE).await;
        }
        let is_behind = |entry: &Taken| {
            let (told, state) =
                (self.receipts.acknowledged(&entry.network_id), self.desk.state(&entry.name()).flatten());
            told.zip(state).is_some_and(|(told, state)| !receipts::shows(state, told))
        };
        let deadline = tokio::time::Instant::now() + AGENTS_RETURN_WITHIN;
        loop {
            let behind: Vec<_> = self.ledger.taken().iter().filter(|entry| is_behind(entry)).map(Taken::name).collect();
            if behind.is_empty() || tokio::time::Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            self.desk.known().states.retain(|name, _| !behind.contains(name));
            self.ask_until_settled().await;
        }
    }
}
