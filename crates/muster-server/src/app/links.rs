//! Linking a bot to its account, while somebody watches.

use std::time::Duration;

use muster_domain::bot::Bot;
use muster_domain::{Address, BotId, TenantId, Violation};

use super::App;
use super::bots::{self, Counted};
use super::error::{Error, Reason, Result};
use crate::session::{Command, Event, LinkProgress, Running};

/// Longest time of a link. Gateways end theirs after a minute or a few codes; this ends one that says nothing any more.
const LINK_TIMEOUT: Duration = Duration::from_secs(600);

/// A link that somebody watches. Dropping it tells the agent that nobody does any more.
pub(crate) struct Link {
    bot: Bot,
    running: Running,
    ended: bool,
}

/// A step of a link.
#[derive(Debug)]
pub(crate) enum Step {
    /// Where it stands.
    Progress(LinkProgress),
    /// The gateway could not link. The last step.
    Failed(muster_domain::failure::Failure),
}

/// Starts a link, and tells the bot as it is before. Without a `pairing_address`, a code for the bot's own is asked for.
pub(crate) async fn start(app: &App, tenant: &TenantId, id: &BotId, pairing_address: &str) -> Result<(Link, Counted)> {
    let counted = bots::get_counted(app, tenant, id).await?;
    let bot = counted.0.clone();
    bots::refuse_retired(&bot)?;
    let pairing_address = match pairing_address {
        "" => bot.spec.address.clone(),
        text => {
            Some(Address::parse(bot.network, text).map_err(|violation: Violation| violation.below("pairing_address"))?)
        }
    };
    let running = app.command(tenant, &bot.node, id, Command::StartLink { pairing_address })?;
    Ok((Link { bot, running, ended: false }, counted))
}

impl Link {
    /// The next step; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<Result<Step>> {
        if self.ended {
            return None;
        }
        let step = self.step().await;
        self.ended = match &step {
            Ok((_, last)) => *last,
            Err(_) => true,
        };
        Some(step.map(|(step, _)| step))
    }

    async fn step(&mut self) -> Result<(Step, bool)> {
        loop {
            let Ok(event) = tokio::time::timeout(LINK_TIMEOUT, self.running.next()).await else {
                let message = format!("the agent of {} says nothing about the link", self.bot.node.resource_name());
                return Err(Error::new(Reason::AgentSilent, message).about(self.bot.node.resource_name()));
            };
            match event {
                Some(Event::Update(update)) => {
                    if let Some(failure) = update.failure {
                        return Ok((Step::Failed(failure), true));
                    }
                    if let Some(link) = update.link {
                        let last = update.last || matches!(link, LinkProgress::Linked | LinkProgress::Expired);
                        return Ok((Step::Progress(link), last));
                    }
                    if update.last {
                        return Ok((Step::Progress(LinkProgress::Expired), true));
                    }
                }
                Some(Event::Unsupported) => return Err(bots::unsupported(&self.bot)),
                None => return Err(super::agent_offline(&self.bot.node)),
            }
        }
    }
}
