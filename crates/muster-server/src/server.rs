//! Putting the server together, and taking it down.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use muster_domain::node::Patience;
use muster_store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic_health::ServingStatus;

use crate::app::{App, media};
use crate::config::Config;
use crate::grpc;
use crate::session::{self, Sessions};
use crate::tasks::{self, Nudge, absences::Absences, holds::Holds, retention::Retention, wake::Wake};

/// How often HTTP/2 asks a silent peer for a sign, well within the time-outs of common proxies.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long a peer may take to answer it.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one stream may have in flight towards us: several frames of a streamed send.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// What one connection may have in flight towards us.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting makes no sense.
    #[error("{key} {expectation}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What it must be.
        expectation: &'static str,
    },
    /// The descriptors that are compiled in cannot be read.
    #[error("the descriptors for server reflection cannot be read")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves both APIs on `listener`: see [`serve_on`].
///
/// # Errors
/// Those of [`serve_on`].
pub async fn serve(
    config: Config,
    store: Arc<dyn Store>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    serve_on(config, store, TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown).await
}

/// Serves both APIs on the connections that `incoming` gives, until `shutdown` is cancelled: then sessions get their last frame, streams end, and calls
/// under way are waited for, [`Config::stop_timeout`] at the longest. Closing the store is left to the caller, after this
/// returned.
///
/// # Errors
/// When a setting makes no sense, and when the transport fails.
pub async fn serve_on<I, C>(
    config: Config,
    store: Arc<dyn Store>,
    incoming: I,
    shutdown: CancellationToken,
) -> Result<(), ServeError>
where
    I: Stream<Item = io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    config.check().map_err(|(key, expectation)| ServeError::Config { key, expectation })?;
    let sessions = Arc::new(Sessions::new());
    let (wake, holds) = (Arc::new(Nudge::new()), Arc::new(Nudge::new()));
    let (absences, retention) = (Arc::new(Nudge::new()), Nudge::new());
    let serving_since = store.now();
    let (inbound, _) = tokio::sync::watch::channel(0);
    let app = Arc::new(App {
        store: Arc::clone(&store),
        sessions: Arc::clone(&sessions),
        wake: Arc::clone(&wake),
        holds: Arc::clone(&holds),
        inbound: inbound.subscribe(),
        uploads: tokio::sync::Semaphore::new(media::UPLOADS_MAX),
        serving_since,
        patience: Patience { heartbeat_interval: config.heartbeat_interval, lost_after: config.lost_after },
        stopping: shutdown.clone(),
    });
    let context = Arc::new(session::Context {
        store: Arc::clone(&store),
        sessions: Arc::clone(&sessions),
        wake: Arc::clone(&wake),
        absences: Arc::clone(&absences),
        inbound,
        heartbeat_interval: config.heartbeat_interval,
        stall_timeout: config.stall_timeout,
        stopping: shutdown.clone(),
    });
    let running = TaskTracker::new();
    let (routes, health) = grpc::routes(&app, &context, &running).await?;

    let task =
        Wake { store: Arc::clone(&store), sessions: Arc::clone(&sessions), uncertain_wait: config.uncertain_wait };
    let stopping = shutdown.clone();
    running.spawn(async move { tasks::run(task, &wake, stopping).await });
    let task = Holds { store: Arc::clone(&store), sessions: Arc::clone(&sessions) };
    let stopping = shutdown.clone();
    running.spawn(async move { tasks::run(task, &holds, stopping).await });
    let task = Absences { store: Arc::clone(&store), sessions, serving_since };
    let stopping = shutdown.clone();
    running.spawn(async move { tasks::run(task, &absences, stopping).await });
    let task = Retention::new(store, config.retention);
    let stopping = shutdown.clone();
    running.spawn(async move { tasks::run(task, &retention, stopping).await });

    let stopping = shutdown.clone();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .layer(grpc::layers::layers(config.calls_max, config.unread_timeout))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move {
            stopping.cancelled().await;
            health.set_service_status("", ServingStatus::NotServing).await;
        });
    running.close();
    let stopped = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.stop_timeout).await;
    };
    let served = tokio::select! {
        served = async {
            let served = serving.await;
            // Sessions note their end in the store after their last frame has left.
            shutdown.cancel();
            running.wait().await;
            served
        } => served,
        () = stopped => {
            tracing::warn!(open = running.len(), "stopped before all calls and sessions had ended");
            Ok(())
        }
    };
    Ok(served?)
}
