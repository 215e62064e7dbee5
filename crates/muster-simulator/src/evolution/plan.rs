//! What will become of a message, decided when the network takes it.

use crate::behaviour::Behaviour;
use crate::chance::Chance;
use crate::faults::ReceiptFaults;
use crate::ledger::Status;

/// What about a message decides its receipts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// To a group: the gateway reports no deliveries there.
    pub(crate) group: bool,
    /// The account may not write to this recipient.
    pub(crate) locked_out: bool,
}

/// The statuses that the network will report, in the order of their reports.
pub(crate) fn draw(
    circumstances: Circumstances,
    behaviour: &Behaviour,
    faults: &ReceiptFaults,
    chance: &mut Chance,
) -> Vec<Status> {
    if circumstances.locked_out || chance.hits(faults.error) {
        return vec![Status::Error];
    }
    if chance.hits(faults.never) {
        return Vec::new();
    }
    let mut plan = vec![Status::ServerAck];
    if !circumstances.group && chance.hits(behaviour.delivered_share) {
        plan.push(Status::DeliveryAck);
        if chance.hits(behaviour.read_share) {
            plan.push(Status::Read);
        }
        if chance.hits(faults.skip_server_ack) {
            plan.remove(0);
        }
        if chance.hits(faults.reversed) {
            plan.reverse();
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERSON: Circumstances = Circumstances { group: false, locked_out: false };

    fn draw_with(circumstances: Circumstances, faults: ReceiptFaults) -> Vec<Status> {
        let behaviour = Behaviour { read_share: 1.0, ..Behaviour::default() };
        draw(circumstances, &behaviour, &faults, &mut Chance::new(1, &[]))
    }

    #[test]
    fn each_fault_changes_the_chain() {
        use Status::{DeliveryAck, Error, Read, ServerAck};
        let none = ReceiptFaults::default();
        assert_eq!(draw_with(PERSON, none.clone()), [ServerAck, DeliveryAck, Read]);
        assert_eq!(draw_with(Circumstances { group: true, ..PERSON }, none.clone()), [ServerAck]);
        assert_eq!(draw_with(Circumstances { locked_out: true, ..PERSON }, none.clone()), [Error]);
        assert_eq!(draw_with(PERSON, ReceiptFaults { error: 1.0, ..none.clone() }), [Error]);
        assert_eq!(draw_with(PERSON, ReceiptFaults { never: 1.0, ..none.clone() }), []);
        assert_eq!(draw_with(PERSON, ReceiptFaults { skip_server_ack: 1.0, ..none.clone() }), [DeliveryAck, Read]);
        assert_eq!(draw_with(PERSON, ReceiptFaults { reversed: 1.0, ..none }), [Read, DeliveryAck, ServerAck]);
    }

    proptest! {
        #[test]
        fn a_plan_names_no_status_twice(seed in any::<u64>(), group: bool, locked_out: bool, share in 0.0..=1.0f64) {
            let faults = ReceiptFaults { error: share / 4.0, never: share / 4.0, skip_server_ack: share, reversed: share };
            let plan = draw(Circumstances { group, locked_out }, &Behaviour::default(), &faults, &mut Chance::new(seed, &[]));
            let mut once = plan.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), plan.len());
            prop_assert!(!plan.contains(&Status::Pending));
            prop_assert!(!plan.contains(&Status::Error) || plan.len() == 1);
        }
    }
}
