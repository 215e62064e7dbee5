//! Points in time and durations.

use std::time::Duration;

use muster_domain::{Timestamp, Violation};

/// Reads a point in time.
pub fn timestamp(time: prost_types::Timestamp) -> Result<Timestamp, Violation> {
    let wrong = || Violation::new("", "must be a time between the years 1 and 9999, with nanos from 0 to 999,999,999");
    if !(0..1_000_000_000).contains(&time.nanos) {
        return Err(wrong());
    }
    Timestamp::new(time.seconds, time.nanos).map_err(|_| wrong())
}

/// Reads a duration, which must not be negative.
pub fn duration(duration: prost_types::Duration) -> Result<Duration, Violation> {
    let wrong = || Violation::new("", "must not be negative, with nanos from 0 to 999,999,999");
    let seconds = u64::try_from(duration.seconds).map_err(|_| wrong())?;
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or_else(wrong)?;
    Ok(Duration::new(seconds, nanos))
}

/// Writes a point in time.
pub fn write_timestamp(time: Timestamp) -> prost_types::Timestamp {
    // The wire counts nanoseconds forwards from the second below, also before 1970.
    let nanos = time.as_nanosecond();
    let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    prost_types::Timestamp { seconds: seconds as i64, nanos: nanos as i32 }
}

/// Writes a duration; one beyond the wire's range becomes the longest that fits.
pub fn write_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_survive_the_wire(nanos in -60_000_000_000_000_000_000i128..250_000_000_000_000_000_000) {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            prop_assert_eq!(timestamp(write_timestamp(time)).unwrap(), time);
        }

        #[test]
        fn any_numbers_are_read_or_refused(seconds in any::<i64>(), nanos in any::<i32>()) {
            let _ = timestamp(prost_types::Timestamp { seconds, nanos });
            if let Ok(read) = duration(prost_types::Duration { seconds, nanos }) {
                prop_assert_eq!(write_duration(read), prost_types::Duration { seconds, nanos });
            }
        }
    }
}
