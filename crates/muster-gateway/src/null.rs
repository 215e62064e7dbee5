//! The gateway that sends nothing: every call succeeds at once.
//!
//! It stands in for a product when Muster itself is measured, and when a set-up is rehearsed without a network. Nothing
//! comes back from it: no receipts, no inbound messages, no webhooks.

use async_trait::async_trait;
use muster_domain::bot::Connection;
use muster_domain::{Address, BotId};

use crate::contract::{
    CallError, Event, Gateway, LinkProgress, LinkRequest, RecipientStatus, SendError, SendRequest, Sent, WebhookError,
    WebhookRequest, WebhookTarget,
};

/// The gateway that sends nothing.
///
/// Network ids are `null-` and Muster's own message id, so they ascend like it, and a repeated send gives the same id.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullGateway;

#[async_trait]
impl Gateway for NullGateway {
    async fn send(&self, _bot: &BotId, request: SendRequest<'_>) -> Result<Sent, SendError> {
        Ok(Sent { network_id: format!("null-{}", request.message_id) })
    }

    async fn probe(&self) -> Result<String, CallError> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    async fn connection(&self, _bot: &BotId) -> Result<Connection, CallError> {
        Ok(Connection::Connected)
    }

    async fn ensure(&self, _bot: &BotId, _webhook: &WebhookTarget) -> Result<Connection, CallError> {
        Ok(Connection::Connected)
    }

    async fn link(&self, _bot: &BotId, request: &LinkRequest) -> Result<LinkProgress, CallError> {
        Ok(LinkProgress::Linked { address: request.pairing_address.clone() })
    }

    async fn restart(&self, _bot: &BotId) -> Result<(), CallError> {
        Ok(())
    }

    async fn logout(&self, _bot: &BotId) -> Result<(), CallError> {
        Ok(())
    }

    async fn check_recipients(&self, _bot: &BotId, addresses: &[Address]) -> Result<Vec<RecipientStatus>, CallError> {
        let exists =
            |address: &Address| RecipientStatus { address: address.clone(), exists: true, network_address: None };
        Ok(addresses.iter().map(exists).collect())
    }

    async fn mark_read(&self, _bot: &BotId, _chat: &Address, _network_id: &str) -> Result<(), CallError> {
        Ok(())
    }

    fn read_webhook(&self, _request: &WebhookRequest<'_>) -> Result<Vec<Event>, WebhookError> {
        Err(WebhookError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::content::{Content, Courtesy};
    use muster_domain::{MessageId, Network};

    use super::*;

    #[tokio::test]
    async fn network_ids_ascend_with_message_ids() {
        let bot = BotId::new("bot-1").unwrap();
        let recipient = Address::parse(Network::Null, "ana").unwrap();
        let content = Content::Text { body: "hello".into() };
        let mut last = String::new();
        for raw in [1, 31, 32, 1_000_000, i64::MAX] {
            let request = SendRequest {
                message_id: MessageId::from_raw(raw).unwrap(),
                recipient: &recipient,
                content: &content,
                media: None,
                reply_to: None,
                courtesy: Courtesy::default(),
                timeout: Duration::from_secs(1),
            };
            let sent = NullGateway.send(&bot, request).await.unwrap();
            assert!(sent.network_id.starts_with("null-") && sent.network_id > last);
            last = sent.network_id;
        }
    }
}
