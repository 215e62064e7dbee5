//! Messages, from acceptance to what is known of them.
//!
//! Accepting is the hot path. It goes in two steps: [`prepare`] reads and checks a batch and looks up what it refers to,
//! [`Batch::accept`] commits it. Batches of one caller are prepared one after the other and committed in that order, and
//! several may be under way.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use muster_domain::content::MediaDigest;
use muster_domain::inbound::InboundId;
use muster_domain::message::{Idempotency, Message, MessageState, NewMessage, ReceiptTimes};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::resolution::{Resolution, ResolutionRecord};
use muster_domain::{BotId, MessageId, NodeId, TenantId, Timestamp, Violation};
use muster_proto::convert::v1::content::Target;
use muster_proto::convert::v1::message::{Draft, References};
use muster_store::{AcceptResult, AttemptRecord, BotRoute, CancelResult, MessageFilter, ResolveResult};

use super::error::{Error, Reason, Result};
use super::waiting::{self, Waiting};
use super::{App, backlog};
use crate::session::CommandRefused;

/// A message that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Its id.
    pub(crate) id: MessageId,
    /// It was accepted by an earlier call with the same idempotency key.
    pub(crate) replayed: bool,
}

/// Messages that were checked, and wait for their commit.
pub(crate) struct Batch {
    tenant: TenantId,
    /// One for each draft, in its order: answered already, or the next message of `messages`.
    places: Vec<Option<Result<Accepted>>>,
    messages: Vec<NewMessage>,
    /// Whom to wake after the commit.
    wake: HashMap<NodeId, HashSet<BotId>>,
    /// When the first of them has to be looked at by its own time.
    due: Option<Timestamp>,
}

/// Reads and checks messages. Each is refused or goes on by itself; only what keeps all of them is an error.
pub(crate) async fn prepare(
    app: &App,
    tenant: &TenantId,
    drafts: impl IntoIterator<Item = std::result::Result<Draft, Vec<Violation>>>,
) -> Result<Batch> {
    let drafts = drafts.into_iter();
    let on_uncertain = app.store.tenant_get(tenant).await?.map(|tenant| tenant.spec.on_uncertain).unwrap_or_default();
    let (routes, media) = (HashMap::new(), HashMap::new());
    let mut lookup = Lookup { app, tenant, now: app.store.now(), on_uncertain, routes, media };
    let mut batch = Batch {
        tenant: tenant.clone(),
        places: Vec::with_capacity(drafts.size_hint().0),
        messages: Vec::with_capacity(drafts.size_hint().0),
        wake: HashMap::new(),
        due: None,
    };
    let mut refused = Vec::new();
    for draft in drafts {
        let (settled, key) = match draft {
            Ok(draft) => {
                let key = draft.idempotency.clone().map(|key| (draft.bot.clone(), key));
                (lookup.settle(draft).await?, key)
            }
            Err(violations) => (Err(Error::invalid_message(violations)), None),
        };
        match settled {
            Ok((message, node)) => batch.add(message, &node),
            Err(error) => {
                refused.extend(key.map(|key| (batch.places.len(), key)));
                batch.places.push(Some(Err(error)));
            }
        }
    }
    if !refused.is_empty() {
        batch.answer_repeats(app, refused).await?;
    }
    Ok(batch)
}

/// What a batch looks up, each thing once.
struct Lookup<'a> {
    app: &'a App,
    tenant: &'a TenantId,
    now: Timestamp,
    /// Of messages that do not say it themselves.
    on_uncertain: OnUncertain,
    routes: HashMap<BotId, Option<BotRoute>>,
    media: HashMap<MediaDigest, bool>,
}

/// A refusal of one message, inside the failure of everything.
type Settled<T> = Result<Result<T>>;

