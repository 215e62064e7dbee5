//! Contacts.

use muster_domain::contact::{Contact, ContactAddress};
use muster_domain::opt_out::{OptChange, OptRecord, OptSource, check_note};
use muster_domain::{Address, Network, Violation};

use super::time::write_timestamp;
use super::{Found, keep};
use crate::v1 as wire;

/// What a caller says of an opt-out or opt-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whose.
    pub address: ContactAddress,
    /// What was said.
    pub text: String,
    /// What shows it.
    pub proof: String,
    /// Who asks for it.
    pub author: String,
}

/// Reads an address on its network.
///
/// # Errors
/// What is wrong, under `address`.
pub fn address(address: Option<wire::ContactAddress>) -> Result<ContactAddress, Violation> {
    let wire::ContactAddress { network, address } = address.unwrap_or_default();
    let network = match network.as_str() {
        "" => Network::WhatsApp,
        text => Network::parse(text).ok_or_else(|| {
            let known: Vec<_> = Network::ALL.into_iter().map(Network::as_str).collect();
            Violation::new("address.network", format!("must be one of {}", known.join(", ")))
        })?,
    };
    let address = Address::parse(network, &address).map_err(|violation| violation.below("address.address"))?;
    Ok(ContactAddress { network, address })
}

/// Reads an opt-out.
///
/// # Errors
/// Everything that is wrong.
pub fn opt_out(request: wire::OptOutContactRequest) -> Result<Said, Vec<Violation>> {
    let wire::OptOutContactRequest { address, text, proof, author } = request;
    said(Vec::new(), address, text, proof, author)
}

/// Reads an opt-in, which needs a proof.
///
/// # Errors
/// Everything that is wrong.
pub fn opt_in(request: wire::OptInContactRequest) -> Result<Said, Vec<Violation>> {
    let wire::OptInContactRequest { address, text, proof, author } = request;
    let mut found = Vec::new();
    if proof.trim().is_empty() {
        let expected = "must say what shows that the person wants messages again: the name of an inbound message of theirs \
            (\"inboundMessages/…\"), or where the form is kept that they signed";
        found.push(Violation::new("proof", expected));
    }
    said(found, address, text, proof, author)
}

fn said(
    mut found: Found,
    whose: Option<wire::ContactAddress>,
    text: String,
    proof: String,
    author: String,
) -> Result<Said, Vec<Violation>> {
    let address = address(whose).map_err(|violation| found.push(violation)).ok();
    for (field, note) in [("text", &text), ("proof", &proof), ("author", &author)] {
        keep(&mut found, field, check_note(note));
    }
    match address.filter(|_| found.is_empty()) {
        Some(address) => Ok(Said { address, text, proof, author }),
        None => Err(found),
    }
}

/// Writes a contact.
pub fn write(contact: Contact) -> wire::Contact {
    let Contact { id, addresses, opt_out_time, create_time, opt_records } = contact;
    let address = |ContactAddress { network, address }: ContactAddress| wire::ContactAddress {
        network: network.as_str().to_owned(),
        address: address.as_str().to_owned(),
    };
    wire::Contact {
        name: id.resource_name(),
        addresses: addresses.into_iter().map(address).collect(),
        opt_out_time: opt_out_time.map(write_timestamp),
        create_time: Some(write_timestamp(create_time)),
        opt_records: opt_records.into_iter().map(record).collect(),
    }
}

fn record(record: OptRecord) -> wire::OptRecord {
    let OptRecord { change, source, text, proof, author, time } = record;
    let change = match change {
        OptChange::OptOut => wire::OptChange::OptOut,
        OptChange::OptIn => wire::OptChange::OptIn,
    };
    let source = match source {
        OptSource::Keyword => wire::OptSource::Keyword,
        OptSource::Network => wire::OptSource::Network,
        OptSource::Operator => wire::OptSource::Operator,
    };
    wire::OptRecord {
        change: change.into(),
        source: source.into(),
        text,
        proof,
        author,
        time: Some(write_timestamp(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_on_its_network() {
        let read = |network: &str, text: &str| {
            address(Some(wire::ContactAddress { network: network.into(), address: text.into() }))
        };
        let phone = read("", "5511900000001@s.whatsapp.net").unwrap();
        assert_eq!((phone.network, phone.address.as_str()), (Network::WhatsApp, "+5511900000001"));
        assert_eq!(read("null", "x").unwrap().network, Network::Null);
        assert_eq!(read("whatsapp", "x").unwrap_err().field, "address.address");
        assert_eq!(read("pigeon", "x").unwrap_err().field, "address.network");
        assert_eq!(address(None).unwrap_err().field, "address.address");
    }

    #[test]
    fn an_opt_in_needs_a_proof() {
        let request = wire::OptInContactRequest { author: "two\nlines".into(), ..Default::default() };
        let fields: Vec<_> = opt_in(request).unwrap_err().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["proof", "address.address", "author"]);
    }
}
