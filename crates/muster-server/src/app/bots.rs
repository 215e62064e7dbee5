//! Bots: what is declared about them, and what operators decide about them.

use std::time::Duration;

use muster_domain::bot::{Bot, BotSpec, Hold, Stage, StateCounts};
use muster_domain::limits::{NOTE_CHARS_MAX, RECIPIENT_CHECK_MAX};
use muster_domain::{Address, BotId, Network, TenantId, Violation};
use muster_proto::convert::v1::bot::{Draft, Update};
use muster_store::{BotFilter, Expect, FleetWrite, Note, RequestKey};

use super::error::{Error, Reason, Result};
use super::{App, gateways};
use crate::session::{Command, Event, RecipientStatus};

/// How long a call waits for the answer of an agent.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A bot with its messages per state.
pub(crate) type Counted = (Bot, StateCounts);

/// Declares a bot.
pub(crate) async fn create(app: &App, tenant: &TenantId, draft: Draft, request: Option<RequestKey>) -> Result<Counted> {
    let network = gateways::network(app, tenant, &draft.gateway).await?;
    let spec = draft.resolve(network).map_err(|violation| violation.below("bot"))?;
    check_standby(app, tenant, &spec, network).await?;
    let id = spec.id.clone();
    write(app, tenant, &id, FleetWrite::PutBot(spec, Expect::Absent), request).await
}

/// One bot.
pub(crate) async fn get(app: &App, tenant: &TenantId, id: &BotId) -> Result<Bot> {
    let bot = app.store.bot_get(tenant, id).await?;
    bot.ok_or_else(|| Error::unknown(Reason::BotUnknown, id.resource_name()))
}

/// One bot with its messages per state.
pub(crate) async fn get_counted(app: &App, tenant: &TenantId, id: &BotId) -> Result<Counted> {
    let bot = get(app, tenant, id).await?;
    let counts = app.store.message_counts(tenant, std::slice::from_ref(id)).await?.pop().unwrap_or_default();
    Ok((bot, counts))
}

/// Bots by id, after `after`.
pub(crate) async fn list(
    app: &App,
    tenant: &TenantId,
    filter: &BotFilter,
    after: Option<&BotId>,
    limit: u32,
) -> Result<Vec<Counted>> {
    let bots = app.store.bot_list(tenant, filter, after, limit).await?;
    if bots.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = bots.iter().map(|bot| bot.spec.id.clone()).collect();
    let counts = app.store.message_counts(tenant, &ids).await?;
    Ok(bots.into_iter().zip(counts).collect())
}

/// Messages per state: of one bot, or of all.
pub(crate) async fn message_counts(app: &App, tenant: &TenantId, id: Option<&BotId>) -> Result<StateCounts> {
    match id {
        Some(id) => Ok(get_counted(app, tenant, id).await?.1),
        None => Ok(app.store.message_counts(tenant, &[]).await?.pop().unwrap_or_default()),
    }
}

/// Changes what is declared about a bot.
pub(crate) async fn update(
    app: &App,
    tenant: &TenantId,
    update: &Update,
    request: Option<RequestKey>,
) -> Result<Counted> {
    let present = get(app, tenant, &update.id).await?;
    refuse_retired(&present)?;
    let gateway = update.gateway.as_ref().unwrap_or(&present.spec.gateway);
    let network = gateways::network(app, tenant, gateway).await?;
    let spec = update.apply(&present.spec, network).map_err(|violation| violation.below("bot"))?;
    check_address(&present.spec, &spec)?;
    check_standby(app, tenant, &spec, network).await?;
    let expect = Expect::Generation(update.generation.unwrap_or(present.generation));
    let after = write(app, tenant, &update.id, FleetWrite::PutBot(spec, expect), request).await?;
    app.sessions.desired_changed(tenant, [&present.node]);
    Ok(after)
}

/// A bot stays on its network, so its standby gateway has to speak to the same one.
async fn check_standby(app: &App, tenant: &TenantId, spec: &BotSpec, network: Network) -> Result<()> {
    let Some(standby) = spec.absence.standby_gateway() else { return Ok(()) };
    if gateways::network(app, tenant, standby).await? != network {
        let text = format!("names {}, which speaks to another network", standby.resource_name());
        return Err(Violation::new("bot.absence.standby_gateway", text).into());
    }
    Ok(())
}

/// A bot is its address: another one would be another bot, with limits and a standing of its own.
pub(crate) fn check_address(present: &BotSpec, wanted: &BotSpec) -> Result<()> {
    if present.address.is_some() && wanted.address != present.address {
        let name = present.id.resource_name();
        let message =
            format!("the address of {name} is known and cannot be changed; declare another bot for another address");
        return Err(Error::new(Reason::AddressFixed, message).about(name));
    }
    Ok(())
}

/// Pauses a bot.
pub(crate) async fn hold(
    app: &App,
    tenant: &TenantId,
    id: &BotId,
    hold: Hold,
    request: Option<RequestKey>,
) -> Result<Counted> {
    let mut violations = hold.violations(app.store.now());
    violations.extend(check_author(&hold.author));
    if !violations.is_empty() {
        return Err(violations.into());
    }
    refuse_retired(&get(app, tenant, id).await?)?;
    let until = hold.until;
    let held = write(app, tenant, id, FleetWrite::SetHold(id.clone(), Some(hold)), request).await?;
    if let Some(until) = until {
        app.holds.by(until);
    }
    Ok(held)
}

