//! A time zone of the IANA database.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use crate::Violation;

/// The database of the build: what a machine has installed decides nothing.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A zone, by its name.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl Zone {
    /// Finds a zone such as `America/Sao_Paulo`, in any case of its letters.
    ///
    /// # Errors
    /// There is none of this name; without a place.
    pub fn new(name: &str) -> Result<Self, Violation> {
        let found = DATABASE.get(name).ok().filter(|rules| !rules.is_unknown());
        let found = found.and_then(|rules| Some((rules.iana_name()?.to_owned(), rules)));
        let (name, rules) = found.ok_or_else(|| {
            let rule = format!("{name:?} must be a time zone of the IANA database, such as America/Sao_Paulo");
            Violation::new("", rule)
        })?;
        Ok(Zone { name, rules })
    }

    /// Its name in the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far its clocks are from UTC.
    pub(super) fn offset(&self, now: Timestamp) -> Offset {
        self.rules.to_offset(now)
    }

    /// When its clocks are set next, behind `now`.
    pub(super) fn clocks_change_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.rules.following(now).next().map(|transition| transition.timestamp())
    }

    /// What its clocks show, with their distance from UTC.
    pub(super) fn shown(&self, time: Timestamp) -> String {
        time.to_zoned(self.rules.clone()).strftime("%Y-%m-%d %H:%M %:z").to_string()
    }

    /// What its clocks show, by the calendar of the library: the reference of the tests.
    #[cfg(test)]
    pub(super) fn on_the_wall(&self, now: Timestamp) -> jiff::civil::DateTime {
        self.rules.to_datetime(now)
    }

    /// When its clocks show a time.
    #[cfg(test)]
    pub(super) fn instant(&self, shown: &str) -> Timestamp {
        self.rules.to_timestamp(shown.parse::<jiff::civil::DateTime>().unwrap()).unwrap()
    }
}
