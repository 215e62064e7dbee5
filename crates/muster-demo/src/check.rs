//! Does the network's own ledger agree with what the server believes?
//!
//! [`check`] is pure: [`crate::facts`] gathers what it compares. It knows nothing of how the messages came about, so it holds
//! for a demonstration as for a campaign that killed everything at random. What it asks for:
//!
//! | the server says | the network took it |
//! |---|---|
//! | `SENT`, `DELIVERED`, `READ` | exactly once |
//! | `UNCERTAIN` | once or not at all |
//! | `FAILED` by a receipt | exactly once |
//! | `FAILED` otherwise, `EXPIRED`, `CANCELLED` | not at all |
//! | `WAITING`, `DISPATCHED` | not at all or once, and never at the end of a run that is settled |
//!
//! Beside that: nothing was taken that nobody asked for, content and recipient are those that were asked for, every receipt
//! that the server shows was given, and messages of one bot, recipient and priority were taken in the order of acceptance.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use muster_domain::message::{MessageState, Priority};
use muster_domain::{BotId, MessageId};
use serde::Serialize;

/// What the server believes about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// The message; ids grow in the order of acceptance.
    pub id: MessageId,
    /// Its sender.
    pub bot: BotId,
    /// Its recipient, in the network's spelling.
    pub recipient: String,
    /// Which queue it was in.
    pub priority: Priority,
    /// Where it is.
    pub state: MessageState,
    /// The network's id, if the server knows it.
    pub network_id: Option<String>,
    /// Hash of what it says, as the ledger hashes; `None` where it was not looked up.
    pub content: Option<String>,
}

/// A message that the network took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Position in the ledger: the order in which the network saw things.
    pub seq: u64,
    /// The bot that sent it.
    pub bot: String,
    /// Its recipient, in the network's spelling.
    pub recipient: String,
    /// The network's id.
    pub network_id: String,
    /// Hash of what it says.
    pub content: String,
    /// Whether it reached the recipient's device.
    pub delivered: bool,
    /// Whether it was read.
    pub read: bool,
    /// Whether the network has more to say about it.
    pub pending: bool,
}

/// Everything that is compared.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// All messages of the server.
    pub believed: &'a [Believed],
    /// All messages of the ledger.
    pub taken: &'a [Taken],
    /// Messages whose acceptance was acknowledged to a client. Each must be among the believed ones.
    pub acknowledged: &'a [MessageId],
    /// Whether everything has come to its end, so that no message may be under way any more.
    pub settled: bool,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Messages that the server has.
    pub messages: usize,
    /// Messages that the network took.
    pub taken: usize,
    /// Messages of both sides that belong together.
    pub matched: usize,
    /// Messages of the server per state.
    pub states: BTreeMap<&'static str, usize>,
    /// Everything that does not agree.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether both sides agree.
    pub fn agrees(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Something that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which rule is broken.
    pub rule: Rule,
    /// The server's message, if there is one.
    pub message: Option<String>,
    /// Position in the ledger, if the message is there.
    pub seq: Option<u64>,
    /// The facts, without addresses and texts.
    pub facts: String,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rule {
    /// A client was told that the message is accepted, and the server does not have it.
    AcknowledgedAndLost,
    /// The server says that it was sent, and the network did not take it.
    SaidSentButWasNot,
    /// The server says that it was not sent, and the network took it.
    SaidUnsentButWas,
    /// The network took it more than once.
    SentTwice,
    /// The network took something that nobody asked for.
    NobodyAskedForIt,
    /// The network took something else than what was asked for.
    OtherContent,
    /// The network took it from another bot or for another recipient.
    OtherWay,
    /// The server shows a receipt that the network never gave.
    InventedReceipt,
    /// It is under way although everything should have come to its end.
    NotFinal,
    /// A later message of the same bot, recipient and priority was taken first.
    OutOfOrder,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.rule)?;
        if let Some(message) = &self.message {
            write!(f, " {message}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, " (ledger line {seq})")?;
        }
        write!(f, ": {}", self.facts)
    }
}

/// Compares both sides. Violations come in the order of the rules, then of the messages.
pub fn check(evidence: &Evidence<'_>) -> Verdict {
    let mut comparison = Comparison::new(evidence);
    comparison.match_by_network_id();
    comparison.match_the_rest();
    comparison.check_acknowledged();
    comparison.check_states();
    comparison.check_order();
    comparison.verdict()
}

/// How many messages still wait for a receipt: one that the network has yet to give, or one that it gave and that the server
/// does not show yet. Where receipts are lost on the way, this does not reach zero.
pub fn receipts_outstanding(believed: &[Believed], taken: &[Taken]) -> usize {
    let states: HashMap<&str, MessageState> =
        believed.iter().filter_map(|believed| Some((believed.network_id.as_deref()?, believed.state))).collect();
    let outstanding = |taken: &&Taken| {
        let state = states.get(taken.network_id.as_str());
        let read = state == Some(&MessageState::Read);
        taken.pending || (taken.read && !read) || (taken.delivered && !read && state != Some(&MessageState::Delivered))
    };
    taken.iter().filter(outstanding).count()
}

