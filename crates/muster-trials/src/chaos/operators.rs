//! Operators who cordon and drain nodes and move bots while everything breaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_proto::v1::bot_service_client::BotServiceClient;
use muster_proto::v1::node_service_client::NodeServiceClient;
use muster_proto::v1::{
    AttemptOutcome, Bot, CordonNodeRequest, DrainNodeRequest, ListDrainedAttemptsRequest, UncordonNodeRequest,
    UpdateBotRequest,
};
use tokio::time::{Instant, sleep_until};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::attempts::Shut;
use super::load::is_passing;
use super::plan::{Errand, Order};
use super::timeline::Timeline;
use crate::product::Fleet;

/// How long a call may take before it is made again, without knowing what became of it.
const CALL_PATIENCE: Duration = Duration::from_secs(2);

/// Pause before a call is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One operator, who does one thing after the other.
pub(super) struct Operator {
    nodes: NodeServiceClient<Channel>,
    bots: BotServiceClient<Channel>,
    timeline: Arc<Timeline>,
}

impl Operator {
    pub(super) fn new(server: &str, timeline: Arc<Timeline>) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(server.to_owned())?.connect_timeout(CALL_PATIENCE).connect_lazy();
        Ok(Self { nodes: NodeServiceClient::new(channel.clone()), bots: BotServiceClient::new(channel), timeline })
    }

    /// Does what the plan says, and leaves all nodes working. Returns when which node took no new work.
    pub(super) async fn run(self, track: Vec<Errand>) -> Vec<Shut> {
        let mut shut = Vec::new();
        for Errand { at, order, lasts } in track {
            sleep_until(Instant::from_std(self.timeline.origin()) + at).await;
            match order {
                Order::Cordon(node) => shut.push(self.cordon(&Fleet::node(node), lasts).await),
                Order::Drain(node) => shut.push(self.drain(&Fleet::node(node), lasts).await),
                Order::Move { bot, to } => self.relocate(&Fleet::bot(bot), &Fleet::gateway(to)).await,
            }
        }
        shut
    }

    async fn cordon(&self, node: &str, lasts: Duration) -> Shut {
        let request =
            CordonNodeRequest { name: format!("nodes/{node}"), reason: "chaos".into(), ..CordonNodeRequest::default() };
        self.until_answered(async || self.nodes.clone().cordon_node(request.clone()).await).await;
        let from = now();
        self.timeline.note(format!("{node} is cordoned"));
        tokio::time::sleep(lasts).await;
        self.uncordon(node, from).await
    }

    async fn drain(&self, node: &str, lasts: Duration) -> Shut {
        let name = format!("nodes/{node}");
        let deadline = prost_types::Duration { seconds: 1 + lasts.as_secs() as i64, nanos: 0 };
        let request = DrainNodeRequest {
            name: name.clone(),
            reason: "chaos".into(),
            deadline: Some(deadline),
            ..DrainNodeRequest::default()
        };
        self.until_answered(async || self.nodes.clone().drain_node(request.clone()).await).await;
        let from = now();
        self.timeline.note(format!("{node} is drained"));
        tokio::time::sleep(lasts).await;
        let request = ListDrainedAttemptsRequest { name, page_size: 1_000, page_token: String::new() };
        let listed =
            self.until_answered(async || self.nodes.clone().list_drained_attempts(request.clone()).await).await;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for attempt in listed.into_iter().flat_map(|listed| listed.attempts) {
            let outcome = match attempt.outcome() {
                AttemptOutcome::Unspecified => "UNDER_WAY",
                outcome => outcome.as_str_name().trim_start_matches("ATTEMPT_OUTCOME_"),
            };
            *counts.entry(outcome).or_default() += 1;
        }
        let told: Vec<_> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let told = if told.is_empty() { "nothing".to_owned() } else { told.join(", ") };
        self.timeline.note(format!("{node} had {told} when its drain began"));
        self.uncordon(node, from).await
    }

    async fn uncordon(&self, node: &str, from: i64) -> Shut {
        // The first call may do it, whatever becomes of its answer.
        let until = now();
        let name = format!("nodes/{node}");
        let request = UncordonNodeRequest { name: name.clone(), ..UncordonNodeRequest::default() };
        self.until_answered(async || self.nodes.clone().uncordon_node(request.clone()).await).await;
        self.timeline.note(format!("{node} works again"));
        Shut { node: name, from, until }
    }

    async fn relocate(&self, bot: &str, gateway: &str) {
        let request = UpdateBotRequest {
            bot: Some(Bot { name: format!("bots/{bot}"), gateway: format!("gateways/{gateway}"), ..Bot::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["gateway".into()] }),
            ..UpdateBotRequest::default()
        };
        self.until_answered(async || self.bots.clone().update_bot(request.clone()).await).await;
        self.timeline.note(format!("{bot} is moved to {gateway}"));
    }

    /// Makes a call until it is answered; all of them may come twice. What refuses it for good is a violation.
    async fn until_answered<T>(&self, call: impl AsyncFn() -> Result<Response<T>, Status>) -> Option<T> {
        loop {
            match tokio::time::timeout(CALL_PATIENCE, call()).await {
                Ok(Ok(answer)) => return Some(answer.into_inner()),
                Ok(Err(status)) if !is_passing(&status) => {
                    let facts = format!("an operator was refused: {}: {}", status.code(), status.message());
                    self.timeline.violation("CONDUCT", facts);
                    return None;
                }
                Ok(Err(_)) | Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }
}

/// Now, by the clock of the machine, which is the database's too: microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
