//! Random walks: a few hundred steps of clients, agents and time, and what must hold after each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::WaitReason;
use muster_domain::message::{HandbackReason, Message, MessageState, Outcome, Priority, ReceiptKind};
use muster_domain::{Address, MessageId, Timestamp};

use super::contacts::address;
use super::fixture::{
    Fixture, PATIENCE, bot, claim_all, connected, connection, outcome, receipt, refused, sent, text, unknown,
};
use crate::{AcceptResult, AttemptRef, Claim, Held, MessageFilter, OptIn, OptInResult, SessionOpen, SessionRef};

/// Steps of one walk.
const STEPS: u32 = 300;
/// Times that a walk plays with are so short that it meets their ends.
const MOMENT: Duration = Duration::from_millis(5);

/// The recipient that opts out and in again.
const FICKLE: &str = "+5511900000002";

/// A walk.
pub async fn a_first_walk_keeps_the_promises(fixture: Fixture) {
    Walk::new(fixture, 1).await.run().await;
}

/// Another walk.
pub async fn a_second_walk_keeps_the_promises(fixture: Fixture) {
    Walk::new(fixture, 0x5eed_0002).await.run().await;
}

/// And another one.
pub async fn a_third_walk_keeps_the_promises(fixture: Fixture) {
    Walk::new(fixture, 0x5eed_0003).await.run().await;
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }
}

struct Walk {
    fixture: Fixture,
    dice: Dice,
    /// Where a failure happened, to walk there again.
    place: String,
    session: SessionRef,
    journal: u8,
    /// What the agent holds, as far as the store told it.
    open: Vec<AttemptRef>,
    /// Every attempt that was ever claimed.
    past: Vec<AttemptRef>,
    /// States as the log of changes tells them.
    told: BTreeMap<MessageId, MessageState>,
    attempts: BTreeMap<MessageId, u32>,
    cursor: u64,
    /// [`FICKLE`] wants nothing at present.
    opted_out: bool,
}

impl Walk {
    async fn new(fixture: Fixture, seed: u64) -> Self {
        let session = fixture.open_connected().await;
        Walk {
            dice: Dice(seed),
            place: String::new(),
            session,
            journal: 100,
            open: Vec::new(),
            past: Vec::new(),
            told: BTreeMap::new(),
            attempts: BTreeMap::new(),
            cursor: 0,
            opted_out: false,
            fixture,
        }
    }

    async fn run(mut self) {
        let seed = self.dice.0;
        for step in 0..STEPS {
            let kind = self.dice.below(17);
            self.place = format!("seed {seed}, step {step}, kind {kind}");
            self.step(kind).await;
            self.check().await;
        }
        self.place = format!("seed {seed}, end");
        self.finish().await;
    }

    async fn step(&mut self, kind: usize) {
        match kind {
            0..=2 => self.accept().await,
            3..=5 => self.claim(true).await,
            6..=9 => self.report().await,
            10 => self.report_late().await,
            11 => self.receipt().await,
            12 => self.cancel().await,
            13 => {
                self.fixture.wake_due(self.dice.below(20) as u32 + 1).await;
            }
            14 => self.reconnect().await,
            15 => self.opt_out_or_in().await,
            _ => {
                let up = self.dice.below(3) > 0;
                let state =
                    if up { connected("b") } else { connection("b", muster_domain::bot::Connection::Disconnected) };
                self.fixture.tell(&self.session, vec![state]).await;
            }
        }
    }

    async fn accept(&mut self) {
        let count = self.dice.below(3) + 1;
        let mut messages = Vec::new();
        for _ in 0..count {
            let sender = if self.dice.below(4) == 0 { "b" } else { "a" };
            let mut message = text(sender, &format!("+551190000000{}", self.dice.below(3)), "hello");
            message.priority = Priority::ALL[self.dice.below(8).min(1)];
            match self.dice.below(10) {
                0 => message.not_before = Some(Timestamp::now() + MOMENT),
                1 => message.expire_time = Timestamp::now() + MOMENT * 4,
                _ => {}
            }
            messages.push(message);
        }
        let wanted: Vec<bool> = messages.iter().map(|message| !self.has_opted_out(&message.recipient)).collect();
        let results = self.fixture.store.message_accept(&self.fixture.tenant, messages).await.unwrap();
        for (result, is_wanted) in results.iter().zip(wanted) {
            let good = match result {
                // One that is valid for a moment may find too much before it.
                AcceptResult::Accepted(_) | AcceptResult::BacklogFull(_) => is_wanted,
                other => *other == AcceptResult::RecipientOptedOut && !is_wanted,
            };
            assert!(good, "{}: {result:?}", self.place);
        }
    }

    /// One of the recipients does not want any more, or wants again.
    async fn opt_out_or_in(&mut self) {
        if self.opted_out {
            let asked = OptIn { text: String::new(), proof: "form".into(), author: String::new() };
            let came_to =
                self.fixture.store.contact_opt_in(&self.fixture.tenant, &address(FICKLE), asked).await.unwrap();
            assert!(matches!(came_to, OptInResult::OptedIn(_)), "{}: {came_to:?}", self.place);
        } else {
            self.fixture.opt_out(FICKLE).await;
        }
        self.opted_out = !self.opted_out;
    }

