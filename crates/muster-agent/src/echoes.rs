//! What the network says that a bot sent, matched with the calls that nobody answered.
//!
//! A gateway may take a message and lose its answer: the attempt is uncertain. It tells all the same, by webhook, what left the
//! bot: the network's id, the recipient, the content. Nothing in an echo is ours, so it is matched by what it says. Messages of
//! one bot that say the same to the same recipient are told apart by the ids of those that were answered; of those that were
//! not, the oldest is taken, since it makes no difference to anybody which of them arrived.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use muster_domain::Address;
use muster_domain::content::Content;
use muster_domain::message::{AttemptRef, Outcome};
use muster_proto::convert::agent_v1::AttemptOutcome;

use crate::clock::Stamp;

/// How long after its call an attempt is matched with echoes. Longer than the 20 minutes for which gateways repeat a webhook that
/// found nobody, so that an agent that was down hears it.
pub(crate) const ECHO_WAIT: Duration = Duration::from_secs(30 * 60);

/// Unanswered calls of a bot that are matched with echoes; the oldest give way. A bot with more has a gateway that answers nothing.
const QUESTIONS_MAX: usize = 64;

/// Ids of answered calls that are kept per bot, as hashes: their echoes are no answer to anything else. An echo that comes later
/// than so many messages after its own would have to say the same as one of which nobody knows.
const NAMED_MAX: usize = 64;

/// Echoes that are kept for the answer to a call that says the same.
const HEARD_MAX: usize = 4;

/// The echoes of one bot, and what they may answer.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    /// The oldest first.
    questions: VecDeque<Question>,
    named: VecDeque<u64>,
}

/// A call of which nobody knows what it came to.
#[derive(Debug)]
struct Question {
    attempt: AttemptRef,
    says: u64,
    since: Stamp,
    queued: Duration,
    gateway: Duration,
    standing: Standing,
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// Under way. What was heard meanwhile may be its own echo.
    Called { heard: Vec<String> },
    /// It had no answer.
    Unanswered,
    /// The network's id, by an echo.
    Confirmed(String),
}

impl Question {
    fn sent(&self, network_id: &str) -> AttemptOutcome {
        let outcome = Outcome::Sent { network_id: network_id.to_owned() };
        AttemptOutcome { attempt: self.attempt, outcome, queued: self.queued, gateway: self.gateway }
    }
}

impl Echoes {
    /// The gateway is about to be called, `queued` after the attempt arrived.
    pub(crate) fn call(
        &mut self,
        attempt: AttemptRef,
        recipient: &Address,
        content: &Content,
        queued: Duration,
        now: Stamp,
    ) {
        self.ask(attempt, recipient, content, queued, Standing::Called { heard: Vec::new() }, now);
    }

    /// An earlier run of the agent called the gateway, or was about to, and heard no answer.
    pub(crate) fn left_behind(
        &mut self,
        attempt: AttemptRef,
        recipient: &Address,
        content: &Content,
        queued: Duration,
        now: Stamp,
    ) {
        self.ask(attempt, recipient, content, queued, Standing::Unanswered, now);
    }

    fn ask(
        &mut self,
        attempt: AttemptRef,
        recipient: &Address,
        content: &Content,
        queued: Duration,
        standing: Standing,
        now: Stamp,
    ) {
        let Some(says) = says(recipient, content) else { return };
        self.questions.retain(|question| question.since.age(now) <= ECHO_WAIT);
        if self.questions.len() == QUESTIONS_MAX {
            self.questions.pop_front();
        }
        let gateway = Duration::ZERO;
        self.questions.push_back(Question { attempt, says, since: now, queued, gateway, standing });
    }

    /// A call was answered: the message has this id on the network, or was not sent. Returns what else is known by that: echoes
    /// that were not its own belong to earlier calls.
    pub(crate) fn answered(&mut self, attempt: AttemptRef, network_id: Option<&str>) -> Vec<AttemptOutcome> {
        if let Some(network_id) = network_id {
            self.name(network_id);
        }
        let Some(at) = self.questions.iter().position(|question| question.attempt == attempt) else {
            return Vec::new();
        };
        match self.questions.remove(at) {
            Some(Question { says, standing: Standing::Called { heard }, .. }) => self.match_all(says, heard),
            _ => Vec::new(),
        }
    }

