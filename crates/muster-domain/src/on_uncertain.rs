//! What a client wants done when nobody can tell whether its message was sent, and nobody has decided yet.

use crate::limits::POLICY_RESENDS_MAX;
use crate::resolution::Resolution;

/// What is done about a message that is uncertain, unless an operator decides first. Fixed at acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum OnUncertain {
    /// Nothing: it waits for a late report, or for an operator.
    #[default]
    Hold,
    /// It is sent again if nobody has told more of it after a while: a permission to send it twice.
    Resend,
    /// It is given up at once: nobody is to get it twice, and nobody has to look.
    Drop,
}

impl OnUncertain {
    /// All policies, in the order of declaration.
    pub const ALL: [OnUncertain; 3] = [OnUncertain::Hold, OnUncertain::Resend, OnUncertain::Drop];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            OnUncertain::Hold => "HOLD",
            OnUncertain::Resend => "RESEND",
            OnUncertain::Drop => "DROP",
        }
    }

    /// What the policy does about a message that is uncertain. `has_waited`: it has been so for as long as an echo or a late
    /// report may take. `resends`: how often the policy had it sent again before.
    pub fn decide(self, has_waited: bool, resends: u32) -> Verdict {
        match self {
            OnUncertain::Hold => Verdict::Leave,
            OnUncertain::Drop => Verdict::Resolve(Resolution::Drop),
            OnUncertain::Resend if resends >= POLICY_RESENDS_MAX => Verdict::Leave,
            OnUncertain::Resend if !has_waited => Verdict::Wait,
            OnUncertain::Resend => Verdict::Resolve(Resolution::Resend),
        }
    }
}

/// What a policy does about an uncertain message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves it to an operator.
    Leave,
    /// It decides later: what is on its way may tell more.
    Wait,
    /// It decides.
    Resolve(Resolution),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_permission_sends_again_and_not_before_it_was_waited() {
        for policy in OnUncertain::ALL {
            for has_waited in [false, true] {
                for resends in 0..=POLICY_RESENDS_MAX + 1 {
                    let permitted = policy == OnUncertain::Resend && has_waited && resends < POLICY_RESENDS_MAX;
                    let verdict = policy.decide(has_waited, resends);
                    assert_eq!(verdict == Verdict::Resolve(Resolution::Resend), permitted, "{policy:?}");
                    assert_eq!(verdict == Verdict::Resolve(Resolution::Drop), policy == OnUncertain::Drop);
                    assert_ne!(verdict, Verdict::Resolve(Resolution::Sent), "nobody has seen it");
                }
            }
        }
        assert_eq!(OnUncertain::Resend.decide(false, 0), Verdict::Wait);
        assert_eq!(OnUncertain::default(), OnUncertain::Hold);
    }
}
