//! The server's host.

use std::sync::Arc;
use std::time::Duration;

use muster_server::Config;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::client::SERVER;
use crate::host::{Crash, Host, Power};
use crate::network::Network;
use crate::store::{Database, VirtualStore};
use crate::storm::Weather;

/// A run of the server.
struct Up {
    host: Host<Result<(), String>>,
    store: Arc<VirtualStore>,
}

/// The server, up or down.
pub(crate) struct ServerHost {
    weather: Weather,
    network: Network,
    pub(crate) database: Arc<Database>,
    power: Power,
    shutdown: CancellationToken,
    up: Option<Up>,
    /// When it comes up, if it is down.
    returns: Duration,
    /// The backup takes the place of the database before it comes up.
    restores: bool,
}

impl ServerHost {
    pub(crate) fn new(weather: Weather, network: Network, database: Arc<Database>) -> Self {
        ServerHost {
            weather,
            network,
            database,
            power: Power::default(),
            shutdown: CancellationToken::new(),
            up: None,
            returns: Duration::ZERO,
            restores: false,
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

    /// Loses its power, and comes up on the backup.
    pub(crate) fn restore(&mut self) {
        self.restores = true;
        self.kill("server killed");
    }

    /// Comes up as soon as it can.
    pub(crate) fn hurry(&mut self) {
        self.returns = self.returns.min(self.weather.time.now());
    }

    /// Lives up to a moment.
    pub(crate) fn run_until(&mut self, moment: Duration) {
        if self.up.is_none() && self.returns <= self.weather.time.now() {
            self.start();
        }
        let Some(up) = &mut self.up else { return };
        let ended = up.host.run_until(moment);
        let crash = self.power.take();
        if let Some(crash) = crash {
            self.weather.chronicle.fault(SERVER, crash.kind, &crash.at);
            self.network.break_lines(SERVER, self.weather.chance.one_in(2));
            self.go_down();
        } else if let Some(ended) = ended {
            self.weather.chronicle.event(SERVER, format_args!("has stopped: {ended:?}"));
            if let Err(error) = ended {
                self.weather.chronicle.violation("conduct", format_args!("the server ended: {error}"));
            }
            self.go_down();
        }
    }

    fn start(&mut self) {
        if std::mem::take(&mut self.restores) {
            self.weather.chronicle.fault(SERVER, "restored database", "");
            if let Err(error) = self.database.restore() {
                self.weather.chronicle.violation("simulation", format_args!("the backup cannot be put back: {error}"));
            }
        }
        let store = match self.database.open(self.power.clone()) {
            Ok(store) => store,
            Err(error) => {
                self.weather.chronicle.violation("conduct", format_args!("the database does not open: {error}"));
                self.returns = self.weather.time.now() + Duration::from_secs(1);
                return;
            }
        };
        let config = Config {
            heartbeat_interval: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(4),
            stop_timeout: Duration::from_secs(2),
            ..Config::default()
        };
        self.shutdown = CancellationToken::new();
        let incoming = UnboundedReceiverStream::new(self.network.listen(SERVER));
        let (serves, shutdown) = (Arc::clone(&store), self.shutdown.clone());
        let main = async move {
            muster_server::serve_on(config, serves, incoming, shutdown).await.map_err(|error| error.to_string())
        };
        match Host::start(&self.weather.time, main) {
            Ok(host) => self.up = Some(Up { host, store }),
            Err(error) => self.weather.chronicle.violation("simulation", format_args!("no runtime: {error}")),
        }
        self.weather.chronicle.event(SERVER, "is up");
    }

    fn go_down(&mut self) {
        if let Some(Up { host, store }) = self.up.take() {
            drop(host);
            self.database.close(&store);
        }
        let away = self.weather.chance.millis(50, 4_000);
        self.returns = self.weather.time.now() + away;
    }
}
