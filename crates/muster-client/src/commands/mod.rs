//! The commands, a file a noun: arguments, calls, and what is printed.

mod apply;
mod bot;
mod contact;
mod drain;
mod failed;
mod gateway;
mod inbound;
mod link;
mod message;
mod moving;
mod node;
mod pages;
mod send;
mod send_file;
mod tenant;
mod uncertain;
mod watch;

use clap::{Args, Subcommand};
use muster_domain::TenantId;

use crate::connection::{SERVER_DEFAULT, Server, ServerAddress};
use crate::error::{Done, Error};
use crate::screen::{Format, Screen};

/// What a person can ask of a server.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Make the fleet what a file declares
    Apply(apply::ApplyArgs),
    /// Send a message, or one to each row of a file
    Send(Box<send::SendArgs>),
    /// Messages: list, watch, trace, cancel
    #[command(visible_alias = "messages")]
    Message(message::MessageArgs),
    /// Messages that may have been sent: list, show, resolve
    Uncertain(uncertain::UncertainArgs),
    /// Messages that were not sent: list by cause, replay
    Failed(failed::FailedArgs),
    /// Bots: list, link, hold, move, check
    #[command(visible_alias = "bots")]
    Bot(bot::BotArgs),
    /// Nodes: list, cordon, drain
    #[command(visible_alias = "nodes")]
    Node(node::NodeArgs),
    /// Gateways: list
    #[command(visible_alias = "gateways")]
    Gateway(gateway::GatewayArgs),
    /// Tenants: list, show, put, remove
    #[command(visible_alias = "tenants")]
    Tenant(tenant::TenantArgs),
    /// Messages that people sent to bots: list, watch, mark as read
    Inbound(inbound::InboundArgs),
    /// Recipients: list, show, opt out, opt in
    #[command(visible_alias = "contacts")]
    Contact(contact::ContactArgs),
}

/// Who asks for something that is kept with its author.
#[derive(Debug, Args)]
struct AuthorArgs {
    /// Who asks for it
    #[arg(long, env = "USER", hide_env_values = true, default_value = "")]
    author: String,
}

/// Where the server is and how the answer looks; every client command takes these.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Address of the server
    #[arg(long, global = true, env = "MUSTER_SERVER", value_name = "URL", default_value = SERVER_DEFAULT)]
    pub server: ServerAddress,

    /// The tenant that the call acts for [default: default]
    #[arg(long, global = true, env = "MUSTER_TENANT", value_name = "TENANT")]
    pub tenant: Option<TenantId>,

    /// How the answer is printed: table, json, or jsonl; of a stream, both are one object a line
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    pub output: Format,

    /// Show addresses in full; tables hide their middle, JSON never does
    #[arg(long, global = true)]
    pub show_addresses: bool,
}

impl CommonArgs {
    fn screen(&self) -> Screen {
        Screen::new(self.output, self.show_addresses)
    }

    async fn connect(&self) -> Result<Server, Error> {
        Server::connect_for(&self.server, self.tenant.as_ref()).await
    }
}

/// Runs a command to its end.
pub async fn run(command: ClientCommand) -> Result<Done, Error> {
    match command {
        ClientCommand::Apply(args) => apply::run(args).await,
        ClientCommand::Send(args) => send::run(*args).await,
        ClientCommand::Message(args) => message::run(args).await,
        ClientCommand::Uncertain(args) => uncertain::run(args).await,
        ClientCommand::Failed(args) => failed::run(args).await,
        ClientCommand::Bot(args) => bot::run(args).await,
        ClientCommand::Node(args) => node::run(args).await,
        ClientCommand::Gateway(args) => gateway::run(args).await,
        ClientCommand::Tenant(args) => tenant::run(args).await,
        ClientCommand::Inbound(args) => inbound::run(args).await,
        ClientCommand::Contact(args) => contact::run(args).await,
    }
}

/// Reads a word of an enum whatever its case, and names the words where it is none.
fn word<T: Copy>(text: &str, all: &[T], spelling: impl Fn(T) -> &'static str) -> Result<T, String> {
    let text = text.replace('-', "_");
    all.iter().copied().find(|value| spelling(*value).eq_ignore_ascii_case(&text)).ok_or_else(|| {
        let known: Vec<String> = all.iter().map(|value| spelling(*value).to_lowercase()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

/// Reads `key=value`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value".to_owned()),
    }
}

/// The bot's id where a bot was named at all.
fn bot_name(bot: Option<&muster_domain::BotId>) -> String {
    bot.map(muster_domain::BotId::resource_name).unwrap_or_default()
}
