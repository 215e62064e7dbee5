//! The simulated network behind the gateway: it takes messages, reports statuses, and brings what others write.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::event::Event;
use super::gateway::Gateway;
use super::instance::{Instance, InstanceState};
use super::jid;
use super::mailbox::{Message, MessageIndex};
use super::plan::{self, Circumstances};
use super::shape;
use super::timeline::Due;
use crate::chance::Chance;
use crate::delay::Delay;
use crate::faults::Faults;
use crate::ledger::{
    Accepted, Answer, Content, LedgerEntry, LedgerEvent, LedgerLine, LedgerUnavailable, Status, Written, to_hex,
};

/// A message that the caller asks to send.
pub(crate) struct Outgoing {
    /// The recipient, as the network knows it.
    pub(crate) recipient: String,
    pub(crate) content: Content,
    /// [`crate::content_sha256`] of it.
    pub(crate) sha256: String,
    pub(crate) answer: Answer,
    /// Whether the gateway manages to keep a row of it.
    pub(crate) stored: bool,
}

/// The message as the gateway tells it, if it was taken.
pub(crate) type Told = Value;

/// What others write does not arrive.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("the instance is not connected, so nothing reaches it; link it or wait until it is open")]
    NotReachable,
    #[error(transparent)]
    Ledger(#[from] LedgerUnavailable),
}

/// How soon the network tells what it held back while the instance was away.
const CATCH_UP: Delay = Delay::UniformMs(0, 50);

/// An id such as the library behind the gateway makes them: 22 characters.
fn own_id(chance: &mut Chance) -> String {
    format!("3EB0{}", to_hex(&chance.bytes::<9>()).to_uppercase())
}

/// An id such as a phone makes them: 20 characters.
fn phone_id(chance: &mut Chance) -> String {
    format!("3A{}", to_hex(&chance.bytes::<9>()).to_uppercase())
}

impl Gateway {
    /// Whether somebody has this JID on the network.
    pub(crate) fn is_on_network(&self, jid: &str) -> bool {
        let behaviour = &self.behaviour;
        let (name, missing) = if jid::is_group(jid) {
            (true, &behaviour.missing_group_suffixes)
        } else {
            (jid::names_a_person(jid), &behaviour.not_on_whatsapp_suffixes)
        };
        name && !missing.iter().any(|suffix| jid::user(jid).ends_with(suffix.as_str()))
    }

    /// The network takes a message. When this returns, its line is in the ledger and its receipts are on their way.
    pub(crate) async fn accept(
        &self,
        instance: &Arc<Instance>,
        faults: &Faults,
        outgoing: Outgoing,
    ) -> Result<Told, LedgerUnavailable> {
        let at = Timestamp::now();
        let Outgoing { recipient, content, sha256, answer, stored } = outgoing;
        let (peer, network_id, sender, plan) = {
            let mut state = instance.lock();
            let group = jid::is_group(&recipient);
            let locked_out = faults.restricted && !group && !state.mailbox.has_chat(&recipient);
            let circumstances = Circumstances { group, locked_out };
            let plan = plan::draw(circumstances, &self.behaviour, &faults.receipts, &mut state.chance);
            let sender = state.owner.as_deref().map(jid::user).unwrap_or_default().to_owned();
            (state.mailbox.confirm(&recipient), own_id(&mut state.chance), sender, plan)
        };
        let event = LedgerEvent::Accepted(Box::new(Accepted {
            sender,
            recipient,
            network_id: network_id.clone(),
            content: content.clone(),
            sha256,
            answer,
            plan: plan.clone(),
            stored,
        }));
        let written = self.ledger.record(self.entry(instance, at, event)).await?;

        let mut state = instance.lock();
        let told = shape::sent_message(&instance.id, &peer, &network_id, &content, at);
        if stored {
            self.emit(instance, &mut state, Event::SendMessage, &told);
        }
        let index = state.mailbox.add(Message {
            network_id: network_id.into(),
            peer,
            seq: written.seq,
            start: written.start,
            at,
            from_me: true,
            stored,
            plan: plan.into(),
            reported: 0,
        });
        self.schedule_status(instance, &mut state, index);
        Ok(told)
    }

    /// Puts the next status of a message on the timeline.
    fn schedule_status(&self, instance: &Arc<Instance>, state: &mut InstanceState, index: MessageIndex) {
        let Some(next) = state.mailbox.get(index).and_then(Message::next_status) else { return };
        let behaviour = &self.behaviour;
        let delay = match next {
            Status::Error | Status::Pending | Status::ServerAck => behaviour.server_ack,
            Status::DeliveryAck => behaviour.delivery,
            Status::Read => behaviour.read,
        };
        self.timeline.after(delay.draw(&mut state.chance), Due::Status(instance.clone(), index));
    }

