//! Recipients and read marks.

use std::time::Duration;

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::limits::RECIPIENT_CHECK_MAX;
use muster_domain::{Address, BotId};
use serde_json::Value;

use super::client::Client;
use super::errors::{Verdict, unanswered};
use super::{jid, wire};
use crate::contract::{CallError, RecipientStatus};

/// Asks the network which addresses exist. One call for all, at most [`RECIPIENT_CHECK_MAX`].
pub(super) async fn check_recipients(
    client: &Client,
    bot: &BotId,
    addresses: &[Address],
) -> Result<Vec<RecipientStatus>, CallError> {
    const CALL: &str = "chat/whatsappNumbers";
    let failed = |reason, text: &str| CallError { call: CALL, failure: Failure::new(reason, text) };
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    if addresses.len() > RECIPIENT_CHECK_MAX {
        return Err(failed(
            FailureReason::InvalidRequest,
            &format!("at most {RECIPIENT_CHECK_MAX} addresses can be checked at once"),
        ));
    }
    let numbers = addresses.iter().map(jid::number).collect::<Option<Vec<_>>>();
    let numbers =
        numbers.ok_or_else(|| failed(FailureReason::InvalidRequest, "one of the addresses is no WhatsApp address"))?;

    let route = ["chat", "whatsappNumbers", bot.as_str()];
    let answer = client
        .post(&route, &wire::Numbers { numbers: &numbers }, client.call_timeout())
        .await
        .map_err(unanswered(CALL))?;
    Verdict::of(&answer, &[client.api_key()]).into_call(CALL)?;
    let rows: Vec<Value> = serde_json::from_slice(&answer.body)
        .map_err(|_| failed(FailureReason::Internal, "the gateway's answer is no list of numbers"))?;
    // The answer comes in an order of its own: groups first, then cached people, then the others.
    addresses
        .iter()
        .zip(&numbers)
        .map(|(address, number)| {
            let row = rows.iter().find(|row| row.get("number").and_then(Value::as_str) == Some(number));
            let exists = row.and_then(|row| row.get("exists")).and_then(Value::as_bool);
            let exists = exists
                .ok_or_else(|| failed(FailureReason::Internal, "the gateway's answer leaves out one of the numbers"))?;
            let network_address = row.and_then(|row| row.get("jid")).and_then(Value::as_str).and_then(jid::address);
            let network_address = network_address.filter(|network| exists && network != address);
            Ok(RecipientStatus { address: address.clone(), exists, network_address })
        })
        .collect()
}

/// Marks an inbound message as read, within `timeout`. Versions up to 2.3 quietly do nothing for `@lid` chats.
pub(super) async fn mark_read(
    client: &Client,
    bot: &BotId,
    chat: &Address,
    network_id: &str,
    timeout: Duration,
) -> Result<(), CallError> {
    const CALL: &str = "chat/markMessageAsRead";
    let remote_jid = jid::jid(chat).ok_or_else(|| CallError {
        call: CALL,
        failure: Failure::new(FailureReason::InvalidRequest, "the chat is no WhatsApp address"),
    })?;
    let body =
        wire::MarkRead { read_messages: [wire::Key { id: network_id, remote_jid: &remote_jid, from_me: false }] };
    let route = ["chat", "markMessageAsRead", bot.as_str()];
    let answer = client.post(&route, &body, timeout).await.map_err(unanswered(CALL))?;
    Verdict::of(&answer, &[client.api_key()]).into_call(CALL)
}
