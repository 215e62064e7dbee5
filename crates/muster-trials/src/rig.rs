//! Real processes of Muster in a folder of their own, for one measurement or one campaign.
//!
//! Everything listens on loopback, on free ports. Processes end with the rig, and the folder goes with it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use muster_demo::processes::{Process, Program};
use tempfile::TempDir;
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};

/// How often a server that starts is called until it answers.
const RETRY: Duration = Duration::from_millis(5);

/// A folder, and the program whose roles run in it.
pub(crate) struct Rig {
    program: Program,
    folder: TempDir,
}

/// A gateway as an agent's configuration names it.
pub(crate) struct GatewayEntry {
    pub(crate) id: String,
    /// Address and key; `None` for the null gateway.
    pub(crate) product: Option<(String, String)>,
}

/// A gateway of the simulator, with instances that are linked from the start.
pub(crate) struct SimulatedGateway {
    pub(crate) name: String,
    pub(crate) key: String,
    /// Name and number of each instance.
    pub(crate) instances: Vec<(String, String)>,
    /// More keys of the gateway, a line of TOML each.
    pub(crate) settings: String,
}

impl Rig {
    /// A fresh folder. The program lies beside this one, where cargo builds both.
    pub(crate) fn new() -> Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let muster = own.with_file_name("muster").with_extension(std::env::consts::EXE_EXTENSION);
        if !muster.is_file() {
            bail!(
                "{} is not there: build it with `cargo build --package muster`, or call `cargo xtask`",
                muster.display()
            );
        }
        let folder = tempfile::Builder::new().prefix("muster-trials-").tempdir().context("make a folder")?;
        Ok(Self { program: Program::new(muster, folder.path()), folder })
    }

    /// The server's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("muster.db")
    }

    /// The folder of the journal of a node's agent.
    pub(crate) fn journal(&self, node: &str) -> PathBuf {
        self.folder.path().join(format!("journal-{node}"))
    }

    /// Starts a server at a free port. Started again, it comes back at the same one. `settings` are lines of its
    /// configuration.
    pub(crate) async fn server(&self, settings: &str) -> Result<Process> {
        let config = self.write("server.toml", &format!("database = {:?}\n{settings}", self.database()))?;
        let args = ["server", "--config", &config, "--listen", "127.0.0.1:0"];
        let mut server = self.program.start("server", args).await?;
        let socket = socket(server.address("api")).to_owned();
        server.set_option("--listen", socket);
        Ok(server)
    }

    /// Starts the agent of a node. `settings` are lines of its configuration.
    pub(crate) async fn agent(
        &self,
        node: &str,
        server: &str,
        gateways: &[GatewayEntry],
        settings: &str,
    ) -> Result<Process> {
        let journal = self.journal(node);
        let mut text = format!("node = {node:?}\nserver = {server:?}\njournal = {journal:?}\n{settings}");
        text.push_str("webhook_listen = \"127.0.0.1:0\"\n");
        for gateway in gateways {
            writeln!(text, "\n[gateways.{}]", gateway.id)?;
            if let Some((url, key)) = &gateway.product {
                writeln!(text, "url = {url:?}\napi_key = {key:?}")?;
            }
        }
        let config = self.write(&format!("{node}.toml"), &text)?;
        Ok(self.program.start(node, ["agent", "--config", &config]).await?)
    }

    /// Starts a simulator at free ports. Started again, it comes back at the same ones.
    pub(crate) async fn simulator(&self, gateways: &[SimulatedGateway]) -> Result<Process> {
        let loopback = "127.0.0.1:0".to_owned();
        let free = vec![loopback.clone(); gateways.len()];
        let config = self.write("sim.toml", &self.simulator_config(gateways, &loopback, &free)?)?;
        let simulator = self.program.start("sim", ["sim", "--config", &config]).await?;
        let taken: Vec<String> = gateways
            .iter()
            .map(|gateway| socket(simulator.address(&format!("gateways/{}", gateway.name))).to_owned())
            .collect();
        self.write("sim.toml", &self.simulator_config(gateways, socket(simulator.address("admin")), &taken)?)?;
        Ok(simulator)
    }

    fn simulator_config(&self, gateways: &[SimulatedGateway], admin: &str, listen: &[String]) -> Result<String> {
        let mut text = format!("ledger = {:?}\nadmin = {admin:?}\n", self.folder.path().join("ledger.jsonl"));
        for (gateway, listen) in gateways.iter().zip(listen) {
            let SimulatedGateway { name, key, instances, settings } = gateway;
            writeln!(text, "\n[[gateways]]\nname = {name:?}\nlisten = {listen:?}\napi_key = {key:?}\n{settings}")?;
            for (name, number) in instances {
                let number = number.trim_start_matches('+');
                writeln!(text, "[[gateways.instances]]\nname = {name:?}\nnumber = {number:?}")?;
            }
        }
        Ok(text)
    }

    /// Runs `muster demo` to its end, and returns its report.
    pub(crate) async fn demo(&self) -> Result<serde_json::Value> {
        let mut demo = Command::new(self.program.executable());
        demo.args(["demo", "--exit", "-o", "json"]).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let output = demo.output().await.context("start the demo")?;
        if !output.status.success() {
            bail!("the demo failed ({}); it said:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("read the demo's report")
    }

    /// Leaves the folder where it is, and tells where.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        path.into_os_string().into_string().ok().context("the folder for temporary files has a name that is no UTF-8")
    }
}

/// Host and port of an address.
fn socket(address: &str) -> &str {
    address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/')
}

/// A connection to a server.
pub(crate) async fn connect(server: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(server.to_owned()).context("read the server's address")?;
    endpoint.connect().await.with_context(|| format!("connect to {server}"))
}

/// Waits until a server takes a connection, which it need not do yet, and tells when it did.
pub(crate) async fn await_serving(server: &str) -> (Channel, Instant) {
    loop {
        if let Ok(channel) = connect(server).await {
            return (channel, Instant::now());
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Several connections to a server.
pub(crate) async fn connect_many(server: &str, count: usize) -> Result<Vec<Channel>> {
    futures::future::try_join_all((0..count).map(|_| connect(server))).await
}
