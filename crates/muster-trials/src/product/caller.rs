//! Whom calls are made for.

use anyhow::{Context, Result};
use muster_proto::TENANT_METADATA;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

/// A connection to a server, and the tenant that its calls act for.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) channel: Channel,
    tenant: Option<MetadataValue<Ascii>>,
}

impl Caller {
    /// Acts for a tenant.
    pub(crate) fn of(channel: Channel, tenant: &str) -> Result<Self> {
        let tenant = tenant.parse().with_context(|| format!("name the tenant {tenant:?} in a call"))?;
        Ok(Self { channel, tenant: Some(tenant) })
    }

    /// A call of its.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert(TENANT_METADATA, tenant.clone());
        }
        request
    }
}

/// Acts for the operator's own tenant.
impl From<Channel> for Caller {
    fn from(channel: Channel) -> Self {
        Self { channel, tenant: None }
    }
}
