//! Bots of a session that may have work, in the order in which they get their turn.

use std::collections::{HashSet, VecDeque};

use muster_domain::BotId;

use super::credit::Credit;

/// Bots in one claim at the most: a claim looks into the queue of each of them.
const BOTS_PER_CLAIM: usize = 512;

/// The bots.
#[derive(Debug, Default)]
pub(super) struct WaitingBots {
    queue: VecDeque<BotId>,
    queued: HashSet<BotId>,
    /// Bots with work whose window is full; they come back with their next outcome.
    full: HashSet<BotId>,
}

impl WaitingBots {
    /// A bot may have work. One that is in the queue keeps its place.
    pub(super) fn add(&mut self, bot: BotId) {
        if !self.queued.contains(&bot) {
            self.queued.insert(bot.clone());
            self.queue.push_back(bot);
        }
    }

    /// Attempts of a bot ended: if it was waiting for that, its window is looked at again.
    pub(super) fn freed(&mut self, bot: &BotId) {
        if let Some(bot) = self.full.take(bot) {
            self.add(bot);
        }
    }

    /// The windows changed for all bots.
    pub(super) fn all_freed(&mut self) {
        for bot in std::mem::take(&mut self.full) {
            self.add(bot);
        }
    }

    /// Takes the next bots whose windows have room, each with its room. The others wait for theirs.
    pub(super) fn take(&mut self, credit: &Credit) -> Vec<(BotId, u32)> {
        let mut taken = Vec::new();
        while taken.len() < BOTS_PER_CLAIM
            && let Some(bot) = self.queue.pop_front()
        {
            self.queued.remove(&bot);
            match credit.window(&bot) {
                0 => {
                    self.full.insert(bot);
                }
                window => taken.push((bot, window)),
            }
        }
        taken
    }

    /// No bot has its turn now.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use muster_proto::agent_v1 as wire;

    use super::*;

    fn bot(id: &str) -> BotId {
        BotId::new(id).unwrap()
    }

    #[test]
    fn a_bot_whose_window_is_full_waits_for_an_outcome() {
        let (mut bots, mut credit) = (WaitingBots::default(), Credit::default());
        credit.grant(&wire::Credit { attempts_total: 10, bytes_total: 1_000, per_bot: 1 });
        bots.add(bot("a"));
        bots.add(bot("a"));
        bots.add(bot("b"));
        assert_eq!(bots.take(&credit), [(bot("a"), 1), (bot("b"), 1)]);
        credit.dispatched(&bot("a"), 10);
        bots.add(bot("a"));
        assert_eq!(bots.take(&credit), []);
        bots.freed(&bot("b"));
        assert!(bots.is_empty());
        credit.finished(&bot("a"), 1);
        bots.freed(&bot("a"));
        assert_eq!(bots.take(&credit), [(bot("a"), 1)]);
    }
}
