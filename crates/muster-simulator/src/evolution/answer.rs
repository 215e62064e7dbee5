//! Answers of the gateway that are no success, in the shapes that callers meet.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a call was not answered as its route promises.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Problem {
    /// A typed exception: `response.message` is a list.
    Typed(StatusCode, Vec<Value>),
    /// 401 and what nobody caught: `response.message` is a string.
    Plain(StatusCode, String),
    /// A body in no common shape.
    Raw(StatusCode, Value),
    /// No answer: the connection has been cut, and nothing that is written to it arrives.
    Silence,
}

impl Problem {
    /// 400 with one text.
    pub(crate) fn bad_request(message: impl Into<Value>) -> Self {
        Problem::Typed(StatusCode::BAD_REQUEST, vec![message.into()])
    }

    /// 404 of an instance that nobody created.
    pub(crate) fn no_instance(name: &str) -> Self {
        Problem::Typed(StatusCode::NOT_FOUND, vec![format!("The \"{name}\" instance does not exist").into()])
    }

    /// 400 of a call that needs an open connection.
    pub(crate) fn not_connected(name: &str) -> Self {
        Problem::bad_request(format!("The \"{name}\" instance is not connected"))
    }

    /// 401.
    pub(crate) fn unauthorized() -> Self {
        Problem::Plain(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned())
    }

    /// 500 of a socket that is down, where nobody caught the exception.
    pub(crate) fn connection_closed() -> Self {
        Problem::Plain(StatusCode::INTERNAL_SERVER_ERROR, "Connection Closed".to_owned())
    }

    /// 400 of a socket that is down, where the exception was caught and wrapped.
    pub(crate) fn wrapped_connection_closed() -> Self {
        Problem::bad_request("Error: Connection Closed")
    }

    /// 500 of a call on an instance that is not in memory: reading a property of nothing.
    pub(crate) fn undefined(property: &str) -> Self {
        let message = format!("Cannot read properties of undefined (reading '{property}')");
        Problem::Plain(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The 503 of 2.4 without a licence, in a shape of its own.
    pub(crate) fn license_required(instance_id: &str) -> Self {
        Problem::Raw(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({
                "error": "service not activated",
                "code": "LICENSE_REQUIRED",
                "register_url": "http://127.0.0.1/license/register",
                "instance_id": instance_id,
                "docs_url": "http://127.0.0.1/docs",
                "message": "The service is not activated. Register a license first.",
            }),
        )
    }

    /// An error of the Cloud API, which the gateway passes on with a status of success.
    pub(crate) fn cloud_api_error() -> Self {
        Problem::Raw(
            StatusCode::CREATED,
            json!({
                "message": "(#131056) Pair rate limit hit",
                "type": "OAuthException",
                "code": 131_056,
                "error_data": {"messaging_product": "whatsapp", "details": "Message failed to send"},
                "fbtrace_id": "AbCdEfGhIjKlMnOp",
            }),
        )
    }

    /// The simulator itself cannot go on; what it says is for its operator.
    pub(crate) fn broken(error: impl std::error::Error) -> Self {
        Problem::Plain(StatusCode::INTERNAL_SERVER_ERROR, format!("simulator: {error}"))
    }

    /// What an exception prints when it is turned into a text.
    pub(crate) fn as_caught_text(&self) -> String {
        match self {
            Problem::Typed(..) | Problem::Raw(..) => "[object Object]".to_owned(),
            Problem::Plain(_, message) => format!("Error: {message}"),
            Problem::Silence => String::new(),
        }
    }
}

/// The phrase that the product writes beside a status.
fn phrase(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "Bad Request",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "Not Found",
        // What nobody caught is called so, whatever its status.
        _ => "Internal Server Error",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let common = |status: StatusCode, message: Value| {
            let body = json!({"status": status.as_u16(), "error": phrase(status), "response": {"message": message}});
            (status, Json(body)).into_response()
        };
        match self {
            Problem::Typed(status, messages) => common(status, messages.into()),
            Problem::Plain(status, message) => common(status, message.into()),
            Problem::Raw(status, body) => (status, Json(body)).into_response(),
            Problem::Silence => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}
