//! The host of an agent.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use muster_agent::{AgentError, Config, Line, Listening, Machine, Pace, Refusal, Surroundings, Waiting};
use muster_domain::{GatewayId, NodeId};
use muster_gateway::{Gateway, GatewaySettings};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::client::dial;
use crate::clock::HostClock;
use crate::disk::MemoryDisk;
use crate::gateway::{Ledger, VirtualGateway};
use crate::host::{Crash, Host, Power};
use crate::network::Network;
use crate::receipts::{Mailbox, PostOffice};
use crate::storm::Weather;

/// Attempts that an agent takes at a time.
pub(crate) const ATTEMPTS_MAX: u32 = 16;

/// Attempts that a lane of an agent takes at a time.
pub(crate) const ATTEMPTS_PER_BOT_MAX: u32 = 4;

/// The host of a node's agent.
pub(crate) fn agent_host(node: &NodeId) -> String {
    format!("agent{}", node.as_str().trim_start_matches('n'))
}

/// An agent, up or down.
pub(crate) struct AgentHost {
    pub(crate) name: String,
    node: String,
    gateway: String,
    weather: Weather,
    network: Network,
    ledger: Ledger,
    mailbox: Mailbox,
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: HostClock,
    power: Power,
    shutdown: CancellationToken,
    up: Option<Host<Result<(), AgentError>>>,
    /// When it comes up, if it is down; never, if somebody has to act before.
    returns: Option<Duration>,
    /// Something happened to it after which it may be refused for good.
    pub(crate) may_be_refused: bool,
    /// It was refused for good: its journal has to be moved away.
    refused: bool,
    /// When it got a new journal.
    pub(crate) renewed: Option<Duration>,
}

impl AgentHost {
    /// The agent `number`, on `disk`.
    pub(crate) fn new(
        number: usize,
        name: String,
        disk: MemoryDisk,
        weather: Weather,
        network: Network,
        ledger: Ledger,
        office: Option<PostOffice>,
    ) -> Self {
        let mailbox = Mailbox { to: format!("agent{number}"), gateway: format!("g{number}"), office };
        AgentHost {
            name,
            node: format!("n{number}"),
            gateway: format!("g{number}"),
            clock: HostClock::new(weather.time.clone()),
            weather,
            network,
            ledger,
            mailbox,
            disk,
            power: Power::default(),
            shutdown: CancellationToken::new(),
            up: None,
            returns: Some(Duration::ZERO),
            may_be_refused: false,
            refused: false,
            renewed: None,
        }
    }

    /// Loses its power.
    pub(crate) fn kill(&self, kind: &'static str) {
        if self.up.is_some() {
            self.power.request(Crash::new(kind, "any time"));
        }
    }

    /// Is told to stop.
    pub(crate) fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Somebody looks after it: it comes up as soon as it can, with a new journal if it was refused for good.
    pub(crate) fn hurry(&mut self) {
        if std::mem::take(&mut self.refused) {
            self.weather.chronicle.event(&self.name, "gets a new journal");
            self.disk.clear();
            self.renewed = Some(self.weather.time.now());
            self.returns = Some(self.weather.time.now());
        }
        self.returns = self.returns.map(|returns| returns.min(self.weather.time.now()));
    }

