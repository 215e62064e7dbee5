//! Seeds as tests: that a run can be repeated, and that what was found once stays mended.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use serde_json::Value;

/// Runs a seed in a process of its own.
fn run(seed: u64) -> Value {
    let program = env!("CARGO_BIN_EXE_muster-virtual");
    let ran = Command::new(program).args(["seed", &seed.to_string(), "-o", "json"]).output().unwrap();
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ran.stderr)))
}

fn holds(seed: u64) {
    let outcome = run(seed);
    assert_eq!(outcome["violations"], Value::Array(Vec::new()), "muster-virtual seed {seed} --trace");
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in 1..=4 {
        let (first, second) = (run(seed), run(seed));
        assert!(first["events"].as_u64().unwrap() > 100);
        assert_eq!(first, second);
    }
}

/// A database that was put back let messages expire that had been sent, and left the agent's SENT aside.
#[test]
fn what_a_restored_database_gave_up_turns_out_sent() {
    holds(94);
    holds(96);
}

/// The same database had the message under way by an earlier attempt than the one that was sent.
#[test]
fn a_later_attempt_than_the_restored_database_knows_is_believed() {
    holds(1_365);
}

/// The end of a back-off was told once, and came again after the clock had been set back.
#[test]
fn a_clock_that_is_set_back_lets_nobody_wait_for_ever() {
    holds(1_156);
    holds(1_386);
}
