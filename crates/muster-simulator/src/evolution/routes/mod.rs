//! The gateway's routes.

mod chat;
mod instance;
mod message;
mod settings;
mod webhook;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::answer::Problem;
use super::gateway::{Gateway, VERSION};

/// What a handler answers.
type Answer = Result<Response, Problem>;

/// A body with status 200.
fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

/// A body with status 201.
fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// All routes of one gateway.
pub(super) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/", get(welcome))
        .route("/instance/create", post(instance::create))
        .route("/instance/fetchInstances", get(instance::fetch_instances))
        .route("/instance/connect/{name}", get(instance::connect))
        .route("/instance/connectionState/{name}", get(instance::connection_state))
        .route("/instance/restart/{name}", post(instance::restart))
        .route("/instance/setPresence/{name}", post(instance::set_presence))
        .route("/instance/logout/{name}", delete(instance::logout))
        .route("/instance/delete/{name}", delete(instance::delete))
        .route("/message/sendText/{name}", post(message::send_text))
        .route("/message/sendMedia/{name}", post(message::send_media))
        .route("/message/sendWhatsAppAudio/{name}", post(message::send_audio))
        .route("/message/sendSticker/{name}", post(message::send_sticker))
        .route("/message/sendPtv/{name}", post(message::send_video_note))
        .route("/message/sendReaction/{name}", post(message::send_reaction))
        .route("/message/sendLocation/{name}", post(message::send_location))
        .route("/message/sendContact/{name}", post(message::send_contact))
        .route("/message/sendPoll/{name}", post(message::send_poll))
        .route("/message/sendTemplate/{name}", post(message::send_template))
        .route("/chat/whatsappNumbers/{name}", post(chat::whatsapp_numbers))
        .route("/chat/markMessageAsRead/{name}", post(chat::mark_message_as_read))
        .route("/chat/sendPresence/{name}", post(chat::send_presence))
        .route("/chat/findMessages/{name}", post(chat::find_messages))
        .route("/chat/findStatusMessage/{name}", post(chat::find_status_message))
        .route("/webhook/set/{name}", post(webhook::set))
        .route("/webhook/find/{name}", get(webhook::find))
        .route("/settings/set/{name}", post(settings::set))
        .route("/settings/find/{name}", get(settings::find))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(middleware::from_fn(run_to_end))
        .with_state(gateway)
}

/// Lets a call run to its end even if the caller hangs up, as the product does: a message may go out that nobody waits for.
async fn run_to_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Problem::broken(error).into_response(),
    }
}

async fn unknown_route(method: Method, uri: Uri) -> Problem {
    Problem::Typed(StatusCode::NOT_FOUND, vec![format!("Cannot {method} {uri}").into()])
}

/// Liveness and version, without a key.
async fn welcome(State(gateway): State<Arc<Gateway>>) -> Answer {
    ok(json!({
        "status": 200,
        "message": "Welcome to the Evolution API, it is working!",
        "version": VERSION,
        "clientName": "evolution_exchange",
        "manager": format!("{}/manager", gateway.url),
        "documentation": "https://doc.evolution-api.com",
        "whatsappWebVersion": "2.3000.1029999999",
    }))
}