    /// Lives up to a moment.
    pub(crate) fn run_until(&mut self, moment: Duration) {
        let now = self.weather.time.now();
        if self.up.is_none() && self.returns.is_some_and(|returns| returns <= now) {
            self.start();
        }
        let Some(host) = &mut self.up else { return };
        let ended = host.run_until(moment);
        if let Some(crash) = self.power.take() {
            self.weather.chronicle.fault(&self.name, crash.kind, &crash.at);
            self.network.break_lines(&self.name, self.weather.chance.one_in(2));
            self.disk.go_down();
            self.up = None;
            self.disk.come_up(&self.weather.chance);
            self.returns = Some(now + self.weather.chance.millis(50, 4_000));
        } else if let Some(ended) = ended {
            self.up = None;
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(), AgentError>) {
        let now = self.weather.time.now();
        match ended {
            Ok(()) => {
                self.weather.chronicle.event(&self.name, "has stopped");
                self.returns = Some(now + self.weather.chance.millis(50, 4_000));
            }
            Err(error) => {
                self.weather.chronicle.event(&self.name, format_args!("has ended: {error}"));
                self.may_be_refused |= self.disk.has_lost();
                let passes = matches!(
                    error,
                    AgentError::Refused { reason: Refusal::DuplicateIdentity, .. } | AgentError::JournalFailed
                );
                let is_disk = matches!(&error, AgentError::File { .. })
                    || matches!(&error, AgentError::Journal(muster_agent::JournalError::Io { .. }));
                if passes && self.may_be_refused || is_disk || matches!(error, AgentError::JournalFailed) {
                    self.returns = Some(now + Duration::from_secs(2));
                    return;
                }
                if !self.may_be_refused {
                    self.weather.chronicle.violation("conduct", format_args!("{} ended: {error}", self.name));
                }
                self.refused = true;
                self.returns = None;
                if self.weather.is_over() {
                    self.hurry();
                }
            }
        }
    }

    fn start(&mut self) {
        let (Ok(node), Ok(gateway), Ok(server)) =
            (NodeId::new(&self.node), GatewayId::new(&self.gateway), Url::parse("http://server"))
        else {
            return;
        };
        let config = Config {
            webhook_listen: ([127, 0, 0, 1], 0).into(),
            gateways: [(gateway, GatewaySettings::default())].into(),
            send_timeout: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(3),
            attempts_max: ATTEMPTS_MAX,
            attempts_per_bot_max: ATTEMPTS_PER_BOT_MAX,
            ..Config::new(node, server, "/journal".into())
        };
        let pace = DiskPace {
            name: self.name.clone(),
            weather: self.weather.clone(),
            disk: self.disk.clone(),
            power: self.power.clone(),
            armed: Mutex::default(),
        };
        let (network, name) = (self.network.clone(), self.name.clone());
        let (at_network, at_name) = (self.network.clone(), self.name.clone());
        let at_gateway: Arc<dyn Gateway> = Arc::new(VirtualGateway {
            agent: self.name.clone(),
            mailbox: self.mailbox.clone(),
            weather: self.weather.clone(),
            ledger: self.ledger.clone(),
        });
        let surroundings = Surroundings {
            machine: Machine {
                clock: Arc::new(self.clock.clone()),
                disk: Arc::new(self.disk.clone()),
                waiting: Waiting::Tasks(Arc::new(pace)),
            },
            dial: Box::new(move |endpoint| dial(&network, &name, endpoint)),
            listen: Box::new(move |address| {
                let lines = UnboundedReceiverStream::new(at_network.listen(&at_name));
                let lines = lines.map(|line| line.map(|line| Box::pin(line) as Pin<Box<dyn Line>>)).boxed();
                Box::pin(async move { Ok(Listening { address, lines }) })
            }),
            open: Box::new(move |_, _| Ok(Arc::clone(&at_gateway))),
        };
        self.shutdown = CancellationToken::new();
        let shutdown = self.shutdown.clone();
        let main = async move { muster_agent::start_in(config, surroundings).await?.run(shutdown).await };
        match Host::start(&self.weather.time, main) {
            Ok(host) => self.up = Some(host),
            Err(error) => self.weather.chronicle.violation("simulation", format_args!("no runtime: {error}")),
        }
        self.weather.chronicle.event(&self.name, "is up");
    }
}

/// How long the disk takes, and whether the host survives it.
struct DiskPace {
    name: String,
    weather: Weather,
    disk: MemoryDisk,
    power: Power,
    /// The crash that follows the write that is under way.
    armed: Mutex<Option<Crash>>,
}

impl DiskPace {
    fn arm(&self, crash: Crash) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(crash);
    }
}

impl Pace for DiskPace {
    fn before_write(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let Weather { chance, chronicle, odds, .. } = &self.weather;
            if self.weather.strikes(odds.slow_disk) {
                let delay = chance.millis(5, 1_000);
                chronicle.fault(&self.name, "slow disk", format_args!("{} ms", delay.as_millis()));
                tokio::time::sleep(delay).await;
            }
            tokio::time::sleep(chance.millis(0, 3)).await;
            if self.weather.strikes(odds.crash_at_sync) {
                match chance.between(0, 2) {
                    0 => self.power.crash(Crash::new("crash before a sync", "journal")).await,
                    1 => {
                        self.disk.skip_sync();
                        self.arm(Crash::new("crash during a sync", "journal"));
                    }
                    _ => self.arm(Crash::new("crash after a sync", "journal")),
                }
            }
        })
    }

    fn after_write(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(crash) = armed {
                self.power.crash(crash).await;
            }
        })
    }
}
