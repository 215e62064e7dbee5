//! The whole of Muster on one machine: real processes, real messages, and a check against the simulator's ledger.
//!
//! [`processes`] starts, stops, pauses and kills roles, and [`check`] compares what the server believes with what the
//! simulated network took; both serve tests and trials as well.

pub mod check;
pub mod facts;
pub mod processes;
pub mod ready;
