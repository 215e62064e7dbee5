//! The messages and the people that one instance knows.
//!
//! Only what later receipts, queries and rules need; what a message says stays in the ledger.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::ledger::Status;

/// Place of a message in its mailbox.
pub(crate) type MessageIndex = usize;

/// One message of an instance.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) network_id: Arc<str>,
    /// The other side.
    pub(crate) peer: Arc<str>,
    /// Position of its line in the ledger's sequence.
    pub(crate) seq: u64,
    /// Where that line begins in the ledger's file.
    pub(crate) start: u64,
    pub(crate) at: Timestamp,
    pub(crate) from_me: bool,
    /// Whether the gateway has a row of it.
    pub(crate) stored: bool,
    /// Statuses to come and past; the first `reported` ones are past.
    pub(crate) plan: Box<[Status]>,
    pub(crate) reported: u8,
}

impl Message {
    /// The statuses that were reported, in order.
    pub(crate) fn history(&self) -> &[Status] {
        &self.plan[..usize::from(self.reported).min(self.plan.len())]
    }

    /// The status that comes next.
    pub(crate) fn next_status(&self) -> Option<Status> {
        self.plan.get(usize::from(self.reported)).copied()
    }

    /// The id of the gateway's row: not the network's id.
    pub(crate) fn row_id(&self) -> String {
        row_id(self.seq)
    }
}

/// A row id in the product's form, from the position in the ledger.
pub(crate) fn row_id(seq: u64) -> String {
    format!("cl{seq:023}")
}

/// What an instance knows about somebody.
#[derive(Debug, Clone, Copy, Default)]
struct Person {
    /// There is a chat: a message went through, in either direction.
    chat: bool,
}

/// The messages and people of one instance.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    messages: Vec<Message>,
    by_id: HashMap<Arc<str>, MessageIndex>,
    /// Everybody whom the network confirmed: the product keeps that answer and does not ask again.
    people: HashMap<Arc<str>, Person>,
}

impl Mailbox {
    /// Adds a message; a chat exists from now on, unless the network will refuse the message.
    pub(crate) fn add(&mut self, message: Message) -> MessageIndex {
        let refused = message.plan.first() == Some(&Status::Error);
        let person = self.people.entry(message.peer.clone()).or_default();
        person.chat |= !refused;
        let index = self.messages.len();
        self.by_id.insert(message.network_id.clone(), index);
        self.messages.push(message);
        index
    }

    /// The shared spelling of a JID, if it is known.
    pub(crate) fn known(&self, jid: &str) -> Option<Arc<str>> {
        self.people.get_key_value(jid).map(|(jid, _)| jid.clone())
    }

    /// Remembers that the network confirmed a JID.
    pub(crate) fn confirm(&mut self, jid: &str) -> Arc<str> {
        self.known(jid).unwrap_or_else(|| {
            let jid: Arc<str> = jid.into();
            self.people.insert(jid.clone(), Person::default());
            jid
        })
    }

    /// Whether a message went through to or from this JID before.
    pub(crate) fn has_chat(&self, jid: &str) -> bool {
        self.people.get(jid).is_some_and(|person| person.chat)
    }

    pub(crate) fn get(&self, index: MessageIndex) -> Option<&Message> {
        self.messages.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: MessageIndex) -> Option<&mut Message> {
        self.messages.get_mut(index)
    }

    pub(crate) fn find(&self, network_id: &str) -> Option<MessageIndex> {
        self.by_id.get(network_id).copied()
    }

    /// All messages, oldest first.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Message> {
        self.messages.iter()
    }

    /// Messages and known people.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.messages.len(), self.people.len())
    }

    /// Messages that still wait for a status.
    pub(crate) fn unfinished(&self) -> Vec<MessageIndex> {
        (0..self.messages.len()).filter(|index| self.messages[*index].next_status().is_some()).collect()
    }
}
