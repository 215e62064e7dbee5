//! Where an instance's events go.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::event::Event;
use super::jwt;

/// The header whose value is not sent but signs a token.
const JWT_KEY_HEADER: &str = "jwt_key";

/// The webhook of one instance, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    pub(crate) enabled: bool,
    pub(crate) url: String,
    pub(crate) headers: Map<String, Value>,
    pub(crate) by_events: bool,
    pub(crate) base64: bool,
    /// Subscriptions; "all" has been spelled out.
    pub(crate) events: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl Webhook {
    /// Whether this event is to be posted.
    pub(crate) fn wants(&self, event: Event) -> bool {
        let http = self.url.starts_with("http://") || self.url.starts_with("https://");
        self.enabled && http && self.events.iter().any(|name| name == event.subscription())
    }

    /// The address for this event.
    pub(crate) fn address(&self, event: Event) -> String {
        if self.by_events { format!("{}/{}", self.url, event.path()) } else { self.url.clone() }
    }

    /// The headers of one event: the token is made here, once, before all attempts.
    pub(crate) fn headers(&self, now: Timestamp) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let (name, text) = if name == JWT_KEY_HEADER {
                ("authorization", format!("Bearer {}", jwt::sign(&text, now.as_second())))
            } else {
                (name.as_str(), text)
            };
            // What no HTTP message can carry is left out; the product would fail to post at all.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(text)) {
                headers.insert(name, value);
            }
        }
        headers
    }

    /// The webhook as its routes show it.
    pub(crate) fn show(&self, instance_id: &str) -> Value {
        json!({
            "id": self.id,
            "url": self.url,
            "headers": self.headers,
            "enabled": self.enabled,
            "events": self.events,
            "webhookByEvents": self.by_events,
            "webhookBase64": self.base64,
            "createdAt": format!("{:.3}", self.created_at),
            "updatedAt": format!("{:.3}", self.updated_at),
            "instanceId": instance_id,
        })
    }
}
