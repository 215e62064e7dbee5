//! Messages under way, in memory: nearly every outcome is about one that was dispatched a moment ago.
//!
//! A copy of what only the writer changes, so that it needs no lock. What is not here is read from its rows: after a start,
//! and after a write that failed.

use std::collections::HashMap;

use super::facts::Facts;

/// Messages that are kept at the most, which takes about 20 MiB. The rows tell the same of those beyond.
const KEPT_MAX: usize = 131_072;

/// The facts of messages whose latest attempt has no outcome yet.
#[derive(Default)]
pub(super) struct UnderWay(HashMap<i64, Facts>);

impl UnderWay {
    /// Keeps the facts of a message that was dispatched.
    pub(super) fn keep(&mut self, facts: Facts) {
        if self.0.len() < KEPT_MAX {
            self.0.insert(facts.message_id, facts);
        }
    }

    /// The facts of a message, if they are here.
    pub(super) fn get(&self, message_id: i64) -> Option<&Facts> {
        self.0.get(&message_id)
    }

    /// Forgets a message whose facts change.
    pub(super) fn forget(&mut self, message_id: i64) {
        self.0.remove(&message_id);
    }

    /// Forgets everything: what a failed write noted here is not so.
    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::message::MessageState;

    use super::*;

    fn facts(message_id: i64) -> Facts {
        Facts {
            message_id,
            tenant_key: 1,
            bot_key: 1,
            priority: 1,
            chain: 1,
            expire_time: 1,
            state: MessageState::Dispatched,
            attempt_no: 1,
            cancel_requested: false,
            opted_out: false,
            latest: None,
        }
    }

    #[test]
    fn it_takes_so_many_and_no_more() {
        let mut under_way = UnderWay::default();
        let most = KEPT_MAX as i64;
        (1..=most + 1).for_each(|message_id| under_way.keep(facts(message_id)));
        assert!(under_way.get(most).is_some() && under_way.get(most + 1).is_none());
        under_way.forget(1);
        under_way.keep(facts(most + 1));
        assert!(under_way.get(most + 1).is_some() && under_way.get(1).is_none());
    }
}
