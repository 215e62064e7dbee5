//! A shift: intervals that are the same on several days of the week.

use std::fmt;

use super::Interval;
use crate::Violation;

/// Days of the week, as they are spelled; a week begins with the first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Intervals, and the days of the week on which they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// By day, Monday first.
    days: [bool; DAYS.len()],
    intervals: Vec<Interval>,
}

impl Shift {
    /// Reads a shift such as `mon-fri 08:00-12:00,13:00-18:00`, `sat,sun 10:00-16:00`, or `08:00-20:00` for every day.
    ///
    /// # Errors
    /// What is wrong with it, without a place.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let text = text.trim();
        let (days, intervals) = match text.split_once(char::is_whitespace) {
            Some((days, intervals)) => (days_of(days)?, intervals),
            None => ([true; DAYS.len()], text),
        };
        let intervals = intervals.split(',').map(|part| Interval::parse(part.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok(Shift { days, intervals })
    }

    /// Its intervals on each of its days.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// The days on which they begin, as numbers from Monday, which is zero.
    pub(super) fn days(&self) -> impl Iterator<Item = u16> {
        (0u16..).zip(self.days).filter_map(|(day, is_one)| is_one.then_some(day))
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = days_text(&self.days);
        let intervals: Vec<String> = self.intervals.iter().map(Interval::to_string).collect();
        let space = if days.is_empty() { "" } else { " " };
        write!(f, "{days}{space}{}", intervals.join(","))
    }
}

/// Reads days such as `mon-fri`, `sat,sun` or `fri-mon`.
fn days_of(text: &str) -> Result<[bool; DAYS.len()], Violation> {
    let day = |text: &str| {
        DAYS.iter().position(|day| day.eq_ignore_ascii_case(text)).ok_or_else(|| {
            Violation::new("", format!("{text:?} must be a day of {}, or days such as mon-fri", DAYS.join(", ")))
        })
    };
    let mut days = [false; DAYS.len()];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // Across the end of the week too: fri-mon.
        let count = (last + DAYS.len() - first) % DAYS.len() + 1;
        for nth in 0..count {
            let one = (first + nth) % DAYS.len();
            if std::mem::replace(&mut days[one], true) {
                return Err(Violation::new("", format!("{text:?} names {} twice", DAYS[one])));
            }
        }
    }
    Ok(days)
}

/// The days as they are shown: nothing for all of them, and runs of three or more as a range.
fn days_text(days: &[bool; DAYS.len()]) -> String {
    if days.iter().all(|day| *day) {
        return String::new();
    }
    let mut parts = Vec::new();
    let mut first = 0;
    while first < DAYS.len() {
        let run = days[first..].iter().take_while(|day| **day).count();
        match run {
            0 => first += 1,
            1 | 2 => parts.extend(DAYS[first..first + run].iter().map(|day| (*day).to_owned())),
            _ => parts.push(format!("{}-{}", DAYS[first], DAYS[first + run - 1])),
        }
        first += run;
    }
    parts.join(",")
}
