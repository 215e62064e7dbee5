//! Webhooks on their way: wrapped, posted in parallel and without order, posted again by the retry table.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::event::Event;
use super::gateway::Gateway;
use super::instance::{Instance, InstanceState};
use super::retry::{self, Reception, Verdict};
use super::timeline::Due;
use crate::chance::Chance;

/// How long a webhook is held back at most when it is to be overtaken by the next one.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// One webhook on its way.
#[derive(Clone)]
pub(crate) struct Delivery {
    /// Where to; `None` if nobody wants it, and only what follows is to be done.
    target: Option<Target>,
    attempt: u32,
    after: After,
}

#[derive(Clone)]
struct Target {
    url: Arc<str>,
    headers: HeaderMap,
    body: Bytes,
}

/// What the gateway does once a webhook has arrived or has been given up.
#[derive(Clone)]
pub(crate) enum After {
    Nothing,
    /// Wipes the credentials of the instance.
    Wipe(Arc<Instance>),
    /// Removes the instance.
    Remove(Arc<Instance>),
}

/// What every webhook says around its data.
#[derive(Serialize)]
struct Envelope<'a> {
    event: &'static str,
    instance: &'a str,
    data: &'a Value,
    destination: &'a str,
    date_time: String,
    sender: Option<&'a str>,
    server_url: &'a str,
    apikey: Option<&'a str>,
}

impl Gateway {
    /// Whether the instance's webhook wants `event`, so that its data need not be built for nobody.
    pub(super) fn is_wanted(state: &InstanceState, event: Event) -> bool {
        state.webhook.as_ref().is_some_and(|webhook| webhook.wants(event))
    }

    /// Sends a webhook on its way, unless a fault keeps it.
    pub(super) fn emit(&self, instance: &Arc<Instance>, state: &mut InstanceState, event: Event, data: &Value) {
        self.emit_then(instance, state, event, data, After::Nothing);
    }

    /// The same, and `after` follows when the webhook has arrived or has been given up.
    pub(super) fn emit_then(
        &self,
        instance: &Arc<Instance>,
        state: &mut InstanceState,
        event: Event,
        data: &Value,
        after: After,
    ) {
        let setting = self.faults.of(&instance.name);
        let faults = &setting.faults.webhooks;
        let dropped = state.chance.hits(faults.drop);
        let target = if dropped { None } else { self.target(instance, state, event, data) };
        if target.is_none() && matches!(after, After::Nothing) {
            return;
        }
        let wanted = target.is_some();
        let delivery = Delivery { target, attempt: 0, after };
        if !wanted {
            self.post(delivery);
            return;
        }
        if state.chance.hits(faults.double) {
            self.post(Delivery { after: After::Nothing, ..delivery.clone() });
        }
        if state.chance.hits(faults.late) {
            let wait = faults.late_by.draw(&mut state.chance);
            self.timeline.after(wait, Due::Post(Box::new(delivery)));
        } else if state.held.is_none() && state.chance.hits(faults.out_of_order) {
            state.held = Some(delivery);
            self.timeline.after(HOLD_MAX, Due::Release(instance.clone()));
        } else {
            self.post(delivery);
            self.release(state);
        }
    }

    /// Posts what was held back.
    pub(super) fn release(&self, state: &mut InstanceState) {
        if let Some(delivery) = state.held.take() {
            self.post(delivery);
        }
    }

    /// Queues a delivery for the next free post. The queue has no bound: the product, too, keeps all of it in memory.
    pub(super) fn post(&self, delivery: Delivery) {
        // After the stop there is no queue any more; the product loses its webhooks then as well.
        let _ = self.outbox.send(delivery);
    }

    fn target(&self, instance: &Instance, state: &InstanceState, event: Event, data: &Value) -> Option<Target> {
        let webhook = state.webhook.as_ref().filter(|webhook| webhook.wants(event))?;
        let now = Timestamp::now();
        let envelope = Envelope {
            event: event.name(),
            instance: &instance.name,
            data,
            destination: &webhook.url,
            date_time: format!("{now:.3}"),
            sender: state.owner.as_deref(),
            server_url: &self.url,
            apikey: self.behaviour.webhook.expose_token.then_some(instance.token.as_str()),
        };
        let body = serde_json::to_vec(&envelope).ok()?;
        let mut headers = webhook.headers(now);
        headers.entry(CONTENT_TYPE).or_insert(axum::http::HeaderValue::from_static("application/json"));
        Some(Target { url: webhook.address(event).into(), headers, body: body.into() })
    }

    /// Posts what is queued, a bounded number at once, until the gateway stops.
    pub(super) async fn run_outbox(
        self: Arc<Self>,
        http: reqwest::Client,
        mut queue: mpsc::UnboundedReceiver<Delivery>,
    ) {
        let policy = &self.behaviour.webhook;
        let mut chance = Chance::new(self.seed, &[&self.name, "webhook retries"]);
        let mut posts = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(delivery) = queue.recv(), if posts.len() < policy.concurrency => posts.push(attempt(&http, delivery)),
                Some((mut delivery, reception)) = posts.next() => {
                    delivery.attempt += 1;
                    match retry::judge(reception, delivery.attempt, policy.retry_scale, &mut chance) {
                        Verdict::Again(wait) => self.timeline.after(wait, Due::Post(Box::new(delivery))),
                        verdict => {
                            if verdict == Verdict::GivenUp {
                                tracing::debug!(gateway = %self.name, ?reception, "a webhook was given up");
                            }
                            self.finish(delivery.after);
                        }
                    }
                }
            }
        }
    }

    fn finish(&self, after: After) {
        match after {
            After::Nothing => {}
            After::Wipe(instance) => self.wipe(&instance),
            After::Remove(instance) => self.remove(&instance),
        }
    }
}

/// Posts once.
async fn attempt(http: &reqwest::Client, delivery: Delivery) -> (Delivery, Reception) {
    let Some(target) = &delivery.target else { return (delivery, Reception::Answered(200)) };
    let post = http.post(&*target.url).headers(target.headers.clone()).body(target.body.clone());
    let reception = match post.send().await {
        Ok(response) => Reception::Answered(response.status().as_u16()),
        Err(_) => Reception::Unreachable,
    };
    (delivery, reception)
}
