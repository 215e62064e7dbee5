//! Why a message waits: the gate's answer, in words for people.

use muster_domain::absence::{AbsencePolicy, FailOver};
use muster_domain::aging;
use muster_domain::backoff::Backoff;
use muster_domain::bot::Bot;
use muster_domain::failure::Scope;
use muster_domain::gate::{self, BotFacts, Decision, MessageFacts, RecipientFacts, RefuseReason, WaitReason};
use muster_domain::limits::PRIORITY_STEP;
use muster_domain::message::{Message, MessageState, Parked};
use muster_domain::node::Node;
use muster_domain::{TenantId, Timestamp};

use super::App;
use super::error::Result;
use super::{bots, nodes};

/// Why a message waits, since when, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// For callers who branch.
    pub(crate) reason: WaitReason,
    /// For people.
    pub(crate) explanation: String,
    /// Since when, as far as it is known.
    pub(crate) since: Option<Timestamp>,
    /// When it is looked at again; `None` when an event ends the wait.
    pub(crate) until: Option<Timestamp>,
}

/// Why a message waits; `None` for one that does not.
pub(crate) async fn explain(app: &App, tenant: &TenantId, message: &Message) -> Result<Option<Waiting>> {
    if message.state != MessageState::Waiting {
        return Ok(None);
    }
    if let Some(parked) = &message.parked {
        return Ok(Some(of_parked(message, parked)));
    }
    let bot = bots::get(app, tenant, &message.bot).await?;
    let node = nodes::get(app, tenant, &bot.node).await?;
    let absent_since = node.absent_since(app.serving_since);
    if let Some(waiting) = of_gate(message, &bot, &node, absent_since, app.store.now()) {
        return Ok(Some(waiting));
    }
    let ahead = app.store.message_queue_ahead(tenant, message.id, PRIORITY_STEP).await?;
    Ok(Some(queued(message, &bot, ahead, app.store.now())))
}

/// A message that waits for a time of its own.
fn of_parked(message: &Message, parked: &Parked) -> Waiting {
    let Parked { reason, since, until } = *parked;
    let bot = message.bot.resource_name();
    let until_text = until.strftime("%Y-%m-%d %H:%M:%S UTC");
    let explanation = match reason {
        WaitReason::NotBefore => format!("The client asked for it to leave not before {until_text}."),
        WaitReason::RetryBackoff => {
            let why =
                message.failure.as_ref().map_or_else(|| "it was refused".to_owned(), |failure| failure.to_string());
            format!("Attempt {} was not sent ({why}); the next one comes at {until_text}.", message.attempt_no)
        }
        WaitReason::ChainBlocked => format!(
            "An earlier message of {bot} to the same recipient has to leave first; it is tried again at {until_text}."
        ),
        WaitReason::BotBackoff | WaitReason::GatewayBackoff => {
            let refused = if reason == WaitReason::BotBackoff { bot } else { format!("the gateway of {bot}") };
            format!(
                "{refused} was refused when it tried; another message tries before this one, which comes again at \
                 {until_text} or as soon as one gets through."
            )
        }
        WaitReason::BotHeld
        | WaitReason::BotStage
        | WaitReason::BotNotConnected
        | WaitReason::NodeCordoned
        | WaitReason::NodeOffline
        | WaitReason::WindowClosed
        | WaitReason::Queued => format!("It waits for {bot} until {until_text}."),
    };
    Waiting { reason, explanation, since: Some(since), until: Some(until) }
}

