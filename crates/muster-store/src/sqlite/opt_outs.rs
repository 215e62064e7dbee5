//! Opting out: what follows from it for the messages of a contact, and the look that each message takes before it may leave.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use muster_domain::contact::ContactAddress;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::{self, RecipientFacts, RefuseReason};
use muster_domain::inbound::InboundId;
use muster_domain::message::MessageState;
use muster_domain::opt_out::{self, OptChange, OptRecord, OptSource};
use muster_domain::opt_out_words::is_opt_out;
use muster_domain::{Address, MessageId, Network, NodeId, life};
use rusqlite::{Connection, params};

use super::facts::{self, Facts};
use super::settle::{self, Step};
use super::txn::Txn;
use super::{body, contacts, micros};
use crate::{AttemptRef, OptIn, OptInResult, OptOut, OptedOut, Result};

/// Which addresses may be opted out, in memory: hashes of them, about 20 MB for a million. Nearly every message goes to one that is not, and
/// costs no look at a row.
///
/// A hash says where to look, not what is there: two addresses may share one, and one that opted in again stays until the next
/// start. So nothing has to be undone when a write fails.
#[derive(Default)]
pub(super) struct OptOuts {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl OptOuts {
    /// Reads everything from the database.
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let mut opt_outs = OptOuts::default();
        let mut rows = connection.prepare(
            "SELECT a.tenant_key, a.network, a.address FROM contact c JOIN contact_address a USING (contact_id) \
             WHERE c.opt_out_time IS NOT NULL",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (tenant_key, network, address): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let hash = opt_outs.hasher.hash_one((tenant_key, network.as_str(), address.as_str()));
            opt_outs.hashes.insert(hash);
        }
        Ok(opt_outs)
    }

    fn hash(&self, tenant_key: i64, network: Network, address: &Address) -> u64 {
        self.hasher.hash_one((tenant_key, network.as_str(), address.as_str()))
    }

    fn note(&mut self, tenant_key: i64, network: Network, address: &Address) {
        let hash = self.hash(tenant_key, network, address);
        self.hashes.insert(hash);
    }

    fn may_hold(&self, tenant_key: i64, network: Network, address: &Address) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.hash(tenant_key, network, address))
    }
}

/// What the gate knows of a recipient.
pub(super) fn recipient(txn: &Txn, tenant_key: i64, network: Network, address: &Address) -> Result<RecipientFacts> {
    let opted_out = txn.opt_outs.may_hold(tenant_key, network, address)
        && txn.value(
            "SELECT EXISTS (SELECT 1 FROM contact_address a JOIN contact c USING (contact_id) WHERE a.tenant_key = ? \
             AND a.network = ? AND a.address = ? AND c.opt_out_time IS NOT NULL)",
            params![tenant_key, network.as_str(), address.as_str()],
        )?;
    Ok(RecipientFacts { opted_out })
}

/// See [`crate::Store::contact_opt_out`].
pub(super) fn opt_out(txn: &mut Txn, tenant_key: i64, address: &ContactAddress, said: OptOut) -> Result<OptedOut> {
    let contact_id = contacts::find_or_add(txn, tenant_key, address)?;
    if opt_out::is_news(&contacts::records(txn, contact_id)?, said.source) {
        let OptOut { source, text, proof, author } = said;
        let record = OptRecord { change: OptChange::OptOut, source, text, proof, author, time: txn.now };
        contacts::keep(txn, contact_id, &record)?;
    }
    txn.execute(
        "UPDATE contact SET opt_out_time = coalesce(opt_out_time, ?2) WHERE contact_id = ?1",
        params![contact_id, micros(txn.now)],
    )?;
    let contact = contacts::read(txn, contact_id)?;
    let (mut failed, mut cancel) = (0, Vec::new());
    for ContactAddress { network, address } in &contact.addresses {
        txn.opt_outs.note(tenant_key, *network, address);
        failed += end_waiting(txn, tenant_key, *network, address, &mut cancel)?;
    }
    Ok(OptedOut { contact, failed, cancel })
}

/// A network's word that a recipient wants nothing any more.
pub(super) struct Signal {
    refused: Refused,
    /// What the network said.
    detail: String,
}

/// The message that the word came with.
pub(super) enum Refused {
    /// By our id.
    Message(MessageId),
    /// By the network's id.
    Named {
        /// The bot that sent it.
        bot_key: i64,
        /// The network's id of it.
        network_id: String,
    },
}

impl Signal {
    /// What a refusal says of its recipient, if it says that they want nothing.
    pub(super) fn of(failure: &Failure, refused: Refused) -> Option<Self> {
        (failure.reason == FailureReason::RecipientOptedOut).then(|| Signal { refused, detail: failure.detail.clone() })
    }
}

/// Opts the recipient of a message out, because the network says so. Returns the attempts under way to them.
pub(super) fn by_network(txn: &mut Txn, tenant_key: i64, signal: Signal) -> Result<Vec<(NodeId, AttemptRef)>> {
    let message_id = match signal.refused {
        Refused::Message(id) => Some(id.raw()),
        Refused::Named { bot_key, network_id } => txn.value_opt(
            "SELECT message_id FROM settled WHERE bot_key = ? AND network_id = ?",
            params![bot_key, network_id],
        )?,
    };
    let found = txn.first(
        "SELECT bot_key, recipient FROM message WHERE message_id = ? AND tenant_key = ?",
        params![message_id, tenant_key],
        |row| Ok((row.get(0)?, Address::from_stored(row.get_ref(1)?.as_str().unwrap_or_default()))),
    )?;
    let Some((bot_key, address)) = found else { return Ok(Vec::new()) };
    let Some(entry) = txn.directory.bot(tenant_key, &txn.directory.bot_id(bot_key)?) else { return Ok(Vec::new()) };
    let recipient = ContactAddress { network: entry.kind.network(), address };
    let proof = message_id.and_then(MessageId::from_raw).map(MessageId::resource_name).unwrap_or_default();
    let said = OptOut { source: OptSource::Network, text: signal.detail, proof, author: String::new() };
    Ok(opt_out(txn, tenant_key, &recipient, said)?.cancel)
}

