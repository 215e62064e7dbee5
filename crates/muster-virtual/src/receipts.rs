//! What the networks say later about messages, and what recipients answer, on its way from the gateways to the agents: webhooks that
//! are late, repeated and lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_domain::content::Content;
use muster_domain::message::ReceiptKind;
use muster_domain::{Address, BotId};
use muster_gateway::Event;
use muster_proto::v1::MessageState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::network::Network;
use crate::storm::Weather;

/// The host that all gateways are on, as far as they call agents.
const HOST: &str = "gateways";

/// How long a gateway waits for the answer to a webhook.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a gateway posts a webhook that is not answered with 200, before it gives up.
const TRIES_MAX: u32 = 10;

/// Of messages that arrive, one in so many is answered with a word that opts out, where recipients do that.
const OPT_OUT_ONE_IN: u32 = 15;

/// What is there to be told: what happened to a message, by its name at the network.
struct Letter {
    to: String,
    path: String,
    network_id: String,
    recipient: Address,
}

/// Where a gateway puts what its network says about the messages that it took.
#[derive(Clone)]
pub(crate) struct Mailbox {
    /// The host of the agent that the gateway posts to.
    pub(crate) to: String,
    pub(crate) gateway: String,
    pub(crate) office: Option<PostOffice>,
}

impl Mailbox {
    /// The network took a message, and may tell more about it later.
    pub(crate) fn tells_of(&self, bot: &BotId, recipient: &Address, network_id: &str) {
        let Some(office) = &self.office else { return };
        let path = format!("/webhook/{}/{bot}", self.gateway);
        let (network_id, recipient) = (network_id.to_owned(), recipient.clone());
        let letter = Letter { to: self.to.clone(), path, network_id, recipient };
        if office.letters.send(letter).is_ok() {
            office.receipts.known().open += 1;
        }
    }
}

/// The receipts of a simulation. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Receipts(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Messages about which something is still to be told.
    open: usize,
    /// What was told of each message, answered or not, by the network's name for it.
    posted: BTreeMap<String, ReceiptKind>,
    /// What an agent has answered with 200.
    acknowledged: BTreeMap<String, ReceiptKind>,
}

impl Receipts {
    /// Whether everything was told, or given up.
    pub(crate) fn are_told(&self) -> bool {
        self.known().open == 0
    }

    /// The furthest receipt of a message that an agent was given, whether or not it answered.
    pub(crate) fn posted(&self, network_id: &str) -> Option<ReceiptKind> {
        self.known().posted.get(network_id).copied()
    }

    /// The furthest receipt of a message that an agent took.
    pub(crate) fn acknowledged(&self, network_id: &str) -> Option<ReceiptKind> {
        self.known().acknowledged.get(network_id).copied()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries what the networks say. Clones are the same one.
#[derive(Clone)]
pub(crate) struct PostOffice {
    letters: mpsc::UnboundedSender<Letter>,
    receipts: Receipts,
}

impl PostOffice {
    /// The office, and its main program.
    pub(crate) fn open(
        receipts: Receipts,
        network: Network,
        weather: Weather,
        opts_out: bool,
    ) -> (PostOffice, impl Future<Output = ()> + Send + 'static) {
        let (letters, mut inbox) = mpsc::unbounded_channel();
        let office = PostOffice { letters, receipts: receipts.clone() };
        let run = async move {
            while let Some(letter) = inbox.recv().await {
                let (receipts, network, weather) = (receipts.clone(), network.clone(), weather.clone());
                let carrier = Carrier { receipts, network, weather, opts_out };
                tokio::spawn(carrier.carry(letter));
            }
        };
        (office, run)
    }
}

struct Carrier {
    receipts: Receipts,
    network: Network,
    weather: Weather,
    opts_out: bool,
}

impl Carrier {
    async fn carry(self, letter: Letter) {
        let chance = &self.weather.chance;
        let kinds =
            if chance.one_in(2) { &[ReceiptKind::Delivered, ReceiptKind::Read][..] } else { &[ReceiptKind::Delivered] };
        for kind in kinds {
            tokio::time::sleep(chance.millis(5, 2_000)).await;
            let times = if chance.one_in(6) { 2 } else { 1 };
            for _ in 0..times {
                self.tell(&letter, *kind).await;
            }
        }
        if self.opts_out && chance.one_in(OPT_OUT_ONE_IN) {
            let body = format!("in-{} {} Stop.", letter.network_id, letter.recipient.as_str());
            self.post_until_answered(&letter, &body).await;
        }
        self.receipts.known().open -= 1;
    }

    /// Tells of a receipt.
    async fn tell(&self, letter: &Letter, kind: ReceiptKind) {
        self.receipts.known().posted.insert(letter.network_id.clone(), kind);
        let body = format!("{} {}", letter.network_id, if kind == ReceiptKind::Read { "read" } else { "delivered" });
        if self.post_until_answered(letter, &body).await {
            let what = format_args!("{} is known as {kind:?}", letter.network_id).to_string();
            self.weather.chronicle.event(&letter.to, what);
            self.receipts.known().acknowledged.insert(letter.network_id.clone(), kind);
        }
    }

    /// Posts until it is answered, or given up.
    async fn post_until_answered(&self, letter: &Letter, body: &str) -> bool {
        for _ in 0..TRIES_MAX {
            let answer = tokio::time::timeout(PATIENCE, self.post(letter, body)).await;
            if matches!(answer, Ok(Ok(200))) {
                return true;
            }
            tokio::time::sleep(self.weather.chance.millis(200, 3_000)).await;
        }
        false
    }

    /// One webhook. Returns the status of the answer.
    async fn post(&self, letter: &Letter, body: &str) -> io::Result<u16> {
        let mut line = self.network.connect(HOST, &letter.to).await?;
        let (path, length) = (&letter.path, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        line.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        line.read_to_string(&mut answer).await?;
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        status.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Reads a webhook: the network's name of a message, and what happened to it, or who sent it and what it says.
pub(crate) fn read(body: &[u8]) -> Option<Event> {
    let (network_id, told) = std::str::from_utf8(body).ok()?.split_once(' ')?;
    let receipt = |kind| Event::Receipt { network_id: network_id.to_owned(), kind, failure: None };
    Some(match told {
        "delivered" => receipt(ReceiptKind::Delivered),
        "read" => receipt(ReceiptKind::Read),
        said => {
            let (sender, body) = said.split_once(' ')?;
            Event::Inbound {
                network_id: network_id.to_owned(),
                sender: Address::from_stored(sender),
                participant: None,
                sender_name: String::new(),
                content: Content::Text { body: body.to_owned() },
                reply_to: None,
                time: None,
            }
        }
    })
}

/// Whether a message that a receipt was about is in a state that takes the receipt into account. One that is `UNCERTAIN` or was
/// decided about is not named by the network's id, which receipts go by.
pub(crate) fn shows(state: MessageState, kind: ReceiptKind) -> bool {
    match state {
        MessageState::Sent => false,
        MessageState::Delivered => kind == ReceiptKind::Delivered,
        _ => true,
    }
}
