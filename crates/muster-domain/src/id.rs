//! Typed ids. Ids of resources are chosen by operators; ids of messages are issued by the store.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_DNSSEC;
use jiff::Timestamp;

use crate::Violation;
use crate::limits::RESOURCE_ID_CHARS_MAX;

/// Checks the spelling that all resource ids share: lower-case letters, digits and hyphens, as in a DNS label.
fn check_resource_id(text: &str) -> Result<(), Violation> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() {
        return Err(Violation::new("", "must not be empty"));
    }
    if text.len() > RESOURCE_ID_CHARS_MAX {
        return Err(Violation::new(
            "",
            format!("must have at most {RESOURCE_ID_CHARS_MAX} characters, has {}", text.len()),
        ));
    }
    if !text.chars().all(legal) || !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.ends_with('-') {
        return Err(Violation::new(
            "",
            "must consist of a-z, 0-9 and '-', begin with a letter and not end with '-', such as \"sales-1\"",
        ));
    }
    Ok(())
}

macro_rules! resource_id {
    ($(#[$doc:meta])* $name:ident, $collection:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The collection of the API that holds these resources.
            pub const COLLECTION: &'static str = $collection;

            /// Checks and takes an id as an operator wrote it.
            pub fn new(text: &str) -> Result<Self, Violation> {
                check_resource_id(text)?;
                Ok($name(text.into()))
            }

            /// Reads a resource name such as `bots/sales-1`; the bare id is accepted as well.
            pub fn from_resource_name(name: &str) -> Result<Self, Violation> {
                let bare = name.strip_prefix(concat!($collection, "/")).unwrap_or(name);
                Self::new(bare).map_err(|violation| {
                    let form = concat!(" (expected the form \"", $collection, "/{id}\")");
                    Violation::new(violation.field, violation.description + form)
                })
            }

            /// The name of the resource in the API.
            pub fn resource_name(&self) -> String {
                format!(concat!($collection, "/{}"), self.0)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($collection, "/{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Violation;
            fn from_str(text: &str) -> Result<Self, Violation> {
                Self::from_resource_name(text)
            }
        }
    };
}

resource_id!(
    /// An organisation. Every row belongs to one, and nothing crosses.
    TenantId, "tenants"
);
resource_id!(
    /// A machine that hosts gateways and runs one agent.
    NodeId, "nodes"
);
resource_id!(
    /// An HTTP product that speaks to a messaging network.
    GatewayId, "gateways"
);
resource_id!(
    /// One sender identity.
    BotId, "bots"
);

impl TenantId {
    /// The tenant that a call acts for which names none: the operator's own.
    pub fn default_tenant() -> Self {
        TenantId("default".into())
    }
}

/// Number of a node's session, issued by the database. A write that carries an older one changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message, in the order of acceptance.
///
/// 41 bits of milliseconds since 2024-01-01, 6 bits that tell the issuing replicas apart, 16 bits of sequence. Issued by
/// the one writer of a replica, strictly growing there even when the clock steps back. A database that was restored from a
/// backup issues none again, unless its clock is behind what was issued. Fits a signed 64-bit column, so that rows and indexes stay narrow and append in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(i64);

impl MessageId {
    /// The collection of the API that holds messages.
    pub const COLLECTION: &'static str = "messages";

    const SEQUENCE_BITS: u32 = 16;
    const REPLICA_BITS: u32 = 6;
    /// 2024-01-01T00:00:00Z in milliseconds of the Unix epoch.
    const EPOCH_MS: i64 = 1_704_067_200_000;
    /// Replicas that can issue ids side by side.
    pub const REPLICAS_MAX: u8 = 1 << Self::REPLICA_BITS;

    /// The span of numbers that are issued within a day of UTC: a number divided by it counts the days since 2024-01-01.
    pub const PER_DAY: i64 = (24 * 3600 * 1000) << (Self::REPLICA_BITS + Self::SEQUENCE_BITS);

    /// Takes a number that was issued before.
    pub fn from_raw(raw: i64) -> Option<Self> {
        (raw > 0).then_some(MessageId(raw))
    }

    /// The number, for a column or a frame.
    pub fn raw(self) -> i64 {
        self.0
    }

    /// The smallest id that can be issued at `time`: ids below it were accepted earlier.
    pub fn floor(time: Timestamp) -> Self {
        let ms = (time.as_millisecond() - Self::EPOCH_MS).max(0);
        MessageId((ms << (Self::REPLICA_BITS + Self::SEQUENCE_BITS)).max(1))
    }

    /// The next id of a replica after `last` (its own latest), at `now`.
    pub fn next(last: Option<MessageId>, replica: u8, now: Timestamp) -> Self {
        debug_assert!(replica < Self::REPLICAS_MAX);
        let fresh = Self::floor(now).0 & !0x3f_ffff | i64::from(replica) << Self::SEQUENCE_BITS;
        match last {
            Some(MessageId(last)) if last >= fresh => {
                let following = last + 1;
                if following & 0xffff == 0 {
                    // The sequence of this millisecond is used up: borrow from the next one, in the replica's own lane.
                    MessageId(((following >> 22) + 1) << 22 | i64::from(replica) << Self::SEQUENCE_BITS)
                } else {
                    MessageId(following)
                }
            }
            _ => MessageId(fresh.max(1)),
        }
    }

    /// When the message was accepted, to the millisecond.
    pub fn accept_time(self) -> Timestamp {
        let ms = (self.0 >> (Self::REPLICA_BITS + Self::SEQUENCE_BITS)) + Self::EPOCH_MS;
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
    }

    /// Reads `messages/{id}` or the bare id.
    pub fn from_resource_name(name: &str) -> Result<Self, Violation> {
        let bare = name.strip_prefix("messages/").unwrap_or(name);
        let wrong = || Violation::new("", "must be a message id of 13 characters, such as \"messages/00a4c2t1m8000\"");
        let bytes = BASE32_DNSSEC.decode(bare.as_bytes()).map_err(|_| wrong())?;
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| wrong())?;
        MessageId::from_raw(i64::from_be_bytes(bytes)).ok_or_else(wrong)
    }

    /// The name of the message in the API.
    pub fn resource_name(self) -> String {
        format!("messages/{self}")
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE32_DNSSEC.encode(&self.0.to_be_bytes()))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "messages/{self}")
    }
}

