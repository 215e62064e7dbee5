//! What is known of a bot's login, and what to do about it next. Pure: time and answers come in, steps and changes go out.

use std::time::Duration;

use muster_domain::bot::Connection;
use muster_domain::failure::Failure;
use muster_domain::reconnect::{BACKOFF_FACTOR, BACKOFF_FIRST, BACKOFF_MAX, CloseReason, TRIES_MAX, next_try};
use muster_domain::{Address, BotId};
use muster_proto::convert::agent_v1::ConnectionChange;
use tokio::time::Instant;

/// How often a login is looked at that gives no reason to. Webhooks tell sooner; this finds what they did not tell.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// Share of [`LOOK_EVERY`] by which it varies up or down, so that the bots of a node do not ask all at once.
const LOOK_JITTER: f64 = 0.1;

/// How soon a login is looked at that something is about to happen to, or that is suspected.
const LOOK_SOON: Duration = Duration::from_secs(5);

/// Looks in a row that a gateway may leave unanswered before its bots are called disconnected.
const UNANSWERED_LOOKS_MAX: u32 = 2;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the bot known to its gateway, and bring an existing login up.
    Ensure,
    /// Look how the login is.
    Look,
    /// Bring the login back up.
    Restart,
}

/// A bot's login as it was last told to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    connection: Connection,
    detail: String,
    address: Option<Address>,
    banned: bool,
}

/// The watch over one login.
#[derive(Debug)]
pub(super) struct Watch {
    connection: Option<Connection>,
    close: Option<CloseReason>,
    detail: String,
    address: Option<Address>,
    is_silent: bool,
    /// Tries to bring the login back since it was last up.
    tries: u32,
    /// Calls in a row that the gateway did not answer.
    unanswered: u32,
    is_ensured: bool,
    /// Somebody is linking the bot: a login that is down is no reason to act.
    is_linking: bool,
    looked: Option<Instant>,
    next: (Instant, Step),
    told: Option<Told>,
}

impl Watch {
    /// A watch that begins with [`Step::Ensure`].
    pub(super) fn new(now: Instant, address: Option<Address>) -> Self {
        Watch {
            connection: None,
            close: None,
            detail: String::new(),
            address,
            is_silent: false,
            tries: 0,
            unanswered: 0,
            is_ensured: false,
            is_linking: false,
            looked: None,
            next: (now, Step::Ensure),
            told: None,
        }
    }

    /// When something is to be done, and what.
    pub(super) fn next(&self) -> (Instant, Step) {
        self.next
    }

    /// What the gateway answered to [`Step::Ensure`] or [`Step::Look`]. `chance`, drawn evenly from 0 to 1, spreads the looks.
    pub(super) fn seen(&mut self, answer: Result<Connection, Failure>, now: Instant, chance: f64) {
        self.looked = Some(now);
        match answer {
            Ok(connection) => {
                self.unanswered = 0;
                self.is_ensured = true;
                self.settle(connection, now, chance);
            }
            Err(failure) => self.not_answered(&failure, now),
        }
    }

    fn not_answered(&mut self, failure: &Failure, now: Instant) {
        self.unanswered += 1;
        if self.unanswered >= UNANSWERED_LOOKS_MAX {
            self.connection = Some(Connection::Disconnected);
            self.detail = format!("the gateway does not answer: {failure}");
        }
        let growth = BACKOFF_FACTOR.powi(self.unanswered.min(32).cast_signed() - 1);
        let step = if self.is_ensured { Step::Look } else { Step::Ensure };
        self.next = (now + BACKOFF_FIRST.mul_f64(growth).min(BACKOFF_MAX), step);
    }

    fn settle(&mut self, connection: Connection, now: Instant, chance: f64) {
        let regular = LOOK_EVERY.mul_f64(1.0 + LOOK_JITTER * (2.0 * chance - 1.0));
        match connection {
            Connection::Connected | Connection::Silent => {
                self.up();
                self.next = (now + regular, Step::Look);
            }
            Connection::Disconnected if self.is_linking => self.next = (now + LOOK_SOON, Step::Look),
            Connection::Disconnected => self.down(self.close.unwrap_or(CloseReason::Unknown), None, now, regular),
            Connection::Linking => {
                self.coming_up();
                self.next = (now + LOOK_SOON, Step::Look);
            }
            Connection::LoggedOut | Connection::Unlinked => {
                if self.connection != Some(connection) {
                    self.detail = String::new();
                }
                // A ban is known from the close only: a look does not take it back.
                if self.close != Some(CloseReason::Banned) {
                    self.close = None;
                }
                self.connection = Some(connection);
                self.next = (now + regular, Step::Look);
            }
        }
    }

    fn up(&mut self) {
        self.is_linking = false;
        self.connection = Some(Connection::Connected);
        self.close = None;
        self.detail = String::new();
        self.tries = 0;
    }

