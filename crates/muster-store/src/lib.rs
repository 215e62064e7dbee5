//! What Muster remembers.
//!
//! [`Store`] is the contract; [`sqlite`] keeps it in one file. Rows and SQL end here: callers see domain values only, and
//! a second database is added beside `sqlite` without touching a caller. `conformance` is the suite that every
//! implementation passes.
//!
//! Durable: nodes, gateways, bots, messages with their attempts and receipts, inbound messages, media, the log of changes,
//! the number of each node's session and how far its reports were taken. Not durable, because it can be had again: who is
//! waiting to be woken, credits of agents, codes of running links.
//!
//! Every write of a session carries its [`muster_domain::Epoch`] in the WHERE clause; a fenced session changes nothing.

mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contact;
mod contract;
mod failed;
mod session;
pub mod sqlite;

pub use clock::Clock;
pub use contact::*;
pub use contract::*;
pub use failed::*;
pub use session::*;
