//! Latencies and their quantiles.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// An hour: what takes longer is counted as that.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// A collection of latencies, kept to three significant digits.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("the bounds and the precision are valid"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        Quantiles { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), samples: self.0.len() }
    }
}

/// Milliseconds that half, 95 % and 99 % of the samples stayed below.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50_ms: f64,
    /// One of twenty took longer.
    pub p95_ms: f64,
    /// One of a hundred took longer.
    pub p99_ms: f64,
    /// How many were measured.
    pub samples: u64,
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms", self.p50_ms, self.p95_ms, self.p99_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_hundred_steps() {
        let mut latencies = Latencies::new();
        (1..=100).for_each(|step| latencies.record(Duration::from_millis(step)));
        let quantiles = latencies.quantiles();
        assert!((quantiles.p50_ms - 50.0).abs() < 0.1, "{quantiles}");
        assert!((quantiles.p95_ms - 95.0).abs() < 0.1, "{quantiles}");
        assert!((quantiles.p99_ms - 99.0).abs() < 0.1, "{quantiles}");
        assert_eq!(quantiles.samples, 100);
    }
}
