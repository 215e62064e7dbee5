//! What waits in a lane, in the order of dispatch, and which chains are broken.

use std::collections::{HashMap, VecDeque};

use muster_domain::message::{AttemptRef, HandbackReason};
use muster_proto::convert::agent_v1::Attempt;

use crate::clock::Stamp;

/// The offset of a report that is not durable yet: later than any that an attempt can know.
const NOT_YET_REPORTED: u64 = u64::MAX;

/// An attempt that was accepted.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) attempt: Attempt,
    /// When it arrived.
    pub(crate) arrived: Stamp,
    /// Reports up to here were taken into account when it was chosen. Never falls from one item to the next.
    pub(crate) report_committed: u64,
    /// Its intent is durable already.
    pub(crate) has_intent: bool,
}

/// The queue of one bot.
#[derive(Debug, Default)]
pub(crate) struct LaneQueue {
    items: VecDeque<Item>,
    /// Somebody works through the queue, or is about to.
    is_running: bool,
    /// Per broken chain, the report after which an attempt of it must have been chosen.
    chains: HashMap<u64, u64>,
    /// The same for all attempts, once the bot or its gateway was refused; zero if it was not.
    refused: u64,
}

impl LaneQueue {
    /// Takes the lane for an attempt that would be its only one. `false` if anything is ahead of it.
    pub(crate) fn try_begin(&mut self, chain: u64, report_committed: u64) -> bool {
        if self.is_running || !self.items.is_empty() || self.holds_back(chain, report_committed).is_some() {
            return false;
        }
        self.is_running = true;
        true
    }

    /// Gives back a lane that [`LaneQueue::try_begin`] took.
    pub(crate) fn abandon(&mut self) {
        self.is_running = false;
    }

    /// Puts an attempt behind the others. `true` if somebody has to be sent to work through them.
    pub(crate) fn push(&mut self, item: Item) -> bool {
        // An attempt with an intent took the lane when it got it.
        let needs_worker = item.has_intent || !self.is_running;
        self.items.push_back(item);
        self.is_running = true;
        needs_worker
    }

    /// The next attempt, and why it goes back unstarted if it has to. `None` ends the work: the lane is idle then.
    pub(crate) fn pop(&mut self, ends_work: bool) -> Option<(Item, Option<HandbackReason>)> {
        let Some(item) = self.items.pop_front() else {
            self.is_running = !ends_work;
            return None;
        };
        // Items know ever more reports: what this one knows, all behind it know.
        if !self.chains.is_empty() {
            self.chains.retain(|_, offset| *offset > item.report_committed);
        }
        let held_back = self.holds_back(item.attempt.chain, item.report_committed);
        Some((item, held_back))
    }

    /// Puts an attempt back to the front.
    pub(crate) fn unpop(&mut self, item: Item) {
        self.items.push_front(item);
    }

    /// Why an attempt that was chosen with this knowledge goes back unstarted; `None` if nothing speaks against it.
    pub(crate) fn holds_back(&self, chain: u64, report_committed: u64) -> Option<HandbackReason> {
        if self.chains.get(&chain).is_some_and(|offset| *offset > report_committed) {
            return Some(HandbackReason::ChainBroken);
        }
        (self.refused > report_committed).then_some(HandbackReason::BotUnavailable)
    }

    /// The bot or its gateway was refused; the report that says so is not durable yet.
    pub(crate) fn refuse(&mut self) {
        self.refused = NOT_YET_REPORTED;
    }

    /// The report that the bot or its gateway was refused stands at `offset`.
    pub(crate) fn refused_at(&mut self, offset: u64) {
        self.refused = offset;
    }

    /// A message of the chain comes again; the report that says so is not durable yet.
    pub(crate) fn break_chain(&mut self, chain: u64) {
        self.chains.insert(chain, NOT_YET_REPORTED);
    }

    /// The report that a message of the chain comes again stands at `offset`.
    pub(crate) fn chain_broken_at(&mut self, chain: u64, offset: u64) {
        self.chains.insert(chain, offset);
    }

