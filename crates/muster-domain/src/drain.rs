//! Emptying a node: it takes no new work, gives back what it has not started, and ends what it has.

use std::time::Duration;

use jiff::Timestamp;

use crate::Violation;
use crate::limits::DRAIN_DEADLINE_MAX;

/// A drain of a node. The node is cordoned for as long as it stands, and the drain ends with the cordon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub since: Timestamp,
    /// Until when whoever asked for it waits. Nothing is cut off then: a call to a gateway cannot be taken back, and what it
    /// came to is reported whenever it ends.
    pub until: Timestamp,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DrainState {
    /// Attempts are under way at the node, and there is time.
    Draining,
    /// Attempts are under way at the node, and the time is over.
    Overdue,
    /// Nothing is under way at the node, and nothing will be: it can be taken down.
    Drained,
}

impl DrainState {
    /// All states, in the order of declaration.
    pub const ALL: [DrainState; 3] = [DrainState::Draining, DrainState::Overdue, DrainState::Drained];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            DrainState::Draining => "DRAINING",
            DrainState::Overdue => "OVERDUE",
            DrainState::Drained => "DRAINED",
        }
    }
}

impl std::fmt::Display for DrainState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Drain {
    /// A drain that begins at `now`. At most [`DRAIN_DEADLINE_MAX`] long.
    pub fn begin(now: Timestamp, deadline: Duration) -> Result<Self, Violation> {
        if deadline > DRAIN_DEADLINE_MAX {
            let hours = DRAIN_DEADLINE_MAX.as_secs() / 3_600;
            return Err(Violation::new("deadline", format!("must be at most {hours} h")));
        }
        Ok(Drain { since: now, until: now + deadline })
    }

    /// How far it is, with so many attempts under way at the node.
    pub fn state(&self, under_way: u64, now: Timestamp) -> DrainState {
        if under_way == 0 {
            DrainState::Drained
        } else if self.until <= now {
            DrainState::Overdue
        } else {
            DrainState::Draining
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_deadline_has_its_bound() {
        let begin = |deadline| Drain::begin(Timestamp::UNIX_EPOCH, deadline);
        assert_eq!(begin(DRAIN_DEADLINE_MAX).unwrap().until, Timestamp::UNIX_EPOCH + DRAIN_DEADLINE_MAX);
        assert_eq!(begin(DRAIN_DEADLINE_MAX + Duration::from_nanos(1)).unwrap_err().field, "deadline");
    }

    proptest! {
        #[test]
        fn a_node_is_drained_when_nothing_is_under_way_and_only_then(
            under_way in 0u64..3, deadline in 0u64..100, passed in 0u64..200,
        ) {
            let begin = Timestamp::UNIX_EPOCH;
            let drain = Drain::begin(begin, Duration::from_secs(deadline)).unwrap();
            let state = drain.state(under_way, begin + Duration::from_secs(passed));
            prop_assert_eq!(state == DrainState::Drained, under_way == 0);
            prop_assert_eq!(state == DrainState::Overdue, under_way > 0 && passed >= deadline);
        }
    }
}
