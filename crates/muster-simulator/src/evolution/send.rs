//! One send, from the checked body to the answer, with the faults that it meets on its way.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::Problem;
use super::call::Call;
use super::jid;
use super::network::Outgoing;
use crate::faults::{SendFault, Setting};
use crate::ledger::{Answer, Content};

/// What a caller wants to send, read and checked.
pub(super) struct Draft {
    /// The recipient as the caller wrote it.
    pub(super) number: String,
    pub(super) content: Content,
    pub(super) sha256: String,
    /// How long to show "composing" first, while the caller waits.
    pub(super) delay: Duration,
}

impl Call {
    /// Sends a draft.
    pub(super) async fn send(&self, draft: Draft) -> Result<Response, Problem> {
        let setting = self.gateway.faults.of(&self.instance.name);
        let fault = setting.faults.send.draw(&mut self.instance.lock().chance);
        self.meet_early(fault, &draft.number).await?;
        if setting.faults.unloaded {
            return Err(Problem::undefined("textMessage"));
        }
        let recipient = jid::normalise(&draft.number);
        self.check_recipient(&setting, &draft.number, &recipient)?;
        if !self.wire.pause(draft.delay).await {
            return Err(Problem::Silence);
        }
        // The faults may have been changed while the call was "typing", and the socket may have gone.
        let setting = self.gateway.faults.of(&self.instance.name);
        if fault == Some(SendFault::ConnectionClosed400) || !self.instance.lock().is_reachable(&setting) {
            return Err(Problem::wrapped_connection_closed());
        }
        let outgoing = Outgoing {
            recipient,
            content: draft.content,
            sha256: draft.sha256,
            answer: answer_of(fault),
            stored: fault != Some(SendFault::PrismaAfterSend),
        };
        let answer = outgoing.answer;
        let told = self.gateway.accept(&self.instance, &setting.faults, outgoing).await.map_err(Problem::broken)?;
        match answer {
            Answer::Pending => Ok((StatusCode::CREATED, Json(told)).into_response()),
            Answer::Empty => Ok(StatusCode::CREATED.into_response()),
            Answer::Prisma => Err(Problem::bad_request(
                "PrismaClientInitializationError: Can't reach database server at `localhost:5432`",
            )),
            Answer::None => {
                self.wire.hang().await;
                Err(Problem::Silence)
            }
            Answer::Reset => {
                self.wire.cut();
                Err(Problem::Silence)
            }
        }
    }

    /// Faults that end a send before the network sees it.
    async fn meet_early(&self, fault: Option<SendFault>, number: &str) -> Result<(), Problem> {
        match fault {
            Some(SendFault::Unauthorized) => Err(Problem::unauthorized()),
            Some(SendFault::License) => Err(Problem::license_required(&self.instance.id)),
            Some(SendFault::ServerError) => {
                Err(Problem::Plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error".to_owned()))
            }
            Some(SendFault::ConnectionClosed500) => Err(Problem::connection_closed()),
            Some(SendFault::NotOnWhatsapp) => Err(not_on_whatsapp(number, &jid::normalise(number))),
            Some(SendFault::MetaError) => Err(Problem::cloud_api_error()),
            Some(SendFault::HangBefore) => {
                self.wire.hang().await;
                Err(Problem::Silence)
            }
            Some(SendFault::ResetBefore) => {
                self.wire.cut();
                Err(Problem::Silence)
            }
            Some(
                SendFault::ConnectionClosed400
                | SendFault::PrismaAfterSend
                | SendFault::EmptyAfterSend
                | SendFault::HangAfter
                | SendFault::ResetAfter,
            )
            | None => Ok(()),
        }
    }

    /// The number check before a send. Numbers that were confirmed before are not asked for again, so with a dead socket the
    /// failure then comes from the send itself, in another shape.
    fn check_recipient(&self, setting: &Setting, number: &str, recipient: &str) -> Result<(), Problem> {
        let mut state = self.instance.lock();
        let on_network = self.gateway.is_on_network(recipient);
        if !state.is_reachable(setting) {
            let asked_before = jid::is_group(recipient) || state.mailbox.known(recipient).is_some();
            return Err(if asked_before { Problem::wrapped_connection_closed() } else { Problem::connection_closed() });
        }
        match (on_network, jid::is_group(recipient)) {
            (true, _) => {
                state.mailbox.confirm(recipient);
                Ok(())
            }
            (false, true) => Err(Problem::bad_request("[object Object]")),
            (false, false) => Err(not_on_whatsapp(number, recipient)),
        }
    }
}

fn not_on_whatsapp(number: &str, jid: &str) -> Problem {
    Problem::bad_request(json!({"jid": jid, "exists": false, "number": number}))
}

/// What the caller of an accepted message is told under a fault.
fn answer_of(fault: Option<SendFault>) -> Answer {
    match fault {
        Some(SendFault::PrismaAfterSend) => Answer::Prisma,
        Some(SendFault::EmptyAfterSend) => Answer::Empty,
        Some(SendFault::HangAfter) => Answer::None,
        Some(SendFault::ResetAfter) => Answer::Reset,
        _ => Answer::Pending,
    }
}