/// What may stand behind a message of the ledger that no network id leads to.
type Way<'a> = (&'a str, &'a str);

struct Comparison<'a> {
    evidence: &'a Evidence<'a>,
    /// For each believed message, the messages of the ledger that belong to it.
    matches: Vec<Vec<&'a Taken>>,
    /// Messages of the ledger that no network id led to.
    rest: Vec<&'a Taken>,
    violations: Vec<Violation>,
}

impl<'a> Comparison<'a> {
    fn new(evidence: &'a Evidence<'a>) -> Self {
        Comparison {
            evidence,
            matches: vec![Vec::new(); evidence.believed.len()],
            rest: Vec::new(),
            violations: Vec::new(),
        }
    }

    fn violation(&mut self, rule: Rule, message: Option<&Believed>, taken: Option<&Taken>, facts: impl Into<String>) {
        self.violations.push(Violation {
            rule,
            message: message.map(|message| message.id.resource_name()),
            seq: taken.map(|taken| taken.seq),
            facts: facts.into(),
        });
    }

    /// The network's id says which message it is: then everything else must agree.
    fn match_by_network_id(&mut self) {
        let known: HashMap<&str, usize> = self
            .evidence
            .believed
            .iter()
            .enumerate()
            .filter_map(|(index, believed)| Some((believed.network_id.as_deref()?, index)))
            .collect();
        for taken in self.evidence.taken {
            let Some(index) = known.get(taken.network_id.as_str()).copied() else {
                self.rest.push(taken);
                continue;
            };
            let believed = &self.evidence.believed[index];
            if believed.bot.as_str() != taken.bot || believed.recipient != taken.recipient {
                let facts = format!("asked of {}, taken from {}", believed.bot, taken.bot);
                self.violation(Rule::OtherWay, Some(believed), Some(taken), facts);
            } else if believed.content.as_ref().is_some_and(|content| *content != taken.content) {
                self.violation(Rule::OtherContent, Some(believed), Some(taken), "the hashes of the contents differ");
            }
            self.matches[index].push(taken);
        }
    }

    /// What is left belongs to messages whose network id the server never learned. Those of one way are given away in the
    /// order of acceptance: first to the uncertain ones, whose fate is open, then to those that it contradicts.
    fn match_the_rest(&mut self) {
        let mut ways: HashMap<Way<'a>, Vec<usize>> = HashMap::new();
        for (index, believed) in self.evidence.believed.iter().enumerate() {
            ways.entry((believed.bot.as_str(), &believed.recipient)).or_default().push(index);
        }
        for taken in std::mem::take(&mut self.rest) {
            let way = ways.get(&(taken.bot.as_str(), taken.recipient.as_str())).map(Vec::as_slice).unwrap_or_default();
            let says_the_same = |index: &usize| {
                self.evidence.believed[*index].content.as_ref().is_none_or(|content| *content == taken.content)
            };
            let candidates: Vec<usize> = way.iter().copied().filter(says_the_same).collect();
            let free =
                |index: &usize| self.matches[*index].is_empty() && self.evidence.believed[*index].network_id.is_none();
            let open = |index: &usize| {
                let state = self.evidence.believed[*index].state;
                matches!(state, MessageState::Uncertain | MessageState::Waiting | MessageState::Dispatched)
            };
            let fitting = candidates
                .iter()
                .find(|index| free(index) && open(index))
                .or_else(|| candidates.iter().find(|i| free(i)));
            match (fitting.or(candidates.first()).copied(), way.is_empty()) {
                (Some(index), _) => self.matches[index].push(taken),
                (None, false) => {
                    let facts = format!("{} was asked to send other contents to this recipient", taken.bot);
                    self.violation(Rule::NobodyAskedForIt, None, Some(taken), facts);
                }
                (None, true) => {
                    let facts = format!("{} was never asked to send to this recipient", taken.bot);
                    self.violation(Rule::NobodyAskedForIt, None, Some(taken), facts);
                }
            }
        }
    }

    fn check_acknowledged(&mut self) {
        let known: HashSet<MessageId> = self.evidence.believed.iter().map(|believed| believed.id).collect();
        for id in self.evidence.acknowledged.iter().filter(|id| !known.contains(id)) {
            self.violations.push(Violation {
                rule: Rule::AcknowledgedAndLost,
                message: Some(id.resource_name()),
                seq: None,
                facts: "a client was told that it is accepted, and the server does not have it".to_owned(),
            });
        }
    }

