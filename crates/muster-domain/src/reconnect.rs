//! When and how often a bot's lost connection is brought back, and when silence is a fault.

use std::time::Duration;

use crate::bot::Connection;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The network dropped the line; the login is intact.
    Lost,
    /// Another client took the session: two hosts fight for one login.
    Replaced,
    /// The login was removed, on the phone or by the network. Only a new link helps.
    LoggedOut,
    /// The network banned the sender.
    Banned,
    /// Nobody linked in time.
    LinkExpired,
    /// The gateway gave a reason that no table lists.
    Unknown,
}

impl CloseReason {
    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Lost => "LOST",
            CloseReason::Replaced => "REPLACED",
            CloseReason::LoggedOut => "LOGGED_OUT",
            CloseReason::Banned => "BANNED",
            CloseReason::LinkExpired => "LINK_EXPIRED",
            CloseReason::Unknown => "UNKNOWN",
        }
    }

    /// Whether trying again can help. After a logout or a replacement it cannot: it would only fight.
    pub fn is_retriable(self) -> bool {
        matches!(self, CloseReason::Lost | CloseReason::Unknown)
    }

    /// The connection after a close for this reason.
    pub fn connection(self) -> Connection {
        match self {
            CloseReason::Lost | CloseReason::Replaced | CloseReason::Unknown => Connection::Disconnected,
            CloseReason::LoggedOut | CloseReason::Banned => Connection::LoggedOut,
            CloseReason::LinkExpired => Connection::Unlinked,
        }
    }
}

/// Wait before the first try.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// Each wait is this much longer than the one before.
pub const BACKOFF_FACTOR: f64 = 1.5;
/// Longest wait between two tries.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Tries before the supervisor gives up and says so.
pub const TRIES_MAX: u32 = 10;

/// The wait before try number `tries + 1`, or `None` when there is no further try.
pub fn next_try(reason: CloseReason, tries: u32) -> Option<Duration> {
    if !reason.is_retriable() || tries >= TRIES_MAX {
        return None;
    }
    Some(BACKOFF_FIRST.mul_f64(BACKOFF_FACTOR.powi(tries as i32)).min(BACKOFF_MAX))
}

/// Sends in a row without any sign of life from the network before a connected bot is called silent.
pub const SILENT_AFTER_SENDS: u32 = 3;
/// How long the oldest of these sends must have gone unanswered.
pub const SILENT_AFTER: Duration = Duration::from_secs(120);

/// Whether a bot that its gateway calls connected is silent: it sent, and nothing ever came back.
/// `unanswered` counts sends since the last acknowledgement, inbound message or receipt; `since` is the age of the first one.
pub fn is_silent(unanswered: u32, since: Duration) -> bool {
    unanswered >= SILENT_AFTER_SENDS && since >= SILENT_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_5_to_60_seconds_and_end_after_ten_tries() {
        let waits: Vec<_> = (0..).map_while(|tries| next_try(CloseReason::Lost, tries)).collect();
        assert_eq!(waits.len(), 10);
        assert_eq!(waits[0], Duration::from_secs(5));
        assert_eq!(waits[1], Duration::from_millis(7_500));
        assert!(waits.is_sorted());
        assert_eq!(waits[9], BACKOFF_MAX);
    }

    #[test]
    fn nobody_fights_a_logout_or_a_replacement() {
        for reason in [CloseReason::LoggedOut, CloseReason::Replaced, CloseReason::Banned, CloseReason::LinkExpired] {
            assert_eq!(next_try(reason, 0), None);
        }
    }

    #[test]
    fn silence_needs_both_count_and_time() {
        assert!(is_silent(SILENT_AFTER_SENDS, SILENT_AFTER));
        assert!(!is_silent(SILENT_AFTER_SENDS - 1, SILENT_AFTER));
        assert!(!is_silent(SILENT_AFTER_SENDS, SILENT_AFTER - Duration::from_millis(1)));
    }
}
