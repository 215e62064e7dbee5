//! Simulated messaging gateways: real HTTP servers that behave like the products, with faults on demand.
//!
//! [`start`] takes a [`Config`] and serves every gateway of it on its own port, plus an admin server. What the simulated
//! network accepted stands in a ledger, a file of JSON Lines that is written before a caller is answered: whoever wants to
//! know what was sent reads it there, through [`AdminClient`] or from the file, and need not trust the sender. Ledger and
//! state outlive the process, so a simulator may be killed and started again in the middle of a test.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use muster_simulator::{Config, GatewayConfig, start};
//!
//! let simulator = start(Config::new("ledger.jsonl", vec![GatewayConfig::new("evo-1", "global-key")])).await?;
//! let gateway = &simulator.gateways()[0].url;
//! let summary = simulator.admin()?.summary().await?;
//! # let _ = (gateway, summary);
//! simulator.stop().await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod behaviour;
mod chance;
mod config;
mod delay;
mod evolution;
mod faults;
mod ledger;
mod serve;
mod simulator;
mod state;

pub use admin::{
    AdminClient, AdminError, Disconnect, FaultOverview, GatewayAddress, InboundRequest, InboundSent, InstanceOverview,
    Refusal, ScanRequest,
};
pub use behaviour::{Behaviour, WebhookPolicy};
pub use config::{Config, GatewayConfig, Preprovisioned};
pub use delay::{DELAY_MS_MAX, Delay};
pub use evolution::ConnectionState;
pub use evolution::jid::normalise as normalise_jid;
pub use faults::{Faults, GatewayFaults, ReceiptFaults, SendFaults, WebhookFaults, Zombie};
pub use ledger::{
    Accepted, Answer, Content, InstanceSummary, Kind, LedgerEntry, LedgerEvent, LedgerLine, LedgerOpenError, Media,
    Status, Summary, content_sha256,
};
pub use simulator::{Simulator, StartError, start};
pub use state::StateOpenError;
