//! The revision of the agents' protocol that a session is held in.

use std::ops::RangeInclusive;

/// An end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The node's.
    Agent,
    /// The server's.
    Server,
}

/// The newest revision that both ends speak, or who is too old for the other.
pub fn common(agent: &RangeInclusive<u32>, server: &RangeInclusive<u32>) -> Result<u32, Side> {
    if agent.end() < server.start() {
        Err(Side::Agent)
    } else if server.end() < agent.start() {
        Err(Side::Server)
    } else {
        Ok(*agent.end().min(server.end()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_older_side_is_named() {
        assert_eq!(common(&(1..=1), &(2..=3)), Err(Side::Agent));
        assert_eq!(common(&(4..=5), &(2..=3)), Err(Side::Server));
        assert_eq!(common(&(1..=2), &(2..=3)), Ok(2));
        assert_eq!(common(&(1..=9), &(2..=3)), Ok(3));
    }

    proptest! {
        #[test]
        fn the_newest_that_both_speak_is_taken(agent in (0u32..8, 0u32..4), server in (0u32..8, 0u32..4)) {
            let agent = agent.0..=agent.0 + agent.1;
            let server = server.0..=server.0 + server.1;
            let newest = agent.clone().filter(|revision| server.contains(revision)).max();
            prop_assert_eq!(common(&agent, &server).ok(), newest);
        }
    }
}
