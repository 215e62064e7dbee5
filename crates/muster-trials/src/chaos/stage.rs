//! The processes of a campaign, and what is done to them.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use muster_client::{Server, ServerAddress};
use muster_demo::processes::Process;
use muster_proto::v1::GatewayKind;
use muster_simulator::{AdminClient, Faults};
use tokio::time::{Instant, sleep_until};

use super::plan::{BOTS, Blow, Disturbance, NODES, Spell, Target};
use super::timeline::Timeline;
use crate::product::{self, Fleet};
use crate::rig::{GatewayEntry, Rig, SimulatedGateway, connect};

/// The fleet of every campaign.
pub(super) const FLEET: Fleet = Fleet { kind: GatewayKind::Evolution, nodes: NODES, bots: BOTS };

/// The gateways' global key. It opens nothing but a process on loopback.
const KEY: &str = "trials";

/// Sessions notice within this time that the other side is gone: short, so that a campaign sees it often.
const SERVER_SETTINGS: &str = "heartbeat_interval = \"500ms\"\nstall_timeout = \"2s\"\n";

/// A call that hangs ends after this time, so that a lane gets free again within a campaign.
const AGENT_SETTINGS: &str = "send_timeout = \"3s\"\n";

/// Receipts come quickly, and lost webhooks are repeated quickly.
const SIMULATOR_SETTINGS: &str = "behaviour.delivery.fixed_ms = 50\nbehaviour.read.fixed_ms = 50\n\
                                  behaviour.webhook.retry_scale = 0.02\n";

/// All processes, in the order of [`Target::ALL`].
pub(super) struct Stage {
    pub(super) processes: Vec<Process>,
    pub(super) api: String,
    pub(super) ledger: AdminClient,
    rig: Rig,
}

impl Stage {
    /// Starts everything, and declares the fleet.
    pub(super) async fn start() -> Result<Self> {
        let rig = Rig::new()?;
        let gateways: Vec<_> = (0..NODES)
            .map(|node| SimulatedGateway {
                name: Fleet::gateway(node),
                key: KEY.to_owned(),
                // Every bot is linked at every gateway, so that it can send wherever it is moved.
                instances: (0..BOTS).map(|bot| (Fleet::bot(bot), Fleet::address(bot))).collect(),
                settings: SIMULATOR_SETTINGS.to_owned(),
            })
            .collect();
        let simulator = rig.simulator(&gateways).await?;
        let server = rig.server(SERVER_SETTINGS).await?;
        let api = server.address("api").to_owned();
        product::declare(&connect(&api).await?, &FLEET).await?;
        let mut processes = vec![server];
        for node in 0..NODES {
            let id = Fleet::gateway(node);
            let url = simulator.address(&format!("gateways/{id}")).to_owned();
            let gateway = GatewayEntry { id, product: Some((url, KEY.to_owned())) };
            processes.push(rig.agent(&Fleet::node(node), &api, &[gateway], AGENT_SETTINGS).await?);
        }
        let ledger = AdminClient::new(simulator.address("admin").parse().context("read the simulator's address")?)?;
        processes.push(simulator);
        Ok(Self { processes, api, ledger, rig })
    }

    /// A client of the server.
    pub(super) async fn client(&self) -> Result<Server> {
        let address: ServerAddress = self.api.parse().map_err(anyhow::Error::msg)?;
        Ok(Server::connect(&address).await?)
    }

    /// Looks for processes that ended although nobody killed them, and for panics in any log.
    pub(super) fn inspect(&mut self, timeline: &Timeline) {
        for process in &mut self.processes {
            if !process.is_running() {
                timeline.violation("CONDUCT", format!("{} ended by itself: {}", process.name(), process.log_tail()));
            }
            let log = fs::read_to_string(process.log_path()).unwrap_or_default();
            for line in log.lines().filter(|line| line.contains("panicked at")) {
                timeline.violation("CONDUCT", format!("{}: {line}", process.name()));
            }
        }
    }

    /// Keeps logs, database and ledger instead of removing them, and tells where.
    pub(super) fn keep(self) -> std::path::PathBuf {
        drop(self.processes);
        self.rig.keep()
    }
}

/// Does to one process what the plan says, and leaves it running.
pub(super) async fn disturb(
    target: Target,
    mut process: Process,
    track: Vec<Disturbance>,
    timeline: Arc<Timeline>,
) -> Process {
    for Disturbance { at, blow, lasts } in track {
        sleep_until(Instant::from_std(timeline.origin()) + at).await;
        if !process.is_running() {
            timeline.violation("CONDUCT", format!("{target} ended by itself: {}", process.log_tail()));
        }
        let done = match blow {
            Blow::Kill => kill(target, &mut process, lasts, &timeline).await,
            Blow::Freeze => freeze(target, &process, lasts, &timeline).await,
        };
        if let Err(error) = done {
            timeline.violation("CONDUCT", format!("{target}: {error:#}"));
        }
    }
    process
}

async fn kill(target: Target, process: &mut Process, down: Duration, timeline: &Timeline) -> Result<()> {
    timeline.note(format!("kill {target}"));
    process.kill().await?;
    tokio::time::sleep(down).await;
    process.start().await.context("start again")?;
    timeline.note(format!("{target} is back"));
    Ok(())
}

async fn freeze(target: Target, process: &Process, frozen: Duration, timeline: &Timeline) -> Result<()> {
    timeline.note(format!("freeze {target}"));
    process.pause()?;
    tokio::time::sleep(frozen).await;
    process.resume()?;
    timeline.note(format!("{target} goes on"));
    Ok(())
}

/// Makes trouble at one gateway as the plan says, and heals it afterwards.
pub(super) async fn trouble(node: usize, ledger: AdminClient, track: Vec<Spell>, timeline: Arc<Timeline>) {
    let gateway = Fleet::gateway(node);
    for Spell { at, trouble, lasts } in track {
        let begin = Instant::from_std(timeline.origin()) + at;
        sleep_until(begin).await;
        // A simulator that is down or frozen has trouble enough: then this spell is skipped.
        if ledger.set_gateway_faults(&gateway, &trouble.faults()).await.is_ok() {
            timeline.note(format!("{gateway} {trouble}"));
        }
        sleep_until(begin + lasts).await;
        if ledger.set_gateway_faults(&gateway, &Faults::default()).await.is_ok() {
            timeline.note(format!("{gateway} is well"));
        }
    }
}
