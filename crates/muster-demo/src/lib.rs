//! The whole of Muster on one machine: real processes, real messages, and a check against the simulator's ledger.
//!
//! [`run`] is what `muster demo` does. [`processes`] starts, stops, pauses and kills roles, and [`check`] compares what the
//! server believes with what the simulated network took; both serve tests and trials as well.

pub mod check;
mod demo;
pub mod facts;
mod janitor;
mod measure;
pub mod processes;
mod progress;
pub mod ready;
mod report;
pub mod samples;
mod stage;

pub use demo::{Options, Outcome, run};
pub use janitor::sweep_after_parent;
