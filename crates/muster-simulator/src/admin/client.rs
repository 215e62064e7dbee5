//! A client of the admin calls.

use std::time::Duration;

use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::types::{
    Disconnect, FaultOverview, GatewayAddress, InboundRequest, InboundSent, InstanceOverview, Refusal, ScanRequest,
};
use crate::faults::Faults;
use crate::ledger::{LedgerLine, Summary};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Lines that are fetched at once when the whole ledger is read.
const PAGE_LINES: usize = 20_000;

/// An admin call that failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The simulator did not answer, or not as one.
    #[error("the simulator's admin server does not answer: {0}; is the simulator running?")]
    Unreachable(#[from] reqwest::Error),
    /// The simulator refused the call.
    #[error("the simulator refused the call ({status}): {error}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        error: String,
    },
    /// The answer is none of the ledger.
    #[error("the simulator's ledger has a line that cannot be read: {0}; use a client of the simulator's version")]
    Malformed(#[from] serde_json::Error),
}

/// A client of one simulator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AdminClient {
    http: reqwest::Client,
    base: Url,
}

impl AdminClient {
    /// A client of the simulator whose admin calls are at `base`.
    pub fn new(base: Url) -> Result<Self, AdminError> {
        Ok(AdminClient { http: reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?, base })
    }

    /// Whether the simulator answers.
    pub async fn health(&self) -> Result<(), AdminError> {
        self.call(Method::GET, &["healthz"], None::<&()>).await.map(drop)
    }

    /// The gateways and where they listen.
    pub async fn gateways(&self) -> Result<Vec<GatewayAddress>, AdminError> {
        self.get(&["gateways"]).await
    }

    /// All instances of all gateways.
    pub async fn instances(&self) -> Result<Vec<InstanceOverview>, AdminError> {
        self.get(&["instances"]).await
    }

    /// Scans the code of an instance, with its own number or another one. Fails while it shows no code.
    pub async fn scan(
        &self,
        gateway: &str,
        instance: &str,
        number: Option<&str>,
    ) -> Result<InstanceOverview, AdminError> {
        let request = ScanRequest { number: number.map(str::to_owned) };
        self.post(&["instances", gateway, instance, "scan"], &request).await
    }

    /// Closes the connection of an instance with a reason of the network.
    pub async fn disconnect(&self, gateway: &str, instance: &str, code: u16) -> Result<InstanceOverview, AdminError> {
        self.post(&["instances", gateway, instance, "disconnect"], &Disconnect { code }).await
    }

    /// Writes to an instance as `from`. Fails while it is not connected.
    pub async fn inbound(
        &self,
        gateway: &str,
        instance: &str,
        from: &str,
        text: &str,
    ) -> Result<InboundSent, AdminError> {
        let request = InboundRequest { from: from.to_owned(), text: text.to_owned() };
        self.post(&["instances", gateway, instance, "inbound"], &request).await
    }

    /// The faults as they are set now.
    pub async fn faults(&self) -> Result<FaultOverview, AdminError> {
        self.get(&["faults"]).await
    }

    /// Replaces the faults of all gateways; instances with their own keep them.
    pub async fn set_faults(&self, faults: &Faults) -> Result<(), AdminError> {
        self.call(Method::PUT, &["faults"], Some(faults)).await.map(drop)
    }

    /// Replaces the faults of one gateway; instances with their own keep them.
    pub async fn set_gateway_faults(&self, gateway: &str, faults: &Faults) -> Result<(), AdminError> {
        self.call(Method::PUT, &["faults", gateway], Some(faults)).await.map(drop)
    }

    /// Gives an instance faults of its own, now or when it will be created.
    pub async fn set_instance_faults(&self, gateway: &str, instance: &str, faults: &Faults) -> Result<(), AdminError> {
        self.call(Method::PUT, &["faults", gateway, instance], Some(faults)).await.map(drop)
    }

    /// Makes an instance follow its gateway's faults again.
    pub async fn clear_instance_faults(&self, gateway: &str, instance: &str) -> Result<(), AdminError> {
        self.call(Method::DELETE, &["faults", gateway, instance], None::<&()>).await.map(drop)
    }

    /// Counts over the ledger.
    pub async fn summary(&self) -> Result<Summary, AdminError> {
        self.get(&["ledger", "summary"]).await
    }

    /// Up to `limit` lines of the ledger after line `after`; none means that there are no more yet.
    pub async fn ledger_page(&self, after: u64, limit: usize) -> Result<Vec<LedgerLine>, AdminError> {
        let mut url = self.address(&["ledger"]);
        url.query_pairs_mut().append_pair("after", &after.to_string()).append_pair("limit", &limit.to_string());
        let bytes = checked(self.http.get(url).send().await?).await?.bytes().await?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
    }

    /// The whole ledger as it stands now. Holds it in memory; for long ones, take pages.
    pub async fn ledger(&self) -> Result<Vec<LedgerLine>, AdminError> {
        let mut lines: Vec<LedgerLine> = Vec::new();
        loop {
            let after = lines.last().map_or(0, |line| line.seq);
            let page = self.ledger_page(after, PAGE_LINES).await?;
            if page.is_empty() {
                return Ok(lines);
            }
            lines.extend(page);
        }
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An HTTP address always has a path that can be extended.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, AdminError> {
        Ok(self.call(Method::GET, path, None::<&()>).await?.json().await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, AdminError> {
        Ok(self.call(Method::POST, path, Some(body)).await?.json().await?)
    }

    async fn call(&self, method: Method, path: &[&str], body: Option<&impl Serialize>) -> Result<Response, AdminError> {
        let mut request = self.http.request(method, self.address(path));
        if let Some(body) = body {
            request = request.json(body);
        }
        checked(request.send().await?).await
    }
}

/// Turns a refusal into its error.
async fn checked(response: Response) -> Result<Response, AdminError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let text = response.text().await?;
    let error = serde_json::from_str::<Refusal>(&text).map_or(text, |refusal| refusal.error);
    Err(AdminError::Refused { status, error })
}