impl Lookup<'_> {
    async fn settle(&mut self, mut draft: Draft) -> Settled<(NewMessage, NodeId)> {
        let bot = draft.bot.clone();
        let Some(route) = self.route(&bot).await? else {
            return Ok(Err(Error::unknown(Reason::BotUnknown, bot.resource_name())));
        };
        let (network, node) = (route.network, route.node.clone());
        if let Some(digest) = draft.stored_media()
            && !self.media_exists(digest).await?
        {
            let name = digest.resource_name();
            let message = format!("{name} is not kept here; upload it first with UploadMedia");
            return Ok(Err(Error::new(Reason::MediaUnknown, message).about(name)));
        }
        let references = match self.references(&draft).await? {
            Ok(references) => references,
            Err(refusal) => return Ok(Err(refusal)),
        };
        draft.on_uncertain.get_or_insert(self.on_uncertain);
        let message = draft.resolve(self.now, network, references).map_err(Error::invalid_message);
        Ok(message.map(|message| (message, node)))
    }

    async fn route(&mut self, bot: &BotId) -> Result<Option<&BotRoute>> {
        if !self.routes.contains_key(bot) {
            let route = self.app.store.bot_route(self.tenant, bot).await?;
            self.routes.insert(bot.clone(), route);
        }
        Ok(self.routes.get(bot).and_then(Option::as_ref))
    }

    async fn media_exists(&mut self, digest: MediaDigest) -> Result<bool> {
        match self.media.entry(digest) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => Ok(*place.insert(self.app.store.media_exists(self.tenant, &digest).await?)),
        }
    }

    /// The network's ids of what a message refers to.
    async fn references(&self, draft: &Draft) -> Settled<References> {
        let mut references = References::default();
        if let Some(id) = draft.reply_to {
            match self.received(id, &draft.bot).await? {
                Ok(network_id) => references.reply_to = Some(network_id),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        let reacts_to = match draft.reacts_to {
            None => return Ok(Ok(references)),
            Some(Target::Received(id)) => self.received(id, &draft.bot).await?,
            Some(Target::Sent(id)) => self.sent(id, &draft.bot).await?,
        };
        Ok(reacts_to.map(|network_id| References { reacts_to: Some(network_id), ..references }))
    }

    async fn received(&self, id: InboundId, bot: &BotId) -> Settled<String> {
        let inbound = self.app.store.inbound_get(self.tenant, id).await?;
        Ok(match inbound {
            Some(inbound) if inbound.received.bot == *bot => Ok(inbound.received.network_id),
            _ => Err(target_unknown(id.resource_name(), bot)),
        })
    }

    async fn sent(&self, id: MessageId, bot: &BotId) -> Settled<String> {
        let message = self.app.store.message_get(self.tenant, id).await?;
        Ok(match message {
            Some(Message { network_id: Some(network_id), bot: sender, .. }) if sender == *bot => Ok(network_id),
            Some(message) if message.bot == *bot => {
                let name = id.resource_name();
                let state = message.state;
                let text = format!("{name} is {state} and has no id on the network; wait until it is sent");
                Err(Error::new(Reason::TargetNotSent, text).about(name))
            }
            _ => Err(target_unknown(id.resource_name(), bot)),
        })
    }
}

fn target_unknown(name: String, bot: &BotId) -> Error {
    let text = format!("{name} does not exist, or is not a message of {}", bot.resource_name());
    Error::new(Reason::TargetUnknown, text).about(name)
}

impl Batch {
    fn add(&mut self, message: NewMessage, node: &NodeId) {
        let due = message.not_before.unwrap_or(message.expire_time);
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        if message.not_before.is_none() {
            match self.wake.get_mut(node) {
                Some(bots) if bots.contains(&message.bot) => {}
                Some(bots) => {
                    bots.insert(message.bot.clone());
                }
                None => {
                    self.wake.insert(node.clone(), HashSet::from([message.bot.clone()]));
                }
            }
        }
        self.places.push(None);
        self.messages.push(message);
    }

    /// Gives refused messages the answer that their keys have, if they have one: what a message may ask for depends on the
    /// time, and on what is still kept, but a repeat was accepted when it came first.
    async fn answer_repeats(&mut self, app: &App, refused: Vec<(usize, (BotId, Idempotency))>) -> Result<()> {
        let (places, keys): (Vec<_>, Vec<_>) = refused.into_iter().map(|(at, (bot, key))| ((at, bot), key)).unzip();
        let answers = app.store.message_repeats(&self.tenant, &keys).await?;
        for ((at, bot), found) in places.into_iter().zip(answers) {
            if let Some(found) = found {
                self.places[at] = Some(answer(found, &bot));
            }
        }
        Ok(())
    }

    /// Commits the batch, and wakes who has work by it. One answer for each draft, in its order.
    pub(crate) async fn accept(self, app: &App) -> Result<Vec<Result<Accepted>>> {
        let Batch { tenant, places, messages, wake, due } = self;
        let bots: Vec<BotId> = messages.iter().map(|message| message.bot.clone()).collect();
        let accepted = match messages.is_empty() {
            true => Vec::new(),
            false => app.store.message_accept(&tenant, messages).await?,
        };
        for (node, bots) in wake {
            app.sessions.wake(&tenant, &node, bots);
        }
        if let Some(due) = due {
            app.wake.by(due);
        }
        let mut answers = accepted.into_iter().zip(bots);
        let bug = || Error::new(Reason::Internal, "the store answered for fewer messages than it was given");
        Ok(places
            .into_iter()
            .map(|place| match place {
                Some(answered) => answered,
                None => answers.next().map_or_else(|| Err(bug()), |(result, bot)| answer(result, &bot)),
            })
            .collect())
    }
}

fn answer(result: AcceptResult, bot: &BotId) -> Result<Accepted> {
    let name = bot.resource_name();
    match result {
        AcceptResult::Accepted(id) => Ok(Accepted { id, replayed: false }),
        AcceptResult::Replayed(id) => Ok(Accepted { id, replayed: true }),
        AcceptResult::KeyReused(id) => {
            let first = id.resource_name();
            let text = format!("the idempotency key was used for {first}, which has another body; use another key");
            Err(Error::new(Reason::IdempotencyKeyReused, text).about(first))
        }
        AcceptResult::BacklogFull(full) => Err(backlog::refusal(bot, full)),
        AcceptResult::RecipientOptedOut => {
            let text = "the recipient opted out: nothing may be sent to them; `muster contact get ADDRESS` shows since when, and \
                what they said";
            Err(Error::new(Reason::RecipientOptedOut, text))
        }
        AcceptResult::BotUnknown => Err(Error::unknown(Reason::BotUnknown, name)),
        AcceptResult::BotRetired => {
            Err(Error::new(Reason::BotRetired, format!("{name} is out of service for good")).about(name))
        }
    }
}

/// Accepts one message, and tells it as it is now.
pub(crate) async fn send(
    app: &App,
    tenant: &TenantId,
    draft: std::result::Result<Draft, Vec<Violation>>,
) -> Result<(Message, Accepted)> {
    let batch = prepare(app, tenant, [draft]).await?;
    let new = batch.messages.first().cloned();
    let answer = batch.accept(app).await?.pop();
    let accepted = answer.unwrap_or_else(|| Err(Error::new(Reason::Internal, "one message had no answer")))?;
    let message = match new {
        Some(new) if !accepted.replayed => as_accepted(accepted.id, new),
        _ => get(app, tenant, accepted.id).await?,
    };
    Ok((message, accepted))
}

/// A message right after its acceptance.
fn as_accepted(id: MessageId, new: NewMessage) -> Message {
    let NewMessage {
        bot,
        recipient,
        content,
        priority,
        not_before,
        expire_time,
        idempotency,
        reply_to,
        courtesy,
        on_uncertain,
    } = new;
    Message {
        id,
        bot,
        recipient,
        content,
        priority,
        not_before,
        expire_time,
        idempotency_key: idempotency.map(|idempotency| idempotency.key),
        reply_to,
        courtesy,
        on_uncertain,
        state: MessageState::Waiting,
        attempt_no: 0,
        cancel_requested: false,
        dispatch_time: None,
        outcome_time: None,
        receipts: ReceiptTimes::default(),
        failure: None,
        network_id: None,
        parked: None,
    }
}

/// One message.
pub(crate) async fn get(app: &App, tenant: &TenantId, id: MessageId) -> Result<Message> {
    let message = app.store.message_get(tenant, id).await?;
    message.ok_or_else(|| Error::unknown(Reason::MessageUnknown, id.resource_name()))
}

/// One message, with why it waits.
pub(crate) async fn get_explained(app: &App, tenant: &TenantId, id: MessageId) -> Result<(Message, Option<Waiting>)> {
    let message = get(app, tenant, id).await?;
    let waiting = waiting::explain(app, tenant, &message).await?;
    Ok((message, waiting))
}

/// Everything about one message.
pub(crate) struct Trace {
    pub(crate) message: Message,
    /// Why it waits, if it does.
    pub(crate) waiting: Option<Waiting>,
    pub(crate) attempts: Vec<AttemptRecord>,
    pub(crate) resolutions: Vec<ResolutionRecord>,
    /// The message that it repeats.
    pub(crate) replay_of: Option<MessageId>,
    /// The message that repeats it.
    pub(crate) replayed_as: Option<MessageId>,
}

/// Everything about one message.
pub(crate) async fn trace(app: &App, tenant: &TenantId, id: MessageId) -> Result<Trace> {
    let (message, waiting) = get_explained(app, tenant, id).await?;
    let attempts = app.store.message_attempts(tenant, id).await?;
    let resolutions = app.store.message_resolutions(tenant, id).await?;
    let (replay_of, replayed_as) = app.store.message_replays(tenant, id).await?;
    Ok(Trace { message, waiting, attempts, resolutions, replay_of, replayed_as })
}

/// Messages, the newest first, before `before`.
pub(crate) async fn list(
    app: &App,
    tenant: &TenantId,
    filter: &MessageFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Vec<Message>> {
    Ok(app.store.message_list(tenant, filter, before, limit).await?)
}

/// Takes a message back, or asks the agent that has it.
pub(crate) async fn cancel(app: &App, tenant: &TenantId, id: MessageId) -> Result<Message> {
    match app.store.message_cancel(tenant, id).await? {
        // What waited behind it in its chain may have become due.
        CancelResult::Cancelled => app.wake.now(),
        CancelResult::Requested(node, attempt) => match app.sessions.cancel(tenant, &node, attempt) {
            // The wish is durable: an agent that is away hears of it when it comes back.
            Ok(()) | Err(CommandRefused::Offline) => {}
            Err(refused @ CommandRefused::TooMany) => return Err(super::command_refused(refused, &node)),
        },
        CancelResult::Final(state) => {
            let name = id.resource_name();
            let text = format!("{name} is {state}; only a message that has not left can be taken back");
            return Err(Error::new(Reason::MessageFinal, text).about(name));
        }
        CancelResult::NotFound => return Err(Error::unknown(Reason::MessageUnknown, id.resource_name())),
    }
    get(app, tenant, id).await
}

/// Carries out what an operator decided about an uncertain message.
pub(crate) async fn resolve(
    app: &App,
    tenant: &TenantId,
    id: MessageId,
    resolution: Resolution,
    reason: String,
) -> Result<Message> {
    let name = id.resource_name();
    let refused = |reason, text: String| Err(Error::new(reason, text).about(name.clone()));
    match app.store.message_resolve(tenant, id, resolution, reason).await? {
        ResolveResult::Resolved => {}
        ResolveResult::NotUncertain(state) => {
            let text = format!("{name} is {state}; only an UNCERTAIN message can be resolved");
            return refused(Reason::MessageNotUncertain, text);
        }
        ResolveResult::Expired => {
            let text = format!("the validity of {name} has ended: resolve it as SENT or DROP, and send a new message");
            return refused(Reason::MessageNotResendable, text);
        }
        ResolveResult::CancelRequested => {
            let text = format!("a client asked to take {name} back: resolve it as SENT or DROP");
            return refused(Reason::MessageNotResendable, text);
        }
        ResolveResult::NotFound => return Err(Error::unknown(Reason::MessageUnknown, name)),
    }
    let message = get(app, tenant, id).await?;
    if resolution == Resolution::Resend
        && let Some(route) = app.store.bot_route(tenant, &message.bot).await?
    {
        app.sessions.wake(tenant, &route.node, [message.bot.clone()]);
    }
    Ok(message)
}
