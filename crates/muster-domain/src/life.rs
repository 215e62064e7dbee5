//! The steps in the life of a message: which one follows from what happens to it.
//!
//! | what happens | rule |
//! |---|---|
//! | an agent reports what an attempt came to | [`after_outcome`] |
//! | an agent turns out never to have received an attempt | [`after_return`] |
//! | nobody can tell any more what became of it | [`after_loss`] |
//! | its validity ends | [`after_validity`] |
//! | a client takes it back | [`after_cancel`] |
//! | it may not leave | [`after_refusal`] |
//! | its agent dropped it because its recipient opted out | [`after_opt_out`] |
//! | somebody decides about it | [`after_decision`] |
//!
//! What receipts do is told by [`MessageState::after_receipt`], and when a message leaves by [`crate::gate`]. The promise
//! behind all of it: a message that may have been sent waits again only where somebody decided so, and one that was accepted
//! ends in a final state or in `UNCERTAIN`.

use std::time::Duration;

use crate::failure::{Failure, FailureReason, Scope};
use crate::gate::{RefuseReason, WaitReason};
use crate::message::{HandbackReason, MessageState, Outcome};
use crate::resolution::Resolution;
use crate::retry::{self, Next};

/// A message, as far as its next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Where it is.
    pub state: MessageState,
    /// Its latest attempt; zero if there was none.
    pub attempt_no: u32,
    /// A client asked to take it back while an attempt was under way.
    pub cancel_requested: bool,
    /// Its validity has ended.
    pub is_over: bool,
}

/// What was decided last about a message that was uncertain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What.
    pub resolution: Resolution,
    /// The latest attempt at that time: the decision is about this one and those before it.
    pub attempt_no: u32,
}

/// What happened to a message earlier. It is asked only where the answer matters: most messages are sent at the first try, and
/// looking into their past would cost more than the step.
pub trait Past {
    /// Why the past cannot be told.
    type Error;

    /// The latest decision about it.
    fn decision(&self) -> Result<Option<Decision>, Self::Error>;

    /// How many of its attempts failed. Handbacks are attempts, but no failures.
    fn failures(&self) -> Result<u32, Self::Error>;

    /// How often the bot or gateway that a refusal speaks of was refused in a row, this time included.
    fn refusals(&self) -> u32;
}

/// What an agent says of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Which.
    pub attempt_no: u32,
    /// The latest attempt belongs to the node that says it. What another node says of it is a mistake or a copied journal.
    pub by_its_node: bool,
    /// What it came to.
    pub outcome: &'a Outcome,
}

/// What an attempt came to, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptEnd {
    /// The gateway took it.
    Sent,
    /// It was not sent.
    Failed,
    /// It may have been sent.
    Uncertain,
    /// Its validity ended on the agent.
    Expired,
    /// It was cancelled on the agent.
    Cancelled,
    /// The agent never received it.
    NotReceived,
    /// Given back: the agent was about to stop.
    Draining,
    /// Given back: an earlier message has to go first.
    ChainBroken,
    /// Given back: the bot is held, retired or unknown on the agent.
    BotUnavailable,
    /// Given back: the bot's sending window closed first, or was changed.
    WindowClosed,
}

impl From<HandbackReason> for AttemptEnd {
    fn from(reason: HandbackReason) -> Self {
        match reason {
            HandbackReason::Draining => AttemptEnd::Draining,
            HandbackReason::ChainBroken => AttemptEnd::ChainBroken,
            HandbackReason::BotUnavailable => AttemptEnd::BotUnavailable,
            HandbackReason::WindowClosed => AttemptEnd::WindowClosed,
        }
    }
}

/// Where a waiting message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It does not wait.
    Nowhere,
    /// In its bot's queue.
    Ready,
    /// For a time of its own, counted from the step.
    Parked {
        /// How long.
        wait: Duration,
        /// Why.
        reason: WaitReason,
    },
}

