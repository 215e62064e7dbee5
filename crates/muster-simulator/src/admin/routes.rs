//! The admin server.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::types::{
    Disconnect, FaultOverview, GatewayAddress, InboundRequest, InboundSent, InstanceOverview, Refusal, ScanRequest,
};
use crate::evolution::{Gateway, Instance, ReceiveError, jid};
use crate::faults::Faults;
use crate::ledger::{Ledger, Summary};

/// Lines of the ledger that one answer holds when the caller names no number.
const PAGE_LINES_DEFAULT: usize = 1000;

/// Most lines that one answer holds.
const PAGE_LINES_MAX: usize = 50_000;

/// What the admin calls work on.
pub(crate) struct Admin {
    pub(crate) gateways: BTreeMap<String, Arc<Gateway>>,
    pub(crate) addresses: Vec<GatewayAddress>,
    pub(crate) ledger: Arc<Ledger>,
}

/// A refused call.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Refusal { error: self.1 })).into_response()
    }
}

fn bad_request(error: impl ToString) -> Refused {
    Refused(StatusCode::BAD_REQUEST, error.to_string())
}

/// All admin routes.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/gateways", get(gateways))
        .route("/instances", get(instances))
        .route("/instances/{gateway}/{instance}/scan", post(scan))
        .route("/instances/{gateway}/{instance}/disconnect", post(disconnect))
        .route("/instances/{gateway}/{instance}/inbound", post(inbound))
        .route("/faults", get(faults).put(set_all_faults))
        .route("/faults/{gateway}", put(set_gateway_faults))
        .route("/faults/{gateway}/{instance}", put(set_instance_faults).delete(clear_instance_faults))
        .route("/ledger", get(ledger_page))
        .route("/ledger/summary", get(ledger_summary))
        .fallback(async || Refused(StatusCode::NOT_FOUND, "there is no such admin call".to_owned()))
        .with_state(Arc::new(admin))
}

impl Admin {
    fn gateway(&self, name: &str) -> Result<&Arc<Gateway>, Refused> {
        self.gateways.get(name).ok_or_else(|| {
            let known: Vec<_> = self.gateways.keys().map(String::as_str).collect();
            Refused(StatusCode::NOT_FOUND, format!("there is no gateway \"{name}\"; there are: {}", known.join(", ")))
        })
    }

    fn instance(&self, (gateway, name): (&str, &str)) -> Result<(&Arc<Gateway>, Arc<Instance>), Refused> {
        let gateway = self.gateway(gateway)?;
        let missing = || {
            let error = format!("gateway \"{}\" has no instance \"{name}\"; create it first", gateway.name);
            Refused(StatusCode::NOT_FOUND, error)
        };
        Ok((gateway, gateway.instance(name).ok_or_else(missing)?))
    }
}

/// Reads a body, whatever type it claims to have. An empty one stands for `{}`.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(bad_request)
}

fn read_faults(body: &Bytes) -> Result<Faults, Refused> {
    let faults: Faults = read(body)?;
    faults.check().map_err(bad_request)?;
    Ok(faults)
}

async fn gateways(State(admin): State<Arc<Admin>>) -> Json<Vec<GatewayAddress>> {
    Json(admin.addresses.clone())
}

async fn instances(State(admin): State<Arc<Admin>>) -> Json<Vec<InstanceOverview>> {
    let all = admin.gateways.values().flat_map(|gateway| gateway.all().into_iter().map(move |one| (gateway, one)));
    Json(all.map(|(gateway, instance)| overview(gateway, &instance)).collect())
}

fn overview(gateway: &Gateway, instance: &Instance) -> InstanceOverview {
    let state = instance.lock();
    InstanceOverview {
        gateway: gateway.name.to_string(),
        instance: instance.name.to_string(),
        id: instance.id.clone(),
        state: state.socket.state,
        linked: state.is_linked(),
        number: state.owner.as_deref().map(|owner| jid::user(owner).to_owned()),
        code: state.socket.code.as_ref().map(|code| code.code.clone()),
        code_count: state.socket.code_count,
        messages: state.mailbox.counts().0 as u64,
    }
}

async fn scan(
    State(admin): State<Arc<Admin>>,
    Path((gateway, instance)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<InstanceOverview>, Refused> {
    let (gateway, instance) = admin.instance((&gateway, &instance))?;
    let request: ScanRequest = read(&body)?;
    if request.number.as_deref().is_some_and(|number| !number.bytes().all(|b| b.is_ascii_digit())) {
        return Err(bad_request("number: must consist of digits"));
    }
    let scanned = gateway.scan(&instance, request.number.as_deref());
    scanned.map_err(|error| Refused(StatusCode::CONFLICT, error.to_string()))?;
    Ok(Json(overview(gateway, &instance)))
}

async fn disconnect(
    State(admin): State<Arc<Admin>>,
    Path((gateway, instance)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<InstanceOverview>, Refused> {
    let (gateway, instance) = admin.instance((&gateway, &instance))?;
    let Disconnect { code } = read(&body)?;
    gateway.disconnect(&instance, code);
    Ok(Json(overview(gateway, &instance)))
}

async fn inbound(
    State(admin): State<Arc<Admin>>,
    Path((gateway, instance)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<InboundSent>, Refused> {
    let (gateway, instance) = admin.instance((&gateway, &instance))?;
    let InboundRequest { from, text } = read(&body)?;
    let sent = gateway.receive(&instance, &jid::normalise(&from), &text).await;
    let network_id = sent.map_err(|error| match error {
        ReceiveError::NotReachable => Refused(StatusCode::CONFLICT, error.to_string()),
        ReceiveError::Ledger(_) => Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })?;
    Ok(Json(InboundSent { network_id }))
}

async fn faults(State(admin): State<Arc<Admin>>) -> Json<FaultOverview> {
    Json(admin.gateways.iter().map(|(name, gateway)| (name.clone(), gateway.faults.snapshot())).collect())
}

async fn set_all_faults(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<StatusCode, Refused> {
    let faults = read_faults(&body)?;
    for gateway in admin.gateways.values() {
        gateway.set_faults(None, faults.clone());
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn set_gateway_faults(
    State(admin): State<Arc<Admin>>,
    Path(gateway): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    admin.gateway(&gateway)?.set_faults(None, read_faults(&body)?);
    Ok(StatusCode::NO_CONTENT)
}

async fn set_instance_faults(
    State(admin): State<Arc<Admin>>,
    Path((gateway, instance)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    // The instance may be created later.
    admin.gateway(&gateway)?.set_faults(Some(&instance), read_faults(&body)?);
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_instance_faults(
    State(admin): State<Arc<Admin>>,
    Path((gateway, instance)): Path<(String, String)>,
) -> Result<StatusCode, Refused> {
    admin.gateway(&gateway)?.clear_faults(&instance);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// Lines of the ledger as they stand in the file: JSON Lines.
async fn ledger_page(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<LedgerQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refused> {
    let Query(LedgerQuery { after, limit }) = query.map_err(bad_request)?;
    let limit = limit.unwrap_or(PAGE_LINES_DEFAULT).min(PAGE_LINES_MAX);
    let ledger = admin.ledger.clone();
    let unreadable =
        |error: String| Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("the ledger cannot be read: {error}"));
    let page = tokio::task::spawn_blocking(move || ledger.page(after, limit)).await;
    let page = page.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], page).into_response())
}

async fn ledger_summary(State(admin): State<Arc<Admin>>) -> Json<Summary> {
    Json(admin.ledger.summary())
}