/// Ends what waits for an address, and asks for what is under way to it. Returns how many messages failed. The cost follows what was
/// sent to the address and is still kept.
fn end_waiting(
    txn: &mut Txn,
    tenant_key: i64,
    network: Network,
    address: &Address,
    cancel: &mut Vec<(NodeId, AttemptRef)>,
) -> Result<u64> {
    let condition = "m.recipient = ? AND m.tenant_key = ? AND s.message_id IS NULL";
    let open = facts::of_those(txn, condition, params![address.as_str(), tenant_key])?;
    let mut refused = Vec::new();
    for facts in open {
        let bot = txn.directory.bot(tenant_key, &txn.directory.bot_id(facts.bot_key)?);
        if bot.is_none_or(|entry| entry.kind.network() != network) {
            continue;
        }
        if facts.state == MessageState::Waiting {
            refused.push(refuse(facts));
        } else if let (Some(latest), Some(message_id)) = (facts.latest, MessageId::from_raw(facts.message_id)) {
            txn.execute("UPDATE flight SET opted_out = 1 WHERE message_id = ?", [facts.message_id])?;
            txn.under_way.forget(facts.message_id);
            let attempt = AttemptRef { message_id, attempt_no: facts.attempt_no as u32 };
            cancel.push((txn.directory.node_id(latest.node_key)?, attempt));
        }
    }
    let failed = refused.len() as u64;
    settle::apply(txn, refused)?;
    Ok(failed)
}

fn refuse(facts: Facts) -> Step {
    Step::new(facts, life::after_refusal(RefuseReason::RecipientOptedOut))
}

/// Ends messages that came back into their queues and whose recipients opted out meanwhile: what may never leave does not wait.
pub(super) fn refuse_returned(txn: &mut Txn, returned: Vec<Facts>) -> Result<()> {
    if txn.opt_outs.hashes.is_empty() {
        return Ok(());
    }
    let mut refused = Vec::new();
    for facts in returned {
        let Some(entry) = txn.directory.bot(facts.tenant_key, &txn.directory.bot_id(facts.bot_key)?) else { continue };
        let sql = "SELECT recipient FROM message WHERE message_id = ?";
        let address: Option<String> = txn.value_opt(sql, [facts.message_id])?;
        let address = Address::from_stored(&address.unwrap_or_default());
        let recipient = recipient(txn, facts.tenant_key, entry.kind.network(), &address)?;
        if gate::decide_recipient(recipient).is_err() {
            refused.push(refuse(facts));
        }
    }
    settle::apply(txn, refused)
}

/// See [`crate::Store::contact_opt_in`].
pub(super) fn opt_in(txn: &mut Txn, tenant_key: i64, address: &ContactAddress, asked: OptIn) -> Result<OptInResult> {
    let Some(contact_id) = contacts::find(txn, tenant_key, address)? else { return Ok(OptInResult::Unknown) };
    let contact = contacts::read(txn, contact_id)?;
    let own_word = match InboundId::from_resource_name(&asked.proof) {
        Ok(id) if asked.proof.starts_with(InboundId::COLLECTION) => own_word(txn, tenant_key, &contact.addresses, id)?,
        _ => None,
    };
    if let Err(refusal) = opt_out::may_opt_in(&contact.opt_records, own_word) {
        return Ok(OptInResult::Refused(refusal));
    }
    let OptIn { text, proof, author } = asked;
    let source = OptSource::Operator;
    let record = OptRecord { change: OptChange::OptIn, source, text, proof, author, time: txn.now };
    contacts::keep(txn, contact_id, &record)?;
    txn.execute("UPDATE contact SET opt_out_time = NULL WHERE contact_id = ?", [contact_id])?;
    contacts::read(txn, contact_id).map(OptInResult::OptedIn)
}

/// When an inbound message became durable, if a person with one of these addresses sent it to a bot alone, and it is no opt-out
/// itself.
fn own_word(
    txn: &Txn,
    tenant_key: i64,
    addresses: &[ContactAddress],
    id: InboundId,
) -> Result<Option<muster_domain::Timestamp>> {
    let found = txn.first(
        "SELECT bot_key, sender, body FROM inbound WHERE inbound_id = ? AND tenant_key = ? AND participant IS NULL",
        params![id.0.raw(), tenant_key],
        |row| {
            let sender = Address::from_stored(row.get_ref(1)?.as_str().unwrap_or_default());
            let body = body::decode(row.get_ref(2)?.as_blob().unwrap_or_default())?;
            Ok((row.get(0)?, sender, body.content))
        },
    )?;
    let Some((bot_key, sender, content)) = found else { return Ok(None) };
    let Some(entry) = txn.directory.bot(tenant_key, &txn.directory.bot_id(bot_key)?) else { return Ok(None) };
    let sender = ContactAddress { network: entry.kind.network(), address: sender };
    Ok((addresses.contains(&sender) && !is_opt_out(&content)).then(|| id.0.accept_time()))
}
