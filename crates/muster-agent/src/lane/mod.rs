//! Lanes: one per bot that has work, strictly serial, in the order of dispatch.
//!
//! A lane asks the [`gate`], makes the intent durable, calls the gateway, and makes the outcome durable. The outcome of one
//! attempt and the intent of the next travel in the same sync, so that a message costs a lane one sync.
//!
//! # Intents ahead of calls
//!
//! A gateway that answers much faster than the disk syncs would wait for the disk most of the time. For such a gateway, and
//! only for it, a lane makes up to [`INTENTS_AHEAD_MAX`] intents durable at once and then calls one after the other. The
//! price is paid in a crash: that many attempts of the bot may be uncertain instead of one. No gateway that speaks to a real
//! network is so fast; it keeps one intent at a time.

pub(crate) mod gate;
mod queue;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_domain::content::{Courtesy, MediaDigest, MediaSource};
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{AttemptRef, HandbackReason, Outcome};
use muster_gateway::{SendError, SendRequest};
use muster_proto::convert::agent_v1::{AttemptOutcome, usable_network_id};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(crate) use self::gate::Phase;
use self::gate::{Facts, Standing, Verdict, decide};
pub(crate) use self::queue::{Item, LaneQueue};
use crate::bots::{Bot, Bots, OpenGateway};
use crate::journal::record::{Record, Settlement};
use crate::journal::{AppendError, Journal};
use crate::media::Media;
use crate::report;
use crate::supervisor::Note;

/// Intents that a lane makes durable at once for a gateway that answers faster than the disk syncs. With 100 busy lanes and
/// a disk that syncs in 4 ms this is what it takes to keep two cores busy.
pub(crate) const INTENTS_AHEAD_MAX: usize = 16;

/// How much faster than a sync a gateway must answer before a lane goes ahead of its calls.
const AHEAD_IF_FASTER_BY: u32 = 16;

/// What is added to the time of a send before the lane itself gives up on an adapter that does not answer.
const ADAPTER_GRACE: Duration = Duration::from_secs(10);

/// How often a lane that waits looks whether an attempt has expired meanwhile.
const WAIT_CHECK_EVERY: Duration = Duration::from_secs(1);

/// What holds for all lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Conditions {
    pub(crate) phase: Phase,
    /// A desired state is there: a bot that is not in it is not this node's.
    pub(crate) is_declared: bool,
    /// The node is drained: what is not started is handed back.
    pub(crate) is_drained: bool,
}

/// What lanes work with.
pub(crate) struct Lanes {
    journal: Journal,
    bots: Arc<Bots>,
    media: Media,
    send_timeout: Duration,
    conditions: watch::Sender<Conditions>,
    tasks: TaskTracker,
}

/// An attempt whose intent is durable or about to be.
struct Begun {
    item: Item,
    gateway: Arc<OpenGateway>,
    media: Option<Bytes>,
}

/// What a lane writes next, in one piece.
#[derive(Default)]
struct Draft {
    records: Vec<Record>,
    reports: u64,
    /// Chains that break, each with the place of its report among the draft's reports.
    broken: Vec<(u64, u64)>,
    /// The place of the latest report that the bot or its gateway was refused.
    refused: Option<u64>,
}

/// What a lane does after it has looked at its queue.
enum Plan {
    /// Writes its draft and makes its calls.
    GoOn,
    /// Ends: its queue is empty, or what is in it is to be left.
    End,
}

impl Lanes {
    pub(crate) fn new(journal: Journal, bots: Arc<Bots>, media: Media, send_timeout: Duration) -> Self {
        let conditions = watch::Sender::new(Conditions::default());
        Lanes { journal, bots, media, send_timeout, conditions, tasks: TaskTracker::new() }
    }

    /// The bots whose lanes these are.
    pub(crate) fn bots(&self) -> &Arc<Bots> {
        &self.bots
    }

    /// Moves to another phase. There is no way back from draining, nor from stopping.
    pub(crate) fn enter(&self, phase: Phase) {
        let rank = |phase| match phase {
            Phase::Resuming => 0,
            Phase::Working => 1,
            Phase::Draining => 2,
            Phase::Stopping => 3,
        };
        self.conditions.send_if_modified(|conditions| {
            let moves = rank(phase) > rank(conditions.phase);
            if moves {
                conditions.phase = phase;
            }
            moves
        });
    }