    /// The gateway is at it. A login that was there before is still called down: it needs no code to be scanned.
    fn coming_up(&mut self) {
        if !matches!(self.connection, Some(Connection::Disconnected | Connection::Connected)) {
            self.connection = Some(Connection::Linking);
        }
    }

    fn down(&mut self, reason: CloseReason, detail: Option<String>, now: Instant, regular: Duration) {
        self.connection = Some(reason.connection());
        self.close = Some(reason);
        if let Some(detail) = detail {
            self.detail =
                if detail.is_empty() { reason.as_str().to_owned() } else { format!("{}: {detail}", reason.as_str()) };
        } else if self.detail.is_empty() {
            self.detail = reason.as_str().to_owned();
        }
        self.next = match next_try(reason, self.tries) {
            Some(wait) => (now + wait, Step::Restart),
            None => {
                if reason.is_retriable() {
                    self.detail =
                        format!("{}: not back after {TRIES_MAX} tries; reconnect the bot by hand", reason.as_str());
                }
                (now + regular, Step::Look)
            }
        };
    }

    /// What the gateway answered to [`Step::Restart`].
    pub(super) fn restarted(&mut self, answer: Result<(), Failure>, now: Instant) {
        self.tries += 1;
        match answer {
            // Whether it came up is seen in a moment, or told by a webhook.
            Ok(()) => self.next = (now + LOOK_SOON, Step::Look),
            Err(failure) => {
                let reason = self.close.unwrap_or(CloseReason::Unknown);
                self.down(reason, Some(failure.to_string()), now, LOOK_EVERY);
            }
        }
    }

    /// A webhook says that the login came up.
    pub(super) fn connected(&mut self, address: Option<Address>, now: Instant) {
        self.up();
        if address.is_some() {
            self.address = address;
        }
        self.next = (now + LOOK_EVERY, Step::Look);
    }

    /// A webhook says that the login is coming up.
    pub(super) fn connecting(&mut self, now: Instant) {
        self.coming_up();
        self.look_soon(now);
    }

    /// A webhook says that the login went down.
    pub(super) fn closed(&mut self, reason: CloseReason, detail: String, now: Instant) {
        if self.is_linking && reason.is_retriable() {
            // Products close and open the line while a code is scanned.
            return;
        }
        self.is_linking = false;
        self.down(reason, Some(detail), now, LOOK_EVERY);
    }

    /// A link waits for somebody to scan or type its code.
    pub(super) fn linking(&mut self, now: Instant) {
        self.is_linking = true;
        self.close = None;
        self.detail = String::new();
        self.connection = Some(Connection::Linking);
        self.next = (now + LOOK_SOON, Step::Look);
    }

    /// Something was seen that does not fit: the login is looked at, unless that was done a moment ago.
    pub(super) fn look_soon(&mut self, now: Instant) {
        let earliest = self.looked.map_or(now, |looked| now.max(looked + LOOK_SOON));
        if self.is_ensured && earliest < self.next.0 {
            self.next = (earliest, Step::Look);
        }
    }

    /// Somebody asks for the login to be brought back now, with all tries afresh.
    pub(super) fn reconnect(&mut self, now: Instant) {
        self.tries = 0;
        if self.close.is_some_and(|reason| !reason.is_retriable()) {
            self.close = None;
        }
        self.next = (now, Step::Restart);
    }

    /// Whether messages leave and nothing comes back.
    pub(super) fn set_silent(&mut self, is_silent: bool) {
        self.is_silent = is_silent;
    }

