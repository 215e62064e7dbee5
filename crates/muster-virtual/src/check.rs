//! The promises, held against the ledger and what the API says. Nothing else is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_proto::v1::{MessageState, Resolution};
use serde::{Deserialize, Serialize};

use crate::chronicle::Chronicle;
use crate::client::{Accepted, Desk};
use crate::gateway::Taken;
use crate::receipts::{self, Receipts};

/// What a simulation left behind.
pub(crate) struct Evidence {
    pub(crate) taken: Vec<Taken>,
    pub(crate) desk: Desk,
    pub(crate) receipts: Receipts,
    /// The server went on with an older database.
    pub(crate) was_restored: bool,
    /// Agents whose disk lost what it had acknowledged.
    pub(crate) liars: BTreeSet<String>,
    /// Agents that ran beside a clone of theirs, and the clones, each with the time at which the first clone was made.
    pub(crate) twins: BTreeMap<String, Duration>,
    /// Agents whose journal was moved away, with the time at which each got a new one.
    pub(crate) renewed: BTreeMap<String, Duration>,
}

impl Evidence {
    /// Whether a message left by the hands of a clone, or of its original once that had a clone.
    fn is_by_twin(&self, entry: &Taken) -> bool {
        self.twins.get(&entry.agent).is_some_and(|since| entry.at >= *since)
    }

