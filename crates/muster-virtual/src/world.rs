//! One simulation: the hosts, their common time, and what the storm does to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::agent::AgentHost;
use crate::chance::Chance;
use crate::check::{self, Evidence};
use crate::chronicle::{Chronicle, Told};
use crate::client::{Clients, Desk, SERVER};
use crate::clock::HostClock;
use crate::disk::MemoryDisk;
use crate::gateway::Ledger;
use crate::host::Host;
use crate::network::Network;
use crate::receipts::{PostOffice, Receipts};
use crate::server::ServerHost;
use crate::store::Database;
use crate::storm::{Storm, Strike, Weather};
use crate::time::Time;

/// How far the hosts run before the network delivers. What they exchange takes at least as long.
const TICK: Duration = Duration::from_millis(5);

/// The same once the faults are over: nothing needs to be told apart so finely then.
const CALM_TICK: Duration = Duration::from_millis(20);

/// How long after the last fault everything may take to settle: the longest wait between two sessions (60 s), and then the
/// retries of what was refused.
const SETTLES_WITHIN: Duration = Duration::from_secs(240);

/// How long a clone runs beside its original at the most.
const CLONE_RUNS: (u64, u64) = (2_000, 15_000);

/// What a simulation came to.
pub(crate) struct Ended {
    pub(crate) told: Told,
    /// How long it was, in virtual time.
    pub(crate) length: Duration,
    pub(crate) check: check::Tally,
}

struct World {
    storm: Storm,
    weather: Weather,
    network: Network,
    ledger: Ledger,
    server: ServerHost,
    agents: Vec<AgentHost>,
    clones: Vec<(AgentHost, Duration)>,
    clients: Option<Host<()>>,
    /// Where gateways post from.
    gateways: Host<()>,
    office: Option<PostOffice>,
    /// Agents that ran beside a clone of theirs, and the clones, each with the time at which the first clone was made.
    twins: BTreeMap<String, Duration>,
}

/// Runs the simulation of a seed, with its database in `dir`.
pub(crate) fn run(seed: u64, dir: &Path, shows: bool, time: Time) -> Result<Ended> {
    let storm = Storm::of(seed);
    let chronicle = Chronicle::new(time.clone(), shows);
    note_panics(&chronicle);
    let chance = |subject: u64| Chance::new(seed, subject);
    let weather = Weather::new(time.clone(), chronicle.clone(), chance(2), storm.odds.clone());
    let network = Network::new(time.clone(), chronicle.clone(), chance(3));
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let threads = threads.context("start the runtime of the store")?;
    let (ledger, desk) = (Ledger::default(), Desk::default());
    let clock = HostClock::new(time.clone());
    let of_database = weather.with(chance(4));
    let database = Database::new(dir, threads.handle().clone(), clock, of_database, network.clone());
    let receipts = Receipts::default();
    let (office, carries) =
        PostOffice::open(receipts.clone(), network.clone(), weather.with(chance(8)), storm.habits.opts_out);
    let office = storm.habits.receipts.then_some(office);
    let agents = (0..storm.agents).map(|number| {
        let weather = weather.with(chance(10 + number as u64));
        let name = format!("agent{number}");
        AgentHost::new(number, name, MemoryDisk::new(1), weather, network.clone(), ledger.clone(), office.clone())
    });
    let clients = Arc::new(Clients {
        storm: storm.clone(),
        weather: weather.with(chance(5)),
        network: network.clone(),
        desk: desk.clone(),
        ledger: ledger.clone(),
        receipts: receipts.clone(),
        operator_chance: chance(9),
    });
    let mut world = World {
        server: ServerHost::new(weather.with(chance(6)), network.clone(), Arc::new(database)),
        agents: agents.collect(),
        clones: Vec::new(),
        gateways: Host::start(&time, carries).context("start the gateways")?,
        office: office.clone(),
        clients: Some(Host::start(&time, clients.run()).context("start the clients")?),
        twins: BTreeMap::new(),
        storm,
        weather,
        network,
        ledger: ledger.clone(),
    };
    world.weather();
    world.settle();
    let evidence = Evidence {
        taken: ledger.taken(),
        desk,
        receipts,
        was_restored: chronicle.struck("restored database") > 0,
        twins: world.twins,
        renewed: world.agents.iter().filter_map(|agent| Some((agent.name.clone(), agent.renewed?))).collect(),
        liars: world.agents.iter().filter(|agent| agent.disk.has_lost()).map(|agent| agent.name.clone()).collect(),
    };
    let check = check::check(&evidence, &chronicle);
    Ok(Ended { told: chronicle.told(), length: time.now(), check })
}

/// A panic in any task of the product breaks its promise of conduct.
fn note_panics(chronicle: &Chronicle) {
    let (chronicle, tell) = (chronicle.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        chronicle.violation("conduct", format_args!("a task panicked: {panic}"));
        tell(panic);
    }));
}

impl World {
    fn now(&self) -> Duration {
        self.weather.time.now()
    }

