//! Sending windows: the times at which a bot may send, as the clocks in its time zone show them.
//!
//! A window is declared as [`Shift`]s, such as `mon-fri 08:00-12:00,13:00-18:00`, and a time [`Zone`]. It is open at an instant if
//! what a clock on the wall shows then lies in one of them. So an hour that the clocks skip is not there, and one that they show
//! twice counts twice; nothing else has to be said about daylight-saving time, leap days or zones that jump over a day.
//!
//! [`SendingWindow::at`] gives the [`Span`] around an instant: it holds until the window changes, so that whoever asks often asks
//! once for each change.

mod interval;
mod shift;
mod span;
#[cfg(test)]
mod tests;
mod week;
mod zone;

use std::time::Duration;

use jiff::Timestamp;

pub use self::interval::Interval;
pub use self::shift::Shift;
pub use self::span::Span;
use self::week::Week;
pub use self::zone::Zone;
use crate::Violation;
use crate::limits::WINDOW_INTERVALS_MAX;

/// The times at which a bot may send. Never empty, and never without an opening.
#[derive(Debug, Clone)]
pub struct SendingWindow {
    zone: Zone,
    shifts: Vec<Shift>,
    week: Week,
}

impl PartialEq for SendingWindow {
    fn eq(&self, other: &Self) -> bool {
        // The week follows from the shifts.
        self.zone == other.zone && self.shifts == other.shifts
    }
}

impl Eq for SendingWindow {}

impl SendingWindow {
    /// Reads a window.
    ///
    /// # Errors
    /// All that is wrong, at `time_zone` or `shifts[n]`: an unknown zone, a shift that cannot be read, an empty or overlapping
    /// interval, and a window without a shift, which would never open.
    pub fn new(time_zone: &str, shifts: &[impl AsRef<str>]) -> Result<Self, Vec<Violation>> {
        let mut found = Vec::new();
        let zone = Zone::new(time_zone).map_err(|violation| found.push(violation.below("time_zone"))).ok();
        let mut read: Vec<Shift> = Vec::with_capacity(shifts.len());
        for (nth, text) in shifts.iter().enumerate() {
            match Shift::parse(text.as_ref()) {
                Ok(shift) => read.push(shift),
                Err(violation) => found.push(violation.below(&format!("shifts[{nth}]"))),
            }
        }
        let intervals: usize = read.iter().map(|shift| shift.intervals().len()).sum();
        if shifts.is_empty() {
            found.push(Violation::new("shifts", "must name at least one shift: the window would never open"));
        } else if intervals > WINDOW_INTERVALS_MAX {
            found.push(Violation::new("shifts", format!("must have at most {WINDOW_INTERVALS_MAX} intervals in all")));
        }
        // A shift that could not be read would make the places of the others wrong.
        let week =
            if found.is_empty() { Week::of(&read).map_err(|violation| found.push(violation)).ok() } else { None };
        match (zone, week) {
            (Some(zone), Some(week)) if found.is_empty() => Ok(SendingWindow { zone, shifts: read, week }),
            _ => Err(found),
        }
    }

    /// Reads what [`SendingWindow::to_text`] wrote.
    ///
    /// # Errors
    /// As [`SendingWindow::new`].
    pub fn from_text(text: &str) -> Result<Self, Vec<Violation>> {
        let mut parts = text.split("; ");
        let zone = parts.next().unwrap_or_default();
        SendingWindow::new(zone, &parts.collect::<Vec<_>>())
    }

    /// The window in one line: its zone and its shifts, such as `Europe/Lisbon; mon-fri 08:00-18:00; sat 09:00-13:00`.
    pub fn to_text(&self) -> String {
        std::iter::once(self.zone.name().to_owned()).chain(self.shifts()).collect::<Vec<_>>().join("; ")
    }

    /// The name of its zone in the IANA database.
    pub fn time_zone(&self) -> &str {
        self.zone.name()
    }

    /// Its shifts, in the order and the spelling in which they are shown.
    pub fn shifts(&self) -> impl Iterator<Item = String> {
        self.shifts.iter().map(Shift::to_string)
    }

    /// What the clocks of its zone show, with their distance from UTC: `2026-11-21 08:00 -03:00`.
    pub fn shown(&self, time: Timestamp) -> String {
        self.zone.shown(time)
    }

    /// Whether it is open at `now`, and when that changes.
    pub fn at(&self, now: Timestamp) -> Span {
        let (is_open, change) = self.change(now);
        // A window that is closed opens next when that changes; one that is open, once it has closed.
        let opens = if is_open { change.and_then(|change| self.change(change).1) } else { change };
        Span { from: now, is_open, change, opens }
    }

    /// When it has been open for `length` since `now`, if that is by `limit`. A message that is taken now and leaves after others
    /// that take so long leaves then.
    pub fn after_open(&self, now: Timestamp, length: Duration, limit: Timestamp) -> Option<Timestamp> {
        let (mut at, mut left) = (now, length);
        loop {
            let (is_open, change) = self.change(at);
            if is_open {
                let end = at.saturating_add(left).unwrap_or(Timestamp::MAX);
                if change.is_none_or(|change| end < change) {
                    return (end <= limit).then_some(end);
                }
            }
            let change = change.filter(|change| *change <= limit)?;
            if is_open {
                left -= Duration::try_from(change.duration_since(at)).unwrap_or_default().min(left);
            }
            at = change;
        }
    }

    /// Whether it is open at `now`, and when it is not any more what it is then; `None` if it is always open.
    fn change(&self, now: Timestamp) -> (bool, Option<Timestamp>) {
        // Microseconds are what columns and frames carry; whatever is finer would move every change by it.
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let (is_open, _) = self.week.at(self.zone.offset(now), now);
        let mut at = now;
        loop {
            let (is_open_then, ahead) = self.week.at(self.zone.offset(at), at);
            if is_open_then != is_open {
                return (is_open, Some(at));
            }
            let Some(ahead) = ahead else { return (is_open, None) };
            let Ok(change) = at.checked_add(ahead) else { return (is_open, None) };
            // From the next change of the clocks on, the week is looked up anew.
            match self.zone.clocks_change_after(at).filter(|clocks| *clocks <= change) {
                Some(clocks) => at = clocks,
                None => return (is_open, Some(change)),
            }
        }
    }
}
