//! Whether a bot's backlog takes another message.
//!
//! A message that would wait for longer than it is valid is refused when it comes, while its sender can still do something about
//! it, instead of expiring hours later. The estimate only counts what is known: what leaves before the message, and how long the
//! bot took for each message lately; a bot with a sending window works only while that is open. A hold, a lost login or an outage ends when somebody ends it, so none of them refuses
//! anything; the bounds on what may wait at all do.

use std::time::Duration;

use jiff::Timestamp;

use crate::backoff::Backoff;
use crate::failure::FailureReason;
use crate::limits::{BOT_WAITING_MAX, HORIZON, TENANT_WAITING_MAX};
use crate::window::SendingWindow;

/// What a message takes at the least, also assumed of a bot that has not sent yet: a call to a gateway on the same machine.
pub const MESSAGE_TIME_MIN: Duration = Duration::from_millis(1);

/// Attempts after which an outcome has lost two thirds of its weight in the pace. Few enough that a bot that was slowed down, or
/// is no longer, shows within a minute at a message every few seconds.
const MEMORY: f32 = 16.0;

/// The shortest time after which a refused message may come again.
pub const RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest time after which a refused message may come again: what is ahead may expire, be cancelled, or leave faster than
/// was thought.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// Share of what waits that has to leave before it is worth coming again, where the number is what is full: one in a hundred.
const ROOM_SHARE: u64 = 100;

/// How fast a bot works off its messages, as its outcomes tell; later ones count more.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// Seconds that its attempts took.
    spent: f32,
    /// Messages that they ended.
    ended: f32,
}

impl Pace {
    /// Notes an attempt: how long it kept the bot busy, and whether it ended its message.
    pub fn note(&mut self, took: Duration, ended: bool) {
        let kept = 1.0 - 1.0 / MEMORY;
        self.spent = self.spent * kept + took.as_secs_f32();
        self.ended = self.ended * kept + if ended { 1.0 } else { 0.0 };
    }

    /// Notes a refusal that made a back-off of `after`, where there was `before`: the time for which a limit wants to hear nothing
    /// of the bot is part of what its messages take. An outage is nobody's pace.
    pub fn note_refusal(&mut self, before: Option<&Backoff>, after: &Backoff) {
        if after.failure.reason == FailureReason::RateLimited {
            let known =
                before.filter(|before| before.refusals == after.refusals).map_or(after.refused, |before| before.until);
            let silence = Duration::try_from(after.until.duration_since(known)).unwrap_or_default();
            self.spent += silence.as_secs_f32();
        }
    }

    /// The mean time for each message.
    pub fn per_message(&self) -> Duration {
        // A bot of which nothing ends is not thought infinitely slow: less than one message is nothing to divide by.
        let mean = Duration::try_from_secs_f32(self.spent / self.ended.max(1.0));
        mean.unwrap_or(Duration::MAX).max(MESSAGE_TIME_MIN)
    }
}

/// What waits when a message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Messages of the bot that leave before it: those under way, and those in the queues of its priority and of higher ones.
    /// Without those that wait for a time that their clients named.
    pub ahead: u64,
    /// Messages of the bot that wait, whatever for.
    pub of_bot: u64,
    /// Messages of the tenant that wait, whatever for.
    pub of_tenant: u64,
    /// The mean time that the bot takes for a message.
    pub per_message: Duration,
}

/// What a backlog is full by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// What is ahead of the message takes longer than it is valid.
    Validity,
    /// The bot's sending window is open for too short a time, or not at all, while the message is valid.
    Window,
    /// So many messages wait for the bot as may wait for one.
    Bot,
    /// So many messages of the tenant wait as may wait for one.
    Tenant,
}

impl Bound {
    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Bound::Validity => "VALIDITY",
            Bound::Window => "WINDOW",
            Bound::Bot => "BOT",
            Bound::Tenant => "TENANT",
        }
    }
}

/// Why a backlog does not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The bound that would be crossed.
    pub bound: Bound,
    /// The messages that it counts: those ahead, those of the bot, or those of the tenant.
    pub waiting: u64,
    /// How long the message would wait behind those ahead of it.
    pub wait: Duration,
    /// For how long it may.
    pub valid_for: Option<Duration>,
    /// When it may come again. [`RETRY_MIN`] to [`RETRY_MAX`].
    pub retry_after: Duration,
}