/// Ends a hold. Who ends it is checked and not kept: a hold that is over leaves no record.
pub(crate) async fn resume(
    app: &App,
    tenant: &TenantId,
    id: &BotId,
    author: &str,
    request: Option<RequestKey>,
) -> Result<Counted> {
    if let Some(violation) = check_author(author) {
        return Err(violation.into());
    }
    let present = get(app, tenant, id).await?;
    refuse_retired(&present)?;
    if present.hold.is_none() && request.is_none() {
        return get_counted(app, tenant, id).await;
    }
    write(app, tenant, id, FleetWrite::SetHold(id.clone(), None), request).await
}

/// Takes a bot out of service for good. One that is retired stays so.
pub(crate) async fn retire(
    app: &App,
    tenant: &TenantId,
    id: &BotId,
    author: String,
    reason: String,
    request: Option<RequestKey>,
) -> Result<Counted> {
    let mut violations: Vec<_> = check_author(&author).into_iter().collect();
    if reason.chars().count() > NOTE_CHARS_MAX {
        violations.push(Violation::new("reason", format!("must have at most {NOTE_CHARS_MAX} characters")));
    }
    if !violations.is_empty() {
        return Err(violations.into());
    }
    if get(app, tenant, id).await?.stage == Stage::Retired {
        return get_counted(app, tenant, id).await;
    }
    let note = Note { rule: "RETIRE".to_owned(), author, facts: reason };
    write(app, tenant, id, FleetWrite::SetStage(id.clone(), Stage::Retired, note), request).await
}

/// Removes the login of a bot at its gateway.
pub(crate) async fn unlink(app: &App, tenant: &TenantId, id: &BotId) -> Result<Counted> {
    let bot = get(app, tenant, id).await?;
    command(app, tenant, &bot, Command::Unlink).await?;
    get_counted(app, tenant, id).await
}

/// Brings a lost connection back up now.
pub(crate) async fn reconnect(app: &App, tenant: &TenantId, id: &BotId) -> Result<Counted> {
    let bot = get(app, tenant, id).await?;
    refuse_retired(&bot)?;
    command(app, tenant, &bot, Command::Reconnect).await?;
    get_counted(app, tenant, id).await
}

/// Asks the network which addresses exist. The answers come in the order of the questions.
pub(crate) async fn check_recipients(
    app: &App,
    tenant: &TenantId,
    id: &BotId,
    recipients: &[String],
) -> Result<Vec<Option<RecipientStatus>>> {
    if recipients.is_empty() || recipients.len() > RECIPIENT_CHECK_MAX {
        let found = recipients.len();
        let text = format!("must have 1 to {RECIPIENT_CHECK_MAX} addresses, has {found}");
        return Err(Violation::new("recipients", text).into());
    }
    let bot = get(app, tenant, id).await?;
    refuse_retired(&bot)?;
    let (mut addresses, mut violations) = (Vec::new(), Vec::new());
    for (i, text) in recipients.iter().enumerate() {
        match Address::parse(bot.network, text) {
            Ok(address) => addresses.push(address),
            Err(violation) => violations.push(violation.below(&format!("recipients[{i}]"))),
        }
    }
    if !violations.is_empty() {
        return Err(violations.into());
    }
    let found = command(app, tenant, &bot, Command::CheckRecipients(addresses.clone())).await?;
    let status = |address: &Address| found.iter().find(|status| status.address == *address).cloned();
    Ok(addresses.iter().map(status).collect())
}

/// Carries out a command that has one answer.
pub(crate) async fn command(app: &App, tenant: &TenantId, bot: &Bot, command: Command) -> Result<Vec<RecipientStatus>> {
    let mut running = app.command(tenant, &bot.node, &bot.spec.id, command)?;
    let mut recipients = Vec::new();
    let answer = async {
        loop {
            match running.next().await {
                Some(Event::Update(update)) => {
                    recipients.extend(update.recipients);
                    if let Some(failure) = update.failure {
                        return Err(Error::from(failure).about(bot.spec.id.resource_name()));
                    }
                    if update.last {
                        return Ok(());
                    }
                }
                Some(Event::Unsupported) => return Err(unsupported(bot)),
                None => return Err(super::agent_offline(&bot.node)),
            }
        }
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, answer).await {
        Ok(answer) => answer.map(|()| recipients),
        Err(_) => {
            let seconds = COMMAND_TIMEOUT.as_secs();
            let message = format!("the agent of {} did not answer within {seconds} s", bot.node.resource_name());
            Err(Error::new(Reason::AgentSilent, message).about(bot.node.resource_name()))
        }
    }
}

/// The agent does not know a command.
pub(crate) fn unsupported(bot: &Bot) -> Error {
    let message = format!("the agent of {} does not know this command: upgrade it", bot.node.resource_name());
    Error::new(Reason::CommandUnsupported, message).about(bot.node.resource_name())
}

/// Nothing brings a retired bot back.
pub(crate) fn refuse_retired(bot: &Bot) -> Result<()> {
    if bot.stage == Stage::Retired {
        let name = bot.spec.id.resource_name();
        return Err(Error::new(Reason::BotRetired, format!("{name} is out of service for good")).about(name));
    }
    Ok(())
}

fn check_author(author: &str) -> Option<Violation> {
    let long = author.chars().count() > NOTE_CHARS_MAX;
    long.then(|| Violation::new("author", format!("must have at most {NOTE_CHARS_MAX} characters")))
}

/// Writes one change of a bot, and tells its session: what the agent should know changed, and it may have work.
async fn write(
    app: &App,
    tenant: &TenantId,
    id: &BotId,
    write: FleetWrite,
    request: Option<RequestKey>,
) -> Result<Counted> {
    app.store.fleet_write(tenant, vec![write], request).await?;
    let counted = get_counted(app, tenant, id).await?;
    app.sessions.desired_changed(tenant, [&counted.0.node]);
    app.sessions.wake(tenant, &counted.0.node, [id.clone()]);
    Ok(counted)
}
