//! Messages that people sent to bots.

use muster_domain::inbound::{Inbound, NewInbound};

use super::content;
use super::time::write_timestamp;
use crate::v1 as wire;

/// Writes an inbound message.
pub fn write(inbound: Inbound) -> wire::InboundMessage {
    let Inbound { id, received } = inbound;
    let NewInbound { bot, network_id, sender, participant, sender_name, content, reply_to, receive_time } = received;
    wire::InboundMessage {
        name: id.resource_name(),
        bot: bot.resource_name(),
        sender: sender.as_str().to_owned(),
        participant: participant.map(|address| address.as_str().to_owned()).unwrap_or_default(),
        sender_name,
        content: Some(content::write(content)),
        reply_to_network_id: reply_to.unwrap_or_default(),
        receive_time: Some(write_timestamp(receive_time)),
        network_id,
    }
}
