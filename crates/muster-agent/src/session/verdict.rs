//! What becomes of an attempt that arrived, given what is known of its message. Pure.

use bytes::Bytes;
use muster_domain::message::AttemptRef;

use crate::clock::Stamp;
use crate::journal::record::Settlement;
use crate::journal::state::Known;

/// What becomes of an attempt that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The agent takes it.
    Accept,
    /// The agent has it already, or will report its outcome in any case.
    Ignore,
    /// Its outcome is known from before: it is reported, and nothing is sent.
    Repeat {
        /// When it ended.
        stamp: Stamp,
        /// How.
        how: Settlement,
        /// The report that said so.
        body: Bytes,
    },
    /// Another attempt of the message is under way.
    HandBack,
}

/// A message that was sent, or may have been, is never sent again, whatever the number of the attempt: only a server that
/// forgot, because it was restored from a backup, dispatches it again. The exception is what an operator wants sent although the
/// attempts up to `resend_after` may have been; one that is known to be sent stays sent.
pub(crate) fn judge(attempt: AttemptRef, resend_after: u32, known: Known) -> Verdict {
    match known {
        Known::New => Verdict::Accept,
        Known::Held { attempt_no } if attempt_no == attempt.attempt_no => Verdict::Ignore,
        Known::Held { .. } => Verdict::HandBack,
        Known::Reported => Verdict::Ignore,
        Known::Settled { attempt_no, stamp, how, body } => {
            let may_be_sent = match how {
                Settlement::Sent => true,
                Settlement::Uncertain => attempt_no > resend_after,
                Settlement::Ended | Settlement::Retry | Settlement::HandedBack => false,
            };
            let is_answered = may_be_sent || attempt_no == attempt.attempt_no;
            if is_answered { Verdict::Repeat { stamp, how, body } } else { Verdict::Accept }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::MessageId;

    use super::*;

    fn attempt(attempt_no: u32) -> AttemptRef {
        AttemptRef { message_id: MessageId::from_raw(7).unwrap(), attempt_no }
    }

    fn settled(attempt_no: u32, how: Settlement) -> Known {
        Known::Settled { attempt_no, stamp: Stamp::default(), how, body: Bytes::new() }
    }

    #[test]
    fn what_was_sent_or_may_have_been_is_never_sent_again() {
        for how in [Settlement::Sent, Settlement::Uncertain] {
            for attempt_no in 1..4 {
                assert!(matches!(judge(attempt(attempt_no), 0, settled(2, how)), Verdict::Repeat { .. }));
            }
        }
    }

    #[test]
    fn what_may_have_been_sent_is_sent_again_where_an_operator_decided_so() {
        assert_eq!(judge(attempt(3), 2, settled(2, Settlement::Uncertain)), Verdict::Accept);
        // Decided about an earlier attempt than the one that nobody knows of.
        assert!(matches!(judge(attempt(3), 1, settled(2, Settlement::Uncertain)), Verdict::Repeat { .. }));
        // The very attempt that nobody knows of, again.
        assert!(matches!(judge(attempt(2), 2, settled(2, Settlement::Uncertain)), Verdict::Repeat { .. }));
        assert!(matches!(judge(attempt(3), 2, settled(2, Settlement::Sent)), Verdict::Repeat { .. }));
    }

    #[test]
    fn the_same_attempt_is_answered_and_a_later_one_is_taken() {
        for how in [Settlement::Ended, Settlement::Retry] {
            assert!(matches!(judge(attempt(2), 0, settled(2, how)), Verdict::Repeat { .. }));
            assert_eq!(judge(attempt(3), 0, settled(2, how)), Verdict::Accept);
        }
    }

    #[test]
    fn what_is_held_is_held_once() {
        assert_eq!(judge(attempt(1), 0, Known::New), Verdict::Accept);
        assert_eq!(judge(attempt(1), 0, Known::Held { attempt_no: 1 }), Verdict::Ignore);
        assert_eq!(judge(attempt(2), 0, Known::Held { attempt_no: 1 }), Verdict::HandBack);
        assert_eq!(judge(attempt(1), 0, Known::Reported), Verdict::Ignore);
    }
}
