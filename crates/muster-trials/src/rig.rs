//! Real processes of Muster in a folder of their own, for one measurement or one campaign.
//!
//! Everything listens on loopback, on free ports. Processes end with the rig, and the folder goes with it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use muster_demo::processes::{Process, Program};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

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

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("muster.db")
    }

    /// Starts a server at a free port. Started again, it comes back at the same one.
    pub(crate) async fn server(&self) -> Result<Process> {
        let config = self.write("server.toml", &format!("database = {:?}\n", self.database()))?;
        let args = ["server", "--config", &config, "--listen", "127.0.0.1:0"];
        let mut server = self.program.start("server", args).await?;
        let address = server.address("api").to_owned();
        let socket = address.strip_prefix("http://").unwrap_or(&address).trim_end_matches('/').to_owned();
        server.set_option("--listen", socket);
        Ok(server)
    }

    /// Starts the agent of a node.
    pub(crate) async fn agent(&self, node: &str, server: &str, gateways: &[GatewayEntry]) -> Result<Process> {
        let journal = self.folder.path().join(format!("journal-{node}"));
        let mut text = format!("node = {node:?}\nserver = {server:?}\njournal = {journal:?}\n");
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

    /// Starts a simulator with a configuration.
    pub(crate) async fn simulator(&self, config: &str) -> Result<Process> {
        let config = self.write("sim.toml", config)?;
        Ok(self.program.start("sim", ["sim", "--config", &config]).await?)
    }

    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        path.into_os_string().into_string().ok().context("the folder for temporary files has a name that is no UTF-8")
    }
}

/// A connection to a server.
pub(crate) async fn connect(server: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(server.to_owned()).context("read the server's address")?;
    endpoint.connect().await.with_context(|| format!("connect to {server}"))
}

/// Several connections to a server.
pub(crate) async fn connect_many(server: &str, count: usize) -> Result<Vec<Channel>> {
    futures::future::try_join_all((0..count).map(|_| connect(server))).await
}
