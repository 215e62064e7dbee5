//! Between the wire and the domain: one module per API.

pub mod agent_v1;
pub mod v1;
