//! What can be set.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use muster_domain::limits::UNCERTAIN_WAIT_DEFAULT;
use muster_store::RetentionPolicy;

/// The server's settings. The defaults work on a laptop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the operators' and the agents' API is served. Until callers are authenticated, keep it to the machine or to a
    /// network that you trust. The binary binds it, and hands the listener to [`crate::serve`].
    pub listen: SocketAddr,
    /// How often an agent gives a sign of life. At least 100 ms.
    pub heartbeat_interval: Duration,
    /// How long an agent may give no sign, not read, or not acknowledge what it was given, before its session ends. At least
    /// two heartbeat intervals.
    pub stall_timeout: Duration,
    /// How long an agent may be away before its node is shown as LOST. At least the stall time-out.
    pub lost_after: Duration,
    /// How long a message is uncertain before the policy RESEND has it sent again.
    pub uncertain_wait: Duration,
    /// Calls under way at a time, over all callers; more are refused with RESOURCE_EXHAUSTED. Open streams do not count.
    pub calls_max: usize,
    /// How long an answer of a stream may lie before its caller makes room for it; then the call ends. At least 1 ms. The stream
    /// of an agent has its stall time-out instead.
    pub unread_timeout: Duration,
    /// How long the server waits for calls and sessions to end when it stops.
    pub stop_timeout: Duration,
    /// How long rows are kept.
    pub retention: RetentionPolicy,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            heartbeat_interval: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            lost_after: Duration::from_secs(5 * 60),
            uncertain_wait: UNCERTAIN_WAIT_DEFAULT,
            calls_max: 10_000,
            unread_timeout: Duration::from_secs(5 * 60),
            stop_timeout: Duration::from_secs(10),
            retention: RetentionPolicy::default(),
        }
    }
}

impl Config {
    /// What is wrong with the settings, as key and expectation. [`crate::serve`] checks it as well; a binary does so before it
    /// listens or opens anything.
    ///
    /// # Errors
    /// The first key whose value makes no sense.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.heartbeat_interval < Duration::from_millis(100) {
            return Err(("heartbeat_interval", "must be at least 100 ms"));
        }
        if self.stall_timeout < 2 * self.heartbeat_interval {
            return Err(("stall_timeout", "must be at least two heartbeat intervals"));
        }
        if self.lost_after < self.stall_timeout {
            return Err(("lost_after", "must be at least stall_timeout"));
        }
        if self.unread_timeout < Duration::from_millis(1) {
            return Err(("unread_timeout", "must be at least 1 ms"));
        }
        if self.calls_max == 0 {
            return Err(("calls_max", "must be at least 1"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_nonsense_is_named() {
        let good = Config::default();
        assert_eq!(good.check(), Ok(()));
        let hasty = Config { heartbeat_interval: Duration::ZERO, ..good.clone() };
        assert_eq!(hasty.check().unwrap_err().0, "heartbeat_interval");
        let deaf = Config { stall_timeout: good.heartbeat_interval, ..good.clone() };
        assert_eq!(deaf.check().unwrap_err().0, "stall_timeout");
        let rash = Config { lost_after: good.stall_timeout / 2, ..good.clone() };
        assert_eq!(rash.check().unwrap_err().0, "lost_after");
        let curt = Config { unread_timeout: Duration::ZERO, ..good.clone() };
        assert_eq!(curt.check().unwrap_err().0, "unread_timeout");
        assert_eq!(Config { calls_max: 0, ..good }.check().unwrap_err().0, "calls_max");
    }
}
