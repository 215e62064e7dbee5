//! What Muster costs, measured against references of the same run.

mod floor;
mod load;
mod report;

use anyhow::Result;
use clap::ValueEnum;

pub use floor::{Floor, FloorLatency};
pub use report::Report;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All parts within a minute.
    Quick,
    /// Long enough for figures that hold still.
    Full,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The same path with nothing of Muster in it.
    Floor,
}

/// Runs the parts, all of them if `only` is empty.
///
/// # Errors
///
/// If a process does not start, or a measurement does not come to its end.
pub async fn run(extent: Extent, only: &[Part]) -> Result<Report> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut report = Report::new(extent);
    if wanted(Part::Floor) {
        report.floor = Some(floor::measure(extent).await?);
    }
    Ok(report)
}
