//! Instruments: latencies, an open loop of calls, and what the system knows of a process.

mod latency;
mod pace;
mod process;

pub(crate) use latency::{Latencies, Quantiles};
pub(crate) use pace::pace;
pub(crate) use process::{Usage, raise_file_limit};