/// One step: a message leaves the state that its facts tell for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The state after it.
    pub to: MessageState,
    /// Where it waits, if it waits.
    pub place: Place,
    /// What an attempt came to, if the step ends one or tells anew how one ended.
    pub end: Option<AttemptEnd>,
    /// Why the message is in the new state, if a failure brought it there.
    pub failure: Option<Failure>,
}

impl Step {
    /// A message whose fate is settled.
    pub fn finish(to: MessageState, end: Option<AttemptEnd>, failure: Option<Failure>) -> Self {
        Step { to, place: Place::Nowhere, end, failure }
    }

    /// A message whose attempt was not sent and that may leave again, unless the client took it back or its validity ended.
    fn wait_again(facts: &Facts, place: Place, end: AttemptEnd, failure: Option<Failure>) -> Self {
        if facts.cancel_requested {
            return Step::finish(MessageState::Cancelled, Some(end), failure);
        }
        if facts.is_over {
            return Step::finish(MessageState::Expired, Some(end), failure);
        }
        Step { to: MessageState::Waiting, place, end: Some(end), failure }
    }
}

/// What follows from a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// The message has gone another way meanwhile, and the report cannot move it.
    Nothing,
    /// It moves.
    Step(Step),
    /// Another attempt leads the message; the one that was reported is known to be sent, and the trace tells of both.
    SentBeside,
    /// The message was taken for sent already; now the network's id is known, by which receipts name it.
    Named,
}

/// What follows from a report, and what it says against a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What follows.
    pub follows: Follows,
    /// What is noted with the latest decision: the report contradicts it.
    pub conflict: Option<String>,
}

impl From<Follows> for Effect {
    fn from(follows: Follows) -> Self {
        Effect { follows, conflict: None }
    }
}

impl From<Step> for Effect {
    fn from(step: Step) -> Self {
        Follows::Step(step).into()
    }
}

/// What follows from the outcome of an attempt.
pub fn after_outcome<P: Past>(facts: &Facts, said: Said<'_>, past: &P) -> Result<Effect, P::Error> {
    let is_current = said.by_its_node && said.attempt_no == facts.attempt_no;
    let is_open = is_current && matches!(facts.state, MessageState::Dispatched | MessageState::Uncertain);
    Ok(match said.outcome {
        Outcome::Sent { .. } => after_sent(facts, said.attempt_no, is_current, past)?,
        Outcome::Uncertain(failure) => after_uncertain(facts, said.attempt_no, is_current, failure, past)?,
        Outcome::Failed(failure) if is_open => after_failure(facts, failure, past.failures()?, past.refusals()).into(),
        Outcome::Failed(failure) => not_sent_after_all(said.attempt_no, failure, past.decision()?),
        _ if !is_open => Follows::Nothing.into(),
        Outcome::HandedBack(reason) => Step::wait_again(facts, Place::Ready, (*reason).into(), None).into(),
        Outcome::Expired => Step::finish(MessageState::Expired, Some(AttemptEnd::Expired), None).into(),
        Outcome::Cancelled => Step::finish(MessageState::Cancelled, Some(AttemptEnd::Cancelled), None).into(),
    })
}

/// Whether the message is where it is because it was thought that `attempt_no` had not left: it waits, or it ended while it
/// waited. An attempt behind the latest one is known to everybody but a database that was restored from before it.
fn is_believed_unsent(facts: &Facts, attempt_no: u32) -> bool {
    match facts.state {
        MessageState::Waiting | MessageState::Expired | MessageState::Cancelled => true,
        MessageState::Dispatched | MessageState::Failed => attempt_no > facts.attempt_no,
        _ => false,
    }
}