    /// The network reports the next status of a message; while the instance cannot be reached, the report waits.
    pub(super) fn report_status(&self, instance: &Arc<Instance>, index: MessageIndex) {
        let setting = self.faults.of(&instance.name);
        let mut state = instance.lock();
        if !state.is_reachable(&setting) {
            state.parked.push(index);
            return;
        }
        let Some(message) = state.mailbox.get_mut(index) else { return };
        let Some(status) = message.next_status() else { return };
        message.reported += 1;
        let (network_id, peer, stored) = (message.network_id.clone(), message.peer.clone(), message.stored);
        let (row_id, last) = (message.row_id(), message.next_status().is_none());
        let delivered = message.history().contains(&Status::DeliveryAck);
        let event = LedgerEvent::Status { network_id: network_id.to_string(), status };
        self.ledger.note(self.entry(instance, Timestamp::now(), event));
        // A message without a row is unknown to the gateway, which skips its updates without a word.
        if stored && !state.ignores(&peer) && Self::is_wanted(&state, Event::MessagesUpdate) {
            let data = shape::status_update(&instance.id, &row_id, &network_id, &peer, status);
            self.emit(instance, &mut state, Event::MessagesUpdate, &data);
        }
        if !last {
            self.schedule_status(instance, &mut state, index);
        } else if delivered && state.chance.hits(self.behaviour.reply_share) {
            let wait = self.behaviour.reply.draw(&mut state.chance);
            self.timeline.after(wait, Due::Reply(instance.clone(), index));
        }
    }

    /// Everything that waited for the connection goes on.
    pub(crate) fn unpark(&self, instance: &Arc<Instance>, state: &mut InstanceState) {
        for index in std::mem::take(&mut state.parked) {
            let wait = CATCH_UP.draw(&mut state.chance);
            self.timeline.after(wait, Due::Status(instance.clone(), index));
        }
    }

    /// The recipient of a message answers it.
    pub(super) async fn reply(&self, instance: &Arc<Instance>, index: MessageIndex) {
        let peer = instance.lock().mailbox.get(index).map(|message| message.peer.clone());
        // An answer that finds the instance away is not repeated: the simulation keeps no outbox for other people.
        if let Some(peer) = peer {
            let _ = self.receive(instance, &peer, &self.behaviour.reply_text).await;
        }
    }

    /// Somebody writes to the instance. Returns the network's id of the message.
    pub(crate) async fn receive(
        &self,
        instance: &Arc<Instance>,
        from: &str,
        text: &str,
    ) -> Result<String, ReceiveError> {
        let setting = self.faults.of(&instance.name);
        let at = Timestamp::now();
        let (peer, network_id) = {
            let mut state = instance.lock();
            if !state.is_reachable(&setting) {
                return Err(ReceiveError::NotReachable);
            }
            (state.mailbox.confirm(from), phone_id(&mut state.chance))
        };
        let event =
            LedgerEvent::Inbound { network_id: network_id.clone(), from: from.to_owned(), text: text.to_owned() };
        let written = self.ledger.record(self.entry(instance, at, event)).await?;

        let mut state = instance.lock();
        if state.ignores(&peer) {
            return Ok(network_id);
        }
        let data = shape::inbound_message(&instance.id, &peer, &network_id, text, at);
        state.mailbox.add(inbound(network_id.clone(), peer, written, at));
        self.emit(instance, &mut state, Event::MessagesUpsert, &data);
        Ok(network_id)
    }

    /// The instance tells somebody that it has read a message.
    pub(crate) fn mark_read(&self, instance: &Instance, chat: &str, network_id: &str) {
        let event = LedgerEvent::MarkedRead { network_id: network_id.to_owned(), chat: chat.to_owned() };
        self.ledger.note(self.entry(instance, Timestamp::now(), event));
    }

    fn entry(&self, instance: &Instance, at: Timestamp, event: LedgerEvent) -> LedgerEntry {
        LedgerEntry { at, gateway: self.name.to_string(), instance: instance.name.to_string(), event }
    }
}

/// Takes a line of the ledger back into the mailbox of its instance.
pub(crate) fn recall(instance: &Instance, line: LedgerLine, start: u64) {
    let LedgerLine { seq, entry } = line;
    if seq <= instance.after_seq {
        return;
    }
    let mut state = instance.lock();
    match entry.event {
        LedgerEvent::Accepted(accepted) => {
            let peer = state.mailbox.confirm(&accepted.recipient);
            state.mailbox.add(Message {
                network_id: accepted.network_id.into(),
                peer,
                seq,
                start,
                at: entry.at,
                from_me: true,
                stored: accepted.stored,
                plan: accepted.plan.into(),
                reported: 0,
            });
        }
        LedgerEvent::Status { network_id, .. } => {
            let index = state.mailbox.find(&network_id);
            if let Some(message) = index.and_then(|index| state.mailbox.get_mut(index)) {
                message.reported += 1;
            }
        }
        LedgerEvent::Inbound { network_id, from, .. } => {
            if state.ignores(&from) {
                return;
            }
            let peer = state.mailbox.confirm(&from);
            state.mailbox.add(inbound(network_id, peer, Written { seq, start }, entry.at));
        }
        LedgerEvent::MarkedRead { .. } => {}
    }
}

fn inbound(network_id: String, peer: Arc<str>, written: Written, at: Timestamp) -> Message {
    Message {
        network_id: network_id.into(),
        peer,
        seq: written.seq,
        start: written.start,
        at,
        from_me: false,
        stored: true,
        plan: Box::default(),
        reported: 0,
    }
}
