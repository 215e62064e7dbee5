//! Clients that send as fast as they are let.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use muster_proto::v1::content::{Kind, Text};
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::send_result::Result as SendAnswer;
use muster_proto::v1::{Content, Message, SendMessageRequest, SendMessagesRequest, SendMessagesResponse};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{Caller, Fleet};
use crate::load::{self, Supply};

/// The text message of a number, from one of the fleet's bots. Each has its own recipient and its own idempotency key.
pub(crate) fn message(fleet: &Fleet, number: u64) -> Message {
    let bot = usize::try_from(number).unwrap_or_default() % fleet.bots;
    Message {
        bot: format!("bots/{}", Fleet::bot(bot)),
        recipient: format!("+55219{:08}", number % 100_000_000),
        content: Some(Content { kind: Some(Kind::Text(Text { body: text(number) })) }),
        idempotency_key: format!("trial-{number}"),
        ..Message::default()
    }
}

/// What the message of a number says; no other says the same.
pub(crate) fn text(number: u64) -> String {
    format!("Olá Ana, a consulta {number} ficou para amanhã às 14h. Até lá!")
}

/// Sends every number in streamed frames, over all clients, and returns once the last one is accepted.
pub(crate) async fn streamed(clients: &[impl Clone + Into<Caller>], fleet: Fleet, supply: &Arc<Supply>) -> Result<()> {
    streamed_as(clients, supply, move |number| message(&fleet, number)).await
}

/// The same without idempotency keys, which a server keeps for two days at least, whatever else it keeps.
pub(crate) async fn streamed_without_keys(clients: &[Channel], fleet: Fleet, supply: &Arc<Supply>) -> Result<()> {
    let message = move |number| Message { idempotency_key: String::new(), ..message(&fleet, number) };
    streamed_as(clients, supply, message).await
}

async fn streamed_as(
    clients: &[impl Clone + Into<Caller>],
    supply: &Arc<Supply>,
    message: impl Fn(u64) -> Message + Clone + Send + 'static,
) -> Result<()> {
    let mut streams = JoinSet::new();
    for caller in clients {
        let caller: Caller = caller.clone().into();
        let (mut client, supply) = (MessageServiceClient::new(caller.channel.clone()), Arc::clone(supply));
        let message = message.clone();
        let frames = std::iter::from_fn(move || supply.frame())
            .map(move |numbers| SendMessagesRequest { messages: numbers.map(&message).collect() });
        streams.spawn(async move {
            load::stream(frames, |sent| client.send_messages(caller.request(sent)), all_accepted).await
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    Ok(())
}

fn all_accepted(answer: SendMessagesResponse) -> Result<()> {
    for result in answer.results {
        match result.result {
            Some(SendAnswer::Name(_)) => {}
            Some(SendAnswer::Refusal(refusal)) => {
                bail!("a message was refused: {}: {}", refusal.reason, refusal.message)
            }
            None => bail!("the server's answer to a message is empty"),
        }
    }
    Ok(())
}

/// Sends every number by a call of its own, over all clients, and returns once the last one is accepted.
pub(crate) async fn single(clients: &[Channel], fleet: Fleet, supply: &Arc<Supply>) -> Result<()> {
    let clients: Vec<_> = clients.iter().cloned().map(MessageServiceClient::new).collect();
    let call = move |caller: usize, number| {
        let mut client = clients[caller % clients.len()].clone();
        async move {
            let request = SendMessageRequest { message: Some(message(&fleet, number)) };
            client.send_message(request).await.context("send a message").map(drop)
        }
    };
    load::calls(supply, load::CALLS_IN_FLIGHT, call).await
}
