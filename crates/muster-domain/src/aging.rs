//! Whose turn it is among the queues of a bot.
//!
//! The more urgent queue goes first, but nothing starves. What has waited for a step counts as the next higher priority, what
//! has waited for another one as the one above that; queues whose first messages count the same take turns. So a message
//! that counts as the highest priority leaves after at most [`QUEUES`] turns for each message before it in its own queue and
//! [`QUEUES`] for itself, however many more urgent ones arrive; and a fresh urgent one never waits behind a whole backlog that
//! has grown old, only for the turns of the others.
//!
//! Within a queue the order never changes: messages of a chain have one priority, and keep the order of their acceptance.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use crate::MessageId;
use crate::message::Priority;

/// Queues of a bot, one for each priority.
pub const QUEUES: usize = Priority::ALL.len();

/// What an id tells of the time of acceptance is cut to this.
const ID_GRAIN: Duration = Duration::from_millis(1);

/// Since when a message could leave: its acceptance, or the earliest time that its client named.
pub fn since(id: MessageId, not_before: Option<Timestamp>) -> Timestamp {
    not_before.map_or(id.accept_time(), |not_before| not_before.max(id.accept_time()))
}

/// What a message of a priority counts as that could have left since `since`: one priority higher for each whole `step`. With
/// a step of zero everything counts as the highest.
pub fn counts_as(priority: Priority, since: Timestamp, step: Duration, now: Timestamp) -> Priority {
    let waited = now.duration_since(since).as_micros().max(0).unsigned_abs();
    let steps = waited.checked_div(step.as_micros()).unwrap_or(u128::MAX);
    let higher = usize::try_from(steps).unwrap_or(usize::MAX);
    Priority::ALL[(priority as usize).saturating_sub(higher)]
}

/// Messages of a priority with an id below this one count as `counts_as` at least, unless their clients named a later time;
/// `None` if all of them do.
pub fn accepted_by(priority: Priority, counts_as: Priority, step: Duration, now: Timestamp) -> Option<MessageId> {
    let steps = (priority as u32).checked_sub(counts_as as u32).filter(|steps| *steps > 0)?;
    Some(MessageId::floor(now - step * steps + ID_GRAIN))
}

/// Which queue has its turn: `heads` tells since when the first message of each could have left, `last` which queue had the
/// latest turn. `None` if there is nothing.
pub fn next(
    heads: [Option<Timestamp>; QUEUES],
    last: Option<Priority>,
    step: Duration,
    now: Timestamp,
) -> Option<Priority> {
    let counts = |priority: Priority| heads[priority as usize].map(|since| counts_as(priority, since, step, now));
    let best = Priority::ALL.into_iter().filter_map(counts).min()?;
    let after_last = last.map_or(0, |last| last as usize + 1);
    (0..QUEUES).map(|i| Priority::ALL[(after_last + i) % QUEUES]).find(|priority| counts(*priority) == Some(best))
}

/// Puts the messages of a bot's queues into the order in which they leave. `since` tells of each since when it could have left.
pub fn in_turn<T>(
    mut queues: [VecDeque<T>; QUEUES],
    since: impl Fn(&T) -> Timestamp,
    mut last: Option<Priority>,
    step: Duration,
    now: Timestamp,
) -> Vec<T> {
    let mut ordered = Vec::with_capacity(queues.iter().map(VecDeque::len).sum());
    while let Some(priority) = next(queues.each_ref().map(|queue| queue.front().map(&since)), last, step, now) {
        ordered.extend(queues[priority as usize].pop_front());
        last = Some(priority);
    }
    ordered
}

/// What is before a message in the other queues of its bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Before {
    /// Messages of the queue that count more than it does.
    pub higher: u64,
    /// Messages of the queue that count as much.
    pub equal: u64,
}

