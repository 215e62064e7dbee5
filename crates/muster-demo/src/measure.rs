//! What is measured while messages go their way: states, rates and times, over all and per bot.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use hdrhistogram::Histogram;
use muster_domain::Timestamp;
use muster_domain::message::MessageState;
use muster_proto::v1;
use serde::Serialize;

/// Significant digits of a measured time.
const DIGITS: u8 = 3;

/// Longest time that is told apart, in microseconds: an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// Two percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Times from acceptance on, in microseconds. Takes no memory before the first.
#[derive(Debug, Clone, Default)]
struct Times(Option<Histogram<u64>>);

impl Times {
    fn record(&mut self, from: Timestamp, to: Timestamp) {
        let micros = u64::try_from(to.duration_since(from).as_micros()).unwrap_or_default();
        if self.0.is_none() {
            self.0 = Histogram::new_with_max(MICROS_MAX, DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros);
        }
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let histogram = self.0.as_ref()?;
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Some(Percentiles { p50: ms(0.5), p99: ms(0.99) })
    }
}

/// What became of the messages of one bot, or of all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Messages that were accepted.
    pub(crate) accepted: u64,
    /// Messages that a gateway took, whatever came after.
    pub(crate) sent: u64,
    /// Messages that reached the device, whether read or not.
    pub(crate) delivered: u64,
    /// Messages that were read.
    pub(crate) read: u64,
    /// Messages that failed, expired or were cancelled.
    pub(crate) failed: u64,
    /// Messages that may have been sent.
    pub(crate) uncertain: u64,
    /// From acceptance until the gateway took it, in milliseconds.
    pub(crate) sent_ms: Option<Percentiles>,
    /// From acceptance until it reached the device, in milliseconds.
    pub(crate) delivered_ms: Option<Percentiles>,
}

impl Figures {
    /// Messages with nothing left to do for Muster.
    pub(crate) fn finished(&self) -> u64 {
        self.sent + self.failed + self.uncertain
    }
}

#[derive(Debug)]
struct Track {
    bot: String,
    state: MessageState,
    sent: bool,
    delivered: bool,
}

#[derive(Debug, Default)]
struct Tally {
    figures: Figures,
    sent: Times,
    delivered: Times,
}

impl Tally {
    fn figures(&self) -> Figures {
        Figures { sent_ms: self.sent.percentiles(), delivered_ms: self.delivered.percentiles(), ..self.figures.clone() }
    }
}

/// Takes changes of state as they come, in any number of pieces.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    messages: HashMap<String, Track>,
    bots: BTreeMap<String, Tally>,
    all: Tally,
    first_delivered: Option<Instant>,
}

impl Measure {
    /// Takes one change.
    pub(crate) fn take(&mut self, change: &v1::MessageChange) {
        let Ok(state) = muster_proto::convert::v1::message::state(change.state) else { return };
        let time = |wire: Option<prost_types::Timestamp>| {
            wire.and_then(|time| muster_proto::convert::v1::time::timestamp(time).ok())
        };
        let track = self.messages.entry(change.message.clone()).or_insert_with(|| {
            for tally in [&mut self.all, self.bots.entry(change.bot.clone()).or_default()] {
                tally.figures.accepted += 1;
            }
            Track { bot: change.bot.clone(), state: MessageState::Waiting, sent: false, delivered: false }
        });
        let before = std::mem::replace(&mut track.state, state);
        let sent = matches!(state, MessageState::Sent | MessageState::Delivered | MessageState::Read);
        let delivered = matches!(state, MessageState::Delivered | MessageState::Read);
        let (first_sent, first_delivered) = (sent && !track.sent, delivered && !track.delivered);
        track.sent |= sent;
        track.delivered |= delivered;
        if first_delivered {
            self.first_delivered.get_or_insert_with(Instant::now);
        }
        let times = time(change.accept_time).zip(time(change.time));
        for tally in [&mut self.all, self.bots.entry(track.bot.clone()).or_default()] {
            let figures = &mut tally.figures;
            for (state, sign) in [(before, false), (state, true)] {
                for count in counts_of(figures, state) {
                    *count = if sign { *count + 1 } else { count.saturating_sub(1) };
                }
            }
            if let Some((accepted, at)) = times {
                for (wanted, times) in [(first_sent, &mut tally.sent), (first_delivered, &mut tally.delivered)] {
                    if wanted {
                        times.record(accepted, at);
                    }
                }
            }
        }
    }

    /// When a message was first seen to be delivered.
    pub(crate) fn first_delivered(&self) -> Option<Instant> {
        self.first_delivered
    }

    /// Everything together.
    pub(crate) fn all(&self) -> Figures {
        self.all.figures()
    }

    /// Each bot, by name.
    pub(crate) fn bots(&self) -> impl Iterator<Item = (&str, Figures)> {
        self.bots.iter().map(|(bot, tally)| (bot.as_str(), tally.figures()))
    }
}

/// The counts that a message in this state is part of.
fn counts_of(figures: &mut Figures, state: MessageState) -> Vec<&mut u64> {
    match state {
        MessageState::Waiting | MessageState::Dispatched => Vec::new(),
        MessageState::Sent => vec![&mut figures.sent],
        MessageState::Delivered => vec![&mut figures.sent, &mut figures.delivered],
        MessageState::Read => vec![&mut figures.sent, &mut figures.delivered, &mut figures.read],
        MessageState::Failed | MessageState::Expired | MessageState::Cancelled => vec![&mut figures.failed],
        MessageState::Uncertain => vec![&mut figures.uncertain],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(message: &str, state: v1::MessageState, ms: i64) -> v1::MessageChange {
        let at = |ms: i64| {
            Some(prost_types::Timestamp { seconds: 1_000 + ms / 1_000, nanos: (ms % 1_000) as i32 * 1_000_000 })
        };
        v1::MessageChange {
            message: message.into(),
            bot: "bots/a".into(),
            state: state.into(),
            time: at(ms),
            accept_time: at(0),
        }
    }

    #[test]
    fn a_message_counts_where_it_is_and_its_times_once() {
        let mut measure = Measure::default();
        measure.take(&change("1", v1::MessageState::Waiting, 0));
        measure.take(&change("1", v1::MessageState::Sent, 100));
        measure.take(&change("2", v1::MessageState::Waiting, 0));
        measure.take(&change("2", v1::MessageState::Uncertain, 50));
        assert_eq!(measure.all().finished(), 2);
        assert_eq!(measure.first_delivered(), None);
        measure.take(&change("2", v1::MessageState::Delivered, 300));
        let first = measure.first_delivered();
        measure.take(&change("1", v1::MessageState::Read, 500));
        assert!(first.is_some() && measure.first_delivered() == first);
        let all = measure.all();
        assert_eq!((all.accepted, all.sent, all.delivered, all.read, all.uncertain), (2, 2, 2, 1, 0));
        let sent = all.sent_ms.unwrap();
        assert!((99.0..101.0).contains(&sent.p50) && (299.0..301.0).contains(&sent.p99), "{sent:?}");
        assert_eq!(measure.bots().count(), 1);
        measure.take(&change("1", v1::MessageState::Failed, 600));
        assert_eq!((measure.all().sent, measure.all().failed), (1, 1));
    }
}
