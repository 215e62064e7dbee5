//! What happens around every call, outermost first: an id and a span for the logs, the limit of calls under way, and reasons
//! for what the transport refuses.
//!
//! Spans name the method and the request, never what is in it. The limit counts calls until their answer begins; streams
//! that are open do not count.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service, ServiceBuilder};
use tracing::Instrument as _;

use super::transport::RefusalLayer;
use super::unread;
use crate::app::error::{Error, Reason};

/// The header in which a caller may name its request, and finds the name in the answer.
const REQUEST_ID: &str = "x-request-id";

/// Bytes of a caller's request id that are taken.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The layers around all services.
pub(crate) fn layers(
    calls_max: usize,
    unread_timeout: Duration,
) -> Stack<RefusalLayer, Stack<LimitLayer, Stack<SpanLayer, Identity>>> {
    let limit = LimitLayer { calls: Arc::new(Semaphore::new(calls_max)) };
    let span = SpanLayer { unread_timeout };
    ServiceBuilder::new().layer(span).layer(limit).layer(RefusalLayer).into_inner()
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Gives each call an id and a span, in which also the end of a stream is told that nobody reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanLayer {
    unread_timeout: Duration,
}

/// See [`SpanLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Span<S> {
    inner: S,
    unread_timeout: Duration,
}

impl<S> Layer<S> for SpanLayer {
    type Service = Span<S>;
    fn layer(&self, inner: S) -> Span<S> {
        Span { inner, unread_timeout: self.unread_timeout }
    }
}

impl<S> Service<Request<Body>> for Span<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let id = request_id(&request);
        let shown = id.to_str().unwrap_or_default();
        let span = tracing::info_span!("request", request.id = shown, rpc.method = request.uri().path());
        let began = Instant::now();
        let answer = span.in_scope(|| self.inner.call(request));
        let unread_timeout = self.unread_timeout;
        Box::pin(
            async move {
                let mut response = answer.await?;
                let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
                let duration_ms = began.elapsed().as_millis() as u64;
                tracing::debug!(rpc.code = ?code, duration_ms, "answered");
                response.headers_mut().insert(REQUEST_ID, id);
                Ok(unread::bounded(response, unread_timeout))
            }
            .instrument(span),
        )
    }
}

/// The caller's id for the request if it gave a plain one, else a new one.
fn request_id(request: &Request<Body>) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(legal)
    };
    match request.headers().get(REQUEST_ID).filter(plain) {
        Some(id) => id.clone(),
        None => {
            let id = format!("{:016x}", rand::random::<u64>());
            HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
        }
    }
}

/// Refuses calls beyond a number under way.
#[derive(Debug, Clone)]
pub(crate) struct LimitLayer {
    calls: Arc<Semaphore>,
}

/// See [`LimitLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Limit<S> {
    inner: S,
    calls: Arc<Semaphore>,
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;
    fn layer(&self, inner: S) -> Limit<S> {
        Limit { inner, calls: Arc::clone(&self.calls) }
    }
}

impl<S> Service<Request<Body>> for Limit<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let Ok(place) = Arc::clone(&self.calls).try_acquire_owned() else {
            let error =
                Error::new(Reason::Overloaded, "the server has too many calls under way; come back more slowly");
            return Box::pin(async move { Ok(Status::from(error).into_http()) });
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(place);
            answer
        })
    }
}
