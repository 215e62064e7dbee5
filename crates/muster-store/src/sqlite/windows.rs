//! Sending windows of bots: each is read once and looked at once for each of its changes, and bots are woken when theirs opens.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use muster_domain::window::{SendingWindow, Span};
use muster_domain::{Timestamp, Violation};
use rusqlite::params;

use super::micros;
use super::txn::Txn;
use crate::{Result, StoreError};

/// Windows that are kept in memory. More than operators think of, each of them a few hundred bytes; beyond it they are read anew.
const KEPT_MAX: usize = 10_000;

/// The window that a column tells.
pub(super) fn read(text: &str) -> Result<SendingWindow> {
    let unreadable = |violations: Vec<Violation>| {
        let why = violations.first().map(ToString::to_string).unwrap_or_default();
        StoreError::Corrupt(format!("a sending window cannot be read: {why}"))
    };
    SendingWindow::from_text(text).map_err(unreadable)
}

/// Windows by what their columns say, with the span in which each of them is. Bots with the same window share it, and nothing has
/// to be taken back where a transaction is: what is known of a text stays true.
#[derive(Default)]
pub(super) struct Windows(HashMap<String, (SendingWindow, Span)>);

impl Windows {
    /// The window of a column around `now`.
    fn at(&mut self, text: &str, now: Timestamp) -> Result<Span> {
        if let Some((window, span)) = self.0.get_mut(text) {
            if !span.covers(now) {
                *span = window.at(now);
            }
            return Ok(*span);
        }
        if self.0.len() >= KEPT_MAX {
            self.0.clear();
        }
        let window = read(text)?;
        let span = window.at(now);
        self.0.insert(text.to_owned(), (window, span));
        Ok(span)
    }
}

/// When a bot sends, as a claim finds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sends {
    /// Its window around now, if it has one.
    pub(super) window: Option<Span>,
    /// How often the window was changed.
    pub(super) generation: u32,
    /// When it is asked again.
    wake_time: Option<i64>,
}

impl Sends {
    /// What three columns tell.
    pub(super) fn of(txn: &Txn, window: Option<&str>, generation: u32, wake_time: Option<i64>) -> Result<Self> {
        let window = window.map(|text| txn.windows.borrow_mut().at(text, txn.now)).transpose()?;
        Ok(Sends { window, generation, wake_time })
    }

    /// How long what is chosen now may take to begin, if the window sets an end to that.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        self.window.filter(|window| window.change.is_some()).and_then(|window| window.room(now))
    }
}

/// Declares when a bot may send. A change is told to whoever waits for the window, and to the agent: what was chosen by the earlier
/// one comes back.
pub(super) fn declare(txn: &mut Txn, bot_key: i64, window: Option<&SendingWindow>) -> Result<()> {
    let changed = txn.execute(
        "UPDATE bot SET sending_window = ?1, window_generation = window_generation + 1, \
         wake_time = iif(wake_time IS NULL, NULL, ?2) WHERE bot_key = ?3 AND sending_window IS NOT ?1",
        params![window.map(SendingWindow::to_text), micros(txn.now), bot_key],
    )?;
    txn.something_due |= changed > 0;
    Ok(())
}

/// Has a bot that was asked for work woken when its window opens. Written once for each opening, however often it is asked.
pub(super) fn wait(txn: &Txn, bot_key: i64, sends: &Sends, opens: Option<Timestamp>) -> Result<()> {
    let opens = opens.map(micros);
    if opens != sends.wake_time {
        txn.execute("UPDATE bot SET wake_time = ? WHERE bot_key = ?", params![opens, bot_key])?;
    }
    Ok(())
}

/// The bots whose windows opened, at most `limit`. One that finds it closed again, because somebody set the clock back, waits anew.
pub(super) fn open_due(txn: &Txn, limit: u32) -> Result<BTreeSet<i64>> {
    let woken: Vec<i64> = txn.all(
        "UPDATE bot SET wake_time = NULL WHERE bot_key IN (SELECT bot_key FROM bot WHERE wake_time <= ? ORDER BY wake_time \
         LIMIT ?) RETURNING bot_key",
        params![micros(txn.now), limit],
        |row| Ok(row.get(0)?),
    )?;
    Ok(woken.into_iter().collect())
}

/// When the next window opens for which a bot waits.
pub(super) fn next(txn: &Txn) -> Result<Option<i64>> {
    txn.value("SELECT min(wake_time) FROM bot WHERE wake_time IS NOT NULL", [])
}
