//! How much the server may dispatch: totals over the session that grow as attempts end, and a window for each bot.
//!
//! The windows of all bots together are no more than the totals allow. So bots whose gateway hangs keep to their share of what the
//! agent takes, and all others have theirs.

use std::sync::Arc;

use muster_proto::agent_v1::Credit;

use crate::bots::Bots;
use crate::journal::state::Load;

/// A grant is sent when it gives back at least one part in this many of what there is: few frames, and never a dry server.
const GRANT_FROM_ONE_IN: u64 = 8;

/// What the agent takes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) attempts: u64,
    pub(crate) bytes: u64,
    /// Attempts of one bot at the most, however few bots there are.
    pub(crate) per_bot: u32,
}

impl Capacity {
    /// The window of each of so many bots: an equal share, and one where there are more bots than attempts.
    fn window(&self, bots: usize) -> u32 {
        let share = self.attempts / (bots as u64).max(1);
        u32::try_from(share).unwrap_or(u32::MAX).max(1).min(self.per_bot)
    }
}

/// The credit of one session.
pub(super) struct Credits {
    capacity: Capacity,
    bots: Arc<Bots>,
    received: Load,
    granted: Load,
    /// The window of each bot that was told.
    window: u32,
}

impl Credits {
    /// Credit at the begin of a session, with `load` left from before.
    pub(super) fn new(capacity: Capacity, bots: Arc<Bots>, load: Load, is_full: bool) -> Self {
        let window = capacity.window(bots.declared());
        let mut credits = Credits { capacity, bots, received: Load::default(), granted: Load::default(), window };
        credits.granted = credits.due(load, is_full);
        credits
    }

    /// What has been granted so far.
    pub(super) fn frame(&self) -> Credit {
        Credit { attempts_total: self.granted.attempts, bytes_total: self.granted.bytes, per_bot: self.window }
    }

    /// Counts an attempt that arrived. `false` if it was not granted.
    #[must_use]
    pub(super) fn receive(&mut self, weight: u64) -> bool {
        self.received.attempts += 1;
        self.received.bytes += weight;
        self.received.attempts <= self.granted.attempts
    }

    fn due(&self, load: Load, is_full: bool) -> Load {
        if is_full {
            return self.granted;
        }
        let free_attempts = self.capacity.attempts.saturating_sub(load.attempts);
        let free_bytes = self.capacity.bytes.saturating_sub(load.bytes);
        Load {
            attempts: self.granted.attempts.max(self.received.attempts + free_attempts),
            bytes: self.granted.bytes.max(self.received.bytes + free_bytes),
        }
    }

    /// Grants what has become free, if it is worth a frame; so is another window. `load` is what takes up credit now, with what arrived and is not
    /// in the journal yet.
    pub(super) fn grant(&mut self, load: Load, is_full: bool) -> Option<Credit> {
        let due = self.due(load, is_full);
        let worth = |due: u64, granted: u64, capacity: u64| due - granted >= (capacity / GRANT_FROM_ONE_IN).max(1);
        let is_worth = worth(due.attempts, self.granted.attempts, self.capacity.attempts)
            || worth(due.bytes, self.granted.bytes, self.capacity.bytes);
        let window = self.capacity.window(self.bots.declared());
        if !is_worth && window == self.window {
            return None;
        }
        (self.granted, self.window) = (due, window);
        Some(self.frame())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { attempts: 16, bytes: 1_600, per_bot: 4 };

    fn fresh(load: Load, is_full: bool) -> Credits {
        Credits::new(CAPACITY, Arc::default(), load, is_full)
    }

    fn load(attempts: u64) -> Load {
        Load { attempts, bytes: attempts * 100 }
    }

    #[test]
    fn what_is_left_from_before_is_not_granted_again() {
        let credits = fresh(load(6), false);
        assert_eq!(credits.frame(), Credit { attempts_total: 10, bytes_total: 1_000, per_bot: 4 });
    }

    #[test]
    fn totals_grow_by_what_ends_in_steps_that_are_worth_a_frame() {
        let mut credits = fresh(Load::default(), false);
        for _ in 0..16 {
            assert!(credits.receive(100));
        }
        assert!(!credits.receive(100));
        let mut credits = fresh(Load::default(), false);
        for _ in 0..16 {
            let _ = credits.receive(100);
        }
        assert_eq!(credits.grant(load(16), false), None);
        assert_eq!(credits.grant(load(15), false), None);
        assert_eq!(credits.grant(load(14), false).unwrap().attempts_total, 18);
        assert_eq!(credits.grant(load(14), false), None);
        assert_eq!(credits.grant(load(0), false).unwrap().attempts_total, 32);
    }

    #[test]
    fn the_windows_of_all_bots_fit_into_the_totals() {
        for (bots, window) in [(0, 4), (1, 4), (4, 4), (5, 3), (8, 2), (16, 1), (17, 1), (1_000, 1)] {
            assert_eq!(CAPACITY.window(bots), window, "{bots} bots");
        }
    }

    #[test]
    fn another_number_of_bots_is_worth_a_frame() {
        let mut credits = fresh(Load::default(), false);
        assert_eq!(credits.frame().per_bot, 4);
        credits.bots.note_declared(8);
        let told = credits.grant(Load::default(), false).unwrap();
        assert_eq!((told.attempts_total, told.per_bot), (16, 2));
        assert_eq!(credits.grant(Load::default(), false), None);
    }

    #[test]
    fn a_full_disk_grants_nothing_until_there_is_room() {
        let mut credits = fresh(Load::default(), true);
        assert_eq!(credits.frame().attempts_total, 0);
        assert_eq!(credits.grant(Load::default(), true), None);
        assert_eq!(credits.grant(Load::default(), false).unwrap().attempts_total, 16);
    }
}
