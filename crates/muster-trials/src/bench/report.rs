//! The result: ratios first, absolute figures as their context.

use std::fmt;

use serde::Serialize;

use super::{Extent, Floor};

/// What a run of the bench found. Parts that did not run are absent.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The bare path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    quick: bool,
}

impl Report {
    pub(super) fn new(extent: Extent) -> Self {
        Self { floor: None, quick: extent == Extent::Quick }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(floor) = &self.floor {
            writeln!(f, "floor: {:.0} streamed, {:.0} single", floor.streamed_per_second, floor.single_per_second)?;
            writeln!(f, "  commit  {}", floor.latency.accept_to_commit)?;
            writeln!(f, "  handler {}", floor.latency.accept_to_handler)?;
            writeln!(f, "  outcome {}", floor.latency.accept_to_outcome)?;
        }
        Ok(())
    }
}
