//! The processes of the demo, on free ports of this machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use muster_client::{Server, fleet_file};
use muster_proto::v1::{self, link_bot_response::State};
use muster_simulator::AdminClient;

use crate::processes::{Process, Program};
use crate::samples;

/// How long agents may take to open their sessions.
const ONLINE_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether they did.
const ONLINE_POLL: Duration = Duration::from_millis(50);

/// Port 0 of the loopback: a free one.
const FREE_PORT: &str = "127.0.0.1:0";

/// A server, a simulator and two agents.
pub(crate) struct Stage {
    folder: PathBuf,
    pub(crate) sim: Process,
    pub(crate) server: Process,
    pub(crate) agents: Vec<Process>,
    /// The way to the server.
    pub(crate) client: Server,
    /// The way to the simulator's ledger.
    pub(crate) admin: AdminClient,
}

impl Stage {
    /// Starts everything in `folder`, which holds the samples, and declares the fleet.
    pub(crate) async fn start(program: &Program, folder: &Path) -> Result<Self> {
        let path = |name: &str| folder.join(name).display().to_string();
        let mut sim_args = vec![
            "sim".to_owned(),
            "--config".to_owned(),
            path("sim.toml"),
            "--ledger".to_owned(),
            path("ledger.jsonl"),
            "--admin".to_owned(),
            FREE_PORT.to_owned(),
        ];
        for (_, gateway, _) in samples::AGENTS {
            sim_args.extend(["--gateway".to_owned(), format!("{gateway}={FREE_PORT}")]);
        }
        let server_args = ["server", "--listen", FREE_PORT, "--database", &path("muster.db")].map(str::to_owned);
        let (sim, server) = tokio::try_join!(program.start("sim", sim_args), program.start("server", server_args))?;
        let client = Server::connect(&server.address("api").parse().map_err(anyhow::Error::msg)?).await?;
        let admin = AdminClient::new(sim.address("admin").parse().context("read the simulator's address")?)?;

        let fleet = fleet_file::parse("fleet.toml", samples::FLEET)?;
        client
            .fleet()
            .apply_fleet(fleet_file::request(&fleet, false, false))
            .await
            .map_err(muster_client::Error::from)?;

        let agents = samples::AGENTS.map(|(name, gateway, _)| {
            let args = [
                "agent",
                "--config",
                &path(&format!("{name}.toml")),
                "--server",
                server.address("api"),
                "--journal",
                &path(&format!("{name}-journal")),
                "--webhook-listen",
                FREE_PORT,
                "--gateway",
                &format!("{gateway}={}", sim.address(&format!("gateways/{gateway}"))),
            ];
            program.start(name, args.map(str::to_owned))
        });
        let agents = try_join_all(agents).await?;
        let mut stage = Stage { folder: folder.to_owned(), sim, server, agents, client, admin };
        stage.wait_until_online().await?;
        Ok(stage)
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    async fn wait_until_online(&mut self) -> Result<()> {
        let deadline = Instant::now() + ONLINE_PATIENCE;
        loop {
            let request = v1::ListNodesRequest::default();
            let nodes =
                self.client.nodes().list_nodes(request).await.map_err(muster_client::Error::from)?.into_inner().nodes;
            let ready = |node: &v1::Node| node.online && node.applied_version >= node.desired_version;
            if !nodes.is_empty() && nodes.iter().all(ready) {
                return Ok(());
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                bail!("the agents did not open their sessions within {} s", ONLINE_PATIENCE.as_secs());
            }
            tokio::time::sleep(ONLINE_POLL).await;
        }
    }

    /// Fails if a process has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for process in self.processes() {
            if !process.is_running() {
                bail!("{} has ended by itself; its log ends with:\n{}", process.name(), process.log_tail());
            }
        }
        Ok(())
    }

    /// Links all bots at once. The simulator's phones scan the codes by themselves.
    pub(crate) async fn link_bots(&self) -> Result<usize> {
        let request =
            v1::ListBotsRequest { page_size: muster_domain::limits::PAGE_SIZE_MAX as i32, ..Default::default() };
        let bots = self.client.bots().list_bots(request).await.map_err(muster_client::Error::from)?.into_inner().bots;
        try_join_all(bots.iter().map(|bot| self.link(bot))).await?;
        Ok(bots.len())
    }

    async fn link(&self, bot: &v1::Bot) -> Result<()> {
        let request = v1::LinkBotRequest { name: bot.name.clone(), ..Default::default() };
        let bot = &bot.name;
        let refused = |status| anyhow::Error::new(muster_client::Error::from(status)).context(format!("link {bot}"));
        let mut states = self.client.bots().link_bot(request).await.map_err(refused)?.into_inner();
        while let Some(answer) = states.message().await.map_err(refused)? {
            match answer.state() {
                State::Linked => return Ok(()),
                State::Expired => bail!("nobody scanned the code of {bot}"),
                State::Failed => {
                    let failure = answer.failure.unwrap_or_default();
                    bail!("the gateway could not link {bot}: {}: {}", failure.reason, failure.detail)
                }
                State::Unspecified | State::Preparing | State::Code => {}
            }
        }
        bail!("the server ended the link of {bot} before it was linked")
    }

    /// Stops everything in order: agents first, so that what they hold is reported.
    pub(crate) async fn stop(mut self) -> Result<()> {
        try_join_all(self.agents.iter_mut().map(Process::stop)).await?;
        self.server.stop().await?;
        self.sim.stop().await?;
        Ok(())
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        [&mut self.sim, &mut self.server].into_iter().chain(&mut self.agents)
    }
}
