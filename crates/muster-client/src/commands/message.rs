//! `muster message`

use clap::{Args, Subcommand};
use jiff::Timestamp;
use muster_domain::message::MessageState;
use muster_domain::{BotId, MessageId};
use muster_proto::convert::v1::message::write_state;
use muster_proto::convert::v1::time::write_timestamp;
use muster_proto::v1;

use super::pages::{LimitArgs, Page};
use super::watch::{WatchArgs, watch};
use super::{CommonArgs, bot_name, word};
use crate::error::{Done, Error};
use crate::text::parse_duration;
use crate::views::message::{ChangeView, MessageView, change_line, counts_table, page, state_counts, table};
use crate::views::trace::{TraceView, timeline};

const EXAMPLES: &str = "\
Examples:
  muster message ls --state waiting            what waits, the newest first
  muster message ls --bot sales-1 --within 2h  what one bot got to do lately
  muster message watch -o jsonl                every change of state, as it is committed
  muster message trace 00a4c2t1m8000           what became of one message, and why it waits";

/// Messages that clients asked to send.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MessageArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: MessageCommand,
}

#[derive(Debug, Subcommand)]
enum MessageCommand {
    /// List messages, the newest first
    #[command(visible_alias = "list")]
    Ls {
        /// Only from this bot
        #[arg(long)]
        bot: Option<BotId>,
        /// Only in this state; may be given more than once
        #[arg(long = "state", value_name = "STATE", value_parser = state)]
        states: Vec<MessageState>,
        /// Only to this address
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// Only those accepted within this time, such as 2h
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        within: Option<std::time::Duration>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show one message in full
    Get {
        /// Its id
        message: MessageId,
    },
    /// Print every change of state as it is committed
    Watch(WatchArgs),
    /// Show what became of one message: attempts, receipts, and why it waits
    Trace {
        /// Its id
        message: MessageId,
    },
    /// Take messages back; what is under way is asked for
    Cancel {
        /// Their ids
        #[arg(required = true)]
        messages: Vec<MessageId>,
    },
    /// Show how many messages are in each state
    Count {
        /// Only from this bot
        #[arg(long)]
        bot: Option<BotId>,
    },
}

fn state(text: &str) -> Result<MessageState, String> {
    word(text, &MessageState::ALL, MessageState::as_str)
}

pub(super) async fn run(args: MessageArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        MessageCommand::Ls { bot, states, to, within, limit } => {
            let filter = v1::MessageFilter {
                bot: bot_name(bot.as_ref()),
                states: states.into_iter().map(|state| write_state(state).into()).collect(),
                recipient: to.unwrap_or_default(),
                accepted_from: within.and_then(|within| Timestamp::now().checked_sub(within).ok()).map(write_timestamp),
                accepted_until: None,
            };
            let ask = async |page_size, page_token| {
                let request = v1::ListMessagesRequest { page_size, page_token, filter: Some(filter.clone()) };
                let response = server.messages().list_messages(request).await?;
                Ok(response.map(|page| Page { rows: page.messages, next_page_token: page.next_page_token }))
            };
            let messages: Vec<MessageView> = limit.collect(&screen, ask).await?;
            screen.many(&messages, table)?;
        }
        MessageCommand::Get { message } => {
            let request = v1::GetMessageRequest { name: message.resource_name() };
            let message = server.messages().get_message(request).await?.into_inner().message.unwrap_or_default();
            screen.one(&MessageView::from(message), page)?;
        }
        MessageCommand::Watch(args) => {
            return watch(&screen, &server, args, |answer: v1::WatchMessagesResponse, screen| {
                for change in answer.changes {
                    screen.next(&ChangeView::from(change), change_line)?;
                }
                Ok(())
            })
            .await;
        }
        MessageCommand::Trace { message } => {
            let request = v1::TraceMessageRequest { name: message.resource_name() };
            let trace = server.messages().trace_message(request).await?.into_inner();
            screen.one(&TraceView::from(trace), timeline)?;
        }
        MessageCommand::Cancel { messages } => return cancel(&screen, &server, messages).await,
        MessageCommand::Count { bot } => {
            let request = v1::CountMessagesRequest { bot: bot_name(bot.as_ref()) };
            let counts = server.messages().count_messages(request).await?.into_inner().counts;
            screen.one(&state_counts(&counts), counts_table)?;
        }
    }
    Ok(Done::All)
}

/// Takes each message back by itself: one that is final already does not stop the others.
async fn cancel(screen: &crate::screen::Screen, server: &crate::Server, ids: Vec<MessageId>) -> Result<Done, Error> {
    let mut cancelled = Vec::new();
    let mut done = Done::All;
    for id in ids {
        let request = v1::CancelMessageRequest { name: id.resource_name() };
        match server.messages().cancel_message(request).await {
            Ok(response) => cancelled.push(MessageView::from(response.into_inner().message.unwrap_or_default())),
            Err(status) => {
                let told = Error::from(status).to_string();
                screen.say(&if told.contains(&id.to_string()) { told } else { format!("{id}: {told}") });
                done = Done::Partly;
            }
        }
    }
    screen.many(&cancelled, table)?;
    Ok(done)
}
