//! A stretch of time in which a window is open throughout, or closed throughout.

use std::time::Duration;

use jiff::Timestamp;

use crate::limits::WINDOW_MARGIN;

/// Whether a window is open, and for how long that stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it was looked at: what is said here holds from then on.
    pub from: Timestamp,
    /// Whether it is open.
    pub is_open: bool,
    /// When that changes; `None` if never.
    pub change: Option<Timestamp>,
    /// When it opens next: the change of a closed one, and the opening behind the change of an open one.
    pub opens: Option<Timestamp>,
}

impl Span {
    /// Whether it tells of `now`.
    pub fn covers(&self, now: Timestamp) -> bool {
        self.from <= now && self.change.is_none_or(|change| now < change)
    }

    /// For how long something that is chosen at `now` may be begun; `None` if nothing may be chosen any more, and
    /// [`Duration::MAX`] if the window never closes. It ends [`WINDOW_MARGIN`] before the window does.
    pub fn room(&self, now: Timestamp) -> Option<Duration> {
        if !self.is_open {
            return None;
        }
        let Some(change) = self.change else { return Some(Duration::MAX) };
        let left = Duration::try_from(change.duration_since(now)).unwrap_or_default();
        left.checked_sub(WINDOW_MARGIN).filter(|room| !room.is_zero())
    }
}
