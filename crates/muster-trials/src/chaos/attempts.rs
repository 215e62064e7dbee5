//! Do the attempts of all messages fit together? Pure: what the server's traces say about themselves.

use std::collections::BTreeMap;

use muster_proto::v1::{Attempt, AttemptOutcome};

use super::timeline::Violation;

/// A message with its attempts, as its trace shows them.
#[derive(Debug, Clone)]
pub(super) struct Traced {
    pub(super) message: String,
    pub(super) attempts: Vec<Attempt>,
}

/// The latest session of a node, as somebody saw it.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) node: String,
    pub(super) epoch: u64,
    /// When, by the clock of the machine, which is the database's too: microseconds since 1970.
    pub(super) at: i64,
}

/// A time in which a node took no new work, as an operator saw it: from the answer until it was first asked to end it, in
/// microseconds since 1970.
#[derive(Debug, Clone)]
pub(super) struct Shut {
    pub(super) node: String,
    pub(super) from: i64,
    pub(super) until: i64,
}

/// Everything in the traces that breaks a promise.
pub(super) fn check(traced: &[Traced], sightings: &[Sighting], shut: &[Shut]) -> Vec<Violation> {
    let mut found: Vec<Violation> = traced.iter().flat_map(repetitions).collect();
    found.extend(epochs(traced, sightings));
    found.extend(cordons(traced, shut));
    found
}

/// No attempt is committed to a node while it is cordoned.
fn cordons(traced: &[Traced], shut: &[Shut]) -> Vec<Violation> {
    let mut found = Vec::new();
    for Traced { message, attempts } in traced {
        for attempt in attempts {
            let at = committed(attempt);
            if shut.iter().any(|shut| shut.node == attempt.node && shut.from < at && at < shut.until) {
                let facts = format!(
                    "{message}: attempt {} was given to {}, which was cordoned",
                    attempt.attempt_no, attempt.node
                );
                found.push(Violation { promise: "CONDUCT", facts });
            }
        }
    }
    found
}

/// When an attempt was committed, in microseconds since 1970.
fn committed(attempt: &Attempt) -> i64 {
    let time = attempt.dispatch_time.unwrap_or_default();
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

/// A message is tried again only after an attempt that provably sent nothing.
fn repetitions(traced: &Traced) -> Vec<Violation> {
    let Traced { message, attempts } = traced;
    let mut found = Vec::new();
    for (index, attempt) in attempts.iter().enumerate() {
        if usize::try_from(attempt.attempt_no) != Ok(index + 1) {
            let facts = format!("{message}: attempt {} stands at place {}", attempt.attempt_no, index + 1);
            found.push(Violation { promise: "P7", facts });
        }
        let sent_nothing = matches!(
            attempt.outcome(),
            AttemptOutcome::Failed | AttemptOutcome::HandedBack | AttemptOutcome::NotReceived
        );
        if index + 1 < attempts.len() && !sent_nothing {
            let facts = format!("{message}: tried again after attempt {} was {:?}", index + 1, attempt.outcome());
            found.push(Violation { promise: "P2", facts });
        }
    }
    found
}

/// Once a session was seen, no attempt is committed for one before it. A later session may have taken an attempt over from
/// an earlier one, so that what a trace shows may be greater, but never less.
fn epochs(traced: &[Traced], sightings: &[Sighting]) -> Vec<Violation> {
    let mut seen: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
    for Sighting { node, epoch, at } in sightings {
        seen.entry(node).or_default().insert(*at, *epoch);
    }
    let mut found = Vec::new();
    for Traced { message, attempts } in traced {
        for attempt in attempts {
            let seen = seen.get(attempt.node.as_str());
            let before = seen.and_then(|seen| seen.range(..committed(attempt)).next_back());
            if let Some((_, epoch)) = before
                && attempt.epoch < *epoch
            {
                let Attempt { node, epoch: fenced, .. } = attempt;
                let facts = format!("{message}: session {fenced} of {node} took it after session {epoch} had begun");
                found.push(Violation { promise: "P6", facts });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(attempt_no: u32, epoch: u64, second: i64, outcome: AttemptOutcome) -> Attempt {
        let mut attempt = Attempt { attempt_no, epoch, node: "nodes/a".into(), ..Attempt::default() };
        attempt.dispatch_time.get_or_insert_default().seconds = second;
        attempt.set_outcome(outcome);
        attempt
    }

    fn promises(messages: &[&[Attempt]], sightings: &[Sighting]) -> Vec<&'static str> {
        let traced: Vec<_> = messages
            .iter()
            .map(|attempts| Traced { message: "messages/x".into(), attempts: attempts.to_vec() })
            .collect();
        check(&traced, sightings, &[]).into_iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn a_retry_after_a_refusal_is_fine() {
        use AttemptOutcome::{Failed, HandedBack, NotReceived, Sent};
        let attempts = [attempt(1, 1, 1, Failed), attempt(2, 1, 2, HandedBack), attempt(3, 2, 3, NotReceived)];
        assert_eq!(promises(&[&attempts, &[attempt(1, 2, 4, Sent)]], &[]), [""; 0]);
    }

    #[test]
    fn a_retry_after_anything_else_is_found() {
        use AttemptOutcome::{Sent, Uncertain, Unspecified};
        for outcome in [Sent, Uncertain, Unspecified] {
            assert_eq!(promises(&[&[attempt(1, 1, 1, outcome), attempt(2, 1, 2, Sent)]], &[]), ["P2"]);
        }
        assert_eq!(promises(&[&[attempt(2, 1, 1, Sent)]], &[]), ["P7"]);
    }

    #[test]
    fn an_attempt_of_a_fenced_session_is_found() {
        let at = |epoch, second| promises(&[&[attempt(1, epoch, second, AttemptOutcome::Sent)]], &SEEN.map(sighting));
        const SEEN: [(u64, i64); 2] = [(1, 10), (2, 20)];
        for (epoch, second) in [(1, 5), (1, 15), (2, 15), (2, 25), (3, 25)] {
            assert_eq!(at(epoch, second), [""; 0], "session {epoch} at {second}");
        }
        assert_eq!(at(1, 25), ["P6"]);
    }

    #[test]
    fn an_attempt_at_a_cordoned_node_is_found() {
        let shut = [Shut { node: "nodes/a".into(), from: 10_000_000, until: 20_000_000 }];
        let at = |second| {
            let attempts = vec![attempt(1, 1, second, AttemptOutcome::Sent)];
            check(&[Traced { message: "messages/x".into(), attempts }], &[], &shut).len()
        };
        assert_eq!([9, 10, 15, 20, 21].map(at), [0, 0, 1, 0, 0]);
    }

    fn sighting((epoch, second): (u64, i64)) -> Sighting {
        Sighting { node: "nodes/a".into(), epoch, at: second * 1_000_000 }
    }
}
