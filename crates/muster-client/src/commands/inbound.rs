//! `muster inbound`

use clap::{Args, Subcommand};
use jiff::Timestamp;
use muster_domain::BotId;
use muster_domain::inbound::InboundId;
use muster_proto::convert::v1::time::write_timestamp;
use muster_proto::v1;

use super::pages::{LimitArgs, Page};
use super::watch::{WatchArgs, watch};
use super::{CommonArgs, bot_name};
use crate::error::{Done, Error};
use crate::text::parse_duration;
use crate::views::inbound::{InboundView, line, page, table};

/// Messages that people sent to bots.
#[derive(Debug, Args)]
pub struct InboundArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: InboundCommand,
}

#[derive(Debug, Subcommand)]
enum InboundCommand {
    /// List inbound messages, the newest first
    #[command(visible_alias = "list")]
    Ls {
        /// Only to this bot
        #[arg(long)]
        bot: Option<BotId>,
        /// Only from this address
        #[arg(long, value_name = "ADDRESS")]
        from: Option<String>,
        /// Only those received within this time, such as 2h
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        within: Option<std::time::Duration>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show one inbound message in full
    Get {
        /// Its id
        #[arg(value_parser = InboundId::from_resource_name)]
        message: InboundId,
    },
    /// Print inbound messages as they come
    Watch(WatchArgs),
    /// Show the sender that a message was read
    Read {
        /// Its id
        #[arg(value_parser = InboundId::from_resource_name)]
        message: InboundId,
    },
}

pub(super) async fn run(args: InboundArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        InboundCommand::Ls { bot, from, within, limit } => {
            let received_from =
                within.and_then(|within| Timestamp::now().checked_sub(within).ok()).map(write_timestamp);
            let ask = async |page_size, page_token| {
                let request = v1::ListInboundMessagesRequest {
                    page_size,
                    page_token,
                    bot: bot_name(bot.as_ref()),
                    sender: from.clone().unwrap_or_default(),
                    received_from,
                };
                let response = server.inbound().list_inbound_messages(request).await?;
                Ok(response.map(|page| Page { rows: page.inbound_messages, next_page_token: page.next_page_token }))
            };
            let inbound: Vec<InboundView> = limit.collect(&screen, ask).await?;
            screen.many(&inbound, table)?;
        }
        InboundCommand::Get { message } => {
            let request = v1::GetInboundMessageRequest { name: message.resource_name() };
            let message = server.inbound().get_inbound_message(request).await?.into_inner().inbound_message;
            screen.one(&InboundView::from(message.unwrap_or_default()), page)?;
        }
        InboundCommand::Watch(args) => {
            return watch(&screen, &server, args, |answer: v1::WatchInboundMessagesResponse, screen| {
                for message in answer.inbound_messages {
                    screen.next(&InboundView::from(message), line)?;
                }
                Ok(())
            })
            .await;
        }
        InboundCommand::Read { message } => {
            let request = v1::MarkInboundMessageReadRequest { name: message.resource_name() };
            server.inbound().mark_inbound_message_read(request).await?;
            screen.say("marked as read");
        }
    }
    Ok(Done::All)
}
