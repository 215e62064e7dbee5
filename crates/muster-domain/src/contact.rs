//! A recipient: the addresses of one person, and whether anything may be sent to them.

use jiff::Timestamp;

use crate::opt_out::OptRecord;
use crate::{Address, MessageId, Network, Violation};

/// Id of a contact, issued by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactId(pub MessageId);

impl ContactId {
    /// The collection of the API that holds contacts.
    pub const COLLECTION: &'static str = "contacts";

    /// The name of the contact in the API. It tells no address: names stand in logs and errors.
    pub fn resource_name(self) -> String {
        format!("{}/{}", Self::COLLECTION, self.0)
    }

    /// Reads `contacts/{id}` or the bare id.
    ///
    /// # Errors
    /// It is no id.
    pub fn from_resource_name(name: &str) -> Result<Self, Violation> {
        MessageId::from_resource_name(name.strip_prefix("contacts/").unwrap_or(name)).map(ContactId)
    }
}

/// An address on its network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactAddress {
    /// The network, which says what an address is.
    pub network: Network,
    /// The address.
    pub address: Address,
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub id: ContactId,
    /// Its addresses, at least one. No two contacts of a tenant share one.
    pub addresses: Vec<ContactAddress>,
    /// Since when nothing may be sent to it; `None` while something may.
    pub opt_out_time: Option<Timestamp>,
    /// When it became known.
    pub create_time: Timestamp,
    /// Every opt-out and opt-in, in order. Nothing of it is ever changed or removed. Lists leave it out.
    pub opt_records: Vec<OptRecord>,
}
