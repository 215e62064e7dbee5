//! An open loop: calls begin at their appointed times, whether or not earlier ones have ended.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Gives the appointed time of each of `count` calls, when it has come, `per_second` of them a second.
///
/// A latency counts from the appointed time: what a slow answer makes the next call wait belongs to that call. The waiting
/// is done on a thread of its own, because the runtime's timers are only as fine as a millisecond.
pub(crate) fn pace(count: u64, per_second: u32) -> mpsc::UnboundedReceiver<Instant> {
    let (appointments, calls) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let begin = Instant::now() + Duration::from_millis(10);
        for number in 0..count {
            let appointed = begin + Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / per_second;
            thread::sleep(appointed.saturating_duration_since(Instant::now()));
            if appointments.send(appointed).is_err() {
                return;
            }
        }
    });
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn appointments_are_evenly_spaced_and_not_early() {
        let mut calls = pace(20, 200);
        let mut times = Vec::new();
        while let Some(appointed) = calls.recv().await {
            assert!(Instant::now() >= appointed);
            times.push(appointed);
        }
        assert_eq!(times.len(), 20);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(5)));
    }
}
