//! What an error answer of the product says: the table of its known answers, and the rule for all others.
//!
//! The product reports in three places. The status and the body are read here; the third, a later webhook, in
//! [`super::webhook`]. An answer counts as a refusal only if the table lists it: the product also answers 400 and 500
//! after a message went out, when it could not store its row. Whatever the table does not list proves nothing.

use muster_domain::failure::{Failure, FailureReason, Scope};
use reqwest::StatusCode;
use serde_json::Value;

use super::client::Answer;
use crate::contract::{CallError, SendError};
use crate::redact::redact;

/// The answer of every route about an instance that the product does not have.
pub(super) const NO_INSTANCE: &str = "the gateway has no such instance";

/// The answer of a logout that finds no login.
pub(super) const NO_LOGIN: &str = "the instance is not connected";

/// What an answer says about the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Success by status and by body.
    Accepted,
    /// The product refused before it acted: the table lists the answer.
    Refused(Failure),
    /// Nothing is proven. The text is what the product said, redacted.
    Unlisted(String),
}

impl Verdict {
    /// Reads an answer. `private` are the texts that must not show up in a detail: the message's own, and the key.
    pub(super) fn of(answer: &Answer, private: &[&str]) -> Verdict {
        let said = Said::read(&answer.body);
        let status = answer.status;
        if status.is_success() {
            return match said.hidden_error {
                false => Verdict::Accepted,
                true => match hidden(&said) {
                    Some((reason, text)) => Verdict::Refused(Failure::new(reason, text)),
                    None => Verdict::Unlisted(said.shown(status, private)),
                },
            };
        }
        match listed(status, &said) {
            Some(failure) => Verdict::Refused(failure),
            None => Verdict::Unlisted(said.shown(status, private)),
        }
    }

    /// The verdict on a call that is no send. `call` is the product's name for it.
    pub(super) fn into_call(self, call: &'static str) -> Result<(), CallError> {
        match self {
            Verdict::Accepted => Ok(()),
            Verdict::Refused(failure) => Err(CallError { call, failure }),
            Verdict::Unlisted(text) => Err(CallError { call, failure: Failure::new(FailureReason::Internal, text) }),
        }
    }
}

/// A call that got no answer.
pub(super) fn unanswered(call: &'static str) -> impl FnOnce(SendError) -> CallError {
    move |error| CallError { call, failure: error.into_failure() }
}

/// The table: statuses and texts of which it is known that the product gives them before it acts.
fn listed(status: StatusCode, said: &Said) -> Option<Failure> {
    // Key and licence are those of the installation, so all its bots are refused alike.
    let installation = |text| Some(Failure::new(FailureReason::AuthInvalid, text).of(Scope::Gateway));
    match status {
        // The key is checked before anything is done, whatever else stands in the body.
        StatusCode::UNAUTHORIZED => {
            return installation("the gateway refused the key: check api_key of this gateway");
        }
        StatusCode::SERVICE_UNAVAILABLE if said.code == "LICENSE_REQUIRED" => {
            return installation("the gateway has no active licence: activate it at the gateway");
        }
        StatusCode::BAD_REQUEST if said.not_on_network => {
            return Some(Failure::new(FailureReason::RecipientUnreachable, "the recipient is not on the network"));
        }
        _ => {}
    }
    // Every text has to be listed: one unknown text among them, and the answer proves nothing.
    let mut rows = said.texts.iter().map(|text| row(status, text));
    let (reason, text) = rows.next()??;
    rows.all(|row| row.is_some()).then(|| Failure::new(reason, text))
}

