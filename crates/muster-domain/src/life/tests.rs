use std::convert::Infallible;

use super::*;
use crate::message::MessageState::{Cancelled, Delivered, Dispatched, Expired, Failed, Read, Sent, Uncertain, Waiting};

#[derive(Debug, Clone, Copy)]
struct Fixed {
    decision: Option<Decision>,
    failures: u32,
}

impl Past for Fixed {
    type Error = Infallible;

    fn decision(&self) -> Result<Option<Decision>, Infallible> {
        Ok(self.decision)
    }

    fn failures(&self) -> Result<u32, Infallible> {
        Ok(self.failures)
    }

    fn refusals(&self) -> u32 {
        self.failures + 1
    }
}

fn outcomes() -> Vec<Outcome> {
    let failed = FailureReason::ALL.into_iter().map(|reason| Outcome::Failed(Failure::new(reason, "")));
    let back = [
        HandbackReason::Draining,
        HandbackReason::ChainBroken,
        HandbackReason::BotUnavailable,
        HandbackReason::WindowClosed,
    ];
    let mut all: Vec<Outcome> = failed.chain(back.map(Outcome::HandedBack)).collect();
    all.extend([
        Outcome::Sent { network_id: "X".to_owned() },
        Outcome::Uncertain(Failure::new(FailureReason::OutcomeUnknown, "")),
        Outcome::Expired,
        Outcome::Cancelled,
    ]);
    all
}

fn all_facts() -> impl Iterator<Item = Facts> {
    let flags = [(false, false), (false, true), (true, false), (true, true)];
    MessageState::ALL.into_iter().flat_map(move |state| {
        flags.into_iter().flat_map(move |(cancel_requested, is_over)| {
            (0..4).map(move |attempt_no| Facts { state, attempt_no, cancel_requested, is_over })
        })
    })
}

