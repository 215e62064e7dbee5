//! The server against its real store, over loopback: clients of the operators' API, and an agent that is driven by hand.

#![expect(clippy::unwrap_used, reason = "tests")]

mod absences;
mod agent;
mod backlog;
mod commands;
mod contacts;
mod desired;
mod dispatch;
mod failures;
mod fleet;
mod full_disk;
mod handshake;
mod messages;
mod nodes;
mod operations;
mod policies;
mod raw_call;
mod reports;
mod slow_database;
mod stalled;
mod tenants;
mod transport;
mod watch;
mod windows;
mod world;
