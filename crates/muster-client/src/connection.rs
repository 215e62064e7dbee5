//! The way to a server.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use muster_domain::TenantId;
use muster_proto::TENANT_METADATA;
use muster_proto::v1::bot_service_client::BotServiceClient;
use muster_proto::v1::contact_service_client::ContactServiceClient;
use muster_proto::v1::failure_service_client::FailureServiceClient;
use muster_proto::v1::fleet_service_client::FleetServiceClient;
use muster_proto::v1::gateway_service_client::GatewayServiceClient;
use muster_proto::v1::inbound_service_client::InboundServiceClient;
use muster_proto::v1::media_service_client::MediaServiceClient;
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::node_service_client::NodeServiceClient;
use muster_proto::v1::tenant_service_client::TenantServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::error::Error;

/// Where a server listens when nobody says otherwise.
pub const SERVER_DEFAULT: &str = "http://127.0.0.1:7400";

/// Longest wait for a connection. A server that needs longer is down or somewhere else.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an idle connection is probed, so that a watch notices a server that vanished without a word.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Longest wait for the answer to a probe.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Address of a server: `http://host:port`. The scheme may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress(String);

impl ServerAddress {
    /// The address as a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: tonic::transport::Uri =
            url.parse().map_err(|_| format!("expected an address such as {SERVER_DEFAULT}"))?;
        match (uri.scheme_str(), uri.port()) {
            (Some("http"), Some(_)) => Ok(ServerAddress(url.trim_end_matches('/').to_owned())),
            (Some("http"), None) => Err(format!("the port is missing: expected an address such as {SERVER_DEFAULT}")),
            _ => Err(format!("only http is spoken: expected an address such as {SERVER_DEFAULT}")),
        }
    }
}

/// A channel whose calls act for a tenant.
pub type Line = InterceptedService<Channel, Caller>;

/// Names the tenant in every call.
#[derive(Debug, Clone)]
pub struct Caller(Option<MetadataValue<Ascii>>);

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(tenant) = &self.0 {
            request.metadata_mut().insert(TENANT_METADATA, tenant.clone());
        }
        Ok(request)
    }
}

/// A connection to a server. Cheap to clone; all clones share one connection, which comes back by itself after a break.
#[derive(Debug, Clone)]
pub struct Server {
    line: Line,
    address: ServerAddress,
}

impl Server {
    /// Connects for the default tenant, so that a wrong address is told before any work begins.
    pub async fn connect(address: &ServerAddress) -> Result<Self, Error> {
        Self::connect_for(address, None).await
    }

    /// Connects for a tenant; `None` is the default one.
    pub async fn connect_for(address: &ServerAddress, tenant: Option<&TenantId>) -> Result<Self, Error> {
        let unreachable = |source| Error::Unreachable { address: address.clone(), source };
        let endpoint = Endpoint::from_shared(address.0.clone())
            .map_err(unreachable)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(unreachable)?;
        // The id of a tenant is a DNS label: always a legal value.
        let caller = Caller(tenant.and_then(|tenant| tenant.as_str().parse().ok()));
        Ok(Server { line: InterceptedService::new(channel, caller), address: address.clone() })
    }

    /// The address it was connected by.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Calls about the fleet as a whole.
    pub fn fleet(&self) -> FleetServiceClient<Line> {
        FleetServiceClient::new(self.line.clone())
    }

    /// Calls about tenants.
    pub fn tenants(&self) -> TenantServiceClient<Line> {
        TenantServiceClient::new(self.line.clone())
    }

    /// Calls about nodes.
    pub fn nodes(&self) -> NodeServiceClient<Line> {
        NodeServiceClient::new(self.line.clone())
    }

    /// Calls about gateways.
    pub fn gateways(&self) -> GatewayServiceClient<Line> {
        GatewayServiceClient::new(self.line.clone())
    }

    /// Calls about bots.
    pub fn bots(&self) -> BotServiceClient<Line> {
        BotServiceClient::new(self.line.clone())
    }

    /// Calls about messages.
    pub fn messages(&self) -> MessageServiceClient<Line> {
        MessageServiceClient::new(self.line.clone())
    }

    /// Calls about messages that were not sent.
    pub fn failures(&self) -> FailureServiceClient<Line> {
        FailureServiceClient::new(self.line.clone())
    }

    /// Calls about contacts.
    pub fn contacts(&self) -> ContactServiceClient<Line> {
        ContactServiceClient::new(self.line.clone())
    }

    /// Calls about inbound messages.
    pub fn inbound(&self) -> InboundServiceClient<Line> {
        InboundServiceClient::new(self.line.clone())
    }

    /// Uploads.
    pub fn media(&self) -> MediaServiceClient<Line> {
        MediaServiceClient::new(self.line.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_and_without_scheme() {
        let read = |text: &str| text.parse::<ServerAddress>().map(|address| address.0);
        assert_eq!(read("127.0.0.1:7400").unwrap(), "http://127.0.0.1:7400");
        assert_eq!(read("http://muster.example:80/").unwrap(), "http://muster.example:80");
        assert!(read("127.0.0.1").unwrap_err().contains("port"));
        assert!(read("https://muster.example:443").unwrap_err().contains("only http"));
        assert!(read("http://a b").is_err());
    }
}
