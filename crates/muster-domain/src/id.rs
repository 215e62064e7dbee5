//! Typed ids. Ids of resources are chosen by operators; ids of messages are issued by the store.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_DNSSEC;
use jiff::Timestamp;

use crate::Violation;
use crate::limits::{MESSAGE_IDS_PER_MS_MAX, RESOURCE_ID_CHARS_MAX};

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

/// Where in each millisecond somebody who issues ids of messages begins: drawn at random, once, by each opening of a store.
///
/// Two openings that go on from copies of one database, and issue in the same milliseconds, issue the same id only if their
/// starts lie closer together than as many ids as one of them issues in a millisecond. So it happens with a chance of
/// `(a + b) / 2^22`, where they issue `a` and `b` ids in a millisecond at the most: one in two million for single messages, and
/// one in 8,192 if both are as busy as [`MESSAGE_IDS_PER_MS_MAX`] lets them be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdStart(i64);

impl IdStart {
    /// The first place that is not one: a whole millisecond of ids has room behind each of the others.
    const END: i64 = (1 << MessageId::PLACE_BITS) - MESSAGE_IDS_PER_MS_MAX + 1;

    /// The start that random bits come to.
    pub fn from_entropy(bits: u32) -> Self {
        IdStart(i64::from(bits) % Self::END)
    }

    /// What tells the opening from others, beside what it made: one of 4 million, and never zero.
    pub fn lineage(self) -> u32 {
        // It has 22 bits.
        self.0 as u32 + 1
    }
}

/// A message, in the order of acceptance.
///
/// 41 bits of milliseconds since 2024-01-01, and 22 bits of place in the millisecond. Issued by the one writer of a database,
/// strictly growing even when the clock steps back. A database that was restored from a backup issues none again: those that a
/// clock in order shows are new, and one that is behind is made up for by the [`IdStart`] of each opening. Fits a signed 64-bit
/// column, so that rows and indexes stay narrow and append in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(i64);

impl MessageId {
    /// The collection of the API that holds messages.
    pub const COLLECTION: &'static str = "messages";

    const PLACE_BITS: u32 = 22;
    /// 2024-01-01T00:00:00Z in milliseconds of the Unix epoch.
    const EPOCH_MS: i64 = 1_704_067_200_000;

    /// The span of numbers that are issued within a day of UTC: a number divided by it counts the days since 2024-01-01.
    pub const PER_DAY: i64 = (24 * 3600 * 1000) << Self::PLACE_BITS;

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
        MessageId((ms << Self::PLACE_BITS).max(1))
    }

    /// The id that follows `last` (the latest that the database has) at `now`.
    ///
    /// Each millisecond has [`MESSAGE_IDS_PER_MS_MAX`] places from `start` on. Where `last` has used the present one up, or is
    /// ahead of the clock, the id has the next place behind `last`, which may be one of the next millisecond. An `IdStart` that
    /// was drawn anew leaves `last` behind by a millisecond at the most, so that not even a server that restarts all day long
    /// before its clock has caught up leaves the clock behind.
    pub fn next(last: Option<MessageId>, start: IdStart, now: Timestamp) -> Self {
        let first_of = |ms: i64| MessageId((ms << Self::PLACE_BITS | start.0).max(1));
        let fresh = first_of(Self::floor(now).0 >> Self::PLACE_BITS);
        let Some(last) = last.filter(|last| *last >= fresh) else { return fresh };
        let ms = last.0 >> Self::PLACE_BITS;
        let place = last.0 & ((1 << Self::PLACE_BITS) - 1);
        if place < start.0 {
            first_of(ms)
        } else if place < start.0 + MESSAGE_IDS_PER_MS_MAX - 1 {
            MessageId(last.0 + 1)
        } else {
            first_of(ms + 1)
        }
    }

    /// When the message was accepted, to the millisecond.
    pub fn accept_time(self) -> Timestamp {
        let ms = (self.0 >> Self::PLACE_BITS) + Self::EPOCH_MS;
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
    use std::collections::BTreeSet;

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
            openings in prop::collection::vec(
                (any::<u32>(), prop::collection::vec(1_704_067_200_000i64..1_900_000_000_000, 1..50)), 1..5,
            ),
        ) {
            let mut last = None;
            for (bits, times) in openings {
                let start = IdStart::from_entropy(bits);
                for ms in times {
                    let next = MessageId::next(last, start, at(ms));
                    if let Some(last) = last {
                        prop_assert!(next > last);
                    }
                    prop_assert!(next.accept_time() >= at(ms));
                    prop_assert_eq!(next.to_string().parse::<MessageId>().unwrap(), next);
                    last = Some(next);
                }
            }
        }

        #[test]
        fn openings_of_copies_issue_different_ids_at_the_same_time(
            backup in 1_800_000_000_000i64..1_800_000_000_100,
            (one, other) in (0..IdStart::END, 0..IdStart::END),
            times in prop::collection::vec(1_800_000_000_000i64..1_800_000_000_100, 1..2_000),
        ) {
            prop_assume!((one - other).abs() >= MESSAGE_IDS_PER_MS_MAX);
            let backup = MessageId::next(None, IdStart(7), at(backup));
            let issue = |start| {
                let mut last = Some(backup);
                let next = |ms: &i64| { last = Some(MessageId::next(last, start, at(*ms))); last };
                times.iter().filter_map(next).collect::<BTreeSet<_>>()
            };
            prop_assert!(issue(IdStart(one)).is_disjoint(&issue(IdStart(other))));
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
        for start in [0, 5, IdStart::END - 1].map(IdStart) {
            let mut last = None;
            for number in 0..MESSAGE_IDS_PER_MS_MAX + 1 {
                let next = MessageId::next(last, start, now);
                assert_eq!(next.accept_time(), at(1_800_000_000_000 + number / MESSAGE_IDS_PER_MS_MAX));
                assert_eq!(next.raw() & 0x3f_ffff, start.0 + number % MESSAGE_IDS_PER_MS_MAX);
                last = Some(next);
            }
        }
    }

    #[test]
    fn restarts_behind_the_clock_advance_a_millisecond_each_at_the_most() {
        let (ahead, now) = (at(1_800_000_060_000), at(1_800_000_000_000));
        let mut last = MessageId::next(None, IdStart(77), ahead);
        for restarts in 1..1_000u32 {
            last = MessageId::next(Some(last), IdStart::from_entropy(restarts.wrapping_mul(0x9e37_79b9)), now);
            assert!(last.accept_time() <= at(1_800_000_060_000 + i64::from(restarts)));
        }
    }

    #[test]
    fn random_bits_begin_where_a_millisecond_has_room() {
        assert_eq!(IdStart::from_entropy(0), IdStart(0));
        assert_eq!(IdStart::from_entropy((IdStart::END - 1) as u32), IdStart(IdStart::END - 1));
        assert_eq!(IdStart::from_entropy(IdStart::END as u32), IdStart(0));
        assert_eq!(IdStart(0).lineage(), 1);
        assert_eq!(IdStart(IdStart::END - 1).lineage(), IdStart::END as u32);
        assert_eq!(IdStart::END - 1 + MESSAGE_IDS_PER_MS_MAX, 1 << MessageId::PLACE_BITS);
    }
}
