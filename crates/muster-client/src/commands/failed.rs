//! `muster failed`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use muster_domain::replay::Cause;
use muster_domain::{BotId, NodeId};
use muster_proto::convert::v1::time::{write_duration, write_timestamp};
use muster_proto::v1;

use super::pages::{LimitArgs, Page};
use super::{CommonArgs, bot_name};
use crate::connection::Server;
use crate::error::{Done, Error};
use crate::screen::Screen;
use crate::text::parse_duration;
use crate::views::failed::{GroupView, ReplayView, groups, replay, table};
use crate::views::message::MessageView;

const EXAMPLES: &str = "\
A message that FAILED or EXPIRED was not sent. Those of which nobody knows are UNCERTAIN:
see `muster uncertain`.

Examples:
  muster failed ls --by cause --since 24h
  muster failed ls --cause RATE_LIMITED --bot sales-1
  muster failed replay --cause GATEWAY_UNAVAILABLE --since 24h --dry-run
  muster failed replay --cause EXPIRED --bot sales-1 --validity 2h --limit 500

A replay is a new message with a validity of its own; the traces of both name each other.
A message is replayed once, whatever is repeated or interrupted. What may have been sent is
never replayed.";

/// Messages in one page of a replay: a short transaction, and a progress that moves.
const REPLAY_PAGE: i32 = 500;

/// Messages that were not sent: list them by cause, replay them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FailedArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: FailedCommand,
}

#[derive(Debug, Subcommand)]
enum FailedCommand {
    /// List messages that were not sent, the newest first, or count them
    #[command(visible_alias = "list")]
    Ls {
        /// Count them by what they have in common, with what to do about it
        #[arg(long, value_enum)]
        by: Option<By>,
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Send them once more, the oldest first
    Replay {
        #[command(flatten)]
        which: WhichArgs,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
        /// Replay at most so many
        #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        /// Also what would be refused again as it is, such as rejected content
        #[arg(long)]
        force: bool,
        /// How long the new messages may leave, such as 12h [default: 24h]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        validity: Option<Duration>,
    },
}

/// What failures are counted by.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Cause,
    Bot,
    Node,
    /// Of acceptance, in UTC
    Day,
}

/// Which failures are meant.
#[derive(Debug, Clone, Args)]
struct WhichArgs {
    /// Only for this cause, such as RATE_LIMITED or EXPIRED; may be repeated
    #[arg(long, value_name = "CAUSE", value_parser = cause)]
    cause: Vec<Cause>,
    /// Only from this bot
    #[arg(long)]
    bot: Option<BotId>,
    /// Only those whose latest attempt was at this node
    #[arg(long)]
    node: Option<NodeId>,
    /// Only those accepted within this time, such as 24h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
}

fn cause(text: &str) -> Result<Cause, String> {
    Cause::parse(&text.to_uppercase().replace('-', "_")).ok_or_else(|| {
        let known: Vec<&str> = Cause::all().map(Cause::as_str).collect();
        format!("expected one of {}", known.join(", "))
    })
}

impl WhichArgs {
    fn filter(&self) -> v1::FailureFilter {
        let from = self.since.and_then(|since| Timestamp::now().checked_sub(since).ok());
        v1::FailureFilter {
            causes: self.cause.iter().map(|cause| cause.as_str().to_owned()).collect(),
            bot: bot_name(self.bot.as_ref()),
            node: self.node.as_ref().map(NodeId::resource_name).unwrap_or_default(),
            accepted_from: from.map(write_timestamp),
            accepted_until: None,
        }
    }
}

pub(super) async fn run(args: FailedArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        FailedCommand::Ls { by: Some(by), which, limit: _ } => {
            let (wire, heading) = match by {
                By::Cause => (v1::FailuresBy::Cause, "CAUSE"),
                By::Bot => (v1::FailuresBy::Bot, "BOT"),
                By::Node => (v1::FailuresBy::Node, "NODE"),
                By::Day => (v1::FailuresBy::Day, "DAY (UTC)"),
            };
            let request = v1::CountFailuresRequest { filter: Some(which.filter()), by: wire.into() };
            let found = server.failures().count_failures(request).await?.into_inner().groups;
            let found: Vec<GroupView> = found.into_iter().map(GroupView::from).collect();
            screen.many(&found, |found, look| groups(found, heading, look))?;
        }
        FailedCommand::Ls { by: None, which, limit } => {
            let filter = which.filter();
            let ask = async |page_size, page_token| {
                let request = v1::ListFailuresRequest { page_size, page_token, filter: Some(filter.clone()) };
                let response = server.failures().list_failures(request).await?;
                Ok(response.map(|page| Page { rows: page.messages, next_page_token: page.next_page_token }))
            };
            let messages: Vec<MessageView> = limit.collect(&screen, ask).await?;
            screen.many(&messages, table)?;
        }
        FailedCommand::Replay { which, dry_run, limit, force, validity } => {
            let request = v1::ReplayFailuresRequest {
                page_size: REPLAY_PAGE,
                page_token: String::new(),
                filter: Some(which.filter()),
                dry_run,
                force,
                validity: validity.map(write_duration),
                limit: limit.unwrap_or_default(),
            };
            let view = replay_all(&screen, &server, request).await?;
            screen.one(&view, replay)?;
            return Ok(if view.stopped { Done::Partly } else { Done::All });
        }
    }
    Ok(Done::All)
}

/// Asks for page after page. The first Ctrl-C ends it behind the page that is under way.
async fn replay_all(
    screen: &Screen,
    server: &Server,
    mut request: v1::ReplayFailuresRequest,
) -> Result<ReplayView, Error> {
    let limit = request.limit;
    let mut view = ReplayView { dry_run: request.dry_run, ..ReplayView::default() };
    let bar = if screen.talk_is_watched() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{spinner}  {msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let mut failures = server.failures();
        let asking = failures.replay_failures(request.clone());
        tokio::pin!(asking);
        let page = tokio::select! {
            page = &mut asking => page,
            _ = &mut interrupted, if !view.stopped => {
                view.stopped = true;
                asking.await
            }
        };
        let page = page?.into_inner();
        request.page_token.clone_from(&page.next_page_token);
        view.add(page);
        bar.set_message(view.line());
        bar.tick();
        // What was replayed is not asked for again.
        let left = u64::from(limit).saturating_sub(view.replayed);
        if request.page_token.is_empty() {
            view.stopped = false;
            break;
        }
        if view.stopped || (limit > 0 && left == 0) {
            break;
        }
        request.limit = if limit == 0 { 0 } else { u32::try_from(left).unwrap_or(u32::MAX) };
    }
    bar.finish_and_clear();
    Ok(view)
}
