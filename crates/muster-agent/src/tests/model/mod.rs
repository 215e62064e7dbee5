//! The life of one message over server, journal, agent, stream and gateway, explored in full.
//!
//! Every order of events is tried in which a bounded number of things go wrong: streams break and lose their frames, agents
//! crash between any two of their steps and lose what was not synced, journals and databases are lost or put back, gateways
//! take a message and never answer, operators and clients decide at any moment. Both ends decide by the rules that run in
//! production: [`muster_domain::life`] and [`muster_domain::session`] at the server; the journal's fold, the [`gate`], the
//! [`verdict`] and what a new run takes up at the agent. What stands here is only what carries their answers: rows, frames,
//! and a disk.
//!
//! In every situation that can be reached:
//! - the gateway has taken the message once at the most, and once more for each permission to send it again;
//! - no attempt was handed to the gateway twice;
//! - a message that ended as not sent was not taken, unless somebody decided so;
//! - whatever happened, the ordinary course of things leads to an end, and nothing stops before it.
//!
//! One gap is known and left out: a journal that is lost and a database that is restored from before what that journal said
//! ([decision 0013](../../../../../docs/decisions/0013-restored-server.md)). Nobody is left then who knew.
//!
//! The explorer is breadth-first, so that what it finds is as short as it can be, and small enough to read. A library would
//! bring more of a framework than there is a model.
//!
//! [`gate`]: crate::lane::gate
//! [`verdict`]: crate::session::verdict

mod disk;
mod explore;
mod node;
mod server;
mod world;

use self::explore::{Found, explore};
use self::world::{Bounds, Fault};

/// Histories in which the disk of the server is safe.
const WORN: Bounds = Bounds { surprises: 3, restores: 0, journals: 1 };

/// Histories in which the database is put back once.
const RESTORED: Bounds = Bounds { surprises: 2, restores: 1, journals: 0 };

#[test]
fn no_history_of_misfortunes_sends_twice_or_loses_a_message() {
    expect_sound(WORN);
}

#[test]
fn no_history_with_a_restored_database_sends_twice_or_loses_a_message() {
    expect_sound(RESTORED);
}

/// As far as a few minutes reach.
#[test]
#[ignore = "takes minutes: run it when a rule of the life, the journal or the session changes"]
fn no_longer_history_sends_twice_or_loses_a_message() {
    expect_sound(Bounds { surprises: RESTORED.surprises + 1, ..RESTORED });
    expect_sound(Bounds { surprises: WORN.surprises + 1, ..WORN });
}

fn expect_sound(bounds: Bounds) {
    match explore(bounds, Fault::None) {
        Ok(size) => {
            println!("{size}");
            assert!(size.situations > 10_000, "the model does not move: {size}");
        }
        Err(found) => panic!("{found}"),
    }
}

/// A fault in one of the rules is found, as a broken promise of this kind.
#[track_caller]
fn expect_found(bounds: Bounds, fault: Fault, promise: &str) {
    let Err(Found { broken, path }) = explore(bounds, fault) else { panic!("{fault:?} was not found") };
    assert!(broken.contains(promise), "{broken}");
    assert!(!path.is_empty());
    println!("{}", Found { broken, path });
}

#[test]
fn an_intent_that_is_not_synced_is_found() {
    expect_found(WORN, Fault::IntentNotSynced, "taken 2 times");
}

#[test]
fn started_attempts_that_a_new_run_starts_again_are_found() {
    expect_found(WORN, Fault::StartedAgain, "taken 2 times");
}

#[test]
fn a_time_out_that_is_tried_again_is_found() {
    expect_found(WORN, Fault::TimeOutRefuses, "taken, and ends as CANCELLED");
}

#[test]
fn a_journal_whose_loss_is_not_noticed_is_found() {
    expect_found(WORN, Fault::LossUnnoticed, "taken, and ends as CANCELLED");
}

#[test]
fn outcomes_that_are_not_remembered_are_found() {
    expect_found(Bounds { surprises: 1, ..RESTORED }, Fault::OutcomesForgotten, "taken 2 times");
}

#[test]
fn attempts_that_never_arrived_and_never_return_are_found() {
    expect_found(Bounds { surprises: 1, ..WORN }, Fault::NeverReturned, "before the end");
}
