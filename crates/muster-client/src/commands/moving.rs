//! `muster bot move`: moves a bot to another gateway, and waits until the node that it left is done with it.

use std::time::Duration;

use clap::Args;
use muster_domain::{BotId, GatewayId};
use muster_proto::v1;
use tokio::time::Instant;

use super::pages::{LimitArgs, Page};
use crate::connection::Server;
use crate::error::{Done, Error};
use crate::screen::Screen;
use crate::text::{parse_duration, plural};
use crate::views::attempt::AttemptAtNodeView;
use crate::views::bot::{BotView, page};

/// How often it is asked what the node that was left still has.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const MORE: &str = "\
What waits follows at once. What the node that the bot leaves has not started, it hands back, and it leaves from the new one;
what is started ends there, and is not sent again. Until that is told, later messages to the same recipients wait, so that
nothing is overtaken: while the old node is away, that may be until their validity ends. The bot has to be linked at the new
gateway. A fleet file that still names the old gateway moves the bot back. Exit code 1: the old node still has something.";

/// Move a bot to another gateway: what waits follows, and nothing is sent twice
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub(super) struct MoveArgs {
    /// The bot's id
    bot: BotId,
    /// The gateway that it moves to, of the same network; it may be on another node
    #[arg(long)]
    gateway: GatewayId,
    /// How long to wait for the node that it leaves
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = parse_duration)]
    wait: Duration,
}

pub(super) async fn run(screen: &Screen, server: &Server, args: MoveArgs) -> Result<Done, Error> {
    let MoveArgs { bot: id, gateway, wait } = args;
    let bot = v1::Bot { name: id.resource_name(), gateway: gateway.resource_name(), ..v1::Bot::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["gateway".to_owned()] });
    let request = v1::UpdateBotRequest { bot: Some(bot), update_mask, request_id: String::new() };
    let bot = server.bots().update_bot(request).await?.into_inner().bot.unwrap_or_default();
    let left = follow(screen, server, &id, &bot.node, wait).await?;
    let request = v1::GetBotRequest { name: id.resource_name() };
    let bot = server.bots().get_bot(request).await?.into_inner().bot.unwrap_or_default();
    screen.one(&BotView::from(bot), page)?;
    if left == 0 {
        return Ok(Done::All);
    }
    screen.say(&format!(
        "{id} has moved; the node that it left still has {}; `muster node attempts NODE` names them",
        plural(left, "attempt")
    ));
    Ok(Done::Partly)
}

/// Looks until nothing of the bot is under way elsewhere than at `node`. Returns how many attempts still are.
async fn follow(screen: &Screen, server: &Server, id: &BotId, node: &str, wait: Duration) -> Result<u64, Error> {
    let deadline = Instant::now() + wait;
    let mut told = 0;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let ask = async |page_size, page_token| {
            let bot = id.resource_name();
            let request = v1::ListAttemptsUnderWayRequest { bot, page_size, page_token, ..Default::default() };
            let response = server.nodes().list_attempts_under_way(request).await?;
            Ok(response.map(|page| Page { rows: page.attempts, next_page_token: page.next_page_token }))
        };
        let under_way: Vec<AttemptAtNodeView> = LimitArgs::everything().collect(screen, ask).await?;
        let left: Vec<_> = under_way.into_iter().filter(|attempt| attempt.node != node).collect();
        let count = left.len() as u64;
        if count == 0 || Instant::now() >= deadline {
            return Ok(count);
        }
        if count != told {
            let nodes: std::collections::BTreeSet<_> = left.iter().map(|attempt| attempt.node.as_str()).collect();
            let nodes = nodes.into_iter().collect::<Vec<_>>().join(", ");
            screen.say(&format!("{id} has moved; {nodes} still has {}", plural(count, "attempt")));
            told = count;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = &mut interrupted => return Ok(count),
        }
    }
}
