//! How much an agent takes: the books of one session.
//!
//! Credit is cumulative over the session, so that a grant that comes late or twice changes nothing. Beside it, no bot may
//! have more attempts at the agent than its window: what was dispatched less what ended. A window opens again once half of it
//! is free: a busy bot gets many attempts at a time, and the agent has the other half to go on with meanwhile.

use std::collections::HashMap;

use muster_domain::BotId;
use muster_proto::agent_v1 as wire;

/// The books.
#[derive(Debug, Default)]
pub(super) struct Credit {
    attempts_granted: u64,
    bytes_granted: u64,
    per_bot: u32,
    attempts_used: u64,
    bytes_used: u64,
    held: HashMap<BotId, u32>,
}

impl Credit {
    /// Takes a grant. Totals never go back; the window of a bot is what the latest grant says.
    pub(super) fn grant(&mut self, grant: &wire::Credit) {
        self.attempts_granted = self.attempts_granted.max(grant.attempts_total);
        self.bytes_granted = self.bytes_granted.max(grant.bytes_total);
        self.per_bot = grant.per_bot;
    }

    /// Attempts that may be dispatched now.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts_granted.saturating_sub(self.attempts_used)
    }

    /// Bytes that may be dispatched now.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_granted.saturating_sub(self.bytes_used)
    }

    /// How many attempts of a bot may be dispatched now: none, or at least half of its window.
    pub(super) fn window(&self, bot: &BotId) -> u32 {
        let free = self.per_bot.saturating_sub(self.held.get(bot).copied().unwrap_or_default());
        if free < self.per_bot.div_ceil(2) { 0 } else { free }
    }

    /// Enters an attempt that is dispatched.
    pub(super) fn dispatched(&mut self, bot: &BotId, bytes: u64) {
        self.attempts_used += 1;
        self.bytes_used += bytes;
        match self.held.get_mut(bot) {
            Some(held) => *held += 1,
            None => {
                self.held.insert(bot.clone(), 1);
            }
        }
    }

    /// Enters attempts of a bot that the agent holds from an earlier session. Its grants leave room for them already.
    pub(super) fn holds(&mut self, bot: BotId, attempts: u32) {
        *self.held.entry(bot).or_default() += attempts;
    }

    /// Enters attempts of a bot that ended.
    pub(super) fn finished(&mut self, bot: &BotId, attempts: u32) {
        if let Some(held) = self.held.get_mut(bot) {
            *held = held.saturating_sub(attempts);
            if *held == 0 {
                self.held.remove(bot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bot(i: usize) -> BotId {
        BotId::new(&format!("b{i}")).unwrap()
    }

    #[test]
    fn what_is_held_from_before_takes_up_the_window_and_no_grant() {
        let mut credit = Credit::default();
        credit.grant(&wire::Credit { attempts_total: 10, bytes_total: 100, per_bot: 4 });
        credit.holds(bot(0), 3);
        assert_eq!((credit.attempts(), credit.window(&bot(0)), credit.window(&bot(1))), (10, 0, 4));
        credit.finished(&bot(0), 1);
        assert_eq!(credit.window(&bot(0)), 2);
    }

    #[test]
    fn a_window_opens_again_once_half_of_it_is_free() {
        for (per_bot, held_when_open) in [(1, 0), (2, 1), (3, 1), (64, 32)] {
            let mut credit = Credit::default();
            credit.grant(&wire::Credit { attempts_total: 100, bytes_total: 100, per_bot });
            (0..per_bot).for_each(|_| credit.dispatched(&bot(0), 1));
            while credit.window(&bot(0)) == 0 {
                credit.finished(&bot(0), 1);
            }
            assert_eq!(per_bot - credit.window(&bot(0)), held_when_open);
        }
    }

    #[test]
    fn grants_that_come_late_or_twice_change_nothing() {
        let mut credit = Credit::default();
        credit.grant(&wire::Credit { attempts_total: 10, bytes_total: 100, per_bot: 4 });
        credit.dispatched(&bot(0), 30);
        credit.grant(&wire::Credit { attempts_total: 5, bytes_total: 50, per_bot: 4 });
        assert_eq!((credit.attempts(), credit.bytes(), credit.window(&bot(0))), (9, 70, 3));
    }

    proptest! {
        #[test]
        fn no_book_goes_below_zero(
            steps in prop::collection::vec((0usize..4, 0usize..3, 0u64..50, 0u32..9), 1..200),
        ) {
            let mut credit = Credit::default();
            let mut granted = 0;
            let mut dispatched = 0;
            for (kind, who, amount, count) in steps {
                match kind {
                    0 => {
                        credit.grant(&wire::Credit { attempts_total: amount, bytes_total: amount * 9, per_bot: count });
                        granted = granted.max(amount);
                    }
                    1 if credit.attempts() > 0 && credit.window(&bot(who)) > 0 => {
                        credit.dispatched(&bot(who), amount);
                        dispatched += 1;
                    }
                    _ => credit.finished(&bot(who), count),
                }
                prop_assert!(dispatched <= granted);
                prop_assert_eq!(credit.attempts(), granted - dispatched);
            }
        }
    }
}
