//! A call that has passed the guards: instance exists, then key is right, in that order.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, Multipart, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, request};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::Problem;
use super::gateway::Gateway;
use super::instance::Instance;
use crate::serve::Wire;

/// Largest body in bytes, as in the product.
const BODY_BYTES_MAX: usize = 136 * 1024 * 1024;

/// The header with the key.
const KEY_HEADER: &str = "apikey";

/// A call about one instance.
pub(super) struct Call {
    pub(super) gateway: Arc<Gateway>,
    pub(super) instance: Arc<Instance>,
    pub(super) form: Form,
    pub(super) query: HashMap<String, String>,
    pub(super) wire: Wire,
}

/// What a call carries.
#[derive(Default)]
pub(super) struct Form {
    pub(super) fields: Map<String, Value>,
    pub(super) file: Option<Upload>,
}

/// The `file` part of a multipart body.
pub(super) struct Upload {
    pub(super) name: Option<String>,
    pub(super) mimetype: Option<String>,
    pub(super) bytes: Bytes,
}

impl Form {
    /// A field that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// A text inside an object.
    pub(super) fn text_in(&self, path: &[&str]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.fields.get(*first)?, |value, name| value.get(name)).and_then(Value::as_str)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.fields.get(name) == Some(&Value::Bool(true))
    }
}

/// A call about no instance: it has a body, and its handler checks the key.
pub(super) struct OpenCall {
    pub(super) headers: HeaderMap,
    pub(super) form: Form,
    pub(super) query: HashMap<String, String>,
    pub(super) wire: Wire,
}

/// The key that a call shows.
pub(super) fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get(KEY_HEADER).and_then(|value| value.to_str().ok()).filter(|key| !key.is_empty())
}

impl Gateway {
    /// Whether `key` opens everything.
    pub(super) fn is_global_key(&self, key: Option<&str>) -> bool {
        key == Some(self.api_key.as_str())
    }
}

/// A body on its way through the guards.
enum Pending {
    Read(Form),
    Parts(Body),
}

impl FromRequest<Arc<Gateway>> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let wire = wire(&mut parts).await?;
        // The product reads a JSON body before its guards, and a multipart body after them.
        let body =
            if is_multipart(&parts) { Pending::Parts(body) } else { Pending::Read(json_form(&parts, body).await?) };
        let Ok(Path(name)) = Path::<String>::from_request_parts(&mut parts, gateway).await else {
            return Err(Problem::bad_request("\"instanceName\" not provided."));
        };
        let instance = gateway.instance(&name).ok_or_else(|| Problem::no_instance(&name))?;
        let key = key(&parts.headers);
        if !gateway.is_global_key(key) && key != Some(instance.token.as_str()) {
            return Err(Problem::unauthorized());
        }
        let query = query(&mut parts).await;
        let form = match body {
            Pending::Read(form) => form,
            Pending::Parts(body) => multipart_form(Request::from_parts(parts, body)).await?,
        };
        if !wire.pause(gateway.latency(&instance)).await {
            return Err(Problem::Silence);
        }
        Ok(Call { gateway: gateway.clone(), instance, form, query, wire })
    }
}

impl FromRequest<Arc<Gateway>> for OpenCall {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Gateway>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let wire = wire(&mut parts).await?;
        let form = json_form(&parts, body).await?;
        let query = query(&mut parts).await;
        Ok(OpenCall { headers: parts.headers, form, query, wire })
    }
}

async fn wire(parts: &mut request::Parts) -> Result<Wire, Problem> {
    let info = ConnectInfo::<Wire>::from_request_parts(parts, &()).await;
    // Every connection has one; a router that is served otherwise is a mistake in this crate.
    info.map(|ConnectInfo(wire)| wire).map_err(Problem::broken)
}

async fn query(parts: &mut request::Parts) -> HashMap<String, String> {
    Query::from_request_parts(parts, &()).await.map(|Query(query)| query).unwrap_or_default()
}

fn content_type(parts: &request::Parts) -> &str {
    parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_multipart(parts: &request::Parts) -> bool {
    content_type(parts).starts_with("multipart/form-data")
}

/// Reads a body as the product's parser does: what is no JSON by its type counts as empty.
async fn json_form(parts: &request::Parts, body: Body) -> Result<Form, Problem> {
    if parts.method == Method::GET || !content_type(parts).starts_with("application/json") {
        return Ok(Form::default());
    }
    let bytes = to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| unreadable(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large"))?;
    Ok(Form { fields: parse_object(&bytes)?, file: None })
}

/// Reads a JSON body. Only objects carry fields; an empty body and a list carry none.
fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Array(_)) => Ok(Map::new()),
        Ok(_) | Err(_) => Err(unreadable(StatusCode::BAD_REQUEST, "Unexpected token in JSON at position 0")),
    }
}

/// A body that the parser refused: nobody catches that, so it is named like an error of the server, whatever its status.
fn unreadable(status: StatusCode, message: &str) -> Problem {
    let error = "Internal Server Error";
    Problem::Raw(status, json!({"status": status.as_u16(), "error": error, "response": {"message": message}}))
}

async fn multipart_form(mut request: Request) -> Result<Form, Problem> {
    let refused = |_| unreadable(StatusCode::INTERNAL_SERVER_ERROR, "Multipart: Unexpected end of form");
    // The extractor has a bound of its own, far below the product's.
    DefaultBodyLimit::max(BODY_BYTES_MAX).apply(&mut request);
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_| unreadable(StatusCode::INTERNAL_SERVER_ERROR, "Multipart: Boundary not found"))?;
    let mut form = Form::default();
    while let Some(field) = multipart.next_field().await.map_err(refused)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let (file_name, mimetype) = (field.file_name().map(str::to_owned), field.content_type().map(str::to_owned));
            form.file = Some(Upload { name: file_name, mimetype, bytes: field.bytes().await.map_err(refused)? });
        } else {
            form.fields.insert(name, field.text().await.map_err(refused)?.into());
        }
    }
    Ok(form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            match parse_object(&bytes) {
                Ok(_) => {}
                Err(problem) => prop_assert!(matches!(problem, Problem::Raw(StatusCode::BAD_REQUEST, _))),
            }
        }
    }
}
