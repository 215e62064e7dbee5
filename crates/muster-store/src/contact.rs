//! Contacts: what is asked of them, and what comes of it.

use muster_domain::NodeId;
use muster_domain::contact::Contact;
use muster_domain::opt_out::{OptInRefusal, OptSource};

use crate::AttemptRef;

/// Somebody opts out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOut {
    /// Where it comes from.
    pub source: OptSource,
    /// What was said.
    pub text: String,
    /// What shows it.
    pub proof: String,
    /// Who asked for it, if a caller did.
    pub author: String,
}

/// What came of an opt-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptedOut {
    /// The contact, as it is now.
    pub contact: Contact,
    /// Messages that waited for it and have failed.
    pub failed: u64,
    /// Attempts under way to it, by their nodes: the agents are asked to drop what they have not started.
    pub cancel: Vec<(NodeId, AttemptRef)>,
}

/// Somebody may be written to again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptIn {
    /// What was said.
    pub text: String,
    /// What shows it: the name of an inbound message is looked at, anything else is kept as it is.
    pub proof: String,
    /// Who asked for it.
    pub author: String,
}

/// What came of an opt-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptInResult {
    /// The contact, as it is now.
    OptedIn(Contact),
    /// There is no contact with the address.
    Unknown,
    /// It stays as it was.
    Refused(OptInRefusal),
}

/// Which contacts a list shows. All set fields must hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct ContactFilter {
    /// Opted out.
    pub opted_out: bool,
}
