//! Messages of one chain arrive in the order of acceptance, whatever fails in between and however late anybody knows.

use std::collections::BTreeMap;

use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::server_frame::Body as ServerBody;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::server::Conversation;
use super::{Bench, attempt};

const MESSAGES: u64 = 60;
const CHAINS: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Waiting,
    Dispatched,
    Done,
}

/// A server with a queue, which learns of reports when it pleases.
struct Model {
    messages: BTreeMap<u64, (State, u32)>,
    texts: BTreeMap<u64, String>,
    unread: Vec<(u64, wire::OutcomeReport)>,
    committed: u64,
}

impl Model {
    fn new(rng: &mut StdRng) -> Model {
        let text = |rng: &mut StdRng| match rng.random_range(0..10) {
            0..3 => format!("flaky {}", rng.random_range(1..4)),
            3 => "refuse".to_owned(),
            _ => "ok".to_owned(),
        };
        Model {
            messages: (1..=MESSAGES).map(|id| (id, (State::Waiting, 0))).collect(),
            texts: (1..=MESSAGES).map(|id| (id, text(rng))).collect(),
            unread: Vec::new(),
            committed: 0,
        }
    }

    /// What may leave next: in order, and never past a message of its chain that waits.
    fn dispatch(&mut self, count: usize) -> wire::Dispatch {
        let mut attempts = Vec::new();
        for (id, (state, attempt_no)) in &mut self.messages {
            if *state == State::Waiting && attempts.len() < count {
                *state = State::Dispatched;
                *attempt_no += 1;
                let named = wire::AttemptRef { message_id: *id, attempt_no: *attempt_no };
                attempts.push(wire::Attempt {
                    r#ref: Some(named),
                    chain: id % CHAINS,
                    ..attempt(*id, "a", &self.texts[id])
                });
            } else if *state == State::Waiting {
                break;
            }
        }
        wire::Dispatch { attempts, report_committed: self.committed }
    }

    fn commit(&mut self, count: usize) {
        for (offset, report) in self.unread.drain(..count.min(self.unread.len())) {
            self.committed = offset;
            let id = report.attempt.unwrap().message_id;
            let reason = report.failure.as_ref().map(wire::Failure::reason);
            let comes_again = matches!(
                (report.outcome(), reason),
                (wire::Outcome::HandedBack, _) | (_, Some(wire::FailureReason::RateLimited))
            );
            self.messages.get_mut(&id).unwrap().0 = if comes_again { State::Waiting } else { State::Done };
        }
    }

    fn is_done(&self) -> bool {
        self.messages.values().all(|(state, _)| *state == State::Done)
    }
}

async fn play(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (bench, mut session) = Bench::new().await;
    let mut model = Model::new(&mut rng);
    while !model.is_done() {
        if rng.random_bool(0.5) {
            let dispatch = model.dispatch(rng.random_range(1..12));
            if !dispatch.attempts.is_empty() {
                session.send(ServerBody::Dispatch(dispatch)).await;
            }
        }
        read(&mut session, &mut model).await;
        let some = rng.random_range(0..6);
        model.commit(some);
        session.acknowledge(model.committed).await;
    }
    let taken = bench.agent.gateway.taken();
    for chain in 0..CHAINS {
        let order: Vec<_> = taken.iter().filter(|id| id.cast_unsigned() % CHAINS == chain).collect();
        assert!(order.is_sorted(), "seed {seed}: {order:?}");
    }
    let refused = model.texts.values().filter(|text| *text == "refuse").count();
    assert_eq!(taken.len(), MESSAGES as usize - refused, "each exactly once");
}

/// Reads what is there, or waits for something if the agent has work.
async fn read(session: &mut Conversation, model: &mut Model) {
    let has_work = model.messages.values().any(|(state, _)| *state == State::Dispatched);
    if has_work && model.unread.is_empty() {
        let outcomes = session.outcomes(1).await;
        model.unread.extend(outcomes);
    }
}

#[tokio::test]
async fn chains_stay_in_order() {
    for seed in 0..8 {
        play(seed).await;
    }
}
