//! Back-offs of bots and gateways: what refused them, and until when nothing of them is tried.
//!
//! Rows are few: the hot paths ask first whether there is any at all.

use std::collections::BTreeSet;

use muster_domain::Timestamp;
use muster_domain::backoff::{Backoff, TRIAL_MAX};
use muster_domain::failure::{Failure, FailureReason, Scope};
use muster_domain::gate::WaitReason;
use muster_domain::message::Outcome;
use rusqlite::params;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::code::Code as _;
use super::facts::Facts;
use super::txn::Txn;
use super::{micros, time};
use crate::Result;

/// A bot and its gateway, which may be refused each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    pub(super) bot_key: i64,
    pub(super) gateway_key: i64,
}

impl Sender {
    fn key(self, scope: Scope) -> i64 {
        if scope == Scope::Gateway { self.gateway_key } else { self.bot_key }
    }
}

/// Whether anything at all was refused.
pub(super) fn any(txn: &Txn) -> Result<bool> {
    txn.value("SELECT EXISTS (SELECT 1 FROM backoff)", [])
}

/// The back-off that holds a bot back longest, its own or its gateway's.
pub(super) fn of(txn: &Txn, sender: Sender) -> Result<Option<Backoff>> {
    Ok(Backoff::longer(read(txn, Scope::Bot, sender)?, read(txn, Scope::Gateway, sender)?))
}

fn read(txn: &Txn, scope: Scope, sender: Sender) -> Result<Option<Backoff>> {
    txn.first(
        "SELECT reason, detail, refusals, since, refused, until FROM backoff WHERE scope = ? AND key = ?",
        params![scope.code(), sender.key(scope)],
        |row| {
            let detail: String = row.get(1)?;
            let numbers = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
            backoff(scope, row.get(0)?, &detail, numbers)
        },
    )
}

/// The back-off in six columns from `first` on, if there is one.
pub(super) fn columns(row: &SqliteRow, scope: Scope, first: usize) -> Result<Option<Backoff>> {
    let Some(reason) = row.get::<Option<i64>, _>(first) else { return Ok(None) };
    let numbers = [row.get(first + 2), row.get(first + 3), row.get(first + 4), row.get(first + 5)];
    backoff(scope, reason, row.get(first + 1), numbers).map(Some)
}

fn backoff(scope: Scope, reason: i64, detail: &str, numbers: [i64; 4]) -> Result<Backoff> {
    let [refusals, since, refused, until] = numbers;
    Ok(Backoff {
        scope,
        failure: Failure::new(FailureReason::decode(reason)?, detail).of(scope),
        refusals: u32::try_from(refusals).unwrap_or(u32::MAX),
        since: time(since),
        refused: time(refused),
        until: time(until),
    })
}

/// Notes that an attempt was refused in a way that speaks of its bot or gateway. Returns how often that was so in a row; zero
/// for a failure of the message or its recipient.
pub(super) fn refused(txn: &Txn, facts: &Facts, failure: &Failure) -> Result<u32> {
    let (scope, sender) = (failure.scope(), sender(txn, facts.bot_key)?);
    let before = read(txn, scope, sender)?;
    let Some(backoff) = Backoff::after(before.as_ref(), failure, committed(facts, txn.now), txn.now) else {
        return Ok(0);
    };
    txn.counts.borrow_mut().refused(facts.bot_key, before.as_ref(), &backoff);
    txn.execute(
        "INSERT INTO backoff (scope, key, reason, detail, refusals, since, refused, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (scope, key) DO UPDATE SET reason = excluded.reason, detail = excluded.detail, refusals = \
         excluded.refusals, since = excluded.since, refused = excluded.refused, until = excluded.until, told = 0",
        params![
            scope.code(),
            sender.key(scope),
            backoff.failure.reason.code(),
            backoff.failure.detail,
            backoff.refusals,
            micros(backoff.since),
            micros(backoff.refused),
            micros(backoff.until),
        ],
    )?;
    Ok(backoff.refusals)
}

/// Notes that the only attempt is under way that may be tried now: the next one waits for what becomes of it.
pub(super) fn trial(txn: &Txn, sender: Sender) -> Result<()> {
    let until = micros(txn.now + TRIAL_MAX);
    for scope in [Scope::Bot, Scope::Gateway] {
        txn.execute(
            "UPDATE backoff SET until = ?, told = 0 WHERE scope = ? AND key = ?",
            params![until, scope.code(), sender.key(scope)],
        )?;
    }
    Ok(())
}