    /// The journal says that the chain was broken at `offset`, before this lane knew.
    pub(crate) fn note_broken(&mut self, chain: u64, offset: u64) {
        let mark = self.chains.entry(chain).or_default();
        *mark = offset.max(*mark);
    }

    /// Takes an attempt out that was not begun.
    pub(crate) fn take_out(&mut self, attempt: AttemptRef) -> Option<Item> {
        let at = self.items.iter().position(|item| item.attempt.attempt == attempt && !item.has_intent)?;
        self.items.remove(at)
    }

    /// The work ends with items left.
    pub(crate) fn leave(&mut self) {
        self.is_running = false;
    }

    /// Whether nothing waits and nobody works.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_running && self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::content::{Content, Courtesy};
    use muster_domain::{Address, BotId, MessageId};

    use super::*;

    fn item(message: i64, chain: u64, report_committed: u64) -> Item {
        let attempt = Attempt {
            attempt: AttemptRef { message_id: MessageId::from_raw(message).unwrap(), attempt_no: 1 },
            bot: BotId::new("a").unwrap(),
            recipient: Address::from_stored("x"),
            content: Content::Text { body: "x".into() },
            chain,
            start_within: Duration::from_secs(60),
            reply_to: None,
            courtesy: Courtesy::default(),
            resend_after: 0,
            window_closes: false,
            window_generation: 0,
        };
        Item { attempt, arrived: Stamp::default(), report_committed, has_intent: false }
    }

    fn broken(lane: &mut LaneQueue) -> bool {
        lane.pop(false).unwrap().1 == Some(HandbackReason::ChainBroken)
    }

    #[test]
    fn a_refused_bot_tries_nothing_that_was_chosen_before_the_report() {
        let mut lane = LaneQueue::default();
        for (message, known) in [(1, 4), (2, 9), (3, 10)] {
            lane.push(item(message, 7, known));
        }
        lane.refuse();
        assert_eq!(lane.pop(false).unwrap().1, Some(HandbackReason::BotUnavailable));
        lane.refused_at(10);
        assert_eq!(lane.pop(false).unwrap().1, Some(HandbackReason::BotUnavailable));
        assert_eq!(lane.pop(false).unwrap().1, None);
    }

    #[test]
    fn a_broken_chain_holds_back_what_was_chosen_before_the_report() {
        let mut lane = LaneQueue::default();
        for (message, chain, known) in [(1, 7, 4), (2, 8, 4), (3, 7, 9), (4, 7, 10)] {
            lane.push(item(message, chain, known));
        }
        lane.break_chain(7);
        assert!(broken(&mut lane));
        lane.chain_broken_at(7, 10);
        assert!(!broken(&mut lane));
        assert!(broken(&mut lane));
        assert!(!broken(&mut lane));
        lane.note_broken(8, 3);
        lane.note_broken(8, 2);
        assert!(lane.holds_back(8, 2).is_some() && lane.holds_back(8, 3).is_none());
        assert!(lane.holds_back(7, 0).is_none(), "nobody behind an attempt that knows the report needs the mark");
    }

    #[test]
    fn one_worker_at_a_time() {
        let mut lane = LaneQueue::default();
        assert!(lane.try_begin(1, 0));
        assert!(!lane.try_begin(1, 0));
        lane.abandon();
        assert!(lane.push(item(1, 1, 0)));
        assert!(!lane.push(item(2, 1, 0)));
        assert!(!lane.try_begin(1, 0));
        assert!(lane.pop(true).is_some());
        assert!(lane.pop(true).is_some());
        assert!(lane.pop(true).is_none());
        assert!(lane.is_idle());
    }

    #[test]
    fn what_has_begun_is_not_taken_out() {
        let mut lane = LaneQueue::default();
        lane.push(item(1, 1, 0));
        lane.push(Item { has_intent: true, ..item(2, 1, 0) });
        let attempt = |message| AttemptRef { message_id: MessageId::from_raw(message).unwrap(), attempt_no: 1 };
        assert!(lane.take_out(attempt(1)).is_some());
        assert!(lane.take_out(attempt(1)).is_none());
        assert!(lane.take_out(attempt(2)).is_none());
    }
}
