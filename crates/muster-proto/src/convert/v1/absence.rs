//! What is done about a bot while its node is absent.

use muster_domain::absence::{AbsencePolicy, FailOver, OnNodeAbsent};
use muster_domain::{GatewayId, Violation};

use super::keep;
use super::time::{duration, write_duration, write_timestamp};
use crate::v1 as wire;

/// Reads a policy; one that is not set is WAIT. Paths are those of the policy.
pub fn read(policy: Option<wire::AbsencePolicy>) -> Result<AbsencePolicy, Vec<Violation>> {
    let Some(wire::AbsencePolicy { on_node_absent, absent_after, standby_gateway }) = policy else {
        return Ok(AbsencePolicy::default());
    };
    let mut found = Vec::new();
    let word = match wire::OnNodeAbsent::try_from(on_node_absent) {
        Ok(wire::OnNodeAbsent::Unspecified | wire::OnNodeAbsent::Wait) => OnNodeAbsent::Wait,
        Ok(wire::OnNodeAbsent::FailOver) => OnNodeAbsent::FailOver,
        Ok(wire::OnNodeAbsent::Fail) => OnNodeAbsent::Fail,
        Err(_) => {
            found.push(Violation::new("on_node_absent", format!("has the value {on_node_absent}, which is no policy")));
            OnNodeAbsent::Wait
        }
    };
    let after = absent_after.and_then(|after| keep(&mut found, "absent_after", duration(after)));
    let standby = match standby_gateway.as_str() {
        "" => None,
        name => keep(&mut found, "standby_gateway", GatewayId::from_resource_name(name)),
    };
    if !found.is_empty() {
        return Err(found);
    }
    AbsencePolicy::new(word, after, standby)
}

/// Writes a policy.
pub fn write(policy: &AbsencePolicy) -> wire::AbsencePolicy {
    let word = match policy.on_node_absent() {
        OnNodeAbsent::Wait => wire::OnNodeAbsent::Wait,
        OnNodeAbsent::FailOver => wire::OnNodeAbsent::FailOver,
        OnNodeAbsent::Fail => wire::OnNodeAbsent::Fail,
    };
    wire::AbsencePolicy {
        on_node_absent: word.into(),
        absent_after: policy.absent_after().map(write_duration),
        standby_gateway: policy.standby_gateway().map(GatewayId::resource_name).unwrap_or_default(),
    }
}

/// Writes a move by policy.
pub fn write_fail_over(fail_over: &FailOver) -> wire::FailOver {
    wire::FailOver {
        from_gateway: fail_over.from_gateway.resource_name(),
        absent_since: Some(write_timestamp(fail_over.absent_since)),
        move_time: Some(write_timestamp(fail_over.time)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn policies_survive_the_wire_and_nonsense_is_named() {
        let (after, standby_gateway) = (Duration::from_secs(60), GatewayId::new("s").unwrap());
        let known =
            [AbsencePolicy::Wait, AbsencePolicy::FailOver { after, standby_gateway }, AbsencePolicy::Fail { after }];
        for policy in known {
            assert_eq!(read(Some(write(&policy))).unwrap(), policy);
        }
        assert_eq!(read(None).unwrap(), AbsencePolicy::Wait);
        let wrong = wire::AbsencePolicy { on_node_absent: 9, standby_gateway: "S".into(), ..Default::default() };
        let fields: Vec<_> = read(Some(wrong)).unwrap_err().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["on_node_absent", "standby_gateway"]);
    }
}