    /// A call that took so long had no answer that can be trusted. Returns what is known all the same, of this attempt or of
    /// earlier ones.
    pub(crate) fn unanswered(&mut self, attempt: AttemptRef, took: Duration) -> Vec<AttemptOutcome> {
        let Some(question) = self.questions.iter_mut().find(|question| question.attempt == attempt) else {
            return Vec::new();
        };
        question.gateway = took;
        let says = question.says;
        match std::mem::replace(&mut question.standing, Standing::Unanswered) {
            Standing::Called { heard } => self.match_all(says, heard),
            Standing::Unanswered | Standing::Confirmed(_) => Vec::new(),
        }
    }

    /// The network says that the bot sent something. Returns the attempt that is known to be sent by that. The same echo again
    /// gives the same answer again: what follows from it may have been lost.
    pub(crate) fn hear(
        &mut self,
        network_id: &str,
        recipient: &Address,
        content: &Content,
        now: Stamp,
    ) -> Option<AttemptOutcome> {
        self.questions.retain(|question| question.since.age(now) <= ECHO_WAIT);
        let says = says(recipient, content)?;
        let confirmed =
            |question: &&Question| matches!(&question.standing, Standing::Confirmed(id) if id == network_id);
        if let Some(question) = self.questions.iter().find(confirmed) {
            return Some(question.sent(network_id));
        }
        for question in self.questions.iter_mut().filter(|question| question.says == says) {
            if let Standing::Called { heard } = &mut question.standing {
                if heard.len() < HEARD_MAX && !heard.iter().any(|id| id == network_id) {
                    heard.push(network_id.to_owned());
                }
                return None;
            }
        }
        self.match_all(says, vec![network_id.to_owned()]).pop()
    }

    /// Matches echoes that say the same with the calls that nobody answered, the oldest first.
    fn match_all(&mut self, says: u64, network_ids: Vec<String>) -> Vec<AttemptOutcome> {
        let mut known = Vec::new();
        for network_id in network_ids {
            if self.named.contains(&hash(&network_id)) {
                continue;
            }
            let mut open = self.questions.iter_mut().filter(|question| question.says == says);
            let Some(question) = open.find(|question| question.standing == Standing::Unanswered) else { break };
            known.push(question.sent(&network_id));
            question.standing = Standing::Confirmed(network_id.clone());
            self.name(&network_id);
        }
        known
    }

    fn name(&mut self, network_id: &str) {
        if self.named.len() == NAMED_MAX {
            self.named.pop_front();
        }
        self.named.push_back(hash(network_id));
    }
}

/// A mark of what is said to whom. `None` for what says nothing of its own, such as a voice note: two of those cannot be told
/// apart, and the addresses of media are not what was sent.
fn says(recipient: &Address, content: &Content) -> Option<u64> {
    let recipient = recipient.as_str();
    match content {
        Content::Text { body } => Some(hash(&(1, recipient, body))),
        Content::Image { caption, .. } if !caption.is_empty() => Some(hash(&(2, recipient, caption))),
        Content::Document { caption, file_name, .. } => Some(hash(&(3, recipient, caption, file_name))),
        Content::Reaction { target, emoji } => Some(hash(&(4, recipient, &target.network_id, emoji))),
        Content::Image { .. } | Content::Audio { .. } | Content::Unsupported { .. } => None,
    }
}

