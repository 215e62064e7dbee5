//! An attempt on its way to an agent.

use std::time::Duration;

use muster_domain::content::{Content, Courtesy};
use muster_domain::message::{AttemptRef, credit_bytes};
use muster_domain::{Address, BotId, Violation};

use super::{address, attempt_ref, millis, optional_network_id, required};
use crate::agent_v1 as wire;

/// An attempt as the stream carries it. Reading one from the wire checks all that the rules ask of an outbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which.
    pub attempt: AttemptRef,
    /// The sender.
    pub bot: BotId,
    /// The recipient.
    pub recipient: Address,
    /// What it says.
    pub content: Content,
    /// Messages of one chain leave in the order of their dispatch.
    pub chain: u64,
    /// How long after its receipt it may still be started.
    pub start_within: Duration,
    /// The network's id of the inbound message that it answers.
    pub reply_to: Option<String>,
    /// What is done around a reply.
    pub courtesy: Courtesy,
    /// An operator wants it sent although the attempts up to this number may have been sent; zero if nobody decided so.
    pub resend_after: u32,
    /// What ends `start_within` is the bot's sending window and not the validity of the message.
    pub window_closes: bool,
    /// How often the bot's sending window had been changed when the attempt was chosen.
    pub window_generation: u32,
}

impl Attempt {
    /// What the attempt counts against the agent's credit of bytes.
    pub fn credit_bytes(&self) -> u64 {
        credit_bytes(&self.content, &self.recipient)
    }
}

impl From<&Attempt> for wire::Attempt {
    fn from(attempt: &Attempt) -> Self {
        let Attempt {
            attempt,
            bot,
            recipient,
            content,
            chain,
            start_within,
            reply_to,
            courtesy,
            resend_after,
            window_closes,
            window_generation,
        } = attempt;
        wire::Attempt {
            r#ref: Some((*attempt).into()),
            bot: bot.to_string(),
            recipient: recipient.as_str().to_owned(),
            content: Some(content.into()),
            chain: *chain,
            start_within_ms: millis(*start_within),
            reply_to: reply_to.clone().unwrap_or_default(),
            mark_read: courtesy.mark_read,
            typing_ms: u32::try_from(millis(courtesy.typing)).unwrap_or(u32::MAX),
            resend_after: *resend_after,
            window_closes: *window_closes,
            window_generation: *window_generation,
        }
    }
}

impl TryFrom<wire::Attempt> for Attempt {
    type Error = Violation;
    fn try_from(attempt: wire::Attempt) -> Result<Self, Violation> {
        let content: Content = required("content", attempt.content)?
            .try_into()
            .map_err(|violation: Violation| violation.below("content"))?;
        let reply_to = optional_network_id("reply_to", attempt.reply_to)?;
        let courtesy =
            Courtesy { mark_read: attempt.mark_read, typing: Duration::from_millis(attempt.typing_ms.into()) };
        let mut found = content.violations();
        found.extend(courtesy.violations(reply_to.is_some()));
        if let Some(violation) = found.into_iter().next() {
            return Err(violation);
        }
        Ok(Attempt {
            attempt: attempt_ref("ref", attempt.r#ref)?,
            bot: BotId::new(&attempt.bot).map_err(|violation| violation.below("bot"))?,
            recipient: address("recipient", &attempt.recipient)?,
            content,
            chain: attempt.chain,
            start_within: Duration::from_millis(attempt.start_within_ms),
            reply_to,
            courtesy,
            resend_after: attempt.resend_after,
            window_closes: attempt.window_closes,
            window_generation: attempt.window_generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::MessageId;
    use proptest::prelude::*;
    use prost::Message;

    use super::super::content::tests::contents;
    use super::*;

    fn attempts() -> impl Strategy<Value = Attempt> {
        let content = contents().prop_filter("sendable", |content| content.violations().is_empty());
        let reply = prop::option::of(("[A-Z0-9]{1,40}", any::<bool>(), 0u64..20_000));
        let window = any::<(bool, u32)>();
        (
            1i64..,
            1u32..,
            "[a-z]{1,20}",
            "\\+[1-9][0-9]{7,14}",
            content,
            any::<(u64, u32)>(),
            reply,
            any::<u32>(),
            window,
        )
            .prop_map(
                |(message_id, attempt_no, bot, recipient, content, numbers, reply, resend_after, window)| {
                    let ((chain, start_within), (window_closes, window_generation)) = (numbers, window);
                    Attempt {
                        attempt: AttemptRef { message_id: MessageId::from_raw(message_id).unwrap(), attempt_no },
                        bot: BotId::new(&bot).unwrap(),
                        recipient: Address::from_stored(&recipient),
                        content,
                        chain,
                        start_within: Duration::from_millis(start_within.into()),
                        courtesy: reply.as_ref().map_or(Courtesy::default(), |(_, mark_read, typing)| Courtesy {
                            mark_read: *mark_read,
                            typing: Duration::from_millis(*typing),
                        }),
                        reply_to: reply.map(|(id, _, _)| id),
                        resend_after,
                        window_closes,
                        window_generation,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn attempts_survive_the_wire(attempt in attempts()) {
            prop_assert_eq!(Attempt::try_from(wire::Attempt::from(&attempt)).unwrap(), attempt);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(attempt) = wire::Attempt::decode(&*bytes) {
                let _ = Attempt::try_from(attempt);
            }
        }
    }

    #[test]
    fn limits_of_outbound_messages_hold() {
        let text = |body: String| wire::Content { kind: Some(wire::content::Kind::Text(wire::content::Text { body })) };
        let attempt = |content| wire::Attempt {
            r#ref: Some(wire::AttemptRef { message_id: 1, attempt_no: 1 }),
            bot: "a".into(),
            recipient: "+5511900000001".into(),
            content: Some(content),
            ..wire::Attempt::default()
        };
        assert!(Attempt::try_from(attempt(text("x".into()))).is_ok());
        assert_eq!(Attempt::try_from(attempt(text(String::new()))).unwrap_err().field, "text.body");
        let hurried = wire::Attempt { typing_ms: 1, ..attempt(text("x".into())) };
        assert_eq!(Attempt::try_from(hurried).unwrap_err().field, "courtesy");
        let nobody = wire::Attempt { recipient: String::new(), ..attempt(text("x".into())) };
        assert_eq!(Attempt::try_from(nobody).unwrap_err().field, "recipient");
    }
}
