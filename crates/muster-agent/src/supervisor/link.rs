//! A link under way: somebody waits for codes to scan or type, until the bot is linked or the time is over.

use std::time::Duration;

use muster_domain::failure::Failure;
use muster_gateway::LinkProgress;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a link may take. Products show a handful of codes of 20 to 60 seconds each.
const LINK_FOR: Duration = Duration::from_secs(180);

/// What somebody who waits for a link is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkUpdate {
    /// It moved on.
    Progress(LinkProgress),
    /// It failed.
    Failed(Failure),
}

impl LinkUpdate {
    /// Whether nothing follows.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            LinkUpdate::Progress(LinkProgress::Linked { .. } | LinkProgress::Expired) | LinkUpdate::Failed(_) => true,
            LinkUpdate::Progress(LinkProgress::Code { .. } | LinkProgress::Preparing) => false,
        }
    }
}

/// The link of one bot, if one is under way.
#[derive(Debug, Default)]
pub(super) struct Link(Option<Waiting>);

#[derive(Debug)]
struct Waiting {
    updates: mpsc::Sender<LinkUpdate>,
    until: Instant,
    latest: Option<LinkProgress>,
}

impl Link {
    /// Begins a link. One that was under way ends: its caller sees that no more updates come.
    pub(super) fn begin(&mut self, updates: mpsc::Sender<LinkUpdate>, now: Instant) {
        self.0 = Some(Waiting { updates, until: now + LINK_FOR, latest: None });
    }

    /// When the link expires, if one is under way.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.as_ref().map(|waiting| waiting.until)
    }

    /// Tells the caller. Says nothing twice; a caller that is gone, or does not read, ends the link.
    pub(super) fn tell(&mut self, update: LinkUpdate) {
        let Some(waiting) = &mut self.0 else {
            return;
        };
        if let LinkUpdate::Progress(progress) = &update {
            if waiting.latest.as_ref() == Some(progress) {
                return;
            }
            waiting.latest = Some(progress.clone());
        }
        let is_final = update.is_final();
        if waiting.updates.try_send(update).is_err() || is_final {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_once_and_the_end_ends_it() {
        let now = Instant::now();
        let (updates, mut told) = mpsc::channel(8);
        let mut link = Link::default();
        link.tell(LinkUpdate::Progress(LinkProgress::Preparing));
        link.begin(updates, now);
        assert_eq!(link.until(), Some(now + LINK_FOR));
        let code = LinkProgress::Code { qr: "1@abc".into(), pairing_code: None };
        for progress in [LinkProgress::Preparing, code.clone(), code.clone(), LinkProgress::Expired, code.clone()] {
            link.tell(LinkUpdate::Progress(progress));
        }
        let mut heard = Vec::new();
        while let Ok(update) = told.try_recv() {
            heard.push(update);
        }
        let expected = [LinkProgress::Preparing, code, LinkProgress::Expired].map(LinkUpdate::Progress);
        assert_eq!(heard, expected);
        assert_eq!(link.until(), None);
    }
}
