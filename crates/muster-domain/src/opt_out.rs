//! A person's word that nothing may be sent to them any more, and how it is taken back.
//!
//! What was said is kept for good, in order: the latest record of a contact tells whether anything may be sent to it.

use jiff::Timestamp;

use crate::Violation;
use crate::limits::NOTE_CHARS_MAX;

/// Which way a contact went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptChange {
    /// Nothing may be sent to it any more.
    OptOut,
    /// Something may be sent to it again.
    OptIn,
}

impl OptChange {
    /// Both, in the order of declaration.
    pub const ALL: [OptChange; 2] = [OptChange::OptOut, OptChange::OptIn];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            OptChange::OptOut => "OPT_OUT",
            OptChange::OptIn => "OPT_IN",
        }
    }
}

/// Where an opt-out or opt-in comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptSource {
    /// The person sent a bot a word that means it; see [`crate::opt_out_words`].
    Keyword,
    /// The network said that the person blocked the sender or asked it to stop.
    Network,
    /// A caller of the API: what the person said elsewhere, on a form or on the phone.
    Operator,
}

impl OptSource {
    /// All sources, in the order of declaration.
    pub const ALL: [OptSource; 3] = [OptSource::Keyword, OptSource::Network, OptSource::Operator];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            OptSource::Keyword => "KEYWORD",
            OptSource::Network => "NETWORK",
            OptSource::Operator => "OPERATOR",
        }
    }
}

/// What is kept of an opt-out or opt-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptRecord {
    /// Which way.
    pub change: OptChange,
    /// Where it comes from.
    pub source: OptSource,
    /// What was said: the word as the person wrote it, what the network said, or the caller's words. May be empty.
    pub text: String,
    /// What shows it: the name of an inbound or outbound message, or where a caller keeps it. Empty where a caller names nothing.
    pub proof: String,
    /// Who asked for it, if a caller did and said so.
    pub author: String,
    /// When it became durable.
    pub time: Timestamp,
}

/// Why a contact stays opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptInRefusal {
    /// It is not opted out.
    NotOptedOut,
    /// The person said it themself, so only they can take it back: the proof has to be a message of theirs that a bot received
    /// later, and that is no opt-out itself.
    OwnWordNeeded,
}

/// What was said since the contact opted in last, or from the beginning.
fn since_opt_in(records: &[OptRecord]) -> &[OptRecord] {
    let latest = records.iter().rposition(|record| record.change == OptChange::OptIn);
    &records[latest.map_or(0, |at| at + 1)..]
}

/// Whether an opt-out from `source` says something that is not kept yet: what is said again in the same way changes nothing.
/// `records` are those of the contact, in order.
pub fn is_news(records: &[OptRecord], source: OptSource) -> bool {
    since_opt_in(records).iter().all(|record| record.source != source)
}

/// Whether a contact may be written to again. `records` are its own, in order. `own_word`: when the message became durable that
/// shows it, if the person sent one and it is no opt-out.
///
/// # Errors
/// Why not.
pub fn may_opt_in(records: &[OptRecord], own_word: Option<Timestamp>) -> Result<(), OptInRefusal> {
    let said = since_opt_in(records);
    if said.is_empty() {
        return Err(OptInRefusal::NotOptedOut);
    }
    let by_themself = said.iter().filter(|record| record.source != OptSource::Operator);
    match by_themself.map(|record| record.time).max() {
        Some(time) if own_word.is_none_or(|word| word <= time) => Err(OptInRefusal::OwnWordNeeded),
        _ => Ok(()),
    }
}

/// Checks a text, proof or author that a caller gave: [`NOTE_CHARS_MAX`] printable characters at the most.
///
/// # Errors
/// What is wrong, without the value.
pub fn check_note(note: &str) -> Result<(), Violation> {
    if note.chars().count() > NOTE_CHARS_MAX || note.chars().any(char::is_control) {
        return Err(Violation::new("", format!("must have at most {NOTE_CHARS_MAX} printable characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(change: OptChange, source: OptSource, second: i64) -> OptRecord {
        let text = String::new;
        OptRecord { change, source, text: text(), proof: text(), author: text(), time: at(second) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_a_person_said_only_they_take_back() {
        use OptChange::{OptIn, OptOut};
        use OptSource::{Keyword, Network, Operator};
        let needed = Err(OptInRefusal::OwnWordNeeded);
        for source in [Keyword, Network] {
            let said = [record(OptOut, source, 1)];
            assert_eq!(may_opt_in(&said, None), needed);
            assert_eq!(may_opt_in(&said, Some(at(1))), needed, "what was said before says nothing of it");
            assert_eq!(may_opt_in(&said, Some(at(2))), Ok(()));
            let said = [record(OptOut, source, 1), record(OptOut, Operator, 2)];
            assert_eq!(may_opt_in(&said, None), needed, "an operator's word does not hide it");
            let said = [record(OptOut, source, 1), record(OptIn, Operator, 2), record(OptOut, Operator, 3)];
            assert_eq!(may_opt_in(&said, None), Ok(()), "they had taken it back");
        }
        assert_eq!(may_opt_in(&[record(OptOut, Operator, 1)], None), Ok(()));
        let back = [record(OptOut, Operator, 1), record(OptIn, Operator, 2)];
        for said in [&back[..], &[]] {
            assert_eq!(may_opt_in(said, Some(at(9))), Err(OptInRefusal::NotOptedOut));
        }
    }

    #[test]
    fn what_is_said_again_is_no_news() {
        let mut said = vec![record(OptChange::OptOut, OptSource::Operator, 1)];
        assert!(!is_news(&said, OptSource::Operator) && is_news(&said, OptSource::Keyword));
        said.push(record(OptChange::OptIn, OptSource::Operator, 2));
        assert!(OptSource::ALL.into_iter().all(|source| is_news(&said, source)));
    }

    #[test]
    fn a_note_has_an_end() {
        for good in ["", "form of 2026-11-02", &"é".repeat(NOTE_CHARS_MAX)] {
            assert_eq!(check_note(good), Ok(()));
        }
        for bad in ["two\nlines", &"x".repeat(NOTE_CHARS_MAX + 1)] {
            assert!(check_note(bad).is_err());
        }
    }
}