fn hash(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use muster_domain::MessageId;

    use super::*;

    struct Bench {
        echoes: Echoes,
        now: Stamp,
    }

    fn attempt(message: i64) -> AttemptRef {
        AttemptRef { message_id: MessageId::from_raw(message).unwrap(), attempt_no: 1 }
    }

    fn ana() -> Address {
        Address::from_stored("+5511900000001")
    }

    fn text(body: &str) -> Content {
        Content::Text { body: body.into() }
    }

    fn told(known: impl IntoIterator<Item = AttemptOutcome>) -> Vec<(i64, String)> {
        let told = |known: AttemptOutcome| match known.outcome {
            Outcome::Sent { network_id } => (known.attempt.message_id.raw(), network_id),
            other => panic!("{other:?}"),
        };
        known.into_iter().map(told).collect()
    }

    impl Bench {
        fn new() -> Self {
            Bench { echoes: Echoes::default(), now: Stamp { boot_ms: 1, wall_ms: 1 } }
        }

        fn call(&mut self, message: i64, body: &str) {
            self.echoes.call(attempt(message), &ana(), &text(body), Duration::ZERO, self.now);
        }

        fn unknown(&mut self, message: i64, body: &str) {
            self.call(message, body);
            assert_eq!(self.unanswered(message), []);
        }

        fn unanswered(&mut self, message: i64) -> Vec<(i64, String)> {
            told(self.echoes.unanswered(attempt(message), Duration::ZERO))
        }

        fn answered(&mut self, message: i64, id: &str) -> Vec<(i64, String)> {
            told(self.echoes.answered(attempt(message), Some(id)))
        }

        fn hear(&mut self, id: &str, body: &str) -> Vec<(i64, String)> {
            told(self.echoes.hear(id, &ana(), &text(body), self.now))
        }
    }

    fn one(message: i64, id: &str) -> Vec<(i64, String)> {
        vec![(message, id.to_owned())]
    }

    #[test]
    fn an_echo_answers_the_call_that_said_the_same() {
        let mut bench = Bench::new();
        bench.unknown(1, "hello");
        assert_eq!(bench.hear("X", "something else"), []);
        let bob = Address::from_stored("+5511900000002");
        assert_eq!(bench.echoes.hear("X", &bob, &text("hello"), bench.now), None);
        assert_eq!(bench.hear("X", "hello"), one(1, "X"));
        assert_eq!(bench.hear("X", "hello"), one(1, "X"), "the gateway was not told that it was heard");
        assert_eq!(bench.hear("Y", "hello"), [], "it was sent once");
    }

    #[test]
    fn an_echo_may_come_before_the_call_ends() {
        let mut bench = Bench::new();
        bench.call(1, "hello");
        assert_eq!(bench.hear("X", "hello"), []);
        assert_eq!(bench.unanswered(1), one(1, "X"));
    }

    #[test]
    fn the_echo_of_an_answered_call_is_no_answer_to_another() {
        let mut bench = Bench::new();
        bench.call(1, "hello");
        assert_eq!(bench.answered(1, "X"), []);
        bench.unknown(2, "hello");
        assert_eq!(bench.hear("X", "hello"), []);
        bench.call(3, "hello");
        assert_eq!((bench.hear("Y", "hello"), bench.hear("Z", "hello")), (vec![], vec![]));
        assert_eq!(bench.answered(3, "Z"), one(2, "Y"), "which is whose is known by the answer");
    }

    #[test]
    fn a_call_that_was_refused_gives_its_echo_to_an_earlier_one() {
        let mut bench = Bench::new();
        bench.unknown(1, "hello");
        bench.call(2, "hello");
        assert_eq!(bench.hear("X", "hello"), []);
        assert_eq!(told(bench.echoes.answered(attempt(2), None)), one(1, "X"));
    }

    #[test]
    fn of_those_that_say_the_same_the_oldest_is_taken() {
        let mut bench = Bench::new();
        bench.unknown(1, "hello");
        bench.unknown(2, "hello");
        assert_eq!(bench.hear("X", "hello"), one(1, "X"));
        assert_eq!(bench.hear("Y", "hello"), one(2, "Y"));
        assert_eq!(bench.hear("Z", "hello"), []);
    }

    #[test]
    fn what_an_earlier_run_left_is_answered_too() {
        let mut bench = Bench::new();
        bench.echoes.left_behind(attempt(1), &ana(), &text("hello"), Duration::from_secs(3), bench.now);
        let known = bench.echoes.hear("X", &ana(), &text("hello"), bench.now).unwrap();
        assert_eq!((known.attempt, known.queued), (attempt(1), Duration::from_secs(3)));
    }

    #[test]
    fn questions_end_after_their_time_and_at_their_number() {
        let mut bench = Bench::new();
        bench.unknown(1, "hello");
        bench.now.boot_ms += ECHO_WAIT.as_millis() as i64;
        assert_eq!(bench.hear("X", "hello"), one(1, "X"));
        bench.unknown(2, "late");
        bench.now.boot_ms += ECHO_WAIT.as_millis() as i64 + 1;
        assert_eq!(bench.hear("Y", "late"), []);
        for message in 10..=10 + QUESTIONS_MAX as i64 {
            bench.unknown(message, &message.to_string());
        }
        assert_eq!((bench.hear("A", "10"), bench.hear("B", "11")), (vec![], one(11, "B")));
    }

    #[test]
    fn what_says_nothing_of_its_own_is_not_matched() {
        use muster_domain::content::{Media, MediaSource};
        let media = || Media { source: MediaSource::Url("https://x.example/a".into()), mime_type: "audio/ogg".into() };
        let picture = |caption: &str| Content::Image { media: media(), caption: caption.into() };
        assert_eq!(says(&ana(), &Content::Audio { media: media() }), None);
        assert_eq!(says(&ana(), &picture("")), None);
        assert!(says(&ana(), &picture("a")).is_some_and(|mark| Some(mark) != says(&ana(), &text("a"))));
    }
}
