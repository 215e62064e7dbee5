//! Commands that people wait for: from the caller to the agent, and the updates back.
//!
//! Not durable. A command ends with its last update, with the session, or when its caller goes away, whichever comes first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use muster_domain::failure::Failure;
use muster_domain::{Address, BotId};
use tokio::sync::mpsc;

use super::registry::{Handle, NewCommand};

/// Updates that wait for a slow caller. Codes of a link come every 20 s or so; a caller this far behind is gone.
const UPDATES: usize = 16;

/// Frames of commands whose numbers are remembered, to tell which of them an old agent does not know.
const FRAMES_KEPT: usize = 256;

/// What an agent is asked to do for a bot.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Links the bot, with a pairing code for this address if one is given.
    StartLink {
        /// The number of the phone that the code is typed on.
        pairing_address: Option<Address>,
    },
    /// Removes the bot's login.
    Unlink,
    /// Brings a lost connection back up now.
    Reconnect,
    /// Asks the network which addresses exist.
    CheckRecipients(Vec<Address>),
    /// Shows a sender that a message was read.
    MarkRead {
        /// The sender, or the group.
        chat: Address,
        /// The network's id of the message.
        network_id: String,
    },
}

/// News of a command.
#[derive(Debug)]
pub(crate) enum Event {
    /// The agent says something.
    Update(Update),
    /// The agent does not know the command.
    Unsupported,
}

/// What an agent says about a command.
#[derive(Debug, Default)]
pub(crate) struct Update {
    /// No update follows.
    pub(crate) last: bool,
    /// It failed.
    pub(crate) failure: Option<Failure>,
    /// Where a link stands.
    pub(crate) link: Option<LinkProgress>,
    /// Which addresses exist.
    pub(crate) recipients: Vec<RecipientStatus>,
}

/// Where a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkProgress {
    /// The gateway prepares a code.
    Preparing,
    /// A code waits to be scanned or typed.
    Code {
        /// The text of the QR code; empty if there is none.
        qr: String,
        /// The code to type; empty if none was asked for.
        pairing_code: String,
    },
    /// The bot is linked.
    Linked,
    /// Nobody linked in time.
    Expired,
}

/// Whether an address exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecipientStatus {
    /// The address that was asked about.
    pub(crate) address: Address,
    /// Whether it can be reached.
    pub(crate) exists: bool,
    /// The address under which the network knows it, if it told.
    pub(crate) network_address: Option<Address>,
}

/// A command that its caller waits for. Dropping it tells the agent that nobody waits any more.
pub(crate) struct Running {
    id: u64,
    session: Arc<Handle>,
    events: mpsc::Receiver<Event>,
    finished: bool,
}

impl Running {
    pub(super) fn new(id: u64, session: Arc<Handle>) -> (Self, mpsc::Sender<Event>) {
        let (sender, events) = mpsc::channel(UPDATES);
        (Running { id, session, events, finished: false }, sender)
    }

    /// The next news; `None` when the session ended before the command did.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        self.finished = match &event {
            Some(Event::Update(update)) => update.last || update.failure.is_some(),
            Some(Event::Unsupported) | None => true,
        };
        event
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.forget(self.id, self.finished);
    }
}

/// The commands of one session that are under way.
#[derive(Default)]
pub(super) struct Commands {
    running: HashMap<u64, Pending>,
    frames: VecDeque<(u64, u64)>,
}

struct Pending {
    bot: BotId,
    events: mpsc::Sender<Event>,
}

impl Commands {
    /// Takes a command that is about to be sent.
    pub(super) fn begin(&mut self, command: &NewCommand) {
        let pending = Pending { bot: command.bot.clone(), events: command.events.clone() };
        self.running.insert(command.id, pending);
    }

    /// Notes the number of the frame that carried a command.
    pub(super) fn sent(&mut self, seq: u64, id: u64) {
        if self.frames.len() == FRAMES_KEPT {
            self.frames.pop_front();
        }
        self.frames.push_back((seq, id));
    }

    /// Passes an update on. Returns the command's bot if its caller fell behind and is dropped, so that the agent can be told.
    pub(super) fn update(&mut self, id: u64, update: Update) -> Option<BotId> {
        let last = update.last || update.failure.is_some();
        let taken = self.running.get(&id)?.events.try_send(Event::Update(update)).is_ok();
        if taken && !last {
            return None;
        }
        let pending = self.running.remove(&id)?;
        (!taken).then_some(pending.bot)
    }

    /// The agent did not know the frame with this number. Whether it may have carried a command: then nothing else depends on it.
    pub(super) fn unsupported(&mut self, seq: u64) -> bool {
        let known = self.frames.iter().find(|(sent, _)| *sent == seq).map(|(_, id)| *id);
        if let Some(pending) = known.and_then(|id| self.running.remove(&id)) {
            // A caller that went away does not miss it.
            let _ = pending.events.try_send(Event::Unsupported);
        }
        let is_before_what_is_kept =
            self.frames.len() == FRAMES_KEPT && self.frames.front().is_some_and(|(sent, _)| seq < *sent);
        known.is_some() || is_before_what_is_kept
    }

    /// The caller went away: returns the bot of the command if it is still running, so that the agent can be told.
    pub(super) fn forget(&mut self, id: u64) -> Option<BotId> {
        self.running.remove(&id).map(|pending| pending.bot)
    }
}