    /// The present phase.
    pub(crate) fn phase(&self) -> Phase {
        self.conditions.borrow().phase
    }

    /// What is declared has changed: lanes that wait look again.
    pub(crate) fn note_declared(&self, is_drained: bool) {
        self.conditions.send_modify(|conditions| {
            conditions.is_declared = true;
            conditions.is_drained = is_drained;
        });
    }

    /// Waits until nobody works in any lane. New work may come afterwards, unless the phase is [`Phase::Stopping`].
    pub(crate) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    fn facts(
        &self,
        bot: &Bot,
        item: &Item,
        held_back: Option<HandbackReason>,
        conditions: Conditions,
    ) -> (Facts, Option<Arc<OpenGateway>>) {
        let route = bot.route();
        let gateway = route.as_ref().filter(|route| route.may_send).and_then(|route| route.gateway.clone());
        let standing = match (&route, &gateway) {
            (None, _) if !conditions.is_declared => Standing::Unknown,
            (_, None) => Standing::Unavailable,
            (_, Some(_)) => Standing::Ready,
        };
        let facts = Facts {
            phase: conditions.phase,
            is_drained: conditions.is_drained,
            standing,
            age: item.arrived.age(self.journal.now()),
            start_within: item.attempt.start_within,
            window_closes: item.attempt.window_closes,
            window_changed: route.is_some_and(|route| item.attempt.window_generation < route.window_generation),
            held_back,
        };
        (facts, gateway)
    }

    /// Whether an attempt that just arrived may begin in the same sync that accepts it: its lane is free, and the gate is
    /// open. The lane is taken then, until [`Lanes::push`].
    pub(crate) fn try_begin(&self, item: &Item) -> bool {
        if stored_medium(item).is_some() {
            return false;
        }
        let bot = self.bots.get_or_insert(&item.attempt.bot);
        let (facts, _) = self.facts(&bot, item, None, *self.conditions.borrow());
        decide(&facts) == Verdict::Start && bot.lane().try_begin(item.attempt.chain, item.report_committed)
    }

    /// Gives back a lane that was taken for an attempt that was not accepted after all.
    pub(crate) fn abandon(&self, item: &Item) {
        self.bots.get_or_insert(&item.attempt.bot).lane().abandon();
    }

    /// Puts an attempt that is durable into its lane.
    pub(crate) fn push(self: &Arc<Self>, item: Item) {
        let bot = self.bots.get_or_insert(&item.attempt.bot);
        if let Some(digest) = stored_medium(&item) {
            self.media.prefetch(digest);
        }
        let needs_worker = bot.lane().push(item);
        if needs_worker {
            let lanes = Arc::clone(self);
            self.tasks.spawn(async move {
                // An error means that the journal is closed: the agent stops, and what is unsaid is uncertain at the next start.
                let _ = lanes.work(&bot).await;
            });
        }
    }

    /// Works through a lane until it is empty, or the agent stops. An error means that the journal is closed.
    async fn work(&self, bot: &Bot) -> Result<(), AppendError> {
        let mut begun = VecDeque::new();
        let mut draft = Draft::default();
        let mut conditions = self.conditions.subscribe();
        loop {
            match self.plan(bot, &mut conditions, &mut begun, &mut draft).await {
                Plan::End => return Ok(()),
                Plan::GoOn => {
                    self.write(bot, &mut draft).await?;
                    self.call_all(bot, &mut begun, &mut draft).await?;
                }
            }
        }
    }

