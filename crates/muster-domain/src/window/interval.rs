//! An interval of a day, as a clock shows it.

use std::fmt;

use crate::Violation;

/// Minutes of a day.
pub(super) const DAY: u16 = 24 * 60;

/// From one time of day to another, the end not included. One that ends before it begins ends on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Minute of the day, below [`DAY`].
    from: u16,
    /// Minute of the day, at most [`DAY`], and never `from`.
    to: u16,
}

impl Interval {
    /// Reads an interval such as `08:00-12:00` or `22:00-02:00`.
    ///
    /// # Errors
    /// What is wrong with it, without a place.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let (from, to) = text
            .split_once('-')
            .and_then(|(from, to)| Some((minute(from)?, minute(to)?)))
            .filter(|(from, _)| *from < DAY)
            .ok_or_else(|| {
                Violation::new("", format!("{text:?} must be an interval such as 08:00-12:00, within 00:00-24:00"))
            })?;
        if from == to {
            return Err(Violation::new("", format!("{text:?} is empty; the whole day is 00:00-24:00")));
        }
        Ok(Interval { from, to })
    }

    /// The minute of the day at which it begins.
    pub(super) fn begin(self) -> u16 {
        self.from
    }

    /// How many minutes it has: 1 to [`DAY`].
    pub(super) fn minutes(self) -> u16 {
        if self.to > self.from { self.to - self.from } else { self.to + DAY - self.from }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// Reads a time of day as its minute: `00:00` to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let legal = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        legal.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours, 1..=2)?, number(minutes, 2..=2)?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}
