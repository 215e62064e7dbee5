//! One HTTP request to the product, and whether its bytes may have left when no answer came.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use muster_domain::failure::{Failure, FailureReason};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use url::Url;

use super::EvolutionConfig;
use crate::contract::SendError;
use crate::redact::redact;
use crate::registry::ConfigError;
use crate::secret::Secret;

/// How long an idle connection is kept. Below the 5 s after which the product's HTTP server (Node) closes its side: a request
/// that crosses such a close on the wire would end as "may have been sent".
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(4);

/// Bytes of an answer that are read. The largest that is used here is a QR code with its picture, some 20 kB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The product's header for keys.
const API_KEY_HEADER: &str = "apikey";

/// Speaks HTTP to one installation of the product.
pub(super) struct Client {
    http: reqwest::Client,
    base_url: Url,
    api_key: Secret,
    call_timeout: Duration,
}

/// A complete answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body, complete.
    pub(super) body: Bytes,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(config: EvolutionConfig) -> Result<Self, ConfigError> {
        let EvolutionConfig { base_url, api_key, call_timeout, connect_timeout } = config;
        if !matches!(base_url.scheme(), "http" | "https") || !base_url.has_host() {
            return Err(ConfigError::new("url", "must be an http or https address such as \"http://127.0.0.1:8080\""));
        }
        if !base_url.username().is_empty()
            || base_url.password().is_some()
            || base_url.query().is_some()
            || base_url.fragment().is_some()
        {
            return Err(ConfigError::new(
                "url",
                "must not hold a user, a password, a query or a fragment; the key goes to api_key",
            ));
        }
        let mut key = HeaderValue::from_str(api_key.expose()).ok().filter(|key| !key.is_empty()).ok_or_else(|| {
            ConfigError::new("api_key", "must be the product's key: printable characters, at least one")
        })?;
        key.set_sensitive(true);
        if connect_timeout.is_zero() {
            return Err(ConfigError::new("connect_timeout_ms", "must be at least 1"));
        }
        if call_timeout <= connect_timeout {
            return Err(ConfigError::new(
                "call_timeout_ms",
                "must be greater than connect_timeout_ms, which is a part of it",
            ));
        }

        let mut builder = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(HeaderName::from_static(API_KEY_HEADER), key)]))
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE_CONNECTION_KEPT)
            // The product speaks HTTP/1.1. A proxy that offers HTTP/2 would only blur which request an error belongs to.
            .http1_only()
            // Neither a redirect nor a retry may repeat a send; a proxy from the environment would see the key.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy();
        if base_url.scheme() == "http" {
            // Nothing is encrypted, so no certificates are loaded: a minimal container has none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(unbuildable)?;
        Ok(Client { http, base_url, api_key, call_timeout })
    }

    /// Longest call apart from sends.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// The key, for texts from which it has to be taken out.
    pub(super) fn api_key(&self) -> &str {
        self.api_key.expose()
    }

    /// GETs a route, given as its path segments.
    pub(super) async fn get(&self, route: &[&str], query: &[(&str, &str)]) -> Result<Answer, SendError> {
        self.execute(self.request(Method::GET, route).query(query), self.call_timeout).await
    }

    /// DELETEs a route.
    pub(super) async fn delete(&self, route: &[&str]) -> Result<Answer, SendError> {
        self.execute(self.request(Method::DELETE, route), self.call_timeout).await
    }

    /// POSTs a body to a route, within `timeout`.
    pub(super) async fn post(
        &self,
        route: &[&str],
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<Answer, SendError> {
        let body = serde_json::to_vec(body).map_err(|error| {
            let text = format!("the request cannot be written as JSON: {}", redact(&error.to_string(), &[]));
            SendError::NotSent(Failure::new(FailureReason::InvalidRequest, text))
        })?;
        let request = self.request(Method::POST, route).header(CONTENT_TYPE, "application/json").body(body);
        self.execute(request, timeout).await
    }

    fn request(&self, method: Method, route: &[&str]) -> reqwest::RequestBuilder {
        let mut url = self.base_url.clone();
        // An http address can always be a base; that it is one was checked when the client was built.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(route);
        }
        self.http.request(method, url)
    }

    /// The one place that decides whether a request without an answer may have reached the product.
    async fn execute(&self, request: reqwest::RequestBuilder, timeout: Duration) -> Result<Answer, SendError> {
        // A request that cannot be built never sees a socket.
        let request = request.timeout(timeout).build().map_err(|error| {
            SendError::NotSent(Failure::new(
                FailureReason::InvalidRequest,
                format!("the request cannot be built: {}", cause(&error)),
            ))
        })?;
        let response = self.http.execute(request).await.map_err(without_answer)?;
        let status = response.status();
        let body = read_bounded(response).await?;
        Ok(Answer { status, body })
    }
}

