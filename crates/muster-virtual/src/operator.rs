//! The operator: decides about what nobody knows, moves bots, empties nodes, and has sent once more what failed.

use std::sync::Arc;

use muster_proto::v1::bot_service_client::BotServiceClient;
use muster_proto::v1::failure_service_client::FailureServiceClient;
use muster_proto::v1::message_service_client::MessageServiceClient;
use muster_proto::v1::node_service_client::NodeServiceClient;
use muster_proto::v1::{
    Bot, CordonNodeRequest, DrainNodeRequest, ListMessagesRequest, MessageFilter, MessageState, ReplayFailuresRequest,
    ReplayedMessage, Resolution, ResolveMessageRequest, UncordonNodeRequest, UpdateBotRequest,
};
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

use crate::client::{Clients, PATIENCE, PAUSE};

/// What the operator may do next.
#[derive(Debug, Clone, Copy)]
enum Act {
    Decide,
    Move,
    Drain,
    Replay,
}

/// Sits where the clients are, and knows what they know.
pub(crate) struct Operator(pub(crate) Arc<Clients>);

impl Operator {
    /// Works until the faults are over, and leaves every node in use.
    pub(crate) async fn run(self) {
        let habits = self.0.storm.habits;
        let acts = [
            (habits.decides, Act::Decide),
            (habits.moves, Act::Move),
            (habits.drains, Act::Drain),
            (habits.replays, Act::Replay),
        ];
        let acts: Vec<Act> = acts.into_iter().filter(|(has, _)| *has).map(|(_, act)| act).collect();
        if acts.is_empty() {
            return;
        }
        while !self.0.weather.is_over() {
            tokio::time::sleep(self.0.operator_chance.millis(100, 2_500)).await;
            match self.0.operator_chance.pick(&acts) {
                Act::Decide => self.decide().await,
                Act::Move => self.move_bot().await,
                Act::Drain => self.change_node().await,
                Act::Replay => self.replay().await,
            }
        }
        for node in 0..self.0.storm.agents {
            self.uncordon(node).await;
        }
    }

    /// Asks once. What is refused or not answered may have been done.
    async fn ask<T>(&self, what: &str, call: impl Future<Output = Result<Response<T>, Status>>) -> Option<T> {
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => {
                self.0.weather.chronicle.event("operator", format_args!("{what}: done"));
                return Some(answer.into_inner());
            }
            // What is asked for may not fit what the server has by now, above all if it was restored.
            Ok(Err(status)) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition | Code::Aborted) => {
                self.0.weather.chronicle.event("operator", format_args!("{what}: {:?}", status.code()));
            }
            Ok(Err(status)) => self.0.note_refusal(what, &status),
            Err(_) => {}
        }
        None
    }

    async fn decide(&self) {
        let chance = &self.0.operator_chance;
        let mut messages = MessageServiceClient::new(self.0.channel());
        let states = vec![MessageState::Uncertain.into()];
        let filter = Some(MessageFilter { states, ..MessageFilter::default() });
        let request = ListMessagesRequest { filter, ..ListMessagesRequest::default() };
        let Some(found) = self.ask("list what is uncertain", messages.list_messages(request)).await else { return };
        if found.messages.is_empty() {
            return;
        }
        let name = found.messages[usize::try_from(chance.between(0, found.messages.len() as u64 - 1)).unwrap_or(0)]
            .name
            .clone();
        let resolution = chance.pick(&[Resolution::Sent, Resolution::Resend, Resolution::Resend, Resolution::Drop]);
        self.0.desk.note_decision(&name, resolution, self.0.weather.time.now());
        let what = format!("{} for {name}", resolution.as_str_name());
        let request = ResolveMessageRequest { name, r#as: resolution.into(), reason: "looked at the chat".to_owned() };
        self.ask(&what, messages.resolve_message(request)).await;
    }

    async fn move_bot(&self) {
        let chance = &self.0.operator_chance;
        let storm = &self.0.storm;
        let draw = |count: usize| chance.between(0, count as u64 - 1);
        let (bot, to) = (format!("b{}{}", draw(storm.agents), draw(storm.bots_per_agent)), draw(storm.agents));
        self.0.desk.note_move(&bot);
        let what = format!("move {bot} to g{to}");
        let bot = Bot { name: format!("bots/{bot}"), gateway: format!("gateways/g{to}"), ..Bot::default() };
        let update_mask = Some(FieldMask { paths: vec!["gateway".to_owned()] });
        let request = UpdateBotRequest { bot: Some(bot), update_mask, request_id: String::new() };
        self.ask(&what, BotServiceClient::new(self.0.channel()).update_bot(request)).await;
    }

    async fn change_node(&self) {
        let chance = &self.0.operator_chance;
        let node = usize::try_from(chance.between(0, self.0.storm.agents as u64 - 1)).unwrap_or(0);
        let mut nodes = NodeServiceClient::new(self.0.channel());
        let (name, reason) = (format!("nodes/n{node}"), "upgrade".to_owned());
        match chance.between(0, 3) {
            0 => {
                let request = CordonNodeRequest { name, reason, ..CordonNodeRequest::default() };
                self.ask(&format!("cordon n{node}"), nodes.cordon_node(request)).await;
            }
            1 => {
                let request = DrainNodeRequest { name, reason, ..DrainNodeRequest::default() };
                self.ask(&format!("drain n{node}"), nodes.drain_node(request)).await;
            }
            _ => {
                let request = UncordonNodeRequest { name, ..UncordonNodeRequest::default() };
                self.ask(&format!("uncordon n{node}"), nodes.uncordon_node(request)).await;
            }
        }
    }

    /// Has a node used again, however long it takes.
    async fn uncordon(&self, node: usize) {
        loop {
            let request = UncordonNodeRequest { name: format!("nodes/n{node}"), ..UncordonNodeRequest::default() };
            let mut nodes = NodeServiceClient::new(self.0.channel());
            match tokio::time::timeout(PATIENCE, nodes.uncordon_node(request)).await {
                Ok(Ok(_)) => return,
                // A backup may be older than the fleet.
                Ok(Err(status)) if status.code() == Code::NotFound => return,
                Ok(Err(status)) => self.0.note_refusal("uncordon", &status),
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn replay(&self) {
        let request = ReplayFailuresRequest {
            force: true,
            limit: u32::try_from(self.0.operator_chance.between(1, 3)).unwrap_or(1),
            validity: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..ReplayFailuresRequest::default()
        };
        let mut failures = FailureServiceClient::new(self.0.channel());
        let Some(done) = self.ask("replay", failures.replay_failures(request)).await else { return };
        for ReplayedMessage { message, replay } in done.replayed {
            self.0.desk.note_replay(&message, replay);
        }
    }
}
