//! A running simulator: opened, started and stopped as a whole.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::admin::{self, AdminClient, AdminError, GatewayAddress};
use crate::config::{Config, GatewayConfig};
use crate::evolution::{Gateway, GatewayQueues, Instances, Parts, initial_instances, recall};
use crate::ledger::{Ledger, LedgerLine, LedgerOpenError};
use crate::serve::serve;
use crate::state::{self, StateHandle, StateKeeper, StateOpenError};

/// How long calls under way may take to end when the simulator stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long a webhook's receiver may take to accept the connection; the rest of the time is the policy's.
const WEBHOOK_CONNECT: Duration = Duration::from_secs(10);

/// The simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("the simulator's configuration is wrong: {0}")]
    Config(String),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerOpenError),
    /// The state beside the ledger cannot be used.
    #[error(transparent)]
    State(#[from] StateOpenError),
    /// The state beside the ledger cannot be written.
    #[error(
        "cannot write the simulator's state {path}: {source}; name a ledger in a directory that this user may write"
    )]
    StateUnwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("{who} cannot listen on {address}: {source}; choose another port, or 0 for a free one")]
    Listen {
        /// `gateway "…"` or `the admin server`.
        who: String,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The client that posts webhooks cannot be made.
    #[error("cannot make an HTTP client for webhooks: {0}")]
    Http(#[from] reqwest::Error),
}

/// A running simulator. Dropping it without [`Simulator::stop`] leaves its servers running until the runtime ends.
pub struct Simulator {
    gateways: Vec<GatewayAddress>,
    admin_url: Url,
    stop: CancellationToken,
    tasks: TaskTracker,
    ledger: Arc<Ledger>,
}

/// Starts a simulator. When this returns, every server listens.
pub async fn start(config: Config) -> Result<Simulator, StartError> {
    config.check().map_err(StartError::Config)?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();

    let state_path = state::path_beside(&config.ledger);
    let mut saved = state::read(&state_path)?;
    let runs = saved.runs + 1;
    let instances: HashMap<String, Instances> = config
        .gateways
        .iter()
        .map(|gateway| {
            let recorded = saved.gateways.remove(&gateway.name).unwrap_or_default();
            (gateway.name.clone(), initial_instances(gateway, recorded, runs))
        })
        .collect();
    let (ledger, mut instances) = open_ledger(config.ledger, instances).await?;

    let (admin_listener, admin_url) = listen("the admin server", config.admin).await?;
    let handle = StateHandle::new();
    let mut gateways: Vec<(Arc<Gateway>, GatewayQueues)> = Vec::new();
    let mut addresses = Vec::new();
    for gateway in config.gateways {
        let (listener, url) = listen(&format!("gateway \"{}\"", gateway.name), gateway.listen).await?;
        addresses.push(GatewayAddress { name: gateway.name.clone(), url: url.clone() });
        let parts = Parts {
            listener,
            url: url.as_str().trim_end_matches('/').to_owned(),
            instances: instances.remove(&gateway.name).unwrap_or_default(),
            http: webhook_client(&gateway)?,
            ledger: ledger.clone(),
            state: handle.clone(),
            stop: stop.clone(),
        };
        gateways.push(Gateway::new(gateway, parts));
    }

    let keeper = StateKeeper {
        path: state_path.clone(),
        handle,
        runs,
        others: saved.gateways,
        gateways: gateways.iter().map(|(gateway, _)| gateway.clone()).collect(),
    };
    keeper.write().await.map_err(|source| StartError::StateUnwritable { path: state_path, source })?;
    tasks.spawn(keeper.run(stop.clone()));
    let admin = admin::Admin {
        gateways: gateways.iter().map(|(gateway, _)| (gateway.name.to_string(), gateway.clone())).collect(),
        addresses: addresses.clone(),
        ledger: ledger.clone(),
    };
    for (gateway, queues) in gateways {
        gateway.start(queues, &tasks);
    }
    tasks.spawn(serve(admin_listener, admin::router(admin), stop.clone()));
    tasks.close();
    Ok(Simulator { gateways: addresses, admin_url, stop, tasks, ledger })
}

/// Opens the ledger off the runtime's threads, since a long one takes seconds to read.
async fn open_ledger(
    path: PathBuf,
    instances: HashMap<String, Instances>,
) -> Result<(Arc<Ledger>, HashMap<String, Instances>), LedgerOpenError> {
    let task_path = path.clone();
    let open = tokio::task::spawn_blocking(move || {
        let ledger = Ledger::open(&task_path, |line: LedgerLine, start| {
            let instance = instances.get(&line.entry.gateway).and_then(|all| all.get(line.entry.instance.as_str()));
            if let Some(instance) = instance {
                recall(instance, line, start);
            }
        })?;
        Ok((Arc::new(ledger), instances))
    });
    open.await.unwrap_or_else(|error| Err(LedgerOpenError::Io { path, source: io::Error::other(error) }))
}

async fn listen(who: &str, address: SocketAddr) -> Result<(TcpListener, Url), StartError> {
    let failed = |source| StartError::Listen { who: who.to_owned(), address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let url = Url::parse(&format!("http://{bound}/")).map_err(|error| failed(io::Error::other(error)))?;
    Ok((listener, url))
}

fn webhook_client(gateway: &GatewayConfig) -> Result<reqwest::Client, reqwest::Error> {
    let policy = &gateway.behaviour.webhook;
    reqwest::Client::builder()
        .connect_timeout(WEBHOOK_CONNECT)
        .timeout(Duration::from_millis(policy.timeout_ms))
        .pool_max_idle_per_host(policy.concurrency)
        .no_proxy()
        .build()
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Simulator { gateways, admin_url, .. } = self;
        f.debug_struct("Simulator").field("gateways", gateways).field("admin_url", admin_url).finish_non_exhaustive()
    }
}

impl Simulator {
    /// The gateways and where they listen, in the order of the configuration.
    pub fn gateways(&self) -> &[GatewayAddress] {
        &self.gateways
    }

    /// Where the admin calls are.
    pub fn admin_url(&self) -> &Url {
        &self.admin_url
    }

    /// A client of the admin calls.
    pub fn admin(&self) -> Result<AdminClient, AdminError> {
        AdminClient::new(self.admin_url.clone())
    }

    /// Runs until `token` is cancelled, then stops.
    pub async fn run_until(self, token: CancellationToken) {
        token.cancelled().await;
        self.stop().await;
    }

    /// Stops the servers, cuts calls that wait, and closes the files.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("calls to the simulator are still under way; they are left behind");
        }
        let ledger = self.ledger;
        if let Err(error) = tokio::task::spawn_blocking(move || ledger.close()).await {
            tracing::error!(%error, "closing the ledger ended by a panic");
        }
    }
}
