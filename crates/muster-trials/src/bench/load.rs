//! The shape of every load, so that a ratio compares like with like.

/// Frames of one stream that may be unanswered.
pub(super) const STREAM_FRAMES_IN_FLIGHT: usize = 32;

/// Single calls that are open at a time, over all clients.
pub(super) const SINGLE_CALLS_IN_FLIGHT: usize = 256;

/// Rate of the open loop by which latency is measured: a machine that is nearly idle.
pub(super) const PACED_PER_SECOND: u32 = 100;
