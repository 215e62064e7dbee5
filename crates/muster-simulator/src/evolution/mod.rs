//! The Evolution API, version 2.3.7, as a server.
//!
//! Routes answer what the product answers, down to errors in successful statuses and accepted messages behind errors.
//! [`gateway`] owns the parts, [`link`] moves instances between their states, [`network`] plays the network behind them,
//! [`timeline`] does what comes later, and [`outbox`] posts the webhooks.
//!
//! Not simulated, and answered as unknown routes: buttons, lists, stories, groups, labels, profiles, and the integrations
//! that have nothing to do with sending.

mod answer;
mod call;
mod emoji;
mod event;
mod gateway;
mod instance;
pub(crate) mod jid;
mod jwt;
mod link;
mod mailbox;
mod network;
mod outbox;
mod plan;
mod qr;
mod retry;
mod routes;
mod schema;
mod send;
mod shape;
mod timeline;
mod webhook;

pub use instance::ConnectionState;

pub(crate) use gateway::{Gateway, GatewayQueues, Instances, Parts, initial_instances};
pub(crate) use instance::{Instance, InstanceRecord};
pub(crate) use network::{ReceiveError, recall};