    fn has_opted_out(&self, recipient: &Address) -> bool {
        self.opted_out && recipient.as_str() == FICKLE
    }

    async fn claim(&mut self, limited: bool) {
        let window = if limited { self.dice.below(4) as u32 } else { 100 };
        let bots = vec![(bot("a"), window), (bot("b"), window)];
        let claim = Claim { bots, attempts_max: 100, priority_step: MOMENT, ..claim_all() };
        let claimed = self.fixture.store.dispatch_claim(&self.session, claim).await.unwrap().attempts;
        let all = self.messages().await;
        for attempt in &claimed {
            let id = attempt.attempt.message_id;
            let message = all.iter().find(|message| message.id == id).unwrap();
            // P3: nothing of the same chain that was accepted earlier still waits, unless the client itself put it off.
            let overtaken = all.iter().find(|other| {
                other.id < id
                    && (&other.bot, &other.recipient, other.priority)
                        == (&message.bot, &message.recipient, message.priority)
                    && other.state == MessageState::Waiting
                    && other.parked.is_none_or(|parked| parked.reason != WaitReason::NotBefore)
            });
            assert!(overtaken.is_none(), "{}: {id} overtook {overtaken:?}", self.place);
            // P5: nothing leaves to somebody who opted out.
            assert!(!self.has_opted_out(&message.recipient), "{}: {id}", self.place);
            let expected = self.attempts.get(&id).copied().unwrap_or(0) + 1;
            assert_eq!(attempt.attempt.attempt_no, expected, "{}: {id}", self.place);
            self.attempts.insert(id, expected);
            self.open.push(attempt.attempt);
            self.past.push(attempt.attempt);
        }
    }

    fn outcome(&mut self, attempt: AttemptRef) -> Outcome {
        match self.dice.below(12) {
            0..=4 => sent(&network_id(attempt)),
            5 | 6 => refused(MOMENT * self.dice.below(3) as u32),
            7 => Outcome::HandedBack(HandbackReason::ChainBroken),
            8 => Outcome::Failed(Failure::new(FailureReason::InvalidRequest, "")),
            9 => unknown(),
            10 => Outcome::Cancelled,
            _ => Outcome::Expired,
        }
    }

    async fn report(&mut self) {
        let count = self.dice.below(4);
        let mut bodies = Vec::new();
        for _ in 0..count {
            if self.open.is_empty() {
                break;
            }
            let at = self.dice.below(self.open.len());
            let attempt = self.open.swap_remove(at);
            let came_to = self.outcome(attempt);
            bodies.push(outcome(attempt, came_to));
        }
        self.fixture.tell(&self.session, bodies).await;
    }

    /// An outcome of any attempt that ever was.
    async fn report_late(&mut self) {
        let Some(attempt) = self.dice.pick(&self.past) else { return };
        let came_to = self.outcome(attempt);
        self.open.retain(|open| *open != attempt);
        let waited = self.told[&attempt.message_id] == MessageState::Waiting;
        let final_now = waited && matches!(came_to, Outcome::Sent { .. } | Outcome::Uncertain(_));
        self.fixture.tell(&self.session, vec![outcome(attempt, came_to)]).await;
        // P2: what may have been sent is never sent again.
        let state = self.fixture.message(attempt.message_id).await.state;
        assert!(!final_now || state.is_final(), "{}: {attempt}", self.place);
    }

    async fn receipt(&mut self) {
        let Some(attempt) = self.dice.pick(&self.past) else { return };
        let kinds = [ReceiptKind::Acknowledged, ReceiptKind::Delivered, ReceiptKind::Read, ReceiptKind::Failed];
        let kind = kinds[self.dice.below(4)];
        self.fixture.tell(&self.session, vec![receipt(&network_id(attempt), kind)]).await;
    }

    async fn cancel(&mut self) {
        let ids: Vec<MessageId> = self.told.keys().copied().collect();
        let Some(id) = self.dice.pick(&ids) else { return };
        self.fixture.store.message_cancel(&self.fixture.tenant, id).await.unwrap();
    }

    /// The agent comes back with what it holds: all of it, some of it, or a journal that knows of nothing.
    async fn reconnect(&mut self) {
        let mut open = self.fixture.opening();
        if self.dice.below(5) == 0 {
            self.journal += 1;
            self.open.clear();
        } else {
            let dice = &mut self.dice;
            self.open.retain(|_| dice.below(3) > 0);
            let taken = self.fixture.store.dispatch_claim(&self.session, Claim::default()).await.unwrap();
            open.report_head = taken.report_committed;
        }
        open.journal_id = [self.journal; 16];
        open.held =
            self.open.iter().map(|attempt| Held { attempt: *attempt, started: true, reported_at: None }).collect();
        let old = self.session.clone();
        let opened = self.fixture.store.session_open(SessionOpen { ..open }).await.unwrap();
        self.session = opened.session;
        self.open.retain(|attempt| !opened.drop.contains(attempt));
        assert!(self.fixture.store.dispatch_claim(&old, Claim::default()).await.is_err(), "{}", self.place);
    }

