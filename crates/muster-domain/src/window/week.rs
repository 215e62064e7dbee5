//! A week of open and closed minutes.

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::Shift;
use super::interval::DAY;
use crate::Violation;

/// Minutes of a week.
const WEEK: u16 = 7 * DAY;

const MINUTE_US: i64 = 60 * 1_000_000;

/// The minutes of a week, from Monday 00:00, that are open: from one to another, the end not included. In order, none of them
/// touching the next, except that what goes on across the end of the week is two.
#[derive(Debug, Clone)]
pub(super) struct Week(Vec<(u16, u16)>);

impl Week {
    /// The union of shifts.
    ///
    /// # Errors
    /// Two of them overlap; the later one is named.
    pub(super) fn of(shifts: &[Shift]) -> Result<Self, Violation> {
        // Begin, length, and by which shift.
        let mut all: Vec<(u16, u16, usize)> = Vec::new();
        for (nth, shift) in shifts.iter().enumerate() {
            for day in shift.days() {
                all.extend(shift.intervals().iter().map(|of| (day * DAY + of.begin(), of.minutes(), nth)));
            }
        }
        all.sort_unstable();
        let following = all.iter().cycle().skip(1);
        for (one, next) in all.iter().zip(following).filter(|_| all.len() > 1) {
            let begin = if next.0 < one.0 { next.0 + WEEK } else { next.0 };
            if one.0 + one.1 > begin || one.0 == next.0 {
                let (earlier, later) = (one.2.min(next.2), one.2.max(next.2));
                let what = match earlier == later {
                    true => "has intervals that overlap".to_owned(),
                    false => format!("overlaps with \"{}\"", shifts[earlier]),
                };
                return Err(Violation::new(format!("shifts[{later}]"), format!("\"{}\" {what}", shifts[later])));
            }
        }
        let mut open: Vec<(u16, u16)> = Vec::with_capacity(all.len() + 1);
        let mut parts: Vec<(u16, u16)> = Vec::with_capacity(all.len() + 1);
        for (begin, minutes, _) in all {
            let end = begin + minutes;
            parts.push((begin, end.min(WEEK)));
            if end > WEEK {
                parts.push((0, end - WEEK));
            }
        }
        parts.sort_unstable();
        for (begin, end) in parts {
            match open.last_mut() {
                Some(last) if last.1 == begin => last.1 = end,
                _ => open.push((begin, end)),
            }
        }
        Ok(Week(open))
    }

    /// Whether it is open at `now` where clocks go by `offset`, and how long they have to run on until that changes; `None` if it
    /// is always open.
    pub(super) fn at(&self, offset: Offset, now: Timestamp) -> (bool, Option<SignedDuration>) {
        let local = now.as_microsecond() + i64::from(offset.seconds()) * 1_000_000;
        // The Unix epoch was a Thursday.
        let at = (local + 3 * i64::from(DAY) * MINUTE_US).rem_euclid(i64::from(WEEK) * MINUTE_US);
        let minute = u16::try_from(at / MINUTE_US).unwrap_or_default();
        let begun = self.0.partition_point(|(begin, _)| *begin <= minute);
        let first = self.0.first().copied().unwrap_or((0, WEEK));
        let open = begun.checked_sub(1).and_then(|last| self.0.get(last)).filter(|(_, end)| minute < *end);
        let change = match open {
            Some(_) if first == (0, WEEK) => None,
            Some((_, WEEK)) if first.0 == 0 => Some(WEEK + first.1),
            Some((_, end)) => Some(*end),
            None => Some(self.0.get(begun).map_or(WEEK + first.0, |(begin, _)| *begin)),
        };
        let ahead = change.map(|change| SignedDuration::from_micros(i64::from(change) * MINUTE_US - at));
        (open.is_some(), ahead)
    }
}
