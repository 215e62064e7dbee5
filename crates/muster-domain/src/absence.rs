//! What is done about a bot while its node is absent.

use std::time::Duration;

use jiff::Timestamp;

use crate::limits::{ABSENT_AFTER_DEFAULT, ABSENT_AFTER_MIN, HORIZON};
use crate::{GatewayId, Violation};

/// A bot that its policy moved to its standby gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailOver {
    /// The gateway where it was.
    pub from_gateway: GatewayId,
    /// Since when that gateway's node had no session.
    pub absent_since: Timestamp,
    /// When it moved.
    pub time: Timestamp,
}

/// What is done, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnNodeAbsent {
    /// Its messages wait.
    Wait,
    /// It moves to another gateway, and what waits follows.
    FailOver,
    /// What could have left fails.
    Fail,
}

impl OnNodeAbsent {
    /// All values, in the order of declaration.
    pub const ALL: [OnNodeAbsent; 3] = [OnNodeAbsent::Wait, OnNodeAbsent::FailOver, OnNodeAbsent::Fail];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            OnNodeAbsent::Wait => "WAIT",
            OnNodeAbsent::FailOver => "FAIL_OVER",
            OnNodeAbsent::Fail => "FAIL",
        }
    }
}

impl std::fmt::Display for OnNodeAbsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an operator declares to be done about a bot while its node is absent: has had no session for some time. What is under
/// way at the node is never touched by it: it may have been sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AbsencePolicy {
    /// Its messages wait, within their validity.
    #[default]
    Wait,
    /// It moves to a gateway where the same identity is linked as well. It comes back when somebody moves it back.
    FailOver {
        /// How long the node may be without a session before.
        after: Duration,
        /// Where to.
        standby_gateway: GatewayId,
    },
    /// What could have left fails, until the node is back.
    Fail {
        /// How long the node may be without a session before.
        after: Duration,
    },
}

impl AbsencePolicy {
    /// Reads a policy from its parts. An unset time is [`ABSENT_AFTER_DEFAULT`].
    pub fn new(
        on_node_absent: OnNodeAbsent,
        absent_after: Option<Duration>,
        standby_gateway: Option<GatewayId>,
    ) -> Result<Self, Vec<Violation>> {
        let mut found = Vec::new();
        let after = absent_after.unwrap_or(ABSENT_AFTER_DEFAULT);
        if !(ABSENT_AFTER_MIN..=HORIZON).contains(&after) {
            let (least, most) = (ABSENT_AFTER_MIN.as_secs(), HORIZON.as_secs() / 86_400);
            found.push(Violation::new("absent_after", format!("must be between {least} s and {most} days")));
        }
        if on_node_absent == OnNodeAbsent::Wait && absent_after.is_some() {
            found.push(Violation::new("absent_after", "must be unset with WAIT, which has no end"));
        }
        if on_node_absent != OnNodeAbsent::FailOver && standby_gateway.is_some() {
            found.push(Violation::new("standby_gateway", "must be unset except with FAIL_OVER"));
        }
        let policy = match (on_node_absent, standby_gateway) {
            (OnNodeAbsent::FailOver, None) => {
                found.push(Violation::new("standby_gateway", "must be set with FAIL_OVER"));
                AbsencePolicy::Wait
            }
            (OnNodeAbsent::FailOver, Some(standby_gateway)) => AbsencePolicy::FailOver { after, standby_gateway },
            (OnNodeAbsent::Wait, _) => AbsencePolicy::Wait,
            (OnNodeAbsent::Fail, _) => AbsencePolicy::Fail { after },
        };
        if found.is_empty() { Ok(policy) } else { Err(found) }
    }

    /// The policy in a word.
    pub fn on_node_absent(&self) -> OnNodeAbsent {
        match self {
            AbsencePolicy::Wait => OnNodeAbsent::Wait,
            AbsencePolicy::FailOver { .. } => OnNodeAbsent::FailOver,
            AbsencePolicy::Fail { .. } => OnNodeAbsent::Fail,
        }
    }

    /// How long the node may be without a session; `None` for as long as it takes.
    pub fn absent_after(&self) -> Option<Duration> {
        match self {
            AbsencePolicy::Wait => None,
            AbsencePolicy::FailOver { after, .. } | AbsencePolicy::Fail { after } => Some(*after),
        }
    }

    /// The gateway that the bot moves to.
    pub fn standby_gateway(&self) -> Option<&GatewayId> {
        match self {
            AbsencePolicy::FailOver { standby_gateway, .. } => Some(standby_gateway),
            AbsencePolicy::Wait | AbsencePolicy::Fail { .. } => None,
        }
    }

    /// When something is to be done, with the node without a session since `absent_since`.
    pub fn due(&self, absent_since: Timestamp) -> Option<Timestamp> {
        self.absent_after().map(|after| absent_since.saturating_add(after).unwrap_or(Timestamp::MAX))
    }

    /// Whether what could have left fails, with the node without a session since `absent_since`.
    pub fn has_given_up(&self, absent_since: Timestamp, now: Timestamp) -> bool {
        matches!(self, AbsencePolicy::Fail { .. }) && self.due(absent_since).is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standby() -> GatewayId {
        GatewayId::new("standby").unwrap()
    }

    fn fields(policy: Result<AbsencePolicy, Vec<Violation>>) -> Vec<String> {
        policy.unwrap_err().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn parts_that_do_not_fit_together_are_named() {
        use OnNodeAbsent::{Fail, FailOver, Wait};
        let minute = Some(Duration::from_secs(60));
        assert_eq!(fields(AbsencePolicy::new(Wait, minute, Some(standby()))), ["absent_after", "standby_gateway"]);
        assert_eq!(fields(AbsencePolicy::new(FailOver, minute, None)), ["standby_gateway"]);
        assert_eq!(fields(AbsencePolicy::new(Fail, None, Some(standby()))), ["standby_gateway"]);
        for wrong in [ABSENT_AFTER_MIN - Duration::from_nanos(1), HORIZON + Duration::from_nanos(1)] {
            assert_eq!(fields(AbsencePolicy::new(Fail, Some(wrong), None)), ["absent_after"]);
        }
        for right in [ABSENT_AFTER_MIN, HORIZON] {
            assert_eq!(AbsencePolicy::new(Fail, Some(right), None), Ok(AbsencePolicy::Fail { after: right }));
        }
    }

    proptest! {
        #[test]
        fn a_policy_is_its_parts(word in 0..OnNodeAbsent::ALL.len(), seconds in prop::option::of(1u64..1_000), set in any::<bool>()) {
            let word = OnNodeAbsent::ALL[word];
            let after = seconds.map(Duration::from_secs);
            if let Ok(policy) = AbsencePolicy::new(word, after, set.then(standby)) {
                prop_assert_eq!(policy.on_node_absent(), word);
                let parts = (policy.absent_after(), policy.standby_gateway().cloned());
                prop_assert_eq!(AbsencePolicy::new(word, parts.0, parts.1), Ok(policy.clone()));
                let (since, now) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + Duration::from_secs(500));
                let over = policy.absent_after().is_some_and(|after| after <= Duration::from_secs(500));
                prop_assert_eq!(policy.has_given_up(since, now), word == OnNodeAbsent::Fail && over);
            }
        }
    }
}
