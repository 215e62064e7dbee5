//! The Evolution adapter over real HTTP.

#![expect(clippy::unwrap_used, reason = "tests")]

mod errors;
mod exchanges;
mod faults;
mod replay;
mod simulator;
mod webhooks;
