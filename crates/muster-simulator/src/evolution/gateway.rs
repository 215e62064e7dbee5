//! One simulated gateway: what it owns, and how it starts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::instance::{ConnectionState, Instance, InstanceRecord, Integration, Login, Settings};
use super::outbox::Delivery;
use super::routes;
use super::timeline::{Due, Timeline};
use crate::behaviour::Behaviour;
use crate::chance::Chance;
use crate::config::{GatewayConfig, Preprovisioned};
use crate::faults::{FaultBoard, GatewayFaults};
use crate::ledger::Ledger;
use crate::serve::serve;
use crate::state::StateHandle;

/// The version that the gateway says it has.
pub(crate) const VERSION: &str = "2.3.7";

/// One simulated gateway.
pub(crate) struct Gateway {
    pub(crate) name: Arc<str>,
    pub(super) api_key: String,
    /// Its own address, as it tells it.
    pub(crate) url: String,
    pub(super) seed: u64,
    pub(crate) behaviour: Behaviour,
    pub(crate) faults: FaultBoard,
    instances: RwLock<Instances>,
    pub(crate) ledger: Arc<Ledger>,
    pub(super) state: StateHandle,
    pub(super) timeline: Timeline,
    pub(super) outbox: mpsc::UnboundedSender<Delivery>,
    pub(super) stop: CancellationToken,
}

/// What a gateway's tasks work through.
pub(crate) struct GatewayQueues {
    listener: TcpListener,
    timeline: mpsc::UnboundedReceiver<(tokio::time::Instant, Due)>,
    outbox: mpsc::UnboundedReceiver<Delivery>,
    http: reqwest::Client,
}

/// What a gateway gets from its simulator.
pub(crate) struct Parts {
    pub(crate) listener: TcpListener,
    pub(crate) url: String,
    pub(crate) instances: Instances,
    pub(crate) http: reqwest::Client,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) state: StateHandle,
    pub(crate) stop: CancellationToken,
}

/// The instances of one gateway by name.
pub(crate) type Instances = HashMap<Arc<str>, Arc<Instance>>;

/// The instances that a gateway has at start: those of earlier runs, and those of the configuration.
pub(crate) fn initial_instances(config: &GatewayConfig, recorded: Vec<InstanceRecord>, run: u64) -> Instances {
    let fresh = config.instances.iter().filter(|known| recorded.iter().all(|record| record.name != known.name));
    let fresh: Vec<_> = fresh.map(preprovisioned).collect();
    let instance = |record: InstanceRecord| {
        let chance = Chance::new(config.seed, &[&config.name, &record.name, &run.to_string()]);
        let instance = Arc::new(Instance::new(record, chance));
        (instance.name.clone(), instance)
    };
    recorded.into_iter().chain(fresh).map(instance).collect()
}

impl Gateway {
    /// A gateway that is not running yet, and what its tasks will work through.
    pub(crate) fn new(config: GatewayConfig, parts: Parts) -> (Arc<Self>, GatewayQueues) {
        let (timeline, timeline_queue) = Timeline::new();
        let (outbox, outbox_queue) = mpsc::unbounded_channel();
        let gateway = Gateway {
            name: config.name.into(),
            api_key: config.api_key,
            url: parts.url,
            seed: config.seed,
            behaviour: config.behaviour,
            faults: FaultBoard::new(GatewayFaults { gateway: config.faults, instances: config.instance_faults }),
            instances: RwLock::new(parts.instances),
            ledger: parts.ledger,
            state: parts.state,
            timeline,
            outbox,
            stop: parts.stop,
        };
        let queues = GatewayQueues {
            listener: parts.listener,
            timeline: timeline_queue,
            outbox: outbox_queue,
            http: parts.http,
        };
        (Arc::new(gateway), queues)
    }

    /// Starts the gateway's tasks. Sockets come up as the product brings them up: only those that were up before.
    pub(crate) fn start(self: &Arc<Self>, queues: GatewayQueues, tasks: &TaskTracker) {
        tasks.spawn(self.clone().run_timeline(queues.timeline));
        tasks.spawn(self.clone().run_outbox(queues.http, queues.outbox));
        tasks.spawn(serve(queues.listener, routes::router(self.clone()), self.stop.clone()));
        for instance in self.all() {
            let mut state = instance.lock();
            state.parked = state.mailbox.unfinished();
            if instance.integration == Integration::Baileys && state.socket.state != ConnectionState::Close {
                self.start_socket(&instance, &mut state, None);
            } else {
                self.unpark(&instance, &mut state);
            }
        }
    }

    /// An instance by name.
    pub(crate) fn instance(&self, name: &str) -> Option<Arc<Instance>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All instances, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Instance>> {
        let mut all: Vec<_> = self.instances.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Adds an instance, unless the name is taken.
    pub(super) fn create(&self, record: InstanceRecord) -> Option<Arc<Instance>> {
        let chance = Chance::new(self.seed, &[&self.name, &record.name, &record.id]);
        let instance = Arc::new(Instance::new(record, chance));
        let mut instances = self.instances.write().unwrap_or_else(PoisonError::into_inner);
        if instances.contains_key(&instance.name) {
            return None;
        }
        instances.insert(instance.name.clone(), instance.clone());
        drop(instances);
        self.state.touch();
        Some(instance)
    }

    /// Takes an instance away, with everything it knew.
    pub(super) fn remove(&self, instance: &Instance) {
        let mut instances = self.instances.write().unwrap_or_else(PoisonError::into_inner);
        if instances.get(&instance.name).is_some_and(|present| present.id == instance.id) {
            instances.remove(&instance.name);
        }
        drop(instances);
        self.state.touch();
    }

    /// Latency that a fault adds to a call on `instance`.
    pub(super) fn latency(&self, instance: &Instance) -> Duration {
        match self.faults.of(&instance.name).faults.latency {
            Some(latency) => latency.draw(&mut instance.lock().chance),
            None => Duration::ZERO,
        }
    }
}

/// An instance of the configuration, linked and open from the start.
fn preprovisioned(known: &Preprovisioned) -> InstanceRecord {
    let owner = format!("{}@s.whatsapp.net", known.number);
    InstanceRecord {
        name: known.name.clone(),
        id: Uuid::new_v4().to_string(),
        token: known.token.clone().unwrap_or_else(new_token),
        integration: Integration::Baileys,
        number: Some(known.number.clone()),
        settings: Settings::default(),
        webhook: None,
        state: ConnectionState::Open,
        login: Login::Linked,
        owner: Some(owner),
        disconnection: None,
        created_at: Timestamp::now(),
        after_seq: 0,
    }
}

/// A token in the product's form.
pub(super) fn new_token() -> String {
    Uuid::new_v4().to_string().to_uppercase()
}