impl Backlog {
    /// How long a message would wait.
    pub fn wait(&self) -> Duration {
        let micros = self.per_message.as_micros().saturating_mul(u128::from(self.ahead));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Whether it takes a message that may leave at once and is valid for this long; `None` for one that its client wants to
    /// leave later: nobody knows what is ahead of it then.
    ///
    /// # Errors
    /// The bound that stands against it.
    pub fn admit(&self, valid_for: Option<Duration>) -> Result<(), Full> {
        let wait = self.wait();
        let full = |bound, waiting, room_in: Duration| {
            Err(Full { bound, waiting, wait, valid_for, retry_after: room_in.clamp(RETRY_MIN, RETRY_MAX) })
        };
        if self.of_tenant >= TENANT_WAITING_MAX {
            return full(Bound::Tenant, self.of_tenant, RETRY_MAX);
        }
        if self.of_bot >= BOT_WAITING_MAX {
            let few = u32::try_from(self.of_bot / ROOM_SHARE).unwrap_or(u32::MAX);
            return full(Bound::Bot, self.of_bot, self.per_message.saturating_mul(few));
        }
        match valid_for {
            Some(valid_for) if wait > valid_for => full(Bound::Validity, self.ahead, wait - valid_for),
            _ => Ok(()),
        }
    }

    /// Whether it takes a message at `now` that is valid for this long, where the bot sends only within `window`. Asked only of
    /// what [`Backlog::admit`] takes.
    ///
    /// # Errors
    /// [`Bound::Window`]: the message would expire before its turn comes in an open window.
    pub fn admit_within(&self, window: &SendingWindow, now: Timestamp, valid_for: Duration) -> Result<(), Full> {
        let wait = self.wait();
        // No message is valid for longer than the horizon.
        let horizon = now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX);
        let leaves = window.after_open(now, wait, horizon);
        let wait = Duration::try_from(leaves.unwrap_or(horizon).duration_since(now)).unwrap_or_default();
        if leaves.is_some() && wait <= valid_for {
            return Ok(());
        }
        let retry_after = wait.saturating_sub(valid_for).clamp(RETRY_MIN, RETRY_MAX);
        Err(Full { bound: Bound::Window, waiting: self.ahead, wait, valid_for: Some(valid_for), retry_after })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Failure;

    const SECOND: Duration = Duration::from_secs(1);

    fn backlog(ahead: u64) -> Backlog {
        Backlog { ahead, of_bot: ahead, of_tenant: ahead, per_message: SECOND }
    }

    fn pace(took: Duration, count: usize) -> Pace {
        let mut pace = Pace::default();
        (0..count).for_each(|_| pace.note(took, true));
        pace
    }

    #[test]
    fn a_message_may_wait_as_long_as_it_is_valid() {
        assert_eq!(backlog(60).admit(Some(60 * SECOND)), Ok(()));
        let full = backlog(61).admit(Some(60 * SECOND)).unwrap_err();
        assert_eq!((full.bound, full.waiting, full.wait, full.retry_after), (Bound::Validity, 61, 61 * SECOND, SECOND));
        assert_eq!(backlog(1_000).admit(Some(60 * SECOND)).unwrap_err().retry_after, RETRY_MAX);
        assert_eq!(backlog(61).admit(None), Ok(()), "a message for later");
    }

    #[test]
    fn so_many_messages_wait_and_no_more() {
        let quick = Backlog { per_message: MESSAGE_TIME_MIN, ..backlog(0) };
        let of_bot = |of_bot| Backlog { of_bot, ..quick }.admit(None).map_err(|full| (full.bound, full.waiting));
        assert_eq!(of_bot(BOT_WAITING_MAX - 1), Ok(()));
        assert_eq!(of_bot(BOT_WAITING_MAX), Err((Bound::Bot, BOT_WAITING_MAX)));
        let of_tenant =
            |of_tenant| Backlog { of_tenant, ..quick }.admit(None).map_err(|full| (full.bound, full.waiting));
        assert_eq!(of_tenant(TENANT_WAITING_MAX - 1), Ok(()));
        assert_eq!(of_tenant(TENANT_WAITING_MAX), Err((Bound::Tenant, TENANT_WAITING_MAX)));
    }

    #[test]
    fn what_a_window_leaves_no_time_for_is_refused() {
        let window = SendingWindow::new("UTC", &["08:00-10:00"]).unwrap();
        let now: Timestamp = "2026-01-01T09:00:00Z".parse().unwrap();
        let until = |text: &str| Duration::try_from(text.parse::<Timestamp>().unwrap().duration_since(now)).unwrap();
        let admit = |ahead, time| backlog(ahead).admit_within(&window, now, until(time));
        assert_eq!(admit(3_599, "2026-01-01T10:00:00Z"), Ok(()));
        // The hour until the window closes is used up: the next one leaves tomorrow.
        let full = admit(3_600, "2026-01-02T07:59:59Z").unwrap_err();
        assert_eq!((full.bound, full.waiting, full.wait), (Bound::Window, 3_600, until("2026-01-02T08:00:00Z")));
        assert_eq!(full.retry_after, SECOND);
        assert_eq!(admit(3_600, "2026-01-02T08:00:00Z"), Ok(()));
        let weekend = SendingWindow::new("UTC", &["fri 08:00-10:00"]).unwrap();
        let full = backlog(0).admit_within(&weekend, now, until("2026-01-02T07:00:00Z")).unwrap_err();
        assert_eq!((full.bound, full.wait), (Bound::Window, until("2026-01-02T08:00:00Z")));
    }

    #[test]
    fn a_day_of_a_bot_that_never_sent_fits() {
        let fresh = Backlog { per_message: Pace::default().per_message(), ..backlog(BOT_WAITING_MAX - 1) };
        assert_eq!(fresh.admit(Some(24 * 3_600 * SECOND)), Ok(()));
    }

    #[test]
    fn a_pace_follows_what_changes() {
        assert_eq!(Pace::default().per_message(), MESSAGE_TIME_MIN);
        assert_eq!(pace(3 * SECOND, 1).per_message(), 3 * SECOND);
        let mut pace = pace(SECOND / 10, 100);
        for _ in 0..50 {
            pace.note(3 * SECOND, true);
        }
        assert!(pace.per_message() > SECOND * 2, "{pace:?}");
        for _ in 0..50 {
            pace.note(60 * SECOND, false);
        }
        assert!(pace.per_message() > 5 * 60 * SECOND, "{pace:?}: nothing ends");
        for _ in 0..150 {
            pace.note(SECOND / 10, true);
        }
        assert!(pace.per_message() < SECOND / 5, "{pace:?}");
    }

    #[test]
    fn a_limit_slows_a_bot_down_and_an_outage_does_not() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let spent = |reason, waits: &[u64]| {
            let (mut pace, mut before) = (Pace::default(), None);
            for wait in waits {
                let failure = Failure { retry_after: Some(Duration::from_secs(*wait)), ..Failure::new(reason, "") };
                // All of them were committed before the first refusal: one incident.
                let after = Backoff::after(before.as_ref(), &failure, now, now).unwrap();
                pace.note_refusal(before.as_ref(), &after);
                before = Some(after);
            }
            pace.per_message()
        };
        assert_eq!(spent(FailureReason::RateLimited, &[30, 30, 30]), 30 * SECOND);
        assert_eq!(spent(FailureReason::RateLimited, &[30, 40, 10]), 40 * SECOND);
        assert_eq!(spent(FailureReason::GatewayUnavailable, &[30, 30]), MESSAGE_TIME_MIN);
    }