    /// Whether the bot is called silent.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent && self.connection == Some(Connection::Connected)
    }

    /// The server does not know any more what it was told.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
    }

    /// What the server does not know yet. Asking for it counts as telling.
    pub(super) fn change(&mut self, bot: &BotId) -> Option<ConnectionChange> {
        let is_silent = self.is_silent();
        let now = Told {
            connection: if is_silent { Connection::Silent } else { self.connection? },
            detail: if is_silent {
                "messages leave, and the network says nothing about them: look at the phone".to_owned()
            } else {
                self.detail.clone()
            },
            address: self.address.clone(),
            banned: self.close == Some(CloseReason::Banned),
        };
        if self.told.as_ref() == Some(&now) {
            return None;
        }
        let Told { connection, detail, address, banned } = now.clone();
        self.told = Some(now);
        Some(ConnectionChange { bot: bot.clone(), connection, detail, address, banned })
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::failure::FailureReason;

    use super::*;

    fn bot() -> BotId {
        BotId::new("a").unwrap()
    }

    fn connected(now: Instant) -> Watch {
        let mut watch = Watch::new(now, None);
        watch.seen(Ok(Connection::Connected), now, 0.5);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Connected);
        watch
    }

    fn unavailable() -> Failure {
        Failure::new(FailureReason::GatewayUnavailable, "refused")
    }

    #[test]
    fn a_change_is_told_once() {
        let now = Instant::now();
        let mut watch = connected(now);
        watch.seen(Ok(Connection::Connected), now, 0.1);
        assert_eq!(watch.change(&bot()), None);
        watch.forget_told();
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Connected);
        assert_eq!(watch.change(&bot()), None);
        watch.closed(CloseReason::Lost, "408".into(), now);
        let change = watch.change(&bot()).unwrap();
        assert_eq!((change.connection, change.detail.as_str()), (Connection::Disconnected, "LOST: 408"));
        watch.seen(Ok(Connection::Disconnected), now, 0.1);
        assert_eq!(watch.change(&bot()), None);
    }

    #[test]
    fn ten_tries_and_then_it_says_so() {
        let mut now = Instant::now();
        let mut watch = connected(now);
        watch.closed(CloseReason::Lost, String::new(), now);
        let mut restarts = 0;
        for _ in 0..100 {
            let (due, step) = watch.next();
            now = due;
            match step {
                Step::Restart => {
                    restarts += 1;
                    watch.restarted(Ok(()), now);
                }
                Step::Look => watch.seen(Ok(Connection::Disconnected), now, 0.5),
                Step::Ensure => panic!("it is ensured"),
            }
        }
        assert_eq!(restarts, TRIES_MAX);
        assert!(watch.change(&bot()).unwrap().detail.contains("by hand"));
        watch.reconnect(now);
        assert_eq!(watch.next(), (now, Step::Restart));
    }

    #[test]
    fn nobody_fights_a_logout_a_replacement_or_a_ban() {
        for reason in [CloseReason::LoggedOut, CloseReason::Replaced, CloseReason::Banned] {
            let now = Instant::now();
            let mut watch = connected(now);
            watch.closed(reason, String::new(), now);
            assert_eq!(watch.next().1, Step::Look);
            let change = watch.change(&bot()).unwrap();
            assert_eq!(change.connection, reason.connection());
            assert_eq!(change.banned, reason == CloseReason::Banned);
            watch.seen(Ok(reason.connection()), now, 0.5);
            assert_eq!(watch.next().1, Step::Look);
        }
    }

    #[test]
    fn one_look_without_answer_is_nothing_two_are_a_lost_gateway() {
        let now = Instant::now();
        let mut watch = connected(now);
        watch.seen(Err(unavailable()), now, 0.5);
        assert_eq!(watch.change(&bot()), None);
        assert_eq!(watch.next(), (now + BACKOFF_FIRST, Step::Look));
        watch.seen(Err(unavailable()), now, 0.5);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Disconnected);
        for _ in 0..50 {
            watch.seen(Err(unavailable()), now, 0.5);
        }
        assert_eq!(watch.next(), (now + BACKOFF_MAX, Step::Look));
        watch.seen(Ok(Connection::Connected), now, 0.5);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Connected);
    }

    #[test]
    fn a_gateway_that_is_away_at_the_start_is_asked_for_ever() {
        let now = Instant::now();
        let mut watch = Watch::new(now, None);
        for _ in 0..50 {
            watch.seen(Err(unavailable()), now, 0.5);
            assert_eq!(watch.next().1, Step::Ensure);
        }
    }

    #[test]
    fn silence_shows_while_the_login_is_up_and_ends_with_a_sign() {
        let now = Instant::now();
        let mut watch = connected(now);
        watch.set_silent(true);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Silent);
        watch.set_silent(false);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Connected);
        watch.closed(CloseReason::Lost, String::new(), now);
        watch.set_silent(true);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Disconnected);
    }

    #[test]
    fn a_line_that_drops_while_a_code_is_scanned_is_left_alone() {
        let now = Instant::now();
        let mut watch = Watch::new(now, None);
        watch.seen(Ok(Connection::Unlinked), now, 0.5);
        watch.linking(now);
        watch.closed(CloseReason::Lost, "515".into(), now);
        watch.seen(Ok(Connection::Disconnected), now, 0.5);
        assert_eq!(watch.next().1, Step::Look);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Linking);
        watch.closed(CloseReason::LinkExpired, String::new(), now);
        assert_eq!(watch.change(&bot()).unwrap().connection, Connection::Unlinked);
    }

    #[test]
    fn suspicion_looks_at_most_every_few_seconds() {
        let now = Instant::now();
        let mut watch = connected(now);
        watch.look_soon(now);
        assert_eq!(watch.next(), (now + LOOK_SOON, Step::Look));
        let later = now + Duration::from_secs(60);
        let mut watch = connected(now);
        watch.look_soon(later);
        assert_eq!(watch.next(), (later, Step::Look));
    }

    #[test]
    fn looks_spread_by_a_tenth() {
        let now = Instant::now();
        for (chance, wait) in [(0.0, 270), (0.5, 300), (1.0, 330)] {
            let mut watch = Watch::new(now, None);
            watch.seen(Ok(Connection::Connected), now, chance);
            let spread = watch.next().0.duration_since(now).as_secs_f64();
            assert!((spread - f64::from(wait)).abs() < 0.001, "{spread}");
        }
    }
}