/// One row of the table.
fn row(status: StatusCode, text: &str) -> Option<(FailureReason, &'static str)> {
    let row = match (status, text) {
        // The socket is checked before the message is written to it, so this one did not leave.
        (
            StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR,
            "Connection Closed" | "Error: Connection Closed",
        ) => (FailureReason::NotConnected, "the gateway's connection to the network is closed"),
        // A thrown object that is no error, written as text: no such number when asked by a presence call, or no such group.
        (StatusCode::BAD_REQUEST, "[object Object]") => (
            FailureReason::RecipientUnreachable,
            "the recipient is not on the network, or the group is not known to the bot",
        ),
        (StatusCode::BAD_REQUEST, "Text is required") => (FailureReason::InvalidRequest, "the text is empty"),
        (StatusCode::BAD_REQUEST, text) if text.starts_with("Owned media must be a url") => {
            (FailureReason::ContentRejected, "the gateway takes the medium for neither an address nor base64")
        }
        (StatusCode::BAD_REQUEST, text) if text.starts_with("Reaction must be a single emoji") => {
            (FailureReason::InvalidRequest, "the reaction is not one emoji")
        }
        (StatusCode::BAD_REQUEST, "Invalid integration") => {
            (FailureReason::InvalidRequest, "the gateway does not know the integration WHATSAPP-BAILEYS")
        }
        (StatusCode::BAD_REQUEST, "Invalid proxy") => {
            (FailureReason::InvalidRequest, "the gateway's proxy test failed")
        }
        (StatusCode::BAD_REQUEST, text) if about_an_instance(text, "instance is not connected") => {
            (FailureReason::NotConnected, NO_LOGIN)
        }
        (StatusCode::BAD_REQUEST, text) if is_schema_violation(text) => {
            (FailureReason::InvalidRequest, "the gateway's schema does not allow the request")
        }
        (StatusCode::FORBIDDEN, text) if text.starts_with("This name \"") && text.ends_with("is already in use.") => {
            (FailureReason::InvalidRequest, "the instance exists already, or its removal is still under way")
        }
        (StatusCode::NOT_FOUND, text) if is_no_instance(text) => (FailureReason::NotConnected, NO_INSTANCE),
        // No route, so no handler: an older or newer product, or a wrong prefix in the address.
        (StatusCode::NOT_FOUND, text)
            if ["Cannot GET /", "Cannot POST /", "Cannot DELETE /"].iter().any(|s| text.starts_with(s)) =>
        {
            (FailureReason::GatewayUnavailable, "the gateway has no such route: check url of this gateway")
        }
        (StatusCode::INTERNAL_SERVER_ERROR, text) if is_not_loaded(text) => {
            (FailureReason::NotConnected, "the gateway knows the instance but has not loaded it: restart the gateway")
        }
        (StatusCode::INTERNAL_SERVER_ERROR, "Method not available in the Baileys service") => {
            (FailureReason::InvalidRequest, "the gateway has no such method for this kind of instance")
        }
        _ => return None,
    };
    Some(row)
}

/// Errors that `connect` and `restart` hide in a 200.
fn hidden(said: &Said) -> Option<(FailureReason, &'static str)> {
    match said.texts.first().map(String::as_str) {
        Some("Connection Closed" | "Error: Connection Closed") => {
            Some((FailureReason::NotConnected, "the gateway's connection to the network is closed"))
        }
        // Their own exceptions lose the text on the way: no such instance in memory, or not connected.
        Some("[object Object]") => Some((FailureReason::NotConnected, "the instance is not loaded or not connected")),
        _ => None,
    }
}

/// The guard of every route about an instance says the one, the listing of instances the other.
fn is_no_instance(text: &str) -> bool {
    about_an_instance(text, "instance does not exist")
        || text.starts_with("Instance \"") && text.ends_with("\" not found")
}

/// `The "bot-01" instance …`
fn about_an_instance(text: &str, end: &str) -> bool {
    text.starts_with("The \"") && text.ends_with(end)
}

/// Texts of the validator that runs before every handler: the name of a property and what is wrong with it, or the
/// property's own description where the schema has one.
fn is_schema_violation(text: &str) -> bool {
    const WRONG: [&str; 10] = [
        "requires property ",
        "is not of type(s) ",
        "is not of a type(s) ",
        "is not one of enum values: ",
        "is not exactly one from ",
        "does not match pattern ",
        "does not meet minimum length of ",
        "does not meet maximum length of ",
        "must be greater than or equal to ",
        "must be less than or equal to ",
    ];
    // A name has no colon, so no text of an exception, which begins with its class, can look like one.
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']'));
    let violation =
        text.split_once(' ').is_some_and(|(name, rest)| is_name(name) && WRONG.iter().any(|w| rest.starts_with(w)));
    violation
        || (text.starts_with("The \"") && text.ends_with("\" cannot be empty"))
        || matches!(text, "Invalid format" | "Enter a value in milliseconds")
}