    proptest! {
        /// A bot with nothing ahead takes a message, however slow it is: its next outcome can tell that it is not.
        #[test]
        fn an_empty_queue_takes_whatever_is_valid(
            took in 0u64..1 << 40, count in 0usize..50, ended: bool, valid_ms in 0u64..10_000,
        ) {
            let mut pace = Pace::default();
            (0..count).for_each(|_| pace.note(Duration::from_millis(took), ended));
            let backlog = Backlog { per_message: pace.per_message(), ..Backlog::default() };
            prop_assert_eq!(backlog.admit(Some(Duration::from_millis(valid_ms))), Ok(()));
        }

        /// More ahead, a slower bot or a shorter validity never turns a refusal into a yes; and a refusal says when.
        #[test]
        fn nothing_that_makes_it_worse_lets_one_in(
            ahead in 0u64..100_000, more in 0u64..1_000, ms in 1u64..100_000, valid in 1u64..1_000_000, less in 0u64..1_000,
        ) {
            let at = |ahead, ms| Backlog { ahead, per_message: Duration::from_millis(ms), ..Backlog::default() };
            let valid_for = Some(Duration::from_secs(valid));
            if let Err(full) = at(ahead, ms).admit(valid_for) {
                prop_assert!((RETRY_MIN..=RETRY_MAX).contains(&full.retry_after));
                prop_assert!(at(ahead + more, ms + more).admit(valid_for).is_err());
                prop_assert!(at(ahead, ms).admit(Some(Duration::from_secs(valid.saturating_sub(less)))).is_err());
            }
        }
    }
}