/// Everything that can be reported in every situation, with what follows: a few thousand cases.
fn each(mut check: impl FnMut(Facts, Said<'_>, Fixed, Effect)) {
    let decisions = Resolution::ALL
        .into_iter()
        .flat_map(|resolution| (0..4).map(move |attempt_no| Some(Decision { resolution, attempt_no })));
    let decisions: Vec<Option<Decision>> = decisions.chain([None]).collect();
    let outcomes = outcomes();
    for facts in all_facts() {
        // A decision is about attempts that there were.
        let past = |decision: &&Option<Decision>| decision.is_none_or(|about| about.attempt_no <= facts.attempt_no);
        for decision in decisions.iter().filter(past) {
            for outcome in &outcomes {
                for (attempt_no, by_its_node, failures) in
                    [(1, true, 0), (1, false, 0), (2, true, 1), (2, true, 99), (3, true, 0), (3, false, 2)]
                {
                    let past = Fixed { decision: *decision, failures };
                    let said = Said { attempt_no, by_its_node, outcome };
                    let Ok(effect) = after_outcome(&facts, said, &past);
                    check(facts, said, past, effect);
                }
            }
        }
    }
}

fn step(effect: &Effect) -> Option<&Step> {
    match &effect.follows {
        Follows::Step(step) => Some(step),
        _ => None,
    }
}

#[test]
fn a_message_waits_again_only_when_its_latest_attempt_was_provably_not_sent() {
    each(|facts, said, _, effect| {
        let Some(step) = step(&effect) else { return };
        assert_eq!(step.to == Waiting, step.place != Place::Nowhere);
        if step.to == Waiting {
            assert!(said.by_its_node && said.attempt_no == facts.attempt_no);
            assert!(matches!(facts.state, Dispatched | Uncertain));
            assert!(!facts.cancel_requested && !facts.is_over);
            match said.outcome {
                Outcome::HandedBack(_) => assert_eq!(step.place, Place::Ready),
                Outcome::Failed(failure) => assert_ne!(failure.reason, FailureReason::OutcomeUnknown),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn what_was_sent_never_moves_by_a_report() {
    each(|facts, _, _, effect| {
        if matches!(facts.state, Sent | Delivered | Read) {
            assert_eq!(step(&effect), None);
        }
    });
}

#[test]
fn a_sent_is_never_lost() {
    each(|facts, said, past, effect| {
        if !matches!(said.outcome, Outcome::Sent { .. }) {
            return;
        }
        let is_current = said.by_its_node && said.attempt_no == facts.attempt_no;
        match facts.state {
            Waiting | Uncertain | Expired | Cancelled => assert_eq!(step(&effect).map(|step| step.to), Some(Sent)),
            // A database that was restored had not heard of the attempt.
            Dispatched | Failed if said.attempt_no > facts.attempt_no => {
                assert_eq!(step(&effect).map(|step| step.to), Some(Sent));
            }
            Dispatched if is_current => assert_eq!(step(&effect).map(|step| step.to), Some(Sent)),
            // It is kept beside what leads the message.
            Dispatched | Sent | Delivered | Read if effect.conflict.is_some() => {
                assert_eq!(effect.follows, Follows::SentBeside);
            }
            Failed if past.decision.is_some_and(|decision| decision.resolution == Resolution::Drop) => {
                assert_eq!(step(&effect).map(|step| step.to), Some(Sent));
                assert!(effect.conflict.is_some());
            }
            _ => {}
        }
    });
}

#[test]
fn what_may_have_been_sent_is_uncertain_unless_somebody_decided() {
    each(|facts, said, past, effect| {
        let is_believed_unsent = matches!(facts.state, Waiting | Expired | Cancelled)
            || (matches!(facts.state, Dispatched | Failed) && said.attempt_no > facts.attempt_no);
        if !matches!(said.outcome, Outcome::Uncertain(_)) || !is_believed_unsent {
            return;
        }
        let decided = past.decision.is_some_and(|decision| decision.attempt_no >= said.attempt_no);
        assert_eq!(step(&effect).map(|step| step.to), (!decided).then_some(Uncertain));
    });
}

#[test]
fn a_report_of_another_attempt_or_node_tells_only_what_may_have_been_sent() {
    each(|facts, said, _, effect| {
        let is_current = said.by_its_node && said.attempt_no == facts.attempt_no;
        let Some(step) = step(&effect) else { return };
        if !is_current {
            assert!(matches!(said.outcome, Outcome::Sent { .. } | Outcome::Uncertain(_)));
            assert!(matches!(step.to, Sent | Uncertain));
        }
    });
}

#[test]
fn a_conflict_speaks_against_a_decision() {
    each(|_, said, past, effect| {
        let Some(conflict) = effect.conflict else { return };
        let decision = past.decision.unwrap();
        assert_eq!(decision.resolution == Resolution::Sent, matches!(said.outcome, Outcome::Failed(_)));
        assert!(conflict.contains("attempt"), "{conflict}");
    });
}

#[test]
fn only_a_decision_moves_an_uncertain_message_without_a_report() {
    for facts in all_facts() {
        let returned = after_return(&facts);
        assert_eq!(returned.to == Waiting, !facts.cancel_requested && !facts.is_over);
        let expects = match facts.state {
            Waiting => Some(Expired),
            Dispatched => Some(Uncertain),
            _ => None,
        };
        assert_eq!(after_validity(&facts, true).map(|step| step.to), expects);
        assert_eq!(after_validity(&facts, false).map(|step| step.to), expects.filter(|to| *to == Expired));
        match after_cancel(&facts) {
            Cancel::Step(step) => assert_eq!((facts.state, step.to), (Waiting, Cancelled)),
            Cancel::Ask => assert_eq!(facts.state, Dispatched),
            Cancel::TooLate => assert!(facts.state.is_final()),
        }
        for resolution in Resolution::ALL {
            match after_decision(&facts, resolution) {
                Ok(step) => {
                    assert_eq!(facts.state, Uncertain);
                    assert_eq!(step.to == Waiting, resolution == Resolution::Resend);
                    assert!(step.to != Waiting || !(facts.cancel_requested || facts.is_over));
                    assert_eq!(step.end, None, "the attempt stays what it was");
                }
                Err(Undecidable::NotUncertain) => assert_ne!(facts.state, Uncertain),
                Err(Undecidable::CancelRequested) => assert!(facts.cancel_requested),
                Err(Undecidable::Expired) => assert!(facts.is_over),
            }
        }
    }
}

#[test]
fn a_loss_ends_the_attempt_that_was_under_way() {
    for facts in all_facts() {
        let step = after_loss(&facts, "the journal was lost");
        assert_eq!(step.to, Uncertain);
        assert_eq!(step.end.is_some(), facts.state == Dispatched);
    }
}

#[test]
fn what_may_never_leave_says_why() {
    for (reason, to) in [
        (RefuseReason::Expired, Expired),
        (RefuseReason::BotRetired, Failed),
        (RefuseReason::BotBanned, Failed),
        (RefuseReason::NodeAbsent, Failed),
        (RefuseReason::RecipientOptedOut, Failed),
    ] {
        let step = after_refusal(reason);
        assert_eq!((step.to, step.failure.is_some()), (to, to == Failed));
    }
}

#[test]
fn what_was_dropped_for_its_recipient_was_not_cancelled() {
    for facts in all_facts().filter(|facts| facts.state == Dispatched && facts.attempt_no == 1) {
        for outcome in outcomes() {
            let said = Said { attempt_no: 1, by_its_node: true, outcome: &outcome };
            let Ok(effect) = after_outcome(&facts, said, &Fixed { decision: None, failures: 0 });
            let Some(before) = step(&effect) else { continue };
            let after = after_opt_out(&facts, before.clone());
            if outcome == Outcome::Cancelled && !facts.cancel_requested {
                let reason = after.failure.as_ref().map(|failure| failure.reason);
                assert_eq!((after.to, reason), (Failed, Some(FailureReason::RecipientOptedOut)));
                assert_eq!(after.end, Some(AttemptEnd::Cancelled));
            } else {
                assert_eq!(after, *before, "what was sent was sent");
            }
        }
    }
}