    fn check_states(&mut self) {
        for (index, believed) in self.evidence.believed.iter().enumerate() {
            let matches = std::mem::take(&mut self.matches[index]);
            let state = believed.state;
            let (least, most) = match state {
                MessageState::Sent | MessageState::Delivered | MessageState::Read => (1, 1),
                // A failure by a receipt comes after the network took it; only then has it the network's id.
                MessageState::Failed if believed.network_id.is_some() => (1, 1),
                MessageState::Failed | MessageState::Expired | MessageState::Cancelled => (0, 0),
                MessageState::Uncertain | MessageState::Waiting | MessageState::Dispatched => (0, 1),
            };
            if matches.len() > 1 {
                let facts = format!("{state}, and the network took it {} times", matches.len());
                self.violation(Rule::SentTwice, Some(believed), matches.last().copied(), facts);
            } else if matches.len() > most {
                let facts = format!("{state}, and the network took it");
                self.violation(Rule::SaidUnsentButWas, Some(believed), matches.first().copied(), facts);
            } else if matches.len() < least {
                let facts = format!("{state}, and the network never took it");
                self.violation(Rule::SaidSentButWasNot, Some(believed), None, facts);
            }
            if let Some(taken) = matches.first() {
                let invented = match state {
                    MessageState::Delivered => !taken.delivered && !taken.read,
                    MessageState::Read => !taken.read,
                    _ => false,
                };
                if invented {
                    let facts = format!("{state}, and the network never said so");
                    self.violation(Rule::InventedReceipt, Some(believed), Some(taken), facts);
                }
            }
            if self.evidence.settled && !state.is_final() {
                self.violation(Rule::NotFinal, Some(believed), matches.first().copied(), state.as_str());
            }
            self.matches[index] = matches;
        }
    }

    fn check_order(&mut self) {
        let mut chains: BTreeMap<(Way<'a>, Priority), Vec<(u64, &'a Believed)>> = BTreeMap::new();
        for (believed, matches) in self.evidence.believed.iter().zip(&self.matches) {
            // An uncertain message does not block those behind it: a gateway may take it long after the call was given up.
            if let Some(taken) = matches.first()
                && believed.state != MessageState::Uncertain
            {
                let way = (believed.bot.as_str(), believed.recipient.as_str());
                chains.entry((way, believed.priority)).or_default().push((taken.seq, believed));
            }
        }
        for chain in chains.into_values() {
            let mut chain = chain;
            chain.sort_by_key(|(seq, _)| *seq);
            for pair in chain.windows(2) {
                let ((_, first), (seq, second)) = (pair[0], pair[1]);
                if first.id > second.id {
                    let facts = format!("taken after {}, which was accepted later", first.id.resource_name());
                    self.violations.push(Violation {
                        rule: Rule::OutOfOrder,
                        message: Some(second.id.resource_name()),
                        seq: Some(seq),
                        facts,
                    });
                }
            }
        }
    }

