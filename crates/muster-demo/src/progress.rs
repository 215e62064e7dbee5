//! The run as it goes on, for a person who watches.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use muster_client::text;

use crate::measure::{Figures, Percentiles};

/// How often a line is written where nobody watches, such as in a build's log.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Draws progress on standard error: in place at a terminal, as a line now and then elsewhere.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    begun: Instant,
    last_line: Instant,
    rate: Rate,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Self {
        let bar = console::Term::stderr().is_term().then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} final\n{msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { bar, total, begun: Instant::now(), last_line: Instant::now(), rate: Rate::default() }
    }

    /// Draws how things stand.
    pub(crate) fn draw(&mut self, figures: &Figures) {
        let rate = self.rate.take(self.begun.elapsed(), figures.finished());
        let told = states(figures, self.total);
        let times = times(figures);
        if let Some(bar) = &self.bar {
            bar.set_position(figures.finished());
            bar.set_message(format!("{told}\n{rate:.0} a second{times}"));
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            say(&format!("{told}, {rate:.0} a second{times}"));
        }
    }

    /// Says something beside the drawing.
    pub(crate) fn say(&self, told: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(told)),
            None => say(told),
        }
    }

    /// Takes the drawing away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line on standard error.
pub(crate) fn say(told: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{told}");
}

fn states(figures: &Figures, total: u64) -> String {
    let waiting = total.saturating_sub(figures.finished());
    let mut told = format!(
        "waiting {}, sent {}, delivered {}, read {}",
        text::count(waiting),
        text::count(figures.sent),
        text::count(figures.delivered),
        text::count(figures.read)
    );
    if figures.failed > 0 {
        told.push_str(&format!(", failed {}", text::count(figures.failed)));
    }
    if figures.uncertain > 0 {
        told.push_str(&format!(", uncertain {}", text::count(figures.uncertain)));
    }
    told
}

fn times(figures: &Figures) -> String {
    let told = |name: &str, times: Option<Percentiles>| {
        let Some(Percentiles { p50, p99 }) = times else { return String::new() };
        let ms = |ms: f64| text::duration(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default());
        format!("; {name} after {} (p99 {})", ms(p50), ms(p99))
    };
    format!("{}{}", told("sent", figures.sent_ms), told("delivered", figures.delivered_ms))
}

/// Messages a second over the last while.
#[derive(Default)]
struct Rate {
    points: std::collections::VecDeque<(Duration, u64)>,
}

impl Rate {
    /// The while that a rate looks back.
    const WINDOW: Duration = Duration::from_secs(2);

    fn take(&mut self, at: Duration, count: u64) -> f64 {
        self.points.push_back((at, count));
        while self.points.len() > 2 && self.points.front().is_some_and(|(first, _)| at - *first > Self::WINDOW) {
            self.points.pop_front();
        }
        match self.points.front() {
            Some((first, before)) if at > *first => (count - before.min(&count)) as f64 / (at - *first).as_secs_f64(),
            _ => 0.0,
        }
    }
}