/// The first thing that a handler does is to call a method of the loaded instance; without one, nothing else happens.
fn is_not_loaded(text: &str) -> bool {
    const METHODS: [&str; 7] = [
        "textMessage",
        "mediaMessage",
        "audioWhatsapp",
        "reactionMessage",
        "sendPresence",
        "markMessageAsRead",
        "whatsappNumber",
    ];
    text.strip_prefix("Cannot read properties of undefined (reading '")
        .and_then(|rest| rest.strip_suffix("')"))
        .is_some_and(|method| METHODS.contains(&method))
}

/// The parts of an answer's body that say what went wrong. The product writes them in four shapes: its own, that of the
/// licence, that of hidden errors, and that of the library's exceptions.
#[derive(Debug, Default)]
struct Said {
    texts: Vec<String>,
    code: String,
    not_on_network: bool,
    hidden_error: bool,
}

impl Said {
    fn read(body: &[u8]) -> Said {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Said::default();
        };
        let message =
            ["/response/message", "/message", "/output/payload/message"].iter().find_map(|path| body.pointer(path));
        let mut items = Vec::new();
        flatten(message.unwrap_or(&Value::Null), &mut items);
        Said {
            texts: items.iter().filter_map(|item| item.as_str()).map(|text| text.trim().to_owned()).collect(),
            code: body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned(),
            not_on_network: items.iter().any(|item| item.get("exists") == Some(&Value::Bool(false))),
            hidden_error: body.get("error").is_some_and(|error| !matches!(error, Value::Null | Value::Bool(false))),
        }
    }

    /// What is shown of an answer that the table does not list.
    fn shown(&self, status: StatusCode, private: &[&str]) -> String {
        let status = status.as_u16();
        match self.texts.first().map(|text| redact(text, private)) {
            Some(text) if !text.is_empty() => format!("HTTP {status}: {text}"),
            _ => format!("HTTP {status} without a text of the product"),
        }
    }
}

/// The items of a list; some versions put the list into another one.
fn flatten<'a>(value: &'a Value, items: &mut Vec<&'a Value>) {
    match value {
        Value::Array(inner) => inner.iter().for_each(|item| flatten(item, items)),
        item => items.push(item),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn verdict(status: u16, body: impl Into<Bytes>) -> Verdict {
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), body: body.into() };
        Verdict::of(&answer, &["see you at nine"])
    }

    fn error(status: u16, message: serde_json::Value) -> Verdict {
        let body = serde_json::json!({ "status": status, "error": "Bad Request", "response": { "message": message } });
        verdict(status, body.to_string())
    }

    #[test]
    fn one_unknown_text_spoils_the_proof() {
        let listed = "instance requires property \"text\"";
        assert!(matches!(error(400, serde_json::json!([listed, listed])), Verdict::Refused(_)));
        assert!(matches!(
            error(400, serde_json::json!([listed, "PrismaClientInitializationError"])),
            Verdict::Unlisted(_)
        ));
        assert!(matches!(error(400, serde_json::json!([])), Verdict::Unlisted(_)));
    }

    #[test]
    fn a_listed_text_with_another_status_proves_nothing() {
        assert!(matches!(error(502, serde_json::json!("Connection Closed")), Verdict::Unlisted(_)));
        assert!(matches!(error(500, serde_json::json!(["[object Object]"])), Verdict::Unlisted(_)));
        assert!(matches!(verdict(503, "<html>Service Unavailable</html>"), Verdict::Unlisted(_)));
    }

    #[test]
    fn foreign_texts_are_redacted() {
        let Verdict::Unlisted(text) = error(500, serde_json::json!("cannot send see you at nine to 5511900000001"))
        else {
            panic!("must be unlisted");
        };
        assert_eq!(text, "HTTP 500: cannot send … to …");
    }

    proptest! {
        #[test]
        fn any_answer_gets_a_verdict_and_no_unlisted_error_is_a_refusal(
            status in 200u16..600, body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let verdict = verdict(status, body);
            prop_assert_eq!(verdict == Verdict::Accepted, (200..300).contains(&status));
            if status != 401 {
                prop_assert!(!matches!(verdict, Verdict::Refused(_)));
            }
        }

        #[test]
        fn a_free_text_is_never_taken_for_a_refusal(status in 400u16..600, text in "[A-Z][a-zA-Z ]{0,40}Error: .{0,60}") {
            prop_assume!(status != 401);
            prop_assert!(matches!(error(status, serde_json::json!([text])), Verdict::Unlisted(_)));
        }
    }
}
