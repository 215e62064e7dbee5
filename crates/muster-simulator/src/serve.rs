//! HTTP over connections that a handler can cut.
//!
//! A real gateway that dies resets its connections; an ordinary HTTP server always says something. Here every connection has
//! a [`Wire`] by which a handler resets it before the answer, or learns that the caller has gone.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long to wait before the next accept after a failed one, such as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `stop`, then lets calls under way end.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<Wire>();
    let shutdown = stop.clone().cancelled_owned();
    if let Err(error) = axum::serve(CuttableListener { listener, stop }, service).with_graceful_shutdown(shutdown).await
    {
        tracing::error!(%error, "a server of the simulator ended");
    }
}

/// A handler's hold on the connection that its call came by.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    cut: Arc<AtomicBool>,
    closed: CancellationToken,
    stop: CancellationToken,
}

impl Wire {
    /// Makes the connection end with a TCP reset instead of the answer.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Waits for ever, from the caller's view: until the connection is closed or the server stops; then cuts it.
    pub(crate) async fn hang(&self) {
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
        self.cut();
    }

    /// Waits for `duration`. `false`: the server stops meanwhile, and the connection is cut.
    pub(crate) async fn pause(&self, duration: Duration) -> bool {
        if duration.is_zero() {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.stop.cancelled() => {
                self.cut();
                false
            }
        }
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().wire.clone()
    }
}

struct CuttableListener {
    listener: TcpListener,
    stop: CancellationToken,
}

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CuttableStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "small answers may wait for the network");
                    }
                    return (CuttableStream::new(stream, self.stop.clone()), peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that refuses every further byte once its [`Wire`] is cut, and then closes with a reset.
struct CuttableStream {
    stream: TcpStream,
    wire: Wire,
    _closes: DropGuard,
}

impl CuttableStream {
    fn new(stream: TcpStream, stop: CancellationToken) -> Self {
        let closed = CancellationToken::new();
        let wire = Wire { cut: Arc::default(), closed: closed.clone(), stop };
        CuttableStream { stream, wire, _closes: closed.drop_guard() }
    }

    fn check(&self) -> io::Result<()> {
        if !self.wire.cut.load(Ordering::Acquire) {
            return Ok(());
        }
        // With zero linger, closing sends a reset and drops what was not sent.
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