    /// Chooses what begins next, and notes what ends unstarted. Waits while nothing can be said.
    ///
    /// Whatever is waited for, the attempt waits in the queue, where it can be taken out.
    async fn plan(
        &self,
        bot: &Bot,
        conditions: &mut watch::Receiver<Conditions>,
        begun: &mut VecDeque<Begun>,
        draft: &mut Draft,
    ) -> Plan {
        let window = self.window(bot);
        while begun.len() < window {
            // The lane ends only with nothing left to do: until then its worker comes back here.
            let has_work = !begun.is_empty() || !draft.records.is_empty();
            let Some((item, held_back)) = bot.lane().pop(!has_work) else {
                return if has_work { Plan::GoOn } else { Plan::End };
            };
            // What changes from here on wakes those who wait.
            let seen = *conditions.borrow_and_update();
            let (facts, gateway) = self.facts(bot, &item, held_back, seen);
            // An attempt whose intent was written with its acceptance was through the gate then. Like all others it is
            // asked again before the call.
            let verdict = if item.has_intent { Verdict::Start } else { decide(&facts) };
            match (verdict, gateway) {
                (Verdict::Start, Some(gateway)) => {
                    let mut media = None;
                    if let Some(digest) = stored_medium(&item) {
                        media = self.media.ready(digest);
                        if media.is_none() {
                            let attempt = item.attempt.attempt;
                            bot.lane().unpop(item);
                            if has_work {
                                return Plan::GoOn;
                            }
                            self.fetch(bot, attempt, digest, draft).await;
                            continue;
                        }
                    }
                    let waits_for_sync = !item.has_intent;
                    if waits_for_sync {
                        draft.records.push(Record::Intent(item.attempt.attempt));
                    }
                    begun.push_back(Begun { item, gateway, media });
                    if !waits_for_sync && !has_work {
                        return Plan::GoOn;
                    }
                }
                (Verdict::Start, None) => {
                    let outcome = Outcome::HandedBack(HandbackReason::BotUnavailable);
                    self.end(bot, &item, outcome, Duration::ZERO, draft);
                }
                (Verdict::End(outcome), _) => self.end(bot, &item, outcome, Duration::ZERO, draft),
                (Verdict::Leave, _) => {
                    let mut lane = bot.lane();
                    lane.unpop(item);
                    if has_work {
                        return Plan::GoOn;
                    }
                    lane.leave();
                    return Plan::End;
                }
                (Verdict::Wait, _) => {
                    bot.lane().unpop(item);
                    if has_work {
                        return Plan::GoOn;
                    }
                    let _ = tokio::time::timeout(WAIT_CHECK_EVERY, conditions.changed()).await;
                }
            }
        }
        Plan::GoOn
    }

    /// Waits for a medium. The attempt fails if it cannot be had.
    async fn fetch(&self, bot: &Bot, attempt: AttemptRef, digest: MediaDigest, draft: &mut Draft) {
        if let Err(failure) = self.media.get(digest).await {
            let taken = bot.lane().take_out(attempt);
            if let Some(item) = taken {
                self.end(bot, &item, Outcome::Failed(failure), Duration::ZERO, draft);
            }
        }
    }

    /// How many intents are made durable at once.
    fn window(&self, bot: &Bot) -> usize {
        let is_fast = bot.vitals.call_time().is_some_and(|call| call * AHEAD_IF_FASTER_BY < self.journal.sync_time());
        if is_fast { INTENTS_AHEAD_MAX } else { 1 }
    }

    /// Notes how an attempt ended.
    fn end(&self, bot: &Bot, item: &Item, outcome: Outcome, gateway: Duration, draft: &mut Draft) {
        let (attempt, chain) = (item.attempt.attempt, item.attempt.chain);
        let now = self.journal.now();
        if Settlement::of(&outcome).breaks_chain() {
            bot.lane().break_chain(chain);
            draft.broken.push((chain, draft.reports));
        }
        if matches!(&outcome, Outcome::Failed(failure) if failure.scope().is_shared()) {
            bot.lane().refuse();
            draft.refused = Some(draft.reports);
        }
        let queued = item.arrived.age(now).saturating_sub(gateway);
        draft.records.push(report::outcome(AttemptOutcome { attempt, outcome, queued, gateway }, now));
        draft.reports += 1;
    }

    /// Makes a draft durable, and learns where the reports stand that broke chains.
    async fn write(&self, bot: &Bot, draft: &mut Draft) -> Result<(), AppendError> {
        let Draft { records, broken, refused, reports: _ } = std::mem::take(draft);
        if records.is_empty() {
            return Ok(());
        }
        let first = self.journal.append(records).await?;
        if !broken.is_empty() || refused.is_some() {
            let mut lane = bot.lane();
            for (chain, nth) in broken {
                lane.chain_broken_at(chain, first + nth);
            }
            if let Some(nth) = refused {
                lane.refused_at(first + nth);
            }
        }
        Ok(())
    }

