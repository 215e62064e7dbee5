//! Weighted fair queueing: who is served next where tenants contend.
//!
//! Deficit round robin. Whoever waits gets a turn in every round, and may use up as much in it as its weight allows; what it could
//! not use because its next item is large is kept for its next turn. So everybody who always has something waiting is served
//! in proportion to the weights, whatever the others bring, and the share of one that has nothing goes to the others. Credit is
//! not saved while nothing waits: nobody comes back with a claim to everything.

use std::collections::{BTreeMap, VecDeque};

/// What a turn adds for each unit of weight, in the unit of the costs. Small beside what is served at a time, so that shares hold
/// within it.
pub const QUANTUM: u64 = 64;

/// Items that wait, by who brought them.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    lanes: BTreeMap<K, Lane<T>>,
    /// Those with something that waits, in the order of their turns.
    turns: VecDeque<K>,
    len: usize,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<(u64, T)>,
    weight: u64,
    /// What the lane may still use up in its turn.
    credit: u64,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        FairQueue { lanes: BTreeMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<K: Ord + Clone, T> FairQueue<K, T> {
    /// Puts an item behind the others of `key`. `weight` counts from now on; `cost` is what serving the item takes. Zeros count
    /// as one.
    pub fn push(&mut self, key: K, weight: u32, cost: u64, item: T) {
        let turns = &mut self.turns;
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| {
            turns.push_back(key);
            Lane { items: VecDeque::new(), weight: 1, credit: 0 }
        });
        lane.weight = u64::from(weight.max(1));
        lane.items.push_back((cost.max(1), item));
        self.len += 1;
    }

    /// The cost of the item that is served next.
    pub fn next_cost(&mut self) -> Option<u64> {
        loop {
            let key = self.turns.front()?;
            let lane = self.lanes.get_mut(key)?;
            let (cost, _) = lane.items.front()?;
            if lane.credit >= *cost {
                return Some(*cost);
            }
            // Its turn is over; with the next one comes new credit.
            lane.credit += QUANTUM * lane.weight;
            if self.turns.len() > 1 {
                self.turns.rotate_left(1);
            }
        }
    }

    /// Takes the item that is served next.
    pub fn pop(&mut self) -> Option<T> {
        let cost = self.next_cost()?;
        let key = self.turns.front()?;
        let lane = self.lanes.get_mut(key)?;
        let (_, item) = lane.items.pop_front()?;
        lane.credit -= cost;
        self.len -= 1;
        if lane.items.is_empty() {
            self.lanes.remove(key);
            self.turns.pop_front();
        }
        Some(item)
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_alone_is_served_in_order_and_at_once() {
        let mut queue = FairQueue::default();
        (0..1_000).for_each(|item| queue.push("a", 1, 999, item));
        assert_eq!((0..1_000).map_while(|_| queue.pop()).collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
        assert_eq!((queue.pop(), queue.is_empty(), queue.next_cost()), (None, true, None));
    }

    #[test]
    fn a_newcomer_waits_for_one_round_of_turns() {
        let mut queue = FairQueue::default();
        (0..10_000).for_each(|_| queue.push("greedy", 100, 1, false));
        for _ in 0..5_000 {
            queue.pop();
        }
        queue.push("small", 1, 1, true);
        let before = std::iter::from_fn(|| queue.pop()).position(|small| small).unwrap();
        assert!(before as u64 <= 2 * 100 * QUANTUM, "{before}");
    }

    proptest! {
        /// While all of them wait, what each was served is its share by weight, but for one turn and one item.
        #[test]
        fn shares_follow_weights(
            weights in prop::collection::vec(1u32..=20, 2..6),
            costs in prop::collection::vec(1u64..=1_000, 1..40),
            served in 1_000u64..200_000,
        ) {
            let mut queue = FairQueue::default();
            let mut fed = vec![0usize; weights.len()];
            let mut feed = |queue: &mut FairQueue<usize, (usize, u64)>, lane: usize| {
                let cost = costs[(fed[lane] * 7 + lane) % costs.len()];
                fed[lane] += 1;
                queue.push(lane, weights[lane], cost, (lane, cost));
            };
            for lane in 0..weights.len() {
                (0..3).for_each(|_| feed(&mut queue, lane));
            }
            let (mut got, mut total) = (vec![0u64; weights.len()], 0);
            while total < served {
                let (lane, cost) = queue.pop().unwrap();
                got[lane] += cost;
                total += cost;
                // Whatever it does, a lane always has something that waits.
                feed(&mut queue, lane);
            }
            let sum: u32 = weights.iter().sum();
            for (lane, got) in got.iter().enumerate() {
                let share = total as f64 * f64::from(weights[lane]) / f64::from(sum);
                let slack = (QUANTUM * u64::from(sum) + 1_000 * weights.len() as u64) as f64;
                prop_assert!((*got as f64 - share).abs() <= slack, "{lane}: {got} of {share}");
            }
        }

        /// Nothing is lost or doubled, and each keeps its order.
        #[test]
        fn everything_comes_out_in_its_order(pushes in prop::collection::vec((0u8..4, 1u32..9, 0u64..500), 0..200)) {
            let mut queue = FairQueue::default();
            let mut put: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            for (number, (key, weight, cost)) in pushes.into_iter().enumerate() {
                queue.push(key, weight, cost, (key, number));
                put.entry(key).or_default().push(number);
            }
            let mut out: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            while let Some((key, number)) = queue.pop() {
                out.entry(key).or_default().push(number);
            }
            prop_assert_eq!(out, put);
            prop_assert_eq!(queue.len(), 0);
        }
    }
}
