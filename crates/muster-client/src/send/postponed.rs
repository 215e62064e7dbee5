//! Messages that the server asked to have again later.
//!
//! They go again in their order, once their time has come, and later messages of the same bot wait behind them. Patience ends
//! when nothing at all was accepted for long enough.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use muster_proto::v1;
use tokio::time::Instant;

use super::draft::Origin;

/// The messages.
#[derive(Debug)]
pub struct Postponed {
    rows: VecDeque<Row>,
    /// How many of them are of each bot.
    of_bot: HashMap<String, usize>,
    patience: Duration,
    /// Since when nothing was accepted while something had to wait.
    since: Option<Instant>,
    waited: Duration,
}

/// A message with the row that it came from.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row.
    pub origin: Origin,
    /// The message.
    pub message: v1::Message,
    /// Why the server does not take it now.
    pub because: v1::SendRefusal,
    /// Not before.
    pub due: Instant,
}

impl Postponed {
    /// Nothing waits. Later, waiting ends when nothing was accepted for `patience`.
    pub fn new(patience: Duration) -> Self {
        Postponed { rows: VecDeque::new(), of_bot: HashMap::new(), patience, since: None, waited: Duration::ZERO }
    }

    /// Puts a message behind the others. Tells whether waiting begins with it; the message comes back if patience is over.
    ///
    /// # Errors
    /// The message.
    pub fn put(&mut self, row: Row, now: Instant) -> Result<bool, Box<Row>> {
        if self.is_over(now) || self.patience.is_zero() {
            return Err(Box::new(row));
        }
        let begins = self.since.is_none();
        self.since.get_or_insert(now);
        *self.of_bot.entry(row.message.bot.clone()).or_default() += 1;
        self.rows.push_back(row);
        Ok(begins)
    }

    /// What the last one of the bot's messages waits for, if one waits: a new one has to wait as well.
    pub fn blocks(&self, bot: &str) -> Option<(v1::SendRefusal, Instant)> {
        self.of_bot.get(bot)?;
        let last = self.rows.iter().rev().find(|row| row.message.bot == bot)?;
        Some((last.because.clone(), last.due))
    }

    /// Takes the first messages whose time has come, at most `max`.
    pub fn take_due(&mut self, now: Instant, max: usize) -> Vec<Row> {
        let due = self.rows.iter().take(max).take_while(|row| row.due <= now).count();
        self.take(due)
    }

    /// Takes all messages if patience is over: nobody waits for them any more.
    pub fn take_given_up(&mut self, now: Instant) -> Vec<Row> {
        if self.is_over(now) { self.take_all() } else { Vec::new() }
    }

    /// Takes all messages.
    pub fn take_all(&mut self) -> Vec<Row> {
        self.take(self.rows.len())
    }

    /// Something was accepted: patience begins anew.
    pub fn accepted(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now - since;
            self.since = (!self.rows.is_empty()).then_some(now);
        }
    }

    /// When there is something to do: messages are due, or patience is over.
    pub fn next(&self) -> Option<Instant> {
        let end = self.since? + self.patience;
        Some(self.rows.front()?.due.min(end))
    }

    /// For how long nothing was accepted while something had to wait.
    pub fn waited(&self, now: Instant) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// How long nothing may be accepted.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now >= since + self.patience)
    }

    fn take(&mut self, count: usize) -> Vec<Row> {
        let taken: Vec<Row> = self.rows.drain(..count).collect();
        for row in &taken {
            if let Some(left) = self.of_bot.get_mut(&row.message.bot) {
                *left -= 1;
                if *left == 0 {
                    self.of_bot.remove(&row.message.bot);
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn row(bot: &str, key: &str, due: Instant) -> Row {
        let message = v1::Message { bot: bot.into(), idempotency_key: key.into(), ..Default::default() };
        Row { origin: Origin::of_line(1), message, because: v1::SendRefusal::default(), due }
    }

    fn keys(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.message.idempotency_key.as_str()).collect()
    }

    #[test]
    fn messages_go_again_in_their_order_when_their_time_has_come() {
        let begin = Instant::now();
        let mut postponed = Postponed::new(60 * SECOND);
        assert!(postponed.put(row("bots/a", "1", begin + SECOND), begin).unwrap());
        assert!(!postponed.put(row("bots/b", "2", begin + 3 * SECOND), begin).unwrap());
        assert!(!postponed.put(row("bots/a", "3", begin + 2 * SECOND), begin).unwrap());
        assert_eq!(postponed.next(), Some(begin + SECOND));
        assert_eq!(postponed.blocks("bots/a").unwrap().1, begin + 2 * SECOND);
        assert!(postponed.blocks("bots/c").is_none());
        assert!(postponed.take_due(begin, 9).is_empty());
        assert_eq!(keys(&postponed.take_due(begin + 2 * SECOND, 9)), ["1"]);
        assert_eq!(keys(&postponed.take_due(begin + 3 * SECOND, 1)), ["2"]);
        assert!(postponed.blocks("bots/b").is_none() && postponed.blocks("bots/a").is_some());
        assert_eq!(keys(&postponed.take_all()), ["3"]);
        assert!(postponed.is_empty() && postponed.blocks("bots/a").is_none());
    }

    #[test]
    fn patience_ends_when_nothing_is_accepted() {
        let begin = Instant::now();
        let mut postponed = Postponed::new(10 * SECOND);
        postponed.put(row("bots/a", "1", begin + 60 * SECOND), begin).unwrap();
        postponed.accepted(begin + 9 * SECOND);
        assert_eq!(postponed.next(), Some(begin + 19 * SECOND));
        assert!(postponed.take_given_up(begin + 18 * SECOND).is_empty());
        assert_eq!(keys(&postponed.take_given_up(begin + 19 * SECOND)), ["1"]);
        let late = postponed.put(row("bots/a", "2", begin), begin + 20 * SECOND).unwrap_err();
        assert_eq!(late.message.idempotency_key, "2");
        postponed.accepted(begin + 30 * SECOND);
        assert_eq!((postponed.waited(begin + 40 * SECOND), postponed.next()), (30 * SECOND, None));
        assert!(postponed.put(row("bots/a", "3", begin), begin + 40 * SECOND).unwrap());
        assert!(Postponed::new(Duration::ZERO).put(row("bots/a", "4", begin), begin).is_err());
    }
}