/// The truth beats what was believed: a message that was thought not received and waits again was sent after all, and so was
/// one of which nobody knew, or about which it was decided otherwise, whichever of its attempts says so.
fn after_sent<P: Past>(facts: &Facts, attempt_no: u32, is_current: bool, past: &P) -> Result<Effect, P::Error> {
    use MessageState::{Delivered, Dispatched, Failed, Read, Sent, Waiting};
    let sent = || Follows::Step(Step::finish(Sent, Some(AttemptEnd::Sent), None));
    if is_current && facts.state == Dispatched {
        return Ok(sent().into());
    }
    let is_believed_unsent = facts.state == MessageState::Uncertain || is_believed_unsent(facts, attempt_no);
    let believed = if is_believed_unsent { sent() } else { Follows::Nothing };
    let Some(decision) = past.decision()? else { return Ok(believed.into()) };
    // The attempts that the decision is about, and whatever came of a message that has not left since.
    let is_concerned = attempt_no <= decision.attempt_no
        || facts.state == Waiting
        || (decision.resolution == Resolution::Drop && facts.state == Failed);
    if !is_concerned {
        return Ok(believed.into());
    }
    if decision.resolution == Resolution::Sent {
        return Ok(if is_believed_unsent { sent() } else { Follows::Named }.into());
    }
    // Where another attempt is under way or was sent too, that one leads the message.
    let leads_another = matches!(facts.state, Dispatched | Sent | Delivered | Read);
    let follows = if leads_another { Follows::SentBeside } else { sent() };
    Ok(Effect { follows, conflict: Some(format!("attempt {attempt_no} was sent")) })
}

/// Whether it waits again or ended meanwhile, nobody may take it for unsent before this is settled: unless somebody knew that
/// already, and decided.
fn after_uncertain<P: Past>(
    facts: &Facts,
    attempt_no: u32,
    is_current: bool,
    failure: &Failure,
    past: &P,
) -> Result<Effect, P::Error> {
    let uncertain = || Step::finish(MessageState::Uncertain, Some(AttemptEnd::Uncertain), Some(failure.clone()));
    if is_current && facts.state == MessageState::Dispatched {
        return Ok(uncertain().into());
    }
    if !is_believed_unsent(facts, attempt_no) {
        return Ok(Follows::Nothing.into());
    }
    let is_decided = past.decision()?.is_some_and(|decision| attempt_no <= decision.attempt_no);
    Ok(if is_decided { Follows::Nothing.into() } else { uncertain().into() })
}

/// What follows from a failed attempt, when `failures` attempts had failed before and its bot or gateway was refused
/// `refusals` times in a row.
fn after_failure(facts: &Facts, failure: &Failure, failures: u32, refusals: u32) -> Step {
    let (end, why) = (Some(AttemptEnd::Failed), Some(failure.clone()));
    match retry::after_failure(failure, failures + 1, refusals) {
        Next::RetryAfter(wait) => {
            let reason = match failure.scope() {
                Scope::Message | Scope::Recipient => WaitReason::RetryBackoff,
                Scope::Bot => WaitReason::BotBackoff,
                Scope::Gateway => WaitReason::GatewayBackoff,
            };
            Step::wait_again(facts, Place::Parked { wait, reason }, AttemptEnd::Failed, why)
        }
        Next::WithItsBot => Step::wait_again(facts, Place::Ready, AttemptEnd::Failed, why),
        Next::GiveUp => Step::finish(MessageState::Failed, end, why),
        Next::Hold => Step::finish(MessageState::Uncertain, end, why),
    }
}

/// A late report says that an attempt was not sent. The message moves no more; one that somebody took for sent stays sent,
/// because it may have been seen in the chat.
fn not_sent_after_all(attempt_no: u32, failure: &Failure, decision: Option<Decision>) -> Effect {
    let contradicts =
        decision.is_some_and(|decision| decision.resolution == Resolution::Sent && attempt_no <= decision.attempt_no);
    let conflict = contradicts.then(|| format!("attempt {attempt_no} was not sent: {}", failure.reason.as_str()));
    Effect { follows: Follows::Nothing, conflict }
}

/// The agent neither holds the latest attempt nor reported it: it never received it.
pub fn after_return(facts: &Facts) -> Step {
    Step::wait_again(facts, Place::Ready, AttemptEnd::NotReceived, None)
}

