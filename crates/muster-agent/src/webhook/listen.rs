//! Where webhooks come in.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::serve::Listener;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// How long nobody is let in after somebody could not be: most likely the process has too many files open, and one of
/// them has to be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How the agent listens at an address.
pub type Listen = dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<Listening>> + Send + Sync;

/// A line that a gateway opens to tell something.
pub trait Line: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Line for T {}

/// A place where gateways connect to.
pub struct Listening {
    /// Its address.
    pub address: SocketAddr,
    /// The lines that they open. It never ends while the agent runs.
    pub lines: BoxStream<'static, io::Result<Pin<Box<dyn Line>>>>,
}

/// Listens at a port of this machine.
pub(crate) async fn tcp(address: SocketAddr) -> io::Result<Listening> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let lines = stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await;
        Some((accepted.map(|(line, _)| Box::pin(line) as Pin<Box<dyn Line>>), listener))
    });
    Ok(Listening { address, lines: lines.boxed() })
}

impl Listener for Listening {
    type Io = Pin<Box<dyn Line>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.lines.next().await {
                Some(Ok(line)) => return (line, self.address),
                Some(Err(error)) if has_gone(&error) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "a gateway that has a webhook was not let in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// Whether it is only that the gateway went away before it was let in.
fn has_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
