//! The simulator over real HTTP: gateways, admin calls, webhooks and ledger as callers meet them.

#![expect(clippy::unwrap_used, reason = "a test that meets an error should fail there")]

mod chats;
mod faults;
mod hostile;
mod instances;
mod restart;
mod sends;
mod webhooks;
mod world;
