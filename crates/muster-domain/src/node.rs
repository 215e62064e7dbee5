//! A machine that hosts gateways and runs one agent.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::drain::Drain;
use crate::limits::NOTE_CHARS_MAX;
use crate::{Epoch, NodeId, Violation};

/// What an operator declares about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its id; the agent's configuration names it.
    pub id: NodeId,
    /// A name for people.
    pub display_name: String,
    /// Free labels for filters.
    pub labels: BTreeMap<String, String>,
}

/// A node with everything that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What was declared.
    pub spec: NodeSpec,
    /// Grows with every change of the declaration.
    pub generation: u64,
    /// Number of its latest session; zero before the first.
    pub epoch: Epoch,
    /// Whether a session is open. Written on connect and on disconnect only.
    pub online: bool,
    /// When `online` last changed.
    pub online_time: Option<Timestamp>,
    /// The agent's build, as it said in its latest session.
    pub agent_version: String,
    /// Version of the desired state that the server holds for it.
    pub desired_version: u64,
    /// Version that the agent says it applied.
    pub applied_version: u64,
    /// Set while it takes no new work.
    pub cordon: Option<Cordon>,
    /// Set while it is being emptied, and until its cordon ends.
    pub drain: Option<Drain>,
    /// Attempts under way there: committed to it, and not heard of since.
    pub under_way: u64,
    /// When it was declared.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
}

/// An operator's word that a node takes no new work. What it has goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cordon {
    /// Why; at most [`NOTE_CHARS_MAX`] characters, and some.
    pub reason: String,
    /// Who asked for it; may be empty.
    pub author: String,
    /// Since when.
    pub since: Timestamp,
}

impl Cordon {
    /// What is wrong with it.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.reason.trim().is_empty() || self.reason.chars().count() > NOTE_CHARS_MAX {
            found.push(Violation::new("reason", format!("must have 1 to {NOTE_CHARS_MAX} characters")));
        }
        if self.author.chars().count() > NOTE_CHARS_MAX {
            found.push(Violation::new("author", format!("must have at most {NOTE_CHARS_MAX} characters")));
        }
        found
    }
}

/// Whether a node's agent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// It has a session, and gives signs of life.
    Online,
    /// It has a session, and missed a heartbeat.
    Suspect,
    /// It has no session.
    Offline,
    /// It has had no session for longer than it may be away.
    Lost,
}

impl NodeState {
    /// All states, in the order of declaration.
    pub const ALL: [NodeState; 4] = [NodeState::Online, NodeState::Suspect, NodeState::Offline, NodeState::Lost];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Online => "ONLINE",
            NodeState::Suspect => "SUSPECT",
            NodeState::Offline => "OFFLINE",
            NodeState::Lost => "LOST",
        }
    }
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// After which times a node's state changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often an agent gives a sign of life. One that gave none for half as long again has missed one.
    pub heartbeat_interval: Duration,
    /// How long an agent may be away before its node is lost.
    pub lost_after: Duration,
}

impl Node {
    /// Since when it has had no session; `None` while it has one, and for one that never had any. While the server was down its
    /// agent could not come back: that time, before `serving_since`, does not count.
    pub fn absent_since(&self, serving_since: Timestamp) -> Option<Timestamp> {
        self.online_time.filter(|_| !self.online).map(|since| since.max(serving_since))
    }

    /// Whether its agent is there, and since when that is so; `None` for a node whose agent was never there. `silent_for`
    /// is how long ago the agent of the session gave a sign of life. Nothing follows from `Lost` but the word: what is done
    /// about a bot whose node is away is declared with the bot.
    pub fn state(&self, silent_for: Duration, patience: &Patience, now: Timestamp) -> (NodeState, Option<Timestamp>) {
        let since = self.online_time;
        if self.online {
            let missed = silent_for >= patience.heartbeat_interval + patience.heartbeat_interval / 2;
            return if missed { (NodeState::Suspect, Some(now - silent_for)) } else { (NodeState::Online, since) };
        }
        match since.map(|since| since.saturating_add(patience.lost_after).unwrap_or(Timestamp::MAX)) {
            Some(lost) if lost <= now => (NodeState::Lost, Some(lost)),
            _ => (NodeState::Offline, since),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Patience =
        Patience { heartbeat_interval: Duration::from_secs(10), lost_after: Duration::from_secs(300) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn node(online: bool, online_time: Option<Timestamp>) -> Node {
        let spec = NodeSpec { id: NodeId::new("n").unwrap(), display_name: String::new(), labels: BTreeMap::new() };
        Node {
            spec,
            generation: 1,
            epoch: Epoch(1),
            online,
            online_time,
            agent_version: String::new(),
            desired_version: 1,
            applied_version: 1,
            cordon: None,
            drain: None,
            under_way: 0,
            create_time: at(0),
            update_time: at(0),
        }
    }

    #[test]
    fn a_node_is_absent_from_its_last_session_on_as_far_as_the_server_was_there() {
        assert_eq!(node(false, Some(at(100))).absent_since(at(0)), Some(at(100)));
        assert_eq!(node(false, Some(at(100))).absent_since(at(150)), Some(at(150)));
        assert_eq!(node(true, Some(at(100))).absent_since(at(0)), None);
        assert_eq!(node(false, None).absent_since(at(0)), None);
    }

    #[test]
    fn states_follow_each_other_at_their_times() {
        let state =
            |online, silent, now| node(online, Some(at(100))).state(Duration::from_secs(silent), &PATIENCE, at(now));
        assert_eq!(state(true, 14, 200), (NodeState::Online, Some(at(100))));
        assert_eq!(state(true, 15, 200), (NodeState::Suspect, Some(at(185))));
        assert_eq!(state(false, 0, 399), (NodeState::Offline, Some(at(100))));
        assert_eq!(state(false, 0, 400), (NodeState::Lost, Some(at(400))));
        let never = node(false, None).state(Duration::ZERO, &PATIENCE, at(9_999));
        assert_eq!(never, (NodeState::Offline, None), "nobody can lose what was never there");
    }

    #[test]
    fn a_cordon_says_why() {
        let cordon = |reason: &str, author: &str| Cordon { reason: reason.into(), author: author.into(), since: at(0) };
        let long = "x".repeat(NOTE_CHARS_MAX + 1);
        assert_eq!(cordon(&long[1..], "").violations(), []);
        for reason in ["", " ", &long] {
            assert_eq!(cordon(reason, "").violations()[0].field, "reason");
        }
        assert_eq!(cordon("x", &long).violations()[0].field, "author");
    }

    proptest! {
        #[test]
        fn a_session_is_never_offline_and_no_session_never_online(
            online in any::<bool>(), since in prop::option::of(0u64..1_000), silent in 0u64..1_000, now in 1_000u64..2_000,
        ) {
            let node = node(online, since.map(at));
            let (state, changed) = node.state(Duration::from_secs(silent), &PATIENCE, at(now));
            prop_assert_eq!(online, matches!(state, NodeState::Online | NodeState::Suspect));
            prop_assert!(changed.is_none_or(|changed| changed <= at(now)));
            prop_assert!(changed.is_some() || node.online_time.is_none());
        }
    }
}
