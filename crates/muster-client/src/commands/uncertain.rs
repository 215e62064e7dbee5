//! `muster uncertain`

use clap::{Args, Subcommand};
use muster_domain::message::MessageState;
use muster_domain::resolution::{Resolution, check_reason};
use muster_domain::{BotId, MessageId};
use muster_proto::convert::v1::message::{write_resolution_kind, write_state};
use muster_proto::v1;

use super::pages::{LimitArgs, Page};
use super::{CommonArgs, bot_name, word};
use crate::connection::Server;
use crate::error::{Done, Error};
use crate::screen::Screen;
use crate::views::message::{MessageView, table};
use crate::views::trace::{TraceView, timeline};
use crate::views::uncertain::table as uncertain_table;

const EXAMPLES: &str = "\
A message is UNCERTAIN when it may have been sent and nobody can tell. What is done then is its
policy, told by `muster send --on-uncertain`, or else by `muster tenant put --on-uncertain`:
  hold     nothing, until a late report settles it or somebody decides; the default
  resend   it is sent once more after 10 minutes without news; it may arrive twice
  drop     it is given up at once; the message is FAILED

Look at the chat on the bot's phone, then decide:
  sent     it arrived; the message is SENT
  resend   it did not arrive; the message waits in its queue again
           (if it did arrive, the recipient gets it twice)
  drop     it is not needed any more; the message is FAILED
A late report that the message was sent goes before the decision; the trace shows both.

Examples:
  muster uncertain ls --bot sales-1
  muster uncertain show 00a4c2t1m8000
  muster uncertain resolve 00a4c2t1m8000 --as sent --reason \"seen in the chat\"
  muster uncertain resolve --all --bot sales-1 --as drop";

/// Messages that may have been sent: list, show, resolve.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UncertainArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: UncertainCommand,
}

#[derive(Debug, Subcommand)]
enum UncertainCommand {
    /// List uncertain messages, the newest first
    #[command(visible_alias = "list")]
    Ls {
        /// Only from this bot
        #[arg(long)]
        bot: Option<BotId>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show what is known of one message: its attempts, and what was decided
    Show {
        /// Its id
        message: MessageId,
    },
    /// Decide what uncertain messages are taken for
    Resolve {
        /// Their ids
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "MESSAGE")]
        messages: Vec<MessageId>,
        /// All uncertain messages of the bot, without asking
        #[arg(long, requires = "bot")]
        all: bool,
        /// The bot whose messages --all means
        #[arg(long, requires = "all")]
        bot: Option<BotId>,
        /// What they are taken for: sent, resend, or drop
        #[arg(long = "as", value_name = "DECISION", value_parser = resolution)]
        resolution: Resolution,
        /// What the decision rests on; the trace shows it
        #[arg(long, default_value = "", hide_default_value = true, value_parser = reason)]
        reason: String,
    },
}

fn resolution(text: &str) -> Result<Resolution, String> {
    word(text, &Resolution::ALL, Resolution::as_str)
}

fn reason(text: &str) -> Result<String, String> {
    check_reason(text).map(|()| text.to_owned()).map_err(|violation| violation.description)
}

pub(super) async fn run(args: UncertainArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        UncertainCommand::Ls { bot, limit } => {
            let messages = uncertain(&screen, &server, bot.as_ref(), &limit).await?;
            screen.many(&messages, uncertain_table)?;
        }
        UncertainCommand::Show { message } => {
            let request = v1::TraceMessageRequest { name: message.resource_name() };
            let trace = server.messages().trace_message(request).await?.into_inner();
            screen.one(&TraceView::from(trace), timeline)?;
        }
        UncertainCommand::Resolve { messages, all, bot, resolution, reason } => {
            let names = if all {
                let found = uncertain(&screen, &server, bot.as_ref(), &LimitArgs::everything()).await?;
                found.into_iter().map(|message| message.name).collect()
            } else {
                messages.into_iter().map(MessageId::resource_name).collect()
            };
            return resolve(&screen, &server, names, resolution, &reason).await;
        }
    }
    Ok(Done::All)
}

async fn uncertain(
    screen: &Screen,
    server: &Server,
    bot: Option<&BotId>,
    limit: &LimitArgs,
) -> Result<Vec<MessageView>, Error> {
    let filter = v1::MessageFilter {
        bot: bot_name(bot),
        states: vec![write_state(MessageState::Uncertain).into()],
        ..v1::MessageFilter::default()
    };
    let ask = async |page_size, page_token| {
        let request = v1::ListMessagesRequest { page_size, page_token, filter: Some(filter.clone()) };
        let response = server.messages().list_messages(request).await?;
        Ok(response.map(|page| Page { rows: page.messages, next_page_token: page.next_page_token }))
    };
    limit.collect(screen, ask).await
}

/// Resolves each message by itself: one that is refused does not stop the others.
async fn resolve(
    screen: &Screen,
    server: &Server,
    names: Vec<String>,
    resolution: Resolution,
    reason: &str,
) -> Result<Done, Error> {
    let mut resolved = Vec::new();
    let asked = names.len();
    for name in names {
        let request = v1::ResolveMessageRequest {
            name: name.clone(),
            r#as: write_resolution_kind(resolution).into(),
            reason: reason.to_owned(),
        };
        match server.messages().resolve_message(request).await {
            Ok(response) => resolved.push(MessageView::from(response.into_inner().message.unwrap_or_default())),
            Err(status) => {
                let told = Error::from(status).to_string();
                screen.say(&if told.contains(&name) { told } else { format!("{name}: {told}") });
            }
        }
    }
    screen.many(&resolved, table)?;
    screen.say(&format!("{} of {asked} resolved as {}", resolved.len(), resolution.as_str()));
    Ok(if resolved.len() == asked { Done::All } else { Done::Partly })
}
