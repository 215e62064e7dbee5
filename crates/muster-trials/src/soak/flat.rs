//! What counts as flat.

use std::time::Duration;

use serde::Serialize;

use super::Wave;

/// How long the server keeps rows during a run. Short against a run of a million messages, so that most of them are removed in
/// its course.
pub const KEPT: Duration = Duration::from_secs(10);

/// How far the line through the second half of a run may rise, in bytes. Allocators and page caches wander by less; a leak of 17
/// bytes for each message reaches it in half a million.
const RISE_MAX: f64 = 8.0 * 1024.0 * 1024.0;

/// Outcomes that an agent remembers, for a server that was restored from a backup: until it has so many, it grows by design.
const REMEMBERED_MAX: u64 = 100_000;

/// Bytes of memory for each of them.
const REMEMBERED_BYTES: f64 = 512.0;

/// Bytes of the database for each message that is kept, with its indexes, its changes and the log.
const DATABASE_BYTES: f64 = 2_048.0;

/// Bytes of a database that keeps nothing yet, with a log of full length.
const DATABASE_BASE: f64 = 64.0 * 1024.0 * 1024.0;

/// How much later than asked for a row may be removed.
const REMOVAL_DELAY: Duration = Duration::from_secs(10);

/// A quantity, and whether it stayed within its bound.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// What it came to, in bytes.
    pub bytes: f64,
    /// What it may come to, in bytes.
    pub bytes_max: f64,
    /// Whether it did not come to more.
    pub flat: bool,
    /// What is compared, for people.
    pub rule: String,
}

impl Finding {
    fn new(what: &'static str, bytes: f64, bytes_max: f64, rule: String) -> Self {
        Self { what, bytes, bytes_max, flat: bytes <= bytes_max, rule }
    }
}

/// Looks at the second half of a run: the first warms up.
pub(super) fn findings(waves: &[Wave]) -> Vec<Finding> {
    let half = &waves[waves.len() / 2..];
    let rise = |what, bytes: fn(&Wave) -> u64, growing: f64| {
        let points: Vec<(f64, f64)> = half.iter().map(|wave| (wave.messages as f64, bytes(wave) as f64)).collect();
        let rule = "how far the line through the second half rises".to_owned();
        Finding::new(what, rise(&points), RISE_MAX + growing, rule)
    };
    let remembered = |wave: Option<&Wave>| wave.map_or(0, |wave| wave.messages.min(REMEMBERED_MAX));
    let learned = remembered(half.last()).saturating_sub(remembered(half.first()));
    let learned = learned as f64 * REMEMBERED_BYTES;
    let database = half.iter().map(|wave| wave.database_bytes).max().unwrap_or(0);
    let kept = kept(waves);
    let rule = format!("for the {kept} messages at the most of {} s", (KEPT + REMOVAL_DELAY).as_secs());
    vec![
        rise("memory of the server", |wave| wave.server_bytes, 0.0),
        rise("memory of the agent", |wave| wave.agent_bytes, learned),
        rise("journal of the agent", |wave| wave.journal_bytes, learned),
        Finding::new("database", database as f64, DATABASE_BASE + kept as f64 * DATABASE_BYTES, rule),
    ]
}

/// How far the line of least squares rises from the first to the last of its points.
fn rise(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    match (points.first(), points.last()) {
        (Some(first), Some(last)) if variance > 0.0 => covariance / variance * (last.0 - first.0),
        _ => 0.0,
    }
}

/// The most messages that were sent within the time that rows are kept.
fn kept(waves: &[Wave]) -> u64 {
    let window = (KEPT + REMOVAL_DELAY).as_secs_f64();
    let before = |wave: &Wave| waves.iter().rev().find(|other| other.seconds < wave.seconds - window);
    waves.iter().map(|wave| wave.messages - before(wave).map_or(0, |before| before.messages)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// A run of a million messages in forty waves of a second, with memory of the server by wave.
    fn run(server: impl Fn(u64) -> u64) -> Vec<Wave> {
        let wave = |number: u64| Wave {
            messages: number * 25_000,
            seconds: number as f64,
            server_bytes: server(number),
            agent_bytes: 50 * MIB,
            database_bytes: 100 * MIB,
            journal_bytes: 20 * MIB,
        };
        (1..=40).map(wave).collect()
    }

    fn flat(waves: &[Wave]) -> Vec<bool> {
        findings(waves).iter().map(|finding| finding.flat).collect()
    }

    #[test]
    fn what_stays_or_wanders_is_flat_and_what_grows_is_not() {
        assert_eq!(flat(&run(|_| 80 * MIB)), [true; 4]);
        assert_eq!(flat(&run(|wave| 80 * MIB + wave % 5 * 4 * MIB)), [true; 4]);
        // Growth of the first half is warming up.
        assert_eq!(flat(&run(|wave| (40 + wave.min(20)) * MIB)), [true; 4]);
        // 20 bytes for each message.
        assert_eq!(flat(&run(|wave| 80 * MIB + wave * 500_000)), [false, true, true, true]);
    }

    #[test]
    fn an_agent_may_grow_until_it_remembers_enough() {
        let grown = |messages: u64| {
            let mut waves = run(|_| 80 * MIB);
            for wave in &mut waves {
                wave.messages = wave.messages * messages / 1_000_000;
                wave.agent_bytes = 30 * MIB + wave.messages * 400;
            }
            flat(&waves)[1]
        };
        assert!(grown(20_000) && grown(100_000));
        assert!(!grown(1_000_000));
    }

    #[test]
    fn a_database_is_held_against_what_is_kept() {
        let mut waves = run(|_| 80 * MIB);
        assert_eq!(kept(&waves), 525_000);
        waves[39].database_bytes = 1_000 * MIB;
        assert!(flat(&waves)[3]);
        waves[39].database_bytes = 1_200 * MIB;
        assert!(!flat(&waves)[3]);
    }

    #[test]
    fn a_line_is_drawn_through_any_points() {
        assert_eq!(rise(&[]), 0.0);
        assert_eq!(rise(&[(5.0, 5.0)]), 0.0);
        assert_eq!(rise(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 4.0);
    }
}
