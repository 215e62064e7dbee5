//! Ends of validity.
//!
//! Hardly any message lives until its validity ends, so there is no entry per message: one row tells where to look for a
//! run of messages that were accepted one after the other and end together. It costs next to nothing when they are
//! accepted, nothing when they leave, and one look at the end.

use std::time::Duration;

use muster_domain::life;
use rusqlite::params;

use super::facts;
use super::micros;
use super::settle::{self, Step};
use super::txn::Txn;
use crate::Result;

/// Validity ends at the first multiple of this after its time, so that messages accepted together end together.
const STEP_US: i64 = 100_000;

/// Runs that one turn looks into. Each holds at most what one transaction accepted.
const RUNS_MAX: u32 = 16;

/// A run of messages, from the first id to the last, with the time to look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    due_time: i64,
    first_id: i64,
    last_id: i64,
}

/// Makes runs of messages, each with its time, in the order of their ids.
fn runs(messages: impl Iterator<Item = (i64, i64)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (message_id, time) in messages {
        let due_time = time.saturating_add(STEP_US - 1).div_euclid(STEP_US) * STEP_US;
        match runs.last_mut() {
            Some(run) if run.due_time == due_time => run.last_id = message_id,
            _ => runs.push(Run { due_time, first_id: message_id, last_id: message_id }),
        }
    }
    runs
}

/// Looks at messages again at their times; both in the order of the ids.
pub(super) fn watch(txn: &Txn, messages: impl Iterator<Item = (i64, i64)>) -> Result<()> {
    let mut insert = txn.prepare(
        "INSERT INTO expiry (due_time, first_id, last_id) VALUES (?, ?, ?) \
         ON CONFLICT (due_time, first_id) DO UPDATE SET last_id = max(last_id, excluded.last_id)",
    )?;
    for run in runs(messages) {
        insert.execute(params![run.due_time, run.first_id, run.last_id])?;
    }
    Ok(())
}

/// Ends what waits past its validity, at most `limit` messages. Of an attempt that is still under way the report may be on
/// its way: `silence` after the end of the validity nobody waits for it any more, and its outcome is uncertain.
pub(super) fn end(txn: &mut Txn, limit: u32, silence: Duration) -> Result<()> {
    let due = "SELECT due_time, first_id, last_id FROM expiry WHERE due_time <= ? ORDER BY due_time, first_id LIMIT ?";
    let due = txn.all(due, params![micros(txn.now), RUNS_MAX], |row| {
        Ok(Run { due_time: row.get(0)?, first_id: row.get(1)?, last_id: row.get(2)? })
    })?;
    let mut left = limit;
    for run in due {
        left -= end_run(txn, run, left, silence)?;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// Looks at the first messages of a run, and forgets it as far as it was looked at. Returns how many are not over.
fn end_run(txn: &mut Txn, run: Run, limit: u32, silence: Duration) -> Result<u32> {
    let condition =
        "m.message_id BETWEEN ? AND ? AND s.message_id IS NULL AND m.expire_time <= ? ORDER BY m.message_id LIMIT ?";
    let found = facts::of_those(txn, condition, params![run.first_id, run.last_id, micros(txn.now), limit])?;
    let count = found.len() as u32;
    txn.execute("DELETE FROM expiry WHERE due_time = ? AND first_id = ?", params![run.due_time, run.first_id])?;
    if let Some(last) = found.last().filter(|last| count == limit && last.message_id < run.last_id) {
        // The rest of the run, from its first to its last id.
        watch(txn, [(last.message_id + 1, run.due_time), (run.last_id, run.due_time)].into_iter())?;
    }
    let (now, silence) = (micros(txn.now), i64::try_from(silence.as_micros()).unwrap_or(i64::MAX));
    let (mut steps, mut again) = (Vec::new(), Vec::new());
    for facts in found {
        let patience = facts.expire_time.saturating_add(silence);
        match life::after_validity(&facts.life(now), patience <= now) {
            Some(step) => steps.push(Step::new(facts, step)),
            None => again.push((facts.message_id, patience)),
        }
    }
    watch(txn, again.into_iter())?;
    settle::apply(txn, steps)?;
    Ok(count)
}

/// When a run is due next.
pub(super) fn next(txn: &Txn) -> Result<Option<i64>> {
    txn.value("SELECT min(due_time) FROM expiry", [])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_message_is_in_a_run_that_is_due_soon_after_its_time(
            times in prop::collection::vec(0i64..400_000, 0..200),
        ) {
            let messages: Vec<(i64, i64)> = (1..).zip(times).collect();
            let runs = runs(messages.iter().copied());
            for (message_id, time) in &messages {
                let holding: Vec<&Run> =
                    runs.iter().filter(|run| (run.first_id..=run.last_id).contains(message_id)).collect();
                prop_assert_eq!(holding.len(), 1);
                prop_assert!((*time..*time + STEP_US).contains(&holding[0].due_time));
            }
            prop_assert!(runs.windows(2).all(|pair| pair[0].due_time != pair[1].due_time));
        }
    }
}
