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

/// Everything in the traces that breaks a promise.
pub(super) fn check(traced: &[Traced]) -> Vec<Violation> {
    let mut found: Vec<Violation> = traced.iter().flat_map(repetitions).collect();
    found.extend(epochs(traced));
    found
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

/// An attempt as its node sees it. Orders by time, then by epoch: of two at the same moment the older session was first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Committed<'a> {
    seconds: i64,
    nanos: i32,
    epoch: u64,
    message: &'a str,
}

/// Attempts of a node carry growing epochs: one with an older epoch was committed by a session that was fenced.
fn epochs(traced: &[Traced]) -> Vec<Violation> {
    let mut nodes: BTreeMap<&str, Vec<Committed<'_>>> = BTreeMap::new();
    for Traced { message, attempts } in traced {
        for attempt in attempts {
            let at = attempt.dispatch_time.unwrap_or_default();
            let committed = Committed { seconds: at.seconds, nanos: at.nanos, epoch: attempt.epoch, message };
            nodes.entry(&attempt.node).or_default().push(committed);
        }
    }
    let mut found = Vec::new();
    for (node, mut attempts) in nodes {
        attempts.sort_unstable();
        for pair in attempts.windows(2) {
            let (before, after) = (pair[0].epoch, &pair[1]);
            if after.epoch < before {
                let facts =
                    format!("{}: {node} got it from session {} after session {before}", after.message, after.epoch);
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

    fn promises(messages: &[&[Attempt]]) -> Vec<&'static str> {
        let traced: Vec<_> = messages
            .iter()
            .map(|attempts| Traced { message: "messages/x".into(), attempts: attempts.to_vec() })
            .collect();
        check(&traced).into_iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn a_retry_after_a_refusal_is_fine() {
        use AttemptOutcome::{Failed, HandedBack, NotReceived, Sent};
        let attempts = [attempt(1, 1, 1, Failed), attempt(2, 1, 2, HandedBack), attempt(3, 2, 3, NotReceived)];
        assert_eq!(promises(&[&attempts, &[attempt(1, 2, 4, Sent)]]), [""; 0]);
    }

    #[test]
    fn a_retry_after_anything_else_is_found() {
        use AttemptOutcome::{Sent, Uncertain, Unspecified};
        for outcome in [Sent, Uncertain, Unspecified] {
            assert_eq!(promises(&[&[attempt(1, 1, 1, outcome), attempt(2, 1, 2, Sent)]]), ["P2"]);
        }
    }

    #[test]
    fn an_attempt_of_a_fenced_session_is_found() {
        use AttemptOutcome::Sent;
        assert_eq!(promises(&[&[attempt(1, 2, 1, Sent)], &[attempt(1, 1, 2, Sent)]]), ["P6"]);
        assert_eq!(promises(&[&[attempt(2, 1, 1, Sent)]]), ["P7"]);
    }
}
