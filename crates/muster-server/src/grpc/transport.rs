//! What the transport refuses before a method sees it: the one place that gives such refusals a reason and details.
//!
//! tonic answers a request that is too large, cannot be decoded, or names a method that does not exist, with a bare status.
//! Whatever our own code answers carries details (`status.rs`), so a bare status of these codes is the transport's.
//!
//! A request that is too large is INVALID_ARGUMENT here and not RESOURCE_EXHAUSTED: that code means "come back more slowly"
//! in this API, and clients that retry it would send the same request for ever.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::app::error::{Error, Reason};

type Frame = http_body::Frame<Bytes>;

/// The header by which the transport says which compressions it knows, when it was sent another one.
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// What a refusal of the transport means; `None` if it is none. `bytes_max` is the bound of the service for one message.
pub(super) fn refusal(status: &Status, bytes_max: usize) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange => {
            let text = format!("a message of this call has more than {bytes_max} bytes; send less at a time");
            Some(Error::new(Reason::RequestTooLarge, text).with("limit_bytes", bytes_max))
        }
        // The transport names fields and wire types, never what is in them.
        Code::Internal => {
            let text = format!("the request cannot be read: {}", status.message());
            Some(Error::new(Reason::RequestMalformed, text))
        }
        Code::Unimplemented if status.metadata().contains_key(ACCEPT_ENCODING) => {
            Some(Error::new(Reason::CompressionUnsupported, "this server takes no compressed requests"))
        }
        Code::Unimplemented => {
            let text = "this server has no such method; compare its version with the client's";
            Some(Error::new(Reason::MethodUnknown, text))
        }
        _ => None,
    }
}

/// Gives the transport's refusals their reasons, in answers and at the end of streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusalLayer;

/// See [`RefusalLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Refusals<S>(S);

impl<S> Layer<S> for RefusalLayer {
    type Service = Refusals<S>;
    fn layer(&self, inner: S) -> Refusals<S> {
        Refusals(inner)
    }
}

impl<S> Service<Request<Body>> for Refusals<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let bytes_max = super::request_bytes_max(request.uri().path());
        let answer = self.0.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(match Status::from_header_map(response.headers()) {
                Some(status) => refusal(&status, bytes_max).map_or(response, |error| Status::from(error).into_http()),
                None => response.map(|body| Body::new(body.map_frame(move |frame| frame_refusal(frame, bytes_max)))),
            })
        })
    }
}

/// The same for the last frame of a stream, which carries its status.
fn frame_refusal(frame: Frame, bytes_max: usize) -> Frame {
    let trailers = match frame.into_trailers() {
        Ok(trailers) => trailers,
        Err(data) => return data,
    };
    let error = Status::from_header_map(&trailers).and_then(|status| refusal(&status, bytes_max));
    let Some(error) = error else { return Frame::trailers(trailers) };
    let mut reasoned = HeaderMap::new();
    match Status::from(error).add_header(&mut reasoned) {
        Ok(()) => Frame::trailers(reasoned),
        Err(_) => Frame::trailers(trailers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_own_code_answers_is_left_alone() {
        for reason in Reason::ALL {
            assert_eq!(refusal(&Status::from(Error::new(reason, "what to do")), 1), None);
        }
        for code in [Code::Ok, Code::Cancelled, Code::Unknown, Code::NotFound, Code::Unavailable] {
            assert_eq!(refusal(&Status::new(code, "bare"), 1), None);
        }
    }

    #[test]
    fn a_refusal_of_the_transport_has_a_reason() {
        let reason = |status| refusal(&status, 7).map(|error| (error.reason, error.facts));
        assert_eq!(
            reason(Status::out_of_range("x")),
            Some((Reason::RequestTooLarge, vec![("limit_bytes", "7".to_owned())]))
        );
        assert_eq!(reason(Status::internal("x")), Some((Reason::RequestMalformed, Vec::new())));
        assert_eq!(reason(Status::unimplemented("")), Some((Reason::MethodUnknown, Vec::new())));
    }
}