    async fn messages(&self) -> Vec<Message> {
        let filter = MessageFilter::default();
        self.fixture.store.message_list(&self.fixture.tenant, &filter, None, 10_000).await.unwrap()
    }

    /// What must hold after every step.
    async fn check(&mut self) {
        let place = &self.place;
        let changes = self.fixture.store.changes_since(&self.fixture.tenant, self.cursor, None, 10_000).await.unwrap();
        self.cursor = changes.cursor;
        for change in changes.changes {
            let before = self.told.insert(change.message_id, change.state);
            assert!(may_follow(before, change.state), "{place}: {before:?} → {}", change.state);
        }
        let messages = self.messages().await;
        assert_eq!(messages.len(), self.told.len(), "{place}");
        let counts = self.fixture.store.message_counts(&self.fixture.tenant, &[]).await.unwrap().remove(0);
        for state in MessageState::ALL {
            let found = messages.iter().filter(|message| message.state == state).count() as u64;
            assert_eq!(counts.get(state), found, "{place}: {state}");
        }
        // Nothing ends or returns that the agent holds and has not reported.
        for held in &self.open {
            let message = messages.iter().find(|message| message.id == held.message_id).unwrap();
            let expected = (MessageState::Dispatched, held.attempt_no);
            assert_eq!((message.state, message.attempt_no), expected, "{place}: {held}");
        }
        for message in &messages {
            assert_eq!(self.told.get(&message.id), Some(&message.state), "{place}: {}", message.id);
            assert_eq!(self.attempts.get(&message.id).copied().unwrap_or(0), message.attempt_no, "{place}");
            assert!(message.parked.is_none() || message.state == MessageState::Waiting, "{place}: {message:?}");
            let waits_for_nothing = message.state == MessageState::Waiting && self.has_opted_out(&message.recipient);
            assert!(!waits_for_nothing, "{place}: {message:?}");
        }
    }

    /// With everything connected and every attempt sent, each message ends, and its trace is complete.
    async fn finish(mut self) {
        let end = tokio::time::Instant::now() + PATIENCE;
        self.open.clear();
        let taken = self.fixture.store.dispatch_claim(&self.session, Claim::default()).await.unwrap().report_committed;
        let open = SessionOpen { journal_id: [self.journal; 16], report_head: taken, ..self.fixture.opening() };
        self.session = self.fixture.store.session_open(open).await.unwrap().session;
        self.fixture.tell(&self.session, vec![connected("a"), connected("b")]).await;
        while self.told.values().any(|state| !state.is_final()) {
            assert!(tokio::time::Instant::now() < end, "{}: not all messages ended", self.place);
            self.fixture.wake_due(1_000).await;
            self.claim(false).await;
            let bodies = std::mem::take(&mut self.open);
            let bodies = bodies.into_iter().map(|attempt| outcome(attempt, sent(&network_id(attempt)))).collect();
            self.fixture.tell(&self.session, bodies).await;
            self.check().await;
        }
        for message in self.messages().await {
            let trace = self.fixture.trace(message.id).await;
            assert_eq!(trace.len() as u32, message.attempt_no, "{}: {message:?}: {trace:?}", self.place);
            assert!(!trace.contains(&"OPEN"), "{}: {message:?}: {trace:?}", self.place);
            let was_sent = matches!(message.state, MessageState::Sent | MessageState::Delivered | MessageState::Read);
            assert!(!was_sent || trace.contains(&"SENT"), "{}: {message:?}: {trace:?}", self.place);
        }
    }
}

/// Each attempt has an id of its own at the network.
fn network_id(attempt: AttemptRef) -> String {
    attempt.to_string()
}

/// Whether a message may come from one state into another: final states stay, except as receipts and late outcomes allow.
fn may_follow(before: Option<MessageState>, after: MessageState) -> bool {
    use MessageState::{Cancelled, Delivered, Dispatched, Expired, Failed, Read, Sent, Uncertain, Waiting};
    match before {
        None => after == Waiting,
        Some(Waiting) => matches!(after, Dispatched | Sent | Failed | Expired | Cancelled | Uncertain),
        Some(Dispatched) => matches!(after, Waiting | Sent | Failed | Expired | Cancelled | Uncertain),
        Some(Uncertain) => matches!(after, Waiting | Sent | Failed | Expired | Cancelled | Delivered | Read),
        Some(Sent) => matches!(after, Delivered | Read | Failed),
        Some(Failed) => matches!(after, Sent | Uncertain | Delivered | Read),
        Some(Delivered) => after == Read,
        // An attempt that was under way unknown to the database may have been sent.
        Some(Expired | Cancelled) => matches!(after, Sent | Uncertain),
        Some(Read) => false,
    }
}
