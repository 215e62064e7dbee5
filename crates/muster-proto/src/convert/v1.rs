//! The operators' API ↔ the domain.
//!
//! Each file reads and writes one noun. Reading answers with *all* violations of a request, each under the path of the field
//! in the request, so that a caller mends it in one go. What can only be judged with more knowledge than the request has
//! (which network a recipient belongs to, which network id a reply answers) is read as a draft, and settled by the caller.

pub mod absence;
pub mod bot;
pub mod contact;
pub mod content;
pub mod etag;
pub mod failures;
pub mod fingerprint;
pub mod fleet;
pub mod gateway;
pub mod inbound;
pub mod mask;
pub mod message;
pub mod node;
pub mod tenant;
pub mod time;
pub mod window;

use std::collections::{BTreeMap, HashMap};

use muster_domain::backoff::Backoff;
use muster_domain::failure::Failure;
use muster_domain::{Address, Network, Violation};

use crate::v1 as wire;

/// What a check found, on the way to a value or a list of violations.
type Found = Vec<Violation>;

/// Takes a field that was read, or notes under `field` what is wrong with it.
fn keep<T>(found: &mut Found, field: &str, read: Result<T, Violation>) -> Option<T> {
    read.map_err(|violation| found.push(violation.below(field))).ok()
}

/// Puts what was found in a resource below the field of the request that holds it.
fn below(found: Found, parent: &str) -> Found {
    found.into_iter().map(|violation| violation.below(parent)).collect()
}

/// Labels in the one order that comparisons and fingerprints rest on.
fn labels(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

/// Writes why an attempt or a call failed.
pub fn failure(failure: &Failure) -> wire::Failure {
    wire::Failure { reason: failure.reason.as_str().to_owned(), detail: failure.detail.clone() }
}

/// Writes the wait of a bot or gateway that was refused.
fn backoff(backoff: &Backoff) -> wire::Backoff {
    let Backoff { scope, failure: refusal, refusals, since, refused: _, until } = backoff;
    wire::Backoff {
        scope: scope.as_str().to_owned(),
        failure: Some(failure(refusal)),
        refusals: *refusals,
        since: Some(time::write_timestamp(*since)),
        until: Some(time::write_timestamp(*until)),
        advice: refusal.reason.advice().to_owned(),
    }
}

/// Checks a request id; the empty text stands for none.
pub fn request_id(text: &str) -> Result<Option<&str>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    muster_domain::message::check_idempotency_key(text).map(|()| Some(text)).map_err(|found| found.below("request_id"))
}

/// Every address that a text may stand for, for a search that does not know the network. Empty if it is none of any.
pub fn spellings(text: &str, network: Option<Network>) -> Vec<Address> {
    let networks = network.map_or(vec![Network::WhatsApp, Network::Null], |network| vec![network]);
    let mut found: Vec<_> = networks.into_iter().filter_map(|network| Address::parse(network, text).ok()).collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_without_a_network_tries_them_all() {
        let found = spellings("5511900000001", None);
        assert_eq!(found.iter().map(Address::as_str).collect::<Vec<_>>(), ["+5511900000001", "5511900000001"]);
        assert_eq!(spellings("+5511900000001", None).len(), 1);
        assert!(spellings("ana", Some(Network::WhatsApp)).is_empty());
    }

    #[test]
    fn a_request_id_is_printable_and_short() {
        assert_eq!(request_id("").unwrap(), None);
        assert_eq!(request_id("a-1").unwrap(), Some("a-1"));
        assert_eq!(request_id(&"x".repeat(129)).unwrap_err().field, "request_id");
    }
}
