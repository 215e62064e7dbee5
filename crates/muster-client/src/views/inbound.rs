//! Inbound messages.

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::content::ContentView;
use super::{ago, id, time, when};
use crate::screen::{Columns, Look, Pairs};
use crate::text;

/// An inbound message as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.InboundMessage")]
pub struct InboundView {
    pub name: String,
    pub bot: String,
    pub sender: String,
    pub participant: String,
    pub sender_name: String,
    pub content: Option<ContentView>,
    pub reply_to_network_id: String,
    pub receive_time: Option<Timestamp>,
    pub network_id: String,
}

impl From<v1::InboundMessage> for InboundView {
    fn from(inbound: v1::InboundMessage) -> Self {
        InboundView {
            name: inbound.name,
            bot: inbound.bot,
            sender: inbound.sender,
            participant: inbound.participant,
            sender_name: inbound.sender_name,
            content: inbound.content.map(ContentView::from),
            reply_to_network_id: inbound.reply_to_network_id,
            receive_time: time(inbound.receive_time),
            network_id: inbound.network_id,
        }
    }
}

impl InboundView {
    fn says(&self) -> String {
        self.content.as_ref().map(ContentView::summary).unwrap_or_default()
    }
}

/// Inbound messages as a table.
pub fn table(inbound: &[InboundView], look: &Look) -> String {
    let mut columns = Columns::new(&["MESSAGE", "BOT", "SENDER", "RECEIVED", "SAYS"], look);
    for message in inbound {
        columns.row([
            id(&message.name).into(),
            id(&message.bot).into(),
            look.address(&message.sender).into(),
            ago(message.receive_time, look).into(),
            message.says().into(),
        ]);
    }
    columns.render()
}

/// One inbound message on one line, for a stream of them.
pub fn line(message: &InboundView, look: &Look) -> String {
    let time = message.receive_time.map(|time| text::absolute(time, &look.zone, false)).unwrap_or_default();
    format!(
        "{time}  {}  {} < {}  {}",
        id(&message.name),
        id(&message.bot),
        look.address(&message.sender),
        message.says()
    )
}

/// One inbound message in full.
pub fn page(message: &InboundView, look: &Look) -> String {
    let participant = if message.participant.is_empty() { String::new() } else { look.address(&message.participant) };
    let mut pairs = Pairs::default();
    pairs
        .add("message", &*message.name)
        .add("bot", id(&message.bot))
        .add("sender", look.address(&message.sender))
        .add("participant", participant)
        .add("says", message.says())
        .add("received", when(message.receive_time, look))
        .add("network id", &*message.network_id)
        .add("answers", &*message.reply_to_network_id);
    pairs.render()
}