/// Looks at what became of an attempt of a bot that had been refused before: ends the back-off if it got through, and lets
/// the next one try if it told nothing. Returns the bots that may send again.
pub(super) fn tried(txn: &mut Txn, facts: &Facts, outcome: &Outcome) -> Result<Vec<i64>> {
    let (sender, committed) = (sender(txn, facts.bot_key)?, committed(facts, txn.now));
    let mut woken = Vec::new();
    for scope in [Scope::Bot, Scope::Gateway] {
        let Some(backoff) = read(txn, scope, sender)? else { continue };
        let speaks_of_it = matches!(outcome, Outcome::Failed(failure) if failure.scope() == scope);
        if backoff.ends_with(outcome, committed) {
            woken.extend(end(txn, scope, sender.key(scope))?);
        } else if !speaks_of_it && committed > backoff.refused {
            txn.execute(
                "UPDATE backoff SET until = min(until, ?), told = 0 WHERE scope = ? AND key = ?",
                params![micros(txn.now), scope.code(), sender.key(scope)],
            )?;
            txn.something_due = true;
        }
    }
    Ok(woken)
}

/// Ends a bot's back-off that was for want of a login: it has one now.
pub(super) fn connected(txn: &mut Txn, bot_key: i64) -> Result<()> {
    let backoff = read(txn, Scope::Bot, Sender { bot_key, gateway_key: 0 })?;
    if backoff.is_some_and(|backoff| backoff.ends_with_login()) {
        end(txn, Scope::Bot, bot_key)?;
    }
    Ok(())
}

/// Forgets what refused a bot that is out of service for good.
pub(super) fn forget(txn: &Txn, bot_key: i64) -> Result<()> {
    txn.execute("DELETE FROM backoff WHERE scope = 3 AND key = ?", [bot_key]).map(drop)
}

/// Ends a back-off. Returns the bots that may send again.
fn end(txn: &mut Txn, scope: Scope, key: i64) -> Result<Vec<i64>> {
    txn.execute("DELETE FROM backoff WHERE scope = ? AND key = ?", params![scope.code(), key])?;
    if scope == Scope::Bot {
        // What had stepped aside for others while the bot was refused.
        let released = txn.execute(
            "UPDATE parked SET wake_time = ? WHERE bot_key = ? AND reason = ? AND wake_time > ?",
            params![micros(txn.now), key, WaitReason::BotBackoff.code(), micros(txn.now)],
        )?;
        txn.something_due |= released > 0;
    }
    bots(txn, scope, key)
}

/// A back-off that was told to be over, and is not after all: somebody set the clock back. It will be told again.
pub(super) fn tell_again(txn: &Txn, sender: Sender) -> Result<()> {
    for scope in [Scope::Bot, Scope::Gateway] {
        txn.execute(
            "UPDATE backoff SET told = 0 WHERE scope = ? AND key = ? AND told = 1 AND until > ?",
            params![scope.code(), sender.key(scope), micros(txn.now)],
        )?;
    }
    Ok(())
}

/// Marks the back-offs that are over as told, and returns the bots that may try again.
pub(super) fn end_due(txn: &mut Txn) -> Result<BTreeSet<i64>> {
    let over: Vec<(i64, i64)> = txn.all(
        "UPDATE backoff SET told = 1 WHERE told = 0 AND until <= ? RETURNING scope, key",
        [micros(txn.now)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mut found = BTreeSet::new();
    for (scope, key) in over {
        found.extend(bots(txn, Scope::decode(scope)?, key)?);
    }
    Ok(found)
}

/// When the next back-off ends.
pub(super) fn next(txn: &Txn) -> Result<Option<i64>> {
    txn.value("SELECT min(until) FROM backoff WHERE told = 0", [])
}

/// The bots that a back-off holds back and that have work.
fn bots(txn: &Txn, scope: Scope, key: i64) -> Result<Vec<i64>> {
    if scope == Scope::Bot {
        return Ok(vec![key]);
    }
    txn.all(
        "SELECT b.bot_key FROM bot b WHERE b.gateway_key = ? AND EXISTS (SELECT 1 FROM ready r WHERE r.bot_key = b.bot_key)",
        [key],
        |row| Ok(row.get(0)?),
    )
}

fn sender(txn: &Txn, bot_key: i64) -> Result<Sender> {
    let gateway_key = txn.value("SELECT gateway_key FROM bot WHERE bot_key = ?", [bot_key])?;
    Ok(Sender { bot_key, gateway_key })
}

/// When the attempt was committed that an outcome speaks of.
fn committed(facts: &Facts, now: Timestamp) -> Timestamp {
    facts.latest.map_or(now, |latest| time(latest.dispatch_time))
}