/// Nobody can tell any more what became of the message, for the reason `why`.
pub fn after_loss(facts: &Facts, why: &str) -> Step {
    let end = (facts.state == MessageState::Dispatched).then_some(AttemptEnd::Uncertain);
    Step::finish(MessageState::Uncertain, end, Some(Failure::new(FailureReason::OutcomeUnknown, why)))
}

/// The validity has ended. Of an attempt that is still under way the report may be on its way: nothing follows before
/// `is_given_up`.
pub fn after_validity(facts: &Facts, is_given_up: bool) -> Option<Step> {
    match facts.state {
        MessageState::Waiting => Some(Step::finish(MessageState::Expired, None, None)),
        MessageState::Dispatched if is_given_up => {
            Some(after_loss(facts, "no report came after the end of the message's validity"))
        }
        _ => None,
    }
}

/// What follows when a client takes a message back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancel {
    /// It had not left, and never will.
    Step(Step),
    /// An attempt is under way: its agent is asked.
    Ask,
    /// It is too late.
    TooLate,
}

/// A client takes the message back.
pub fn after_cancel(facts: &Facts) -> Cancel {
    match facts.state {
        MessageState::Waiting => Cancel::Step(Step::finish(MessageState::Cancelled, None, None)),
        MessageState::Dispatched => Cancel::Ask,
        _ => Cancel::TooLate,
    }
}

/// A waiting message may never leave.
pub fn after_refusal(reason: RefuseReason) -> Step {
    let fail = |reason, why| Step::finish(MessageState::Failed, None, Some(Failure::new(reason, why)));
    match reason {
        RefuseReason::Expired => Step::finish(MessageState::Expired, None, None),
        RefuseReason::BotRetired => {
            fail(FailureReason::SenderRestricted, "the bot was retired before the message left")
        }
        RefuseReason::BotBanned => {
            fail(FailureReason::SenderBanned, "the network banned the bot before the message left")
        }
        RefuseReason::NodeAbsent => {
            fail(FailureReason::NodeAbsent, "the bot's node was away for longer than the bot waits for it")
        }
        RefuseReason::RecipientOptedOut => {
            fail(FailureReason::RecipientOptedOut, "the recipient opted out before the message left")
        }
    }
}

/// What a step becomes whose message's agent was asked to drop it because its recipient opted out: it was not cancelled, unless a
/// client asked for that too.
pub fn after_opt_out(facts: &Facts, step: Step) -> Step {
    let was_dropped = step.to == MessageState::Cancelled && step.end == Some(AttemptEnd::Cancelled);
    match was_dropped && !facts.cancel_requested {
        true => Step { end: step.end, ..after_refusal(RefuseReason::RecipientOptedOut) },
        false => step,
    }
}

/// Why nothing can be decided about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecidable {
    /// It is known what became of it, or nothing has become of it yet.
    NotUncertain,
    /// It cannot be sent again: a client asked to take it back.
    CancelRequested,
    /// It cannot be sent again: its validity has ended.
    Expired,
}

/// Somebody decides about an uncertain message.
pub fn after_decision(facts: &Facts, resolution: Resolution) -> Result<Step, Undecidable> {
    if facts.state != MessageState::Uncertain {
        return Err(Undecidable::NotUncertain);
    }
    match resolution {
        Resolution::Sent => Ok(Step::finish(MessageState::Sent, None, None)),
        Resolution::Resend if facts.cancel_requested => Err(Undecidable::CancelRequested),
        Resolution::Resend if facts.is_over => Err(Undecidable::Expired),
        Resolution::Resend => Ok(Step { to: MessageState::Waiting, place: Place::Ready, end: None, failure: None }),
        Resolution::Drop => {
            let why = "dropped without knowing whether it was sent";
            let failure = Failure::new(FailureReason::OutcomeUnknown, why);
            Ok(Step::finish(MessageState::Failed, None, Some(failure)))
        }
    }
}

#[cfg(test)]
mod tests;
