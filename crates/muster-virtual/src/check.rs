//! The promises, held against the ledger and what the API says. Nothing else is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_proto::v1::MessageState;
use serde::{Deserialize, Serialize};

use crate::chronicle::Chronicle;
use crate::client::{Accepted, Desk};
use crate::gateway::Taken;

/// What a simulation left behind.
pub(crate) struct Evidence {
    pub(crate) taken: Vec<Taken>,
    pub(crate) desk: Desk,
    /// The server went on with an older database.
    pub(crate) was_restored: bool,
    /// Agents whose disk lost what it had acknowledged.
    pub(crate) liars: BTreeSet<String>,
    /// Agents that ran beside a clone of theirs, and the clones, each with the time at which the first clone was made.
    pub(crate) twins: BTreeMap<String, Duration>,
}

impl Evidence {
    /// Whether a message left by the hands of a clone, or of its original once that had a clone.
    fn is_by_twin(&self, entry: &Taken) -> bool {
        self.twins.get(&entry.agent).is_some_and(|since| entry.at >= *since)
    }
}

/// How many messages came to what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) accepted: u64,
    pub(crate) taken: u64,
    pub(crate) uncertain: u64,
    pub(crate) forgotten: u64,
}

/// Checks every promise, and notes what broke.
///
/// Three faults take something away that nobody can give back, and weaken the promises for what they touch, and for that only:
/// - A restored database does not know what was accepted after the backup: such a message may be unknown. What the agents
///   remember still holds: nothing is sent twice, and nothing that was sent is called unsent.
/// - A disk that acknowledged a sync and lost it takes the memory of what was handed over with it: a message that this agent
///   had handed over may be handed over again, out of order, or be called unsent.
/// - A clone that runs beside its original holds what the original holds: what both of them hold, both may hand over, once each. Of
///   the two the server believes one, and the journal of the other is moved away: what that one handed over may be called unsent.
pub(crate) fn check(evidence: &Evidence, chronicle: &Chronicle) -> Tally {
    let mut taken: BTreeMap<String, Vec<&Taken>> = BTreeMap::new();
    for entry in &evidence.taken {
        taken.entry(format!("messages/{}", entry.message)).or_default().push(entry);
    }
    let is_forgotten = |name: &str| {
        let entries = taken.get(name).into_iter().flatten();
        entries.into_iter().all(|entry| evidence.liars.contains(&entry.agent) || evidence.is_by_twin(entry))
    };
    let by_liar = |name: &str| taken.get(name).into_iter().flatten().any(|entry| evidence.liars.contains(&entry.agent));
    for (name, entries) in &taken {
        let hands: BTreeSet<&str> = entries.iter().map(|entry| entry.agent.as_str()).collect();
        let by_twins = hands.len() == entries.len() && entries.iter().all(|entry| evidence.is_by_twin(entry));
        if entries.len() > 1 && !by_liar(name) && !by_twins {
            let by: Vec<_> = entries.iter().map(|entry| format!("{} at {:?}", entry.agent, entry.at)).collect();
            chronicle.violation("P2", format_args!("{name} ({}) was taken twice: {}", entries[0].body, by.join(", ")));
        }
    }
    let mut tally = Tally { taken: evidence.taken.len() as u64, ..Tally::default() };
    for accepted in evidence.desk.accepted() {
        tally.accepted += 1;
        let what = format!("{} ({})", accepted.name, accepted.body);
        let was_taken = taken.contains_key(&accepted.name);
        match evidence.desk.state(&accepted.name) {
            None => chronicle.violation("P1", format_args!("nothing was heard of {what} in the end")),
            Some(None) => {
                tally.forgotten += 1;
                if !evidence.was_restored {
                    chronicle.violation("P1", format_args!("{what} is unknown to the server"));
                }
            }
            Some(Some(MessageState::Sent | MessageState::Delivered | MessageState::Read)) => {
                if !was_taken {
                    chronicle.violation("P1", format_args!("{what} is called sent, and was not taken"));
                }
            }
            Some(Some(MessageState::Failed | MessageState::Expired | MessageState::Cancelled)) => {
                if was_taken && !is_forgotten(&accepted.name) {
                    chronicle.violation("P2", format_args!("{what} is called unsent, and was taken"));
                }
            }
            Some(Some(MessageState::Uncertain)) => tally.uncertain += 1,
            Some(Some(state)) => {
                chronicle.violation("P1", format_args!("{what} did not come to an end: {}", state.as_str_name()));
            }
        }
    }
    check_order(evidence, chronicle);
    tally
}

/// P3: what one bot sends to one recipient with one priority leaves in the order of acceptance, which is that of the ids.
fn check_order(evidence: &Evidence, chronicle: &Chronicle) {
    // What a restored database does not know has no place in its order.
    let is_known = |accepted: &Accepted| evidence.desk.state(&accepted.name).flatten().is_some();
    let priorities: BTreeMap<String, i32> =
        evidence.desk.accepted().into_iter().filter(is_known).map(|one| (one.name, one.priority.into())).collect();
    let mut last: BTreeMap<(String, String, i32), &Taken> = BTreeMap::new();
    let is_out_of_order = |entry: &&Taken| evidence.liars.contains(&entry.agent) || evidence.is_by_twin(entry);
    for entry in evidence.taken.iter().filter(|entry| !is_out_of_order(entry)) {
        // A message whose acceptance was never acknowledged has a priority that only its client knows.
        let Some(priority) = priorities.get(&format!("messages/{}", entry.message)) else { continue };
        let pair = (entry.bot.to_string(), entry.recipient.as_str().to_owned(), *priority);
        if let Some(before) = last.insert(pair, entry)
            && before.message > entry.message
        {
            let what = format!("{} left before {} to {}", before.body, entry.body, entry.recipient.as_str());
            chronicle.violation("P3", what);
        }
    }
}
