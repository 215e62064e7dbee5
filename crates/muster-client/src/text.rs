//! Times, durations and counts as people read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned, civil, tz::TimeZone};

/// A duration in the largest units that tell enough: `0.4 ms`, `12 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(length: Duration) -> String {
    let ms = length.as_secs_f64() * 1e3;
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {small_unit}") }
    };
    let seconds = length.as_secs();
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else if ms < 59_950.0 {
        format!("{:.1} s", ms / 1e3)
    } else if seconds < 3_600 {
        pair(seconds / 60, "min", seconds % 60, "s")
    } else if seconds < 86_400 {
        pair(seconds / 3_600, "h", seconds % 3_600 / 60, "min")
    } else {
        pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h")
    }
}

/// How far `time` lies from `now`, rounded to one unit: `12 s ago`, `in 3 min`.
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let distance = now.duration_since(time);
    let seconds = (distance.as_millis().unsigned_abs() + 500) / 1_000;
    let rounded = |unit: u128| (seconds + unit / 2) / unit;
    let told = match seconds {
        0 => return "now".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3_570 => format!("{} min", rounded(60)),
        3_570..84_600 => format!("{} h", rounded(3_600)),
        _ => format!("{} d", rounded(86_400)),
    };
    if distance.is_negative() { format!("in {told}") } else { format!("{told} ago") }
}

/// A time in the reader's zone, to the millisecond where `precise`.
pub fn absolute(time: Timestamp, zone: &TimeZone, precise: bool) -> String {
    let format = if precise { "%Y-%m-%d %H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S" };
    time.to_zoned(zone.clone()).strftime(format).to_string()
}

/// A count with separators: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 bot`, `2 bots`.
pub fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

/// Reads a point in time: RFC 3339, or date and time in the reader's zone.
pub fn parse_time(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok(zoned.timestamp());
    }
    let expected = "expected a time such as 2026-11-21T09:00:00-03:00, or 2026-11-21 09:00 in the local time zone";
    let local: civil::DateTime = text.parse().map_err(|_| expected.to_owned())?;
    local.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|_| expected.to_owned())
}

/// Reads a length of time: `90s`, `2h 30m`, `3d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a length of time such as 90s, 2h 30m or 3d";
    // jiff counts calendar days only against a date; here a day is 24 hours.
    let span: jiff::Span = text.parse().map_err(|_| expected.to_owned())?;
    let length: SignedDuration =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| expected.to_owned())?;
    Duration::try_from(length).map_err(|_| expected.to_owned())
}

/// Reads a point in time ([`parse_time`]) or a length of time from `now` on ([`parse_duration`]).
pub fn parse_time_or_duration(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(length) = parse_duration(text) {
        return now.checked_add(length).map_err(|_| "lies too far ahead".to_owned());
    }
    parse_time(text, zone).map_err(|expected| format!("{expected}, or a length of time from now such as 2h 30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_units_at_most() {
        let said = |ms| duration(Duration::from_micros(ms));
        assert_eq!(said(430), "0.4 ms");
        assert_eq!(said(12_400), "12 ms");
        assert_eq!(said(3_210_000), "3.2 s");
        assert_eq!(said(250_000_000), "4 min 10 s");
        assert_eq!(said(3_600_000_000), "1 h");
        assert_eq!(said(273_600_000_000), "3 d 4 h");
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let utc = TimeZone::UTC;
        let at = |text: &str| parse_time(text, &utc).map(|time| time.to_string());
        assert_eq!(at("2026-11-21T09:00:00-03:00").unwrap(), "2026-11-21T12:00:00Z");
        assert_eq!(at("2026-11-21 09:00").unwrap(), "2026-11-21T09:00:00Z");
        assert!(at("tomorrow").is_err());
        assert_eq!(parse_duration("2h 30m").unwrap(), Duration::from_secs(9_000));
        assert_eq!(parse_duration("3d").unwrap(), Duration::from_secs(3 * 86_400));
        assert!(parse_duration("-2h").is_err());
        assert!(parse_duration("soon").is_err());
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(parse_time_or_duration("1h", now, &utc).unwrap().as_second(), 3_600);
    }

    #[test]
    fn distances_and_counts() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |s: i64| relative(Timestamp::from_second(1_000_000 + s).unwrap(), now);
        assert_eq!(
            (at(0), at(-5), at(120), at(-7_200)),
            ("now".into(), "5 s ago".into(), "in 2 min".into(), "2 h ago".into())
        );
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "row"), "1 row");
        assert_eq!(plural(2_000, "row"), "2,000 rows");
    }
}
