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

/// Seeds that found something once. What each found has its test beside the code that it was in: a change to the simulation gives
/// every seed another meaning, and these are only more of them.
#[test]
fn seeds_that_found_something_hold() {
    for seed in [94, 96, 299, 346, 581, 686, 752, 767, 809, 1_140, 1_156, 1_365, 1_386, 2_358, 2_568, 2_581] {
        holds(seed);
    }
}