    /// Lets everything live for a tick.
    fn tick(&mut self, tick: Duration) {
        let begin = self.now();
        let end = begin + tick;
        self.network.deliver();
        self.server.run_until(end);
        for agent in &mut self.agents {
            self.weather.time.set(begin);
            agent.run_until(end);
        }
        for (clone, _) in &mut self.clones {
            self.weather.time.set(begin);
            clone.run_until(end);
        }
        self.weather.time.set(begin);
        self.gateways.run_until(end);
        self.weather.time.set(begin);
        if self.clients.as_mut().is_some_and(|clients| clients.run_until(end).is_some()) {
            self.clients = None;
        }
        self.weather.time.set(end);
        self.clones.retain(|(_, until)| *until > end);
    }

    /// The storm, from its beginning to its end.
    fn weather(&mut self) {
        let mut strikes = std::mem::take(&mut self.storm.strikes).into_iter().peekable();
        while self.now() < self.storm.length {
            while let Some((_, strike)) = strikes.next_if(|(at, _)| *at <= self.now()) {
                self.strike(strike);
            }
            self.tick(TICK);
        }
    }

    /// The calm after it: everything is mended, and has to come to its end.
    fn settle(&mut self) {
        self.weather.chronicle.event("world", "the faults are over");
        self.weather.end();
        self.network.heal();
        self.clones.clear();
        self.server.database.clock.set_skew(0);
        self.server.hurry();
        for agent in &mut self.agents {
            agent.clock.set_skew(0);
            agent.disk.set_full(false);
            agent.disk.be_honest();
            agent.hurry();
        }
        let deadline = self.now() + SETTLES_WITHIN;
        while self.clients.is_some() && self.now() < deadline {
            self.tick(CALM_TICK);
        }
    }

    fn strike(&mut self, strike: Strike) {
        let Weather { chronicle, chance, .. } = self.weather.clone();
        let agent_of = |number: usize| self.agents.get(number).map_or_else(String::new, |agent| agent.name.clone());
        let told = |who: &str, kind: &'static str, length: Duration| {
            chronicle.fault(who, kind, format_args!("{} ms", length.as_millis()));
        };
        match strike {
            Strike::KillServer => self.server.kill("server killed"),
            Strike::KillAgent(agent) => self.agents[agent].kill("agent killed"),
            Strike::StopServer => {
                chronicle.fault(SERVER, "server stopped", "");
                self.server.stop();
            }
            Strike::StopAgent(agent) => {
                chronicle.fault(&agent_of(agent), "agent stopped", "");
                self.agents[agent].stop();
            }
            Strike::HoldLine(agent) | Strike::LoseLine(agent) => {
                let holds = matches!(strike, Strike::HoldLine(_));
                let length = chance.millis(200, 8_000);
                told(&agent_of(agent), if holds { "partition, delayed" } else { "partition, lost" }, length);
                self.network.cut(&agent_of(agent), length, holds);
            }
            Strike::ResetLine(agent) | Strike::SilenceLine(agent) => {
                let loudly = matches!(strike, Strike::ResetLine(_));
                let broken = self.network.break_lines(&agent_of(agent), loudly);
                if broken > 0 {
                    let kind = if loudly { "connection reset" } else { "connection silent" };
                    chronicle.fault(&agent_of(agent), kind, format_args!("{broken} lines"));
                }
            }
            Strike::SlowNetwork => {
                let length = chance.millis(500, 6_000);
                told("network", "slow network", length);
                self.network.slow_down(length);
            }
            Strike::FillDatabase => self.weather.fill_database(chance.millis(200, 4_000)),
            Strike::FillDisk(agent) => {
                let agent = &self.agents[agent];
                chronicle.fault(&agent.name, "disk full", "");
                agent.disk.set_full(true);
            }
            Strike::ServerClock => {
                let skew = chance.between(0, 40_000) as i64 - 20_000;
                chronicle.fault(SERVER, "clock jump", format_args!("{skew} ms"));
                self.server.database.clock.set_skew(skew);
            }
            Strike::AgentClock(agent) => {
                let skew = chance.between(0, 200_000_000) as i64 - 100_000_000;
                chronicle.fault(&agent_of(agent), "clock jump", format_args!("{skew} ms"));
                self.agents[agent].clock.set_skew(skew);
            }
            Strike::LyingDisk(agent) => {
                chronicle.fault(&agent_of(agent), "lost fsync", "");
                self.agents[agent].disk.lie();
            }
            Strike::Clone(number) => self.clone_agent(number),
            Strike::BackUp => {
                chronicle.event(SERVER, "is backed up");
                if let Err(error) = self.server.database.back_up() {
                    chronicle.violation("simulation", format_args!("the database cannot be copied: {error}"));
                }
            }
            Strike::Restore => self.server.restore(),
        }
    }

    fn clone_agent(&mut self, number: usize) {
        let original = &mut self.agents[number];
        original.may_be_refused = true;
        let (name, disk) = (format!("clone{number}"), original.disk.copy(2));
        self.weather.chronicle.fault(&name, "cloned agent", format_args!("of {}", original.name));
        let weather = self.weather.clone();
        let mut clone = AgentHost::new(
            number,
            name.clone(),
            disk,
            weather,
            self.network.clone(),
            self.ledger.clone(),
            self.office.clone(),
        );
        clone.may_be_refused = true;
        let now = self.now();
        for twin in [name, self.agents[number].name.clone()] {
            self.twins.entry(twin).or_insert(now);
        }
        let until = now + self.weather.chance.millis(CLONE_RUNS.0, CLONE_RUNS.1);
        self.clones.push((clone, until));
    }
}
