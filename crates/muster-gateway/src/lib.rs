//! How an agent speaks to a messaging gateway: one contract, one adapter per product.
//!
//! An adapter knows its product's HTTP surface to the letter and nothing else: no retries, no pacing, no state of messages.
//! It classifies what the product says, on all three channels (HTTP status, body, later webhook), into the words of
//! [`muster_domain::failure`]. Above all it tells apart what was provably not sent from what may have been.
//! Start at [`contract`]; [`registry::open`] gives the adapter for a kind.

pub mod contract;
pub mod evolution;
pub mod null;
mod redact;
pub mod registry;
pub mod secret;

pub use contract::{
    CallError, Event, Gateway, LinkProgress, LinkRequest, RecipientStatus, SendError, SendRequest, Sent, WebhookError,
    WebhookRequest, WebhookTarget,
};
pub use registry::{ConfigError, GatewaySettings, KeySource, open};
pub use secret::Secret;