/// Reads the body. From here on the product has acted, so whatever fails leaves the outcome open.
async fn read_bounded(mut response: reqwest::Response) -> Result<Bytes, SendError> {
    let status = response.status().as_u16();
    let unknown = |text: String| SendError::Unknown(Failure::new(FailureReason::OutcomeUnknown, text));
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => {
                return Err(unknown(format!("HTTP {status} with more than {ANSWER_BYTES_MAX} bytes")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(unknown(format!("HTTP {status}, and the body broke off: {}", cause(&error)))),
        }
    }
}

/// What a request without an answer means. Only two kinds are proof that nothing left: a request that was never built, and a
/// connection that never stood (refused, unreachable, not resolved, TLS not agreed, or not up within the connect timeout). A
/// reset, a time-out, a close: the bytes may have been read and acted upon before, so none of these is ever "not sent".
/// (A pooled connection that turns out closed before the first byte is replaced by the HTTP library without an error.)
fn without_answer(error: reqwest::Error) -> SendError {
    if error.is_builder() {
        let text = format!("the request cannot be built: {}", cause(&error));
        return SendError::NotSent(Failure::new(FailureReason::InvalidRequest, text));
    }
    if error.is_connect() {
        let text = if error.is_timeout() {
            "no connection in time".to_owned()
        } else {
            format!("no connection: {}", cause(&error))
        };
        return SendError::NotSent(Failure::new(FailureReason::GatewayUnavailable, text));
    }
    let text =
        if error.is_timeout() { "no answer in time".to_owned() } else { format!("no answer: {}", cause(&error)) };
    SendError::Unknown(Failure::new(FailureReason::OutcomeUnknown, text))
}

/// The innermost cause: the outer ones only name the request, and with it the address.
fn cause(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else {
        return "malformed".to_owned();
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    redact(&cause.to_string(), &[])
}

fn unbuildable(error: reqwest::Error) -> ConfigError {
    ConfigError::new("url", format!("must be usable by the HTTP client, which says: {}", cause(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, key: &str) -> EvolutionConfig {
        EvolutionConfig {
            base_url: url.parse().unwrap(),
            api_key: Secret::new(key),
            call_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn bad_settings_are_named() {
        for (url, key, named) in [
            ("ftp://127.0.0.1", "k", "url"),
            ("http://ana:secret@127.0.0.1", "k", "url"),
            ("http://127.0.0.1/?apikey=k", "k", "url"),
            ("http://127.0.0.1", "", "api_key"),
            ("http://127.0.0.1", "k\u{7f}", "api_key"),
        ] {
            assert_eq!(Client::new(config(url, key)).unwrap_err().key, named, "{url} {key:?}");
        }
        let hasty = EvolutionConfig { call_timeout: Duration::from_secs(5), ..config("http://127.0.0.1", "k") };
        assert_eq!(Client::new(hasty).unwrap_err().key, "call_timeout_ms");
    }

    #[test]
    fn routes_keep_the_prefix_and_escape_names() {
        for (base, route) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/message/sendText/a%2Fb"),
            ("https://host/evo/", "https://host/evo/message/sendText/a%2Fb"),
        ] {
            let client = Client::new(config(base, "k")).unwrap();
            let request = client.request(Method::POST, &["message", "sendText", "a/b"]).build().unwrap();
            assert_eq!(request.url().as_str(), route);
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let client = Client::new(config("http://127.0.0.1", "very-secret")).unwrap();
        assert!(!format!("{client:?}").contains("very-secret"));
        let request = client.request(Method::GET, &[]).build().unwrap();
        assert!(!format!("{request:?}").contains("very-secret"));
    }
}