    /// Whose hands a message left by: an agent knows what it did itself, until its journal is moved away.
    fn hands<'a>(&self, entry: &'a Taken) -> (&'a str, bool) {
        (&entry.agent, self.renewed.get(&entry.agent).is_some_and(|at| entry.at >= *at))
    }

    /// Whether a message left by the hands of an agent that forgot some of what it knew.
    fn is_by_liar(&self, entry: &Taken) -> bool {
        self.liars.contains(&entry.agent)
    }

    /// Whether a message was sent by a bot of which a restored database may not know where it was.
    fn is_in_gap(&self, entry: &Taken) -> bool {
        self.was_restored && self.desk.was_moved(entry.bot.as_str())
    }

    /// When an operator decided to have a message sent again.
    fn resends(&self, name: &str) -> impl Iterator<Item = Duration> + use<> {
        let decisions = self.desk.decisions(name).into_iter();
        decisions.filter(|one| one.resolution == Resolution::Resend).map(|one| one.at)
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
/// Faults take something away that nobody can give back, and weaken the promises for what they touch, and for that only:
/// - A restored database does not know what was accepted after the backup: such a message may be unknown. What the agents
///   remember still holds: nothing is sent twice, and nothing that was sent is called unsent. Only where a bot was moved, the agent
///   at its other node does not know what the first one sent, and a replay is another message to every agent.
/// - A disk that acknowledged a sync and lost it takes the memory of what was handed over with it: a message that this agent
///   had handed over may be handed over again, out of order, or be called unsent.
/// - A clone that runs beside its original holds what the original holds: what both of them hold, both may hand over, each as often
///   as is permitted. Of the two the server believes one, and the journal of the other is moved away: what that one handed over may be
///   called unsent.
///
/// An operator who decides without knowing is believed: what is taken for sent is called so, and what is dropped is called unsent.
pub(crate) fn check(evidence: &Evidence, chronicle: &Chronicle) -> Tally {
    check_doubles(evidence, chronicle);
    check_order(evidence, chronicle);
    check_receipts(evidence, chronicle);
    check_ends(evidence, chronicle)
}

/// P2: nobody's message is handed over twice, also where what failed was sent once more as another message. Each decision to send
/// again permits one more time.
fn check_doubles(evidence: &Evidence, chronicle: &Chronicle) {
    let mut resends: BTreeMap<String, usize> = BTreeMap::new();
    let mut origins: BTreeMap<String, String> = BTreeMap::new();
    for accepted in evidence.desk.accepted() {
        // A restored database takes what it gave up for unsent until an agent tells otherwise, and may replay it before.
        let origin = if evidence.was_restored { accepted.name.clone() } else { accepted.origin };
        *resends.entry(origin.clone()).or_default() += evidence.resends(&accepted.name).count();
        origins.insert(accepted.name, origin);
    }
    let mut taken: BTreeMap<String, Vec<&Taken>> = BTreeMap::new();
    for entry in &evidence.taken {
        let name = entry.name();
        taken.entry(origins.get(&name).cloned().unwrap_or(name)).or_default().push(entry);
    }
    for (name, entries) in &taken {
        let permitted = 1 + resends.get(name).copied().unwrap_or(0);
        let mut by_hands: BTreeMap<_, usize> = BTreeMap::new();
        for entry in entries {
            *by_hands.entry(evidence.hands(entry)).or_default() += 1;
        }
        let by_twins = entries.iter().filter(|entry| evidence.is_by_twin(entry)).count();
        let is_of_twins = by_hands.values().all(|times| *times <= permitted) && entries.len() <= by_twins + permitted;
        let is_excused =
            is_of_twins || entries.iter().any(|entry| evidence.is_by_liar(entry) || evidence.is_in_gap(entry));
        if entries.len() > permitted && !is_excused {
            let by: Vec<_> = entries.iter().map(|entry| format!("{} at {:?}", entry.agent, entry.at)).collect();
            let what = format!("{name} ({}) was taken {} times", entries[0].body, entries.len());
            chronicle.violation("P2", format_args!("{what}, and {permitted} permitted: {}", by.join(", ")));
        }
    }
}

/// P1 and P2: what is accepted comes to an end, and to the right one.
fn check_ends(evidence: &Evidence, chronicle: &Chronicle) -> Tally {
    let mut taken: BTreeMap<String, Vec<&Taken>> = BTreeMap::new();
    for entry in &evidence.taken {
        taken.entry(entry.name()).or_default().push(entry);
    }
    let mut tally = Tally { taken: evidence.taken.len() as u64, ..Tally::default() };
    for accepted in evidence.desk.accepted() {
        tally.accepted += 1;
        let name = &accepted.name;
        let what = format!("{name} ({})", accepted.body);
        let entries = taken.get(name).map_or(&[][..], Vec::as_slice);
        let decided = |resolution| evidence.desk.decisions(name).iter().any(|one| one.resolution == resolution);
        let excused =
            |entry: &&Taken| evidence.is_by_liar(entry) || evidence.is_by_twin(entry) || evidence.is_in_gap(entry);
        match evidence.desk.state(name) {
            None => chronicle.violation("P1", format_args!("nothing was heard of {what} in the end")),
            Some(None) => {
                tally.forgotten += 1;
                if !evidence.was_restored {
                    chronicle.violation("P1", format_args!("{what} is unknown to the server"));
                }
            }
            Some(Some(MessageState::Sent | MessageState::Delivered | MessageState::Read)) => {
                if entries.is_empty() && !decided(Resolution::Sent) {
                    chronicle.violation("P1", format_args!("{what} is called sent, and was not taken"));
                }
            }
            Some(Some(MessageState::Failed | MessageState::Expired | MessageState::Cancelled)) => {
                let is_decided = decided(Resolution::Drop) || decided(Resolution::Resend);
                if !entries.iter().all(excused) && !is_decided {
                    chronicle.violation("P2", format_args!("{what} is called unsent, and was taken"));
                }
            }
            Some(Some(MessageState::Uncertain)) => tally.uncertain += 1,
            Some(Some(state)) => {
                let why = evidence.desk.why_it_waits(name);
                chronicle.violation("P1", format_args!("{what} did not come to an end: {} {why}", state.as_str_name()));
            }
        }
    }
    tally
}

/// P3: what one bot sends to one recipient with one priority leaves in the order of acceptance, which is that of the ids.
fn check_order(evidence: &Evidence, chronicle: &Chronicle) {
    // What a restored database does not know has no place in its order.
    let is_known = |accepted: &Accepted| evidence.desk.state(&accepted.name).flatten().is_some();
    let priorities: BTreeMap<String, i32> =
        evidence.desk.accepted().into_iter().filter(is_known).map(|one| (one.name, one.priority.into())).collect();
    let mut last: BTreeMap<(String, String, i32), &Taken> = BTreeMap::new();
    // What was uncertain does not hold up what follows; when it is sent again it comes late.
    let is_sent_again = |entry: &Taken| evidence.resends(&entry.name()).any(|at| at <= entry.at);
    let has_order = |entry: &&Taken| {
        !evidence.is_by_liar(entry)
            && !evidence.is_by_twin(entry)
            && !evidence.is_in_gap(entry)
            && !is_sent_again(entry)
    };
    for entry in evidence.taken.iter().filter(has_order) {
        // A message whose acceptance was never acknowledged has a priority that only its client knows.
        let Some(priority) = priorities.get(&entry.name()) else { continue };
        let pair = (entry.bot.to_string(), entry.recipient.as_str().to_owned(), *priority);
        if let Some(before) = last.insert(pair, entry)
            && before.message > entry.message
        {
            let what = format!("{} left before {} to {}", before.body, entry.body, entry.recipient.as_str());
            chronicle.violation("P3", what);
        }
    }
}

/// What an agent took of what the networks say is not lost, and nothing is told that the networks do not say.
fn check_receipts(evidence: &Evidence, chronicle: &Chronicle) {
    let mut posted: BTreeSet<String> = BTreeSet::new();
    for entry in &evidence.taken {
        let name = entry.name();
        posted.extend(evidence.receipts.posted(&entry.network_id).map(|_| name.clone()));
        // The receipts of the time between backup and restore are lost, like those in a journal that is.
        let is_excused = evidence.was_restored
            || evidence.liars.contains(&entry.agent)
            || evidence.twins.contains_key(&entry.agent)
            || !evidence.desk.decisions(&name).is_empty();
        let told = evidence.receipts.acknowledged(&entry.network_id);
        if let Some((told, state)) = told.zip(evidence.desk.state(&name).flatten())
            && !is_excused
            && !receipts::shows(state, told)
        {
            let what = format!("{name} ({}) is {}, and was told to be {told:?}", entry.body, state.as_str_name());
            chronicle.violation("P1", what);
        }
    }
    for accepted in evidence.desk.accepted() {
        if let Some(Some(state @ (MessageState::Delivered | MessageState::Read))) = evidence.desk.state(&accepted.name)
            && !posted.contains(&accepted.name)
        {
            let what = format!("{} ({}) is {}", accepted.name, accepted.body, state.as_str_name());
            chronicle.violation("P1", format_args!("{what}, and no network said so"));
        }
    }
}