    /// Calls the gateway for everything that has begun, one after the other.
    async fn call_all(&self, bot: &Bot, begun: &mut VecDeque<Begun>, draft: &mut Draft) -> Result<(), AppendError> {
        let since = Instant::now();
        while let Some(Begun { item, gateway, media }) = begun.pop_front() {
            let held_back = bot.lane().holds_back(item.attempt.chain, item.report_committed);
            let (facts, _) = self.facts(bot, &item, held_back, *self.conditions.borrow());
            match decide(&facts) {
                Verdict::Start => {
                    let (outcome, took) = self.call(bot, &item, &gateway, media.as_ref()).await;
                    let outcome = match gateway.gives_signs() {
                        true => self.listen(bot, &item, outcome, took, draft),
                        false => outcome,
                    };
                    self.end(bot, &item, outcome, took, draft);
                }
                Verdict::End(outcome) => self.end(bot, &item, outcome, Duration::ZERO, draft),
                // With a durable intent it cannot wait. What is known is that the gateway was not called.
                Verdict::Wait | Verdict::Leave => {
                    let outcome = Outcome::HandedBack(HandbackReason::Draining);
                    self.end(bot, &item, outcome, Duration::ZERO, draft);
                }
            }
            // An outcome does not wait for a gateway that turned out slow.
            if !begun.is_empty() && since.elapsed() > self.journal.sync_time() {
                self.write(bot, draft).await?;
            }
        }
        Ok(())
    }

    /// What a call came to, with what the network said of it meanwhile. What that tells of earlier calls is reported beside it.
    fn listen(&self, bot: &Bot, item: &Item, outcome: Outcome, took: Duration, draft: &mut Draft) -> Outcome {
        let attempt = item.attempt.attempt;
        let known = match &outcome {
            Outcome::Sent { network_id } => bot.echoes().answered(attempt, Some(network_id)),
            Outcome::Uncertain(_) => bot.echoes().unanswered(attempt, took),
            _ => bot.echoes().answered(attempt, None),
        };
        let mut own = outcome;
        for known in known {
            if known.attempt == attempt {
                own = known.outcome;
            } else {
                draft.records.push(report::outcome(known, self.journal.now()));
                draft.reports += 1;
            }
        }
        own
    }

    async fn call(&self, bot: &Bot, item: &Item, gateway: &OpenGateway, media: Option<&Bytes>) -> (Outcome, Duration) {
        let attempt = &item.attempt;
        // What is shown to the recipient first ends where the time ends in which the message may leave.
        let left = attempt.start_within.saturating_sub(item.arrived.age(self.journal.now()));
        let courtesy = Courtesy { typing: attempt.courtesy.typing.min(left), ..attempt.courtesy };
        let request = SendRequest {
            message_id: attempt.attempt.message_id,
            recipient: &attempt.recipient,
            content: &attempt.content,
            media,
            reply_to: attempt.reply_to.as_deref(),
            courtesy,
            timeout: self.send_timeout,
        };
        if gateway.gives_signs() {
            let now = self.journal.now();
            let (recipient, content) = (&attempt.recipient, &attempt.content);
            bot.echoes().call(attempt.attempt, recipient, content, item.arrived.age(now), now);
        }
        let began = Instant::now();
        let bound = self.send_timeout + attempt.courtesy.typing + ADAPTER_GRACE;
        let answer = tokio::time::timeout(bound, gateway.gateway.send(&bot.id, request)).await;
        let took = began.elapsed();
        bot.vitals.note_call(took);
        let outcome = match answer {
            Ok(Ok(sent)) => {
                if gateway.gives_signs() {
                    bot.note_sent(self.journal.now());
                }
                Outcome::Sent { network_id: usable_network_id(sent.network_id) }
            }
            Ok(Err(SendError::NotSent(failure))) => {
                if failure.reason == FailureReason::NotConnected {
                    bot.note(Note::Suspect);
                }
                Outcome::Failed(failure)
            }
            Ok(Err(SendError::Unknown(failure))) => Outcome::Uncertain(failure),
            Err(_) => Outcome::Uncertain(Failure::new(
                FailureReason::OutcomeUnknown,
                "the gateway was called and gave no answer in time",
            )),
        };
        (outcome, took)
    }
}

fn stored_medium(item: &Item) -> Option<MediaDigest> {
    match &item.attempt.content.media()?.source {
        MediaSource::Stored(digest) => Some(*digest),
        MediaSource::Url(_) => None,
    }
}
