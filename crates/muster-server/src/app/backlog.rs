//! What a producer hears whose message finds a full backlog.

use std::time::Duration;

use jiff::SignedDuration;
use muster_domain::BotId;
use muster_domain::backlog::{Bound, Full};

use super::error::{Error, Reason};

/// Lengths of time are told to the nearest second.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// The refusal of a message for `bot`: what stands against it, and what to do.
pub(crate) fn refusal(bot: &BotId, full: Full) -> Error {
    let Full { bound, waiting, wait, valid_for, retry_after } = full;
    let (name, again) = (bot.resource_name(), text(retry_after));
    let message = match bound {
        Bound::Validity => {
            let (wait, valid) = (text(wait), text(valid_for.unwrap_or_default()));
            format!(
                "{name} has {waiting} messages before this one, which take it about {wait}, and this one is valid for {valid}: \
                 send it again in {again}, or with a longer validity"
            )
        }
        Bound::Window => {
            let (wait, valid) = (text(wait), text(valid_for.unwrap_or_default()));
            format!(
                "{name} sends only within its window, and would get to this message in {wait}, which is valid for {valid}: send it \
                 with a longer validity, or change the window"
            )
        }
        Bound::Bot => format!("{waiting} messages wait for {name}, and more may not: send it again in {again}"),
        Bound::Tenant => format!("{waiting} messages of the tenant wait, and more may not: send it again in {again}"),
    };
    Error::new(Reason::BacklogFull, message)
        .about(name)
        .with("bound", bound.as_str())
        .with("waiting", waiting)
        .with("wait_seconds", wait.as_secs())
        .again_after(retry_after)
}

/// A length of time for people, in seconds unless it is shorter.
fn text(length: Duration) -> String {
    let whole = Duration::from_secs(length.saturating_add(HALF_A_SECOND).as_secs());
    let shown = if whole.is_zero() { Duration::from_millis(length.subsec_millis().into()) } else { whole };
    format!("{:#}", SignedDuration::try_from(shown).unwrap_or(SignedDuration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(bound: Bound) -> Full {
        let second = Duration::from_secs(1);
        let (wait, valid_for) = (Duration::from_millis(7_505_250), Some(3_600 * second));
        Full { bound, waiting: 5_000, wait, valid_for, retry_after: 60 * second }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refusal = |bound| refusal(&BotId::new("sales-1").unwrap(), full(bound)).message;
        assert_eq!(
            refusal(Bound::Validity),
            "bots/sales-1 has 5000 messages before this one, which take it about 2h 5m 5s, and this one is valid for 1h: \
             send it again in 1m, or with a longer validity"
        );
        assert_eq!(refusal(Bound::Bot), "5000 messages wait for bots/sales-1, and more may not: send it again in 1m");
        assert_eq!(
            refusal(Bound::Window),
            "bots/sales-1 sends only within its window, and would get to this message in 2h 5m 5s, which is valid for 1h: send \
             it with a longer validity, or change the window"
        );
        let texts = [40, 999, 7_505_250].map(|ms| text(Duration::from_millis(ms)));
        assert_eq!(texts, ["40ms", "1s", "2h 5m 5s"]);
    }
}
