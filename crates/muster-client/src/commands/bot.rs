//! `muster bot`

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use muster_domain::bot::{Connection, Stage};
use muster_domain::{BotId, GatewayId, NodeId};
use muster_proto::convert::v1::bot::{write_connection, write_stage};
use muster_proto::convert::v1::time::write_timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::link::LinkArgs;
use super::moving::{self, MoveArgs};
use super::pages::{LimitArgs, Page};
use super::{AuthorArgs, CommonArgs, label, link, word};
use crate::error::{Done, Error};
use crate::screen::{Columns, Field, Look, Screen, Tone};
use crate::text::parse_time_or_duration;
use crate::views::bot::{BotView, page, table};

const EXAMPLES: &str = "\
Examples:
  muster bot ls --connection disconnected         bots whose line is down
  muster bot link sales-1                         show a QR code, and wait until it is scanned
  muster bot hold sales-1 --reason \"new SIM\"      nothing leaves until it is resumed
  muster bot hold sales-1 --reason lunch --until 1h
  muster bot move sales-1 --gateway evolution-b   what waits follows, nothing is sent twice
  muster bot check sales-1 +5511900000001         does the network know this address?";

/// Sender identities.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BotArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: BotCommand,
}

#[derive(Debug, Subcommand)]
enum BotCommand {
    /// List bots
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show one bot in full
    Get {
        /// Its id
        bot: BotId,
    },
    /// Pause a bot: what waits keeps waiting
    Hold {
        /// Its id
        bot: BotId,
        /// Why; everybody who asks why a message waits will read it
        #[arg(long)]
        reason: String,
        /// When the hold ends by itself: a time, or a length of time such as 2h
        #[arg(long, value_name = "TIME", value_parser = time_or_duration)]
        until: Option<Timestamp>,
        #[command(flatten)]
        author: AuthorArgs,
    },
    /// End a hold
    Resume {
        /// Its id
        bot: BotId,
        #[command(flatten)]
        author: AuthorArgs,
    },
    Move(MoveArgs),
    /// Take a bot out of service for good: what waits for it fails, and its id is not used again
    Retire {
        /// Its id
        bot: BotId,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        author: AuthorArgs,
    },
    /// Log a bot in: show its QR or pairing code, and wait until it is linked
    Link(LinkArgs),
    /// Remove a bot's login at its gateway
    Unlink {
        /// Its id
        bot: BotId,
    },
    /// Bring a lost connection back up now, without waiting for the supervisor's next try
    Reconnect {
        /// Its id
        bot: BotId,
    },
    /// Ask the network which addresses exist; it costs standing, so ask little
    Check {
        /// The bot that asks
        bot: BotId,
        /// 1 to 50 addresses
        #[arg(required = true)]
        recipients: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only on this node
    #[arg(long)]
    node: Option<NodeId>,
    /// Only on this gateway
    #[arg(long)]
    gateway: Option<GatewayId>,
    /// Only in this stage; may be given more than once
    #[arg(long = "stage", value_name = "STAGE", value_parser = stage)]
    stages: Vec<Stage>,
    /// Only with this connection; may be given more than once
    #[arg(long = "connection", value_name = "STATE", value_parser = connection)]
    connections: Vec<Connection>,
    /// Only with this label; may be given more than once
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only those on hold
    #[arg(long)]
    held: bool,
    #[command(flatten)]
    limit: LimitArgs,
}

fn stage(text: &str) -> Result<Stage, String> {
    word(text, &Stage::ALL, Stage::as_str)
}

fn connection(text: &str) -> Result<Connection, String> {
    word(text, &Connection::ALL, Connection::as_str)
}

fn time_or_duration(text: &str) -> Result<Timestamp, String> {
    parse_time_or_duration(text, Timestamp::now(), &TimeZone::system())
}

pub(super) async fn run(args: BotArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    let mut bots = server.bots();
    let request_id = String::new();
    let bot = match args.command {
        BotCommand::Ls(args) => return list(&screen, &server, args).await,
        BotCommand::Move(args) => return moving::run(&screen, &server, args).await,
        BotCommand::Link(args) => return link::run(&screen, &server, args).await,
        BotCommand::Check { bot, recipients } => return check(&screen, &server, &bot, recipients).await,
        BotCommand::Get { bot } => {
            let request = v1::GetBotRequest { name: bot.resource_name() };
            bots.get_bot(request).await?.into_inner().bot
        }
        BotCommand::Hold { bot, reason, until, author: AuthorArgs { author } } => {
            let name = bot.resource_name();
            let until = until.map(write_timestamp);
            bots.hold_bot(v1::HoldBotRequest { name, reason, author, until, request_id }).await?.into_inner().bot
        }
        BotCommand::Resume { bot, author: AuthorArgs { author } } => {
            let name = bot.resource_name();
            bots.resume_bot(v1::ResumeBotRequest { name, author, request_id }).await?.into_inner().bot
        }
        BotCommand::Retire { bot, reason, author: AuthorArgs { author } } => {
            let name = bot.resource_name();
            bots.retire_bot(v1::RetireBotRequest { name, reason, author, request_id }).await?.into_inner().bot
        }
        BotCommand::Unlink { bot } => {
            bots.unlink_bot(v1::UnlinkBotRequest { name: bot.resource_name() }).await?.into_inner().bot
        }
        BotCommand::Reconnect { bot } => {
            bots.reconnect_bot(v1::ReconnectBotRequest { name: bot.resource_name() }).await?.into_inner().bot
        }
    };
    screen.one(&BotView::from(bot.unwrap_or_default()), page)?;
    Ok(Done::All)
}

async fn list(screen: &Screen, server: &crate::Server, args: ListArgs) -> Result<Done, Error> {
    let filter = v1::BotFilter {
        node: args.node.map(|node| node.resource_name()).unwrap_or_default(),
        gateway: args.gateway.map(|gateway| gateway.resource_name()).unwrap_or_default(),
        stages: args.stages.into_iter().map(|stage| write_stage(stage).into()).collect(),
        connections: args.connections.into_iter().map(|connection| write_connection(connection).into()).collect(),
        labels: args.labels.into_iter().collect(),
        held: args.held,
    };
    let ask = async |page_size, page_token| {
        let request = v1::ListBotsRequest { page_size, page_token, filter: Some(filter.clone()) };
        let response = server.bots().list_bots(request).await?;
        Ok(response.map(|page| Page { rows: page.bots, next_page_token: page.next_page_token }))
    };
    let bots: Vec<BotView> = args.limit.collect(screen, ask).await?;
    screen.many(&bots, table)?;
    Ok(Done::All)
}

/// What the network says about an address, as JSON.
#[derive(Debug, Serialize)]
struct RecipientView {
    recipient: String,
    exists: bool,
    network_address: String,
}

async fn check(screen: &Screen, server: &crate::Server, bot: &BotId, recipients: Vec<String>) -> Result<Done, Error> {
    let request = v1::CheckRecipientsRequest { bot: bot.resource_name(), recipients };
    let found = server.bots().check_recipients(request).await?.into_inner().recipients;
    let found: Vec<RecipientView> = found
        .into_iter()
        .map(|v1::RecipientStatus { recipient, exists, network_address }| RecipientView {
            recipient,
            exists,
            network_address,
        })
        .collect();
    screen.many(&found, check_table)?;
    Ok(Done::All)
}

fn check_table(found: &[RecipientView], look: &Look) -> String {
    let mut columns = Columns::new(&["RECIPIENT", "EXISTS", "KNOWN AS"], look);
    for recipient in found {
        let (exists, tone) = if recipient.exists { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        let known_as = if recipient.network_address.is_empty() {
            "-".to_owned()
        } else {
            look.address(&recipient.network_address)
        };
        // The caller typed these addresses: hiding them would only make the answer useless.
        columns.row([recipient.recipient.as_str().into(), Field::toned(exists, tone), known_as.into()]);
    }
    columns.render()
}
