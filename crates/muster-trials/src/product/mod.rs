//! Muster from the outside: what a client, an operator and an agent say to a server.

mod caller;
mod counts;
mod fleet;
mod send;
mod stand_in;

pub(crate) use caller::Caller;
pub(crate) use counts::{Counts, all_sent};
pub(crate) use fleet::{Fleet, all_applied, declare};
pub(crate) use send::{message, single, streamed, streamed_without_keys, text};
pub(crate) use stand_in::{Journal, Observation, StandIn};
