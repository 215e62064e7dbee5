//! The simulator over real HTTP: gateways, admin calls, webhooks and ledger as callers meet them.

mod sends;
mod world;