    fn verdict(self) -> Verdict {
        let mut states = BTreeMap::new();
        for believed in self.evidence.believed {
            *states.entry(believed.state.as_str()).or_default() += 1;
        }
        let mut violations = self.violations;
        violations.sort_by(|a, b| (a.rule, &a.message, a.seq).cmp(&(b.rule, &b.message, b.seq)));
        Verdict {
            messages: self.evidence.believed.len(),
            taken: self.evidence.taken.len(),
            matched: self.matches.iter().filter(|matches| !matches.is_empty()).count(),
            states,
            violations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn believed(id: i64, state: MessageState) -> Believed {
        let known = matches!(state, MessageState::Sent | MessageState::Delivered | MessageState::Read);
        Believed {
            id: MessageId::from_raw(id).unwrap(),
            bot: BotId::new("a").unwrap(),
            recipient: "1@s.whatsapp.net".into(),
            priority: Priority::Campaign,
            state,
            network_id: known.then(|| format!("net-{id}")),
            content: Some(format!("hash-{id}")),
        }
    }

    fn taken(seq: u64, id: i64) -> Taken {
        Taken {
            seq,
            bot: "a".into(),
            recipient: "1@s.whatsapp.net".into(),
            network_id: format!("net-{id}"),
            content: format!("hash-{id}"),
            delivered: false,
            read: false,
            pending: false,
        }
    }

    fn rules(believed: &[Believed], taken: &[Taken]) -> Vec<Rule> {
        let evidence = Evidence { believed, taken, acknowledged: &[], settled: true };
        check(&evidence).violations.into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn what_agrees_agrees() {
        use MessageState::{Cancelled, Delivered, Expired, Failed, Read, Sent, Uncertain};
        let states = [Sent, Delivered, Read, Failed, Expired, Cancelled, Uncertain, Uncertain];
        let mut all: Vec<_> = states.into_iter().zip(1..).map(|(state, id)| believed(id, state)).collect();
        let mut ledger = vec![taken(1, 1), taken(2, 2), taken(3, 3), taken(4, 7), taken(5, 9)];
        ledger[1].delivered = true;
        ledger[2].read = true;
        let refused_later = Believed { network_id: Some("net-9".into()), ..believed(9, Failed) };
        all.push(refused_later);
        assert_eq!(rules(&all, &ledger), []);
    }

    #[test]
    fn what_is_skipped_doubled_or_invented_is_found() {
        use MessageState::{Cancelled, Delivered, Expired, Failed, Sent, Uncertain, Waiting};
        assert_eq!(rules(&[believed(1, Sent)], &[]), [Rule::SaidSentButWasNot]);
        assert_eq!(rules(&[believed(1, Sent)], &[taken(1, 1), taken(2, 1)]), [Rule::SentTwice]);
        let again = Taken { network_id: "other".into(), ..taken(2, 1) };
        assert_eq!(rules(&[believed(1, Sent)], &[taken(1, 1), again.clone()]), [Rule::SentTwice]);
        assert_eq!(rules(&[believed(1, Uncertain)], &[taken(1, 1), again]), [Rule::SentTwice]);
        for state in [Failed, Expired, Cancelled] {
            assert_eq!(rules(&[believed(1, state)], &[taken(1, 1)]), [Rule::SaidUnsentButWas], "{state}");
        }
        assert_eq!(rules(&[], &[taken(1, 1)]), [Rule::NobodyAskedForIt]);
        assert_eq!(rules(&[believed(2, Uncertain)], &[taken(1, 1)]), [Rule::NobodyAskedForIt]);
        assert_eq!(rules(&[believed(1, Delivered)], &[taken(1, 1)]), [Rule::InventedReceipt]);
        assert_eq!(rules(&[believed(1, Waiting)], &[]), [Rule::NotFinal]);
        let other = Taken { content: "other".into(), ..taken(1, 1) };
        assert_eq!(rules(&[believed(1, Sent)], &[other]), [Rule::OtherContent]);
        let elsewhere = Taken { bot: "b".into(), ..taken(1, 1) };
        assert_eq!(rules(&[believed(1, Sent)], &[elsewhere]), [Rule::OtherWay]);
    }

    #[test]
    fn receipts_are_outstanding_until_both_sides_know_them() {
        let sent = believed(1, MessageState::Sent);
        let read = believed(1, MessageState::Read);
        let silent = taken(1, 1);
        assert_eq!(receipts_outstanding(std::slice::from_ref(&sent), std::slice::from_ref(&silent)), 0);
        let delivered = Taken { delivered: true, ..silent.clone() };
        assert_eq!(receipts_outstanding(std::slice::from_ref(&sent), std::slice::from_ref(&delivered)), 1);
        assert_eq!(receipts_outstanding(std::slice::from_ref(&read), &[delivered]), 0);
        assert_eq!(receipts_outstanding(&[read], &[Taken { pending: true, ..silent }]), 1);
    }

    #[test]
    fn equal_messages_are_given_away_one_by_one() {
        let same = |id, state| Believed { content: Some("same".into()), ..believed(id, state) };
        let line = |seq| Taken { content: "same".into(), network_id: format!("x-{seq}"), ..taken(seq, 0) };
        let uncertain = [same(1, MessageState::Uncertain), same(2, MessageState::Uncertain)];
        assert_eq!(rules(&uncertain, &[line(1), line(2)]), []);
        assert_eq!(rules(&uncertain, &[line(1), line(2), line(3)]), [Rule::SentTwice]);
        let mixed = [same(1, MessageState::Failed), same(2, MessageState::Uncertain)];
        assert_eq!(rules(&mixed, &[line(1)]), []);
    }

    #[test]
    fn order_holds_within_a_priority() {
        let all = [believed(1, MessageState::Sent), believed(2, MessageState::Sent)];
        let ledger = [taken(1, 2), taken(2, 1)];
        assert_eq!(rules(&all, &ledger), [Rule::OutOfOrder]);
        let urgent = Believed { priority: Priority::Conversation, ..all[1].clone() };
        assert_eq!(rules(&[all[0].clone(), urgent], &ledger), []);
        let uncertain = Believed { state: MessageState::Uncertain, ..all[0].clone() };
        assert_eq!(rules(&[uncertain, all[1].clone()], &ledger), []);
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let lost = MessageId::from_raw(5).unwrap();
        let evidence = Evidence { believed: &[], taken: &[], acknowledged: &[lost], settled: true };
        let verdict = check(&evidence);
        assert_eq!(verdict.violations[0].rule, Rule::AcknowledgedAndLost);
        assert!(!verdict.agrees());
        assert!(verdict.violations[0].to_string().starts_with("AcknowledgedAndLost messages/"));
    }
}