/// How many messages leave before one at the most, as things are: `own` is how many are before it in its own queue.
pub fn ahead(own: u64, others: impl IntoIterator<Item = Before>) -> u64 {
    let of = |other: Before| other.higher.saturating_add(other.equal.min(own.saturating_add(1)));
    others.into_iter().map(of).fold(own, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_step_makes_one_priority_up_to_the_highest() {
        let now = at(0);
        let cases = [
            (Priority::Automation, 0, Priority::Automation),
            (Priority::Automation, 59, Priority::Automation),
            (Priority::Automation, 60, Priority::Campaign),
            (Priority::Automation, 119, Priority::Campaign),
            (Priority::Automation, 120, Priority::Conversation),
            (Priority::Automation, 999_999, Priority::Conversation),
            (Priority::Campaign, 60, Priority::Conversation),
            (Priority::Conversation, 999_999, Priority::Conversation),
            // A clock that was set back.
            (Priority::Campaign, -60, Priority::Campaign),
        ];
        for (priority, waited, expected) in cases {
            assert_eq!(counts_as(priority, at(-waited), STEP, now), expected, "{priority:?} after {waited} s");
        }
        assert_eq!(counts_as(Priority::Automation, now, Duration::ZERO, now), Priority::Conversation);
    }

    #[test]
    fn waiting_begins_when_a_message_may_leave() {
        let id = MessageId::floor(at(0));
        assert_eq!(since(id, None), at(0));
        assert_eq!(since(id, Some(at(-5))), at(0));
        assert_eq!(since(id, Some(at(5))), at(5));
    }

    #[test]
    fn ids_tell_what_counts_as_more() {
        let now = at(0);
        for (priority, target) in
            [(Priority::Automation, Priority::Campaign), (Priority::Automation, Priority::Conversation)]
        {
            let below = accepted_by(priority, target, STEP, now).unwrap();
            for waited in [0, 59, 60, 61, 119, 120, 500] {
                let id = MessageId::floor(at(-waited));
                let counts = counts_as(priority, since(id, None), STEP, now);
                assert_eq!(id < below, counts <= target, "{priority:?} as {target:?} after {waited} s");
            }
        }
        assert_eq!(accepted_by(Priority::Campaign, Priority::Campaign, STEP, now), None);
        assert_eq!(accepted_by(Priority::Conversation, Priority::Campaign, STEP, now), None);
    }

    #[test]
    fn the_more_urgent_go_first_and_the_old_take_turns() {
        let order = |queues: [&[i64]; QUEUES], last| {
            let mut position = 0;
            let queues = queues.map(|queue| {
                let queue: VecDeque<_> = queue.iter().map(|waited| (position, *waited)).collect();
                position += 1;
                queue
            });
            let ordered = in_turn(queues, |(_, waited)| at(-waited), last, STEP, at(0));
            ordered.into_iter().map(|(queue, _)| queue).collect::<Vec<_>>()
        };
        assert_eq!(order([&[5, 4], &[30, 20], &[50]], None), [0, 0, 1, 1, 2]);
        assert_eq!(order([&[5, 4, 3], &[70, 61, 20], &[50]], None), [0, 1, 0, 1, 0, 1, 2]);
        assert_eq!(order([&[5, 4, 3], &[70, 61, 20], &[50]], Some(Priority::Conversation)), [1, 0, 1, 0, 0, 1, 2]);
        assert_eq!(order([&[5, 4], &[70, 70], &[130, 120]], None), [0, 1, 2, 0, 1, 2]);
        assert_eq!(order([&[], &[5, 4], &[70, 70]], Some(Priority::Campaign)), [2, 1, 2, 1]);
    }

    #[test]
    fn what_leaves_before_a_message_is_bounded_by_its_turns() {
        let before = |higher, equal| Before { higher, equal };
        assert_eq!(ahead(2, [before(5, 0), before(7, 0)]), 14);
        assert_eq!(ahead(2, [before(5, 0), before(0, 7)]), 10);
        assert_eq!(ahead(2, [before(0, 5), before(0, 7)]), 8);
        assert_eq!(ahead(0, [Before::default(); 2]), 0);
        assert_eq!(ahead(1, [before(0, 90), before(0, 1)]), 4);
        assert_eq!(ahead(u64::MAX, [before(1, u64::MAX), before(0, 0)]), u64::MAX);
    }

    proptest! {
        /// However many urgent ones arrive, whatever could have left for long enough leaves within its turns.
        #[test]
        fn nothing_starves(
            arrivals in prop::collection::vec((0..QUEUES, 0usize..4), 1..300),
            backlog in prop::collection::vec(0..QUEUES, 0..30),
        ) {
            let mut queues: [VecDeque<i64>; QUEUES] = Default::default();
            backlog.iter().for_each(|queue| queues[*queue].push_back(0));
            let mut last = None;
            // When each queue's first message began to count as the highest, in turns.
            let mut highest: [Option<usize>; QUEUES] = [None; QUEUES];
            for (turn, (queue, count)) in arrivals.into_iter().enumerate() {
                let now = 10 * turn as i64;
                (0..count).for_each(|_| queues[queue].push_back(now));
                let heads = queues.each_ref().map(|queue| queue.front().map(|since| at(*since)));
                for priority in Priority::ALL {
                    let top = heads[priority as usize]
                        .is_some_and(|since| counts_as(priority, since, STEP, at(now)) == Priority::Conversation);
                    let since = &mut highest[priority as usize];
                    *since = top.then_some(since.unwrap_or(turn));
                    prop_assert!(since.is_none_or(|since| turn - since < QUEUES), "{priority:?} starves");
                }
                if let Some(priority) = next(heads, last, STEP, at(now)) {
                    queues[priority as usize].pop_front();
                    highest[priority as usize] = None;
                    last = Some(priority);
                }
            }
        }

        /// No message is lost or doubled, none overtakes another one of its queue, and what leaves before one is what `ahead` says
        /// at the most.
        #[test]
        fn queues_keep_their_order(
            waited in prop::collection::vec((0..QUEUES, 0i64..200), 0..60),
            last in prop::option::of(0..QUEUES),
        ) {
            let mut queues: [VecDeque<i64>; QUEUES] = Default::default();
            let mut waited = waited;
            waited.sort_by_key(|(_, waited)| -waited);
            waited.iter().for_each(|(queue, waited)| queues[*queue].push_back(*waited));
            let tagged = [0, 1, 2].map(|queue| {
                queues[queue].iter().enumerate().map(|(place, waited)| (queue, place, *waited)).collect::<VecDeque<_>>()
            });
            let last = last.map(|last| Priority::ALL[last]);
            let ordered = in_turn(tagged, |(_, _, waited)| at(-waited), last, STEP, at(0));
            prop_assert_eq!(ordered.len(), waited.len());
            let mut next = [0; QUEUES];
            for (position, (queue, place, waited)) in ordered.into_iter().enumerate() {
                prop_assert_eq!(place, next[queue]);
                next[queue] += 1;
                let priority = Priority::ALL[queue];
                let counts = counts_as(priority, at(-waited), STEP, at(0));
                let others = (0..QUEUES).filter(|other| *other != queue).map(|other| {
                    let of = |waited: &&i64| counts_as(Priority::ALL[other], at(-**waited), STEP, at(0));
                    let count = |is: &dyn Fn(Priority) -> bool| queues[other].iter().filter(|w| is(of(w))).count() as u64;
                    Before { higher: count(&|other| other < counts), equal: count(&|other| other == counts) }
                });
                prop_assert!(position as u64 <= ahead(place as u64, others));
            }
        }
    }
}