impl FromStr for MessageId {
    type Err = Violation;
    fn from_str(text: &str) -> Result<Self, Violation> {
        Self::from_resource_name(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn resource_ids_are_dns_labels() {
        for good in ["a", "sales-1", "a0", &"x".repeat(63)] {
            assert!(BotId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "a-", "-a", "a_b", "a b", "ä", &"x".repeat(64)] {
            assert!(BotId::new(bad).is_err(), "{bad}");
        }
        assert_eq!(BotId::from_resource_name("bots/a").unwrap(), BotId::new("a").unwrap());
        assert!(BotId::from_resource_name("nodes/a").is_err());
    }

    proptest! {
        #[test]
        fn message_ids_grow_whatever_the_clock_does(
            replica in 0..MessageId::REPLICAS_MAX,
            times in prop::collection::vec(1_704_067_200_000i64..1_900_000_000_000, 1..200),
        ) {
            let mut last = None;
            for ms in times {
                let next = MessageId::next(last, replica, at(ms));
                if let Some(last) = last {
                    prop_assert!(next > last);
                }
                prop_assert!(next.accept_time() >= at(ms));
                prop_assert_eq!(next.raw() >> 16 & 0x3f, i64::from(replica));
                prop_assert_eq!(next.to_string().parse::<MessageId>().unwrap(), next);
                last = Some(next);
            }
        }

        #[test]
        fn spelling_keeps_the_order(a in 1i64.., b in 1i64..) {
            let (a, b) = (MessageId(a), MessageId(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<MessageId>();
            let _ = text.parse::<BotId>();
        }
    }

    #[test]
    fn a_full_millisecond_borrows_from_the_next() {
        let now = at(1_800_000_000_000);
        let full = MessageId(MessageId::floor(now).0 | 5 << 16 | 0xffff);
        let next = MessageId::next(Some(full), 5, now);
        assert_eq!(next.accept_time(), at(1_800_000_000_001));
        assert_eq!(next.raw() & 0x3f_ffff, 5 << 16);
    }
}
