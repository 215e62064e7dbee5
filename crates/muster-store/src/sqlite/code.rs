//! Enumerations as numbers in columns. A number never changes its meaning; new values get new numbers.

use muster_domain::absence::OnNodeAbsent;
use muster_domain::bot::{Connection, Stage};
use muster_domain::failure::{FailureReason, Scope};
use muster_domain::gate::WaitReason;
use muster_domain::life::AttemptEnd;
use muster_domain::message::{MessageState, Priority, ReceiptKind};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::opt_out::{OptChange, OptSource};
use muster_domain::resolution::{DecidedBy, Resolution};

use crate::{Result, StoreError};

/// An enumeration with a number for each value.
pub(super) trait Code: Sized + Copy + PartialEq + 'static {
    /// All values with their numbers.
    const TABLE: &'static [(Self, i64)];

    /// The number of the value.
    fn code(self) -> i64 {
        Self::TABLE.iter().find(|(value, _)| *value == self).map_or(-1, |(_, code)| *code)
    }

    /// The value of a number.
    fn decode(code: i64) -> Result<Self> {
        Self::TABLE
            .iter()
            .find(|(_, known)| *known == code)
            .map(|(value, _)| *value)
            .ok_or_else(|| StoreError::Corrupt(format!("{} has no value {code}", std::any::type_name::<Self>())))
    }
}

macro_rules! codes {
    ($type:ident { $($value:ident = $code:literal),+ $(,)? }) => {
        impl Code for $type {
            const TABLE: &'static [(Self, i64)] = &[$(($type::$value, $code)),+];
        }
    };
}

codes!(MessageState {
    Waiting = 0, Dispatched = 1, Sent = 2, Delivered = 3, Read = 4, Failed = 5, Expired = 6, Cancelled = 7, Uncertain = 8,
});
codes!(Priority { Conversation = 0, Campaign = 1, Automation = 2 });
codes!(Stage {
    Provisioning = 1, Activating = 2, Ramping = 3, Ready = 4, Active = 5, Cooling = 6, Restricted = 7, Banned = 8, Retired = 9,
});
codes!(Connection { Unlinked = 1, Linking = 2, Connected = 3, Silent = 4, Disconnected = 5, LoggedOut = 6 });
codes!(ReceiptKind { Acknowledged = 1, Delivered = 2, Read = 3, Failed = 4 });
codes!(OnNodeAbsent { Wait = 0, FailOver = 1, Fail = 2 });
codes!(Resolution { Sent = 1, Resend = 2, Drop = 3 });
codes!(DecidedBy { Operator = 0, Policy = 1 });
codes!(OptChange { OptOut = 1, OptIn = 2 });
codes!(OptSource { Keyword = 1, Network = 2, Operator = 3 });
codes!(OnUncertain { Hold = 0, Resend = 1, Drop = 2 });
codes!(Scope { Message = 1, Recipient = 2, Bot = 3, Gateway = 4 });
codes!(WaitReason {
    BotHeld = 1, BotStage = 2, BotNotConnected = 3, NodeOffline = 4, NotBefore = 5, RetryBackoff = 6, ChainBlocked = 7, Queued = 8,
    NodeCordoned = 9, BotBackoff = 10, GatewayBackoff = 11, WindowClosed = 12,
});
codes!(FailureReason {
    RateLimited = 1, RecipientUnreachable = 2, RecipientOptedOut = 3, RecipientWindowClosed = 4, RecipientCooldown = 5,
    ContentRejected = 6, SenderRestricted = 7, SenderBanned = 8, AuthInvalid = 9, NotConnected = 10, GatewayUnavailable = 11,
    OutcomeUnknown = 12, InvalidRequest = 13, Internal = 14, NodeAbsent = 15,
});

codes!(AttemptEnd {
    Sent = 1, Failed = 2, Uncertain = 3, Expired = 4, Cancelled = 5, NotReceived = 6, Draining = 7, ChainBroken = 8, BotUnavailable = 9, WindowClosed = 10,
});

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Code + std::fmt::Debug>(all: &[T]) {
        for value in all {
            assert_eq!(T::decode(value.code()).unwrap(), *value);
        }
        assert_eq!(T::TABLE.len(), all.len());
        assert!(T::decode(-1).is_err());
    }

    #[test]
    fn every_value_has_its_own_number() {
        check(&MessageState::ALL);
        check(&Priority::ALL);
        check(&Stage::ALL);
        check(&Connection::ALL);
        check(&WaitReason::ALL);
        check(&OnNodeAbsent::ALL);
        check(&Resolution::ALL);
        check(&DecidedBy::ALL);
        check(&OnUncertain::ALL);
        check(&OptChange::ALL);
        check(&OptSource::ALL);
        check(&Scope::ALL);
        check(&FailureReason::ALL);
    }
}