/// What the gate says now; `None` if it would let the message leave.
fn of_gate(
    message: &Message,
    bot: &Bot,
    node: &Node,
    absent_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Waiting> {
    let bot_facts = BotFacts {
        stage: bot.stage,
        hold: bot.hold.as_ref(),
        connection: bot.connection,
        node_cordoned: node.cordon.is_some(),
        node_online: node.online,
        node_given_up: absent_since.is_some_and(|since| bot.spec.absence.has_given_up(since, now)),
        window: bot.window,
        backoff: bot.backoff.as_ref(),
    };
    let message_facts = MessageFacts {
        // The commit of an opt-out ends what waits for its contact: whoever is waited for wants it.
        recipient: RecipientFacts { opted_out: false },
        expire_time: message.expire_time,
        not_before: message.not_before,
        retry_time: None,
        chain_until: None,
    };
    let name = bot.spec.id.resource_name();
    match gate::decide(&bot_facts, &message_facts, now) {
        Decision::Admit => None,
        Decision::Refuse { reason } => {
            let why = match reason {
                RefuseReason::Expired => "Its validity ended".to_owned(),
                RefuseReason::BotRetired => format!("{name} is out of service for good"),
                RefuseReason::RecipientOptedOut => "The recipient opted out".to_owned(),
                RefuseReason::BotBanned => format!("The network banned {name}"),
                RefuseReason::NodeAbsent => format!("The node of {name} is absent for longer than {name} waits for it"),
            };
            let explanation = format!("{why}; the message reaches its final state in a moment.");
            Some(Waiting { reason: WaitReason::Queued, explanation, since: None, until: None })
        }
        Decision::Wait { reason, until } => {
            let (explanation, since) = of_wait(reason, bot, node);
            Some(Waiting { reason, explanation, since, until })
        }
    }
}

fn of_wait(reason: WaitReason, bot: &Bot, node: &Node) -> (String, Option<Timestamp>) {
    let name = bot.spec.id.resource_name();
    match reason {
        WaitReason::BotHeld => {
            let Some(hold) = &bot.hold else { return (format!("{name} is held."), None) };
            let author = if hold.author.is_empty() { String::new() } else { format!(" by {}", hold.author) };
            let end = match hold.until {
                Some(until) => format!("the hold ends at {}", until.strftime("%Y-%m-%d %H:%M:%S UTC")),
                None => format!("resume it with `muster bot resume {}`", bot.spec.id),
            };
            (format!("{name} is held{author}: {}; {end}.", hold.reason), Some(hold.since))
        }
        WaitReason::BotStage => {
            let stage = bot.stage;
            (format!("{name} is {stage} ({}); a bot in this stage does not send.", bot.stage_rule), None)
        }
        WaitReason::BotNotConnected => {
            let detail = match bot.connection_detail.as_str() {
                "" => String::new(),
                detail => format!(" ({detail})"),
            };
            let connection = bot.connection;
            (
                format!(
                    "The login of {name} at {} is {connection}{detail}.{}",
                    bot.spec.gateway.resource_name(),
                    after_fail_over(bot)
                ),
                bot.connection_time,
            )
        }
        WaitReason::NodeCordoned => {
            let node_name = node.spec.id.resource_name();
            let Some(cordon) = &node.cordon else { return (format!("{node_name} is cordoned."), None) };
            let author = if cordon.author.is_empty() { String::new() } else { format!(" by {}", cordon.author) };
            let text = format!(
                "{node_name}, where {name} is, was cordoned{author}: {}; let it take work again with `muster node \
                 uncordon {}`.",
                cordon.reason, node.spec.id
            );
            (text, Some(cordon.since))
        }
        WaitReason::NodeOffline => {
            let node_name = node.spec.id.resource_name();
            let since = node.online_time.map_or_else(
                || "has had no session yet".to_owned(),
                |since| format!("has had no session since {}", since.strftime("%Y-%m-%d %H:%M:%S UTC")),
            );
            (
                format!("The agent of {node_name} {since}, so nothing reaches {name}{}.", if_absent(bot)),
                node.online_time,
            )
        }
        WaitReason::WindowClosed => (of_window(bot), None),
        WaitReason::BotBackoff | WaitReason::GatewayBackoff => match &bot.backoff {
            Some(backoff) => (of_backoff(backoff, bot), Some(backoff.since)),
            None => (format!("{name} was refused; it tries again in a moment."), None),
        },
        WaitReason::NotBefore | WaitReason::RetryBackoff | WaitReason::ChainBlocked | WaitReason::Queued => {
            (format!("Its time has not come; {name} takes it up again then."), None)
        }
    }
}

/// A bot outside its sending window. Times are those of the window's zone: what its declaration speaks of.
fn of_window(bot: &Bot) -> String {
    let name = bot.spec.id.resource_name();
    let (Some(declared), Some(span)) = (&bot.spec.sending_window, bot.window) else {
        return format!("The sending window of {name} is closed.");
    };
    let (text, closes) = (declared.to_text(), if span.is_open { " closes in a moment" } else { " is closed" });
    let opens = span.opens.map(|opens| format!("; it opens at {}", declared.shown(opens))).unwrap_or_default();
    format!("{name} sends only within its window ({text}), which{closes}{opens}.")
}

/// A bot or gateway that was refused.
fn of_backoff(backoff: &Backoff, bot: &Bot) -> String {
    let refused = match backoff.scope {
        Scope::Gateway => format!("All bots of {} wait", bot.spec.gateway.resource_name()),
        _ => format!("{} waits", bot.spec.id.resource_name()),
    };
    let times = match backoff.refusals {
        1 => String::new(),
        times => format!(", {times} times in a row"),
    };
    let until = backoff.until.strftime("%Y-%m-%d %H:%M:%S UTC");
    let advice = backoff.failure.reason.advice();
    format!("{refused}: refused with {}{times}. One message tries again at {until}. {advice}", backoff.failure)
}

/// What is declared to be done about a bot whose node stays away.
fn if_absent(bot: &Bot) -> String {
    match &bot.spec.absence {
        AbsencePolicy::FailOver { standby_gateway, .. } if *standby_gateway == bot.spec.gateway => {
            "; it is at its standby gateway already".to_owned()
        }
        AbsencePolicy::FailOver { after, standby_gateway } => format!(
            "; after {} s without one it moves to {}, as soon as the node of that is there",
            after.as_secs(),
            standby_gateway.resource_name()
        ),
        AbsencePolicy::Fail { after } => format!("; after {} s without one what waits fails", after.as_secs()),
        AbsencePolicy::Wait => String::new(),
    }
}

/// Where a bot came from whose policy moved it: it may never have been linked where it is now.
fn after_fail_over(bot: &Bot) -> String {
    match &bot.fail_over {
        Some(FailOver { from_gateway, .. }) => format!(
            " It failed over from {}: link it here with `muster bot link {}` if it is not.",
            from_gateway.resource_name(),
            bot.spec.id
        ),
        None => String::new(),
    }
}

fn queued(message: &Message, bot: &Bot, ahead: u64, now: Timestamp) -> Waiting {
    let name = bot.spec.id.resource_name();
    let explanation = match ahead {
        0 => format!("It is the next one of {name}, and leaves as soon as the agent takes more."),
        1 => format!("One message of {name} leaves before it."),
        ahead => format!("{ahead} messages of {name} leave before it at the most."),
    };
    let since = aging::since(message.id, message.not_before);
    let counts_as = aging::counts_as(message.priority, since, PRIORITY_STEP, now);
    let explanation = if counts_as == message.priority {
        explanation
    } else {
        format!("{explanation} It has waited for so long that it counts as {}.", counts_as.as_str())
    };
    let since = Some(since);
    Waiting { reason: WaitReason::Queued, explanation, since, until: None }
}
