//! Contacts.

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::{ago, id, time, when};
use crate::screen::{Columns, Look, Pairs};

/// A contact as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Contact")]
pub struct ContactView {
    pub name: String,
    pub addresses: Vec<ContactAddressView>,
    pub opt_out_time: Option<Timestamp>,
    pub create_time: Option<Timestamp>,
    pub opt_records: Vec<OptRecordView>,
}

/// An address as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.ContactAddress")]
pub struct ContactAddressView {
    pub network: String,
    pub address: String,
}

/// An opt-out or opt-in as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.OptRecord")]
pub struct OptRecordView {
    pub change: String,
    pub source: String,
    pub text: String,
    pub proof: String,
    pub author: String,
    pub time: Option<Timestamp>,
}

/// What came of an opt-out, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.OptOutContactResponse")]
pub struct OptedOutView {
    pub contact: ContactView,
    pub failed: i64,
    pub under_way: i64,
}

impl From<v1::Contact> for ContactView {
    fn from(contact: v1::Contact) -> Self {
        let v1::Contact { name, addresses, opt_out_time, create_time, opt_records } = contact;
        let address =
            |v1::ContactAddress { network, address }: v1::ContactAddress| ContactAddressView { network, address };
        ContactView {
            name,
            addresses: addresses.into_iter().map(address).collect(),
            opt_out_time: time(opt_out_time),
            create_time: time(create_time),
            opt_records: opt_records.into_iter().map(OptRecordView::from).collect(),
        }
    }
}

impl From<v1::OptRecord> for OptRecordView {
    fn from(record: v1::OptRecord) -> Self {
        OptRecordView {
            change: record.change().as_str_name().trim_start_matches("OPT_CHANGE_").to_owned(),
            source: record.source().as_str_name().trim_start_matches("OPT_SOURCE_").to_owned(),
            text: record.text,
            proof: record.proof,
            author: record.author,
            time: time(record.time),
        }
    }
}

impl From<v1::OptOutContactResponse> for OptedOutView {
    fn from(done: v1::OptOutContactResponse) -> Self {
        let v1::OptOutContactResponse { contact, failed, under_way } = done;
        OptedOutView { contact: contact.unwrap_or_default().into(), failed, under_way }
    }
}

impl ContactView {
    fn addresses(&self, look: &Look) -> String {
        let shown: Vec<_> = self.addresses.iter().map(|address| look.address(&address.address)).collect();
        shown.join(", ")
    }

    fn networks(&self) -> String {
        let mut networks: Vec<_> = self.addresses.iter().map(|address| address.network.as_str()).collect();
        networks.dedup();
        networks.join(", ")
    }
}

/// Contacts as a table.
pub fn table(contacts: &[ContactView], look: &Look) -> String {
    let mut columns = Columns::new(&["CONTACT", "ADDRESSES", "NETWORK", "OPTED OUT", "KNOWN"], look);
    for contact in contacts {
        columns.row([
            id(&contact.name).into(),
            contact.addresses(look).into(),
            contact.networks().into(),
            ago(contact.opt_out_time, look).into(),
            ago(contact.create_time, look).into(),
        ]);
    }
    columns.render()
}

/// One contact in full.
pub fn page(contact: &ContactView, look: &Look) -> String {
    let mut pairs = Pairs::default();
    let opted_out = match contact.opt_out_time {
        Some(_) => when(contact.opt_out_time, look),
        None => "no".to_owned(),
    };
    pairs
        .add("contact", &*contact.name)
        .add("addresses", contact.addresses(look))
        .add("network", contact.networks())
        .add("opted out", opted_out)
        .add("known", when(contact.create_time, look));
    let mut shown = pairs.render();
    if !contact.opt_records.is_empty() {
        let mut columns = Columns::new(&["WHEN", "CHANGE", "SOURCE", "TEXT", "PROOF", "AUTHOR"], look);
        for record in &contact.opt_records {
            columns.row([
                when(record.time, look).into(),
                record.change.as_str().into(),
                record.source.as_str().into(),
                record.text.as_str().into(),
                record.proof.as_str().into(),
                record.author.as_str().into(),
            ]);
        }
        shown.push_str("\n\n");
        shown.push_str(&columns.render());
    }
    shown
}

/// What came of an opt-out.
pub fn opted_out(done: &OptedOutView, look: &Look) -> String {
    let under_way = match done.under_way {
        0 => "0".to_owned(),
        count => format!("{count}; their agents are asked to drop what has not begun"),
    };
    let mut pairs = Pairs::default();
    pairs
        .add("contact", &*done.contact.name)
        .add("opted out", when(done.contact.opt_out_time, look))
        .add("failed", done.failed.to_string())
        .add("under way", under_way);
    pairs.render()
}
