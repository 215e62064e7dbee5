//! The way in for whoever runs the simulation: faults, events on demand, and the ledger. Not part of the product that is
//! simulated, and without authentication.

mod client;
mod routes;
mod types;

pub use client::{AdminClient, AdminError};
pub use types::{
    Disconnect, FaultOverview, GatewayAddress, InboundRequest, InboundSent, InstanceOverview, Refusal, ScanRequest,
};

pub(crate) use routes::{Admin, router};
