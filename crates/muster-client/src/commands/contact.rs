//! `muster contact`

use clap::{Args, Subcommand};
use muster_domain::Network;
use muster_proto::v1;

use super::pages::{LimitArgs, Page};
use super::{AuthorArgs, CommonArgs};
use crate::error::{Done, Error};
use crate::views::contact::{ContactView, OptedOutView, opted_out, page, table};

const EXAMPLES: &str = "\
Examples:
  muster contact opt-out +5511900000001 --text 'asked on the phone'
  muster contact ls --opted-out
  muster contact get +5511900000001                       since when, by what, and the whole history
  muster contact opt-in +5511900000001 --proof 'form 812 of 2026-11-02'

A person who writes a bot STOP, PARAR, SAIR, BAJA or another word that means it, and nothing else,
is opted out by that: no command is needed. From then on nothing is accepted for them, what waited
has failed as RECIPIENT_OPTED_OUT, and agents drop what they have not begun. What a person said
themself only they can take back: --proof then names a message that they sent since.

  muster inbound ls --from +5511900000001                 finds it
  muster contact opt-in +5511900000001 --proof inboundMessages/ID";

/// Recipients: who opted out, and who opted in again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ContactArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: ContactCommand,
}

/// Whom a command is about.
#[derive(Debug, Args)]
struct AddressArgs {
    /// The recipient's address
    address: String,
    /// The network of the address: whatsapp or null
    #[arg(long, value_name = "NETWORK", default_value = "whatsapp", value_parser = network)]
    network: Network,
}

/// What was said, and what shows it.
#[derive(Debug, Args)]
struct SaidArgs {
    #[command(flatten)]
    address: AddressArgs,
    /// What the person said
    #[arg(long, value_name = "TEXT", default_value = "")]
    text: String,
    #[command(flatten)]
    author: AuthorArgs,
}

#[derive(Debug, Subcommand)]
enum ContactCommand {
    /// List contacts, the oldest first
    #[command(visible_alias = "list")]
    Ls {
        /// Only those that opted out
        #[arg(long)]
        opted_out: bool,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show one contact with its history
    #[command(visible_alias = "show")]
    Get(AddressArgs),
    /// Note that nothing may be sent to somebody any more
    OptOut {
        #[command(flatten)]
        said: SaidArgs,
        /// What shows it, such as the number of a call
        #[arg(long, value_name = "PROOF", default_value = "")]
        proof: String,
    },
    /// Note that somebody may be written to again
    OptIn {
        #[command(flatten)]
        said: SaidArgs,
        /// What shows it: the name of an inbound message of theirs, or where the form is kept that they signed
        #[arg(long, value_name = "PROOF")]
        proof: String,
    },
}

pub(super) async fn run(args: ContactArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        ContactCommand::Ls { opted_out, limit } => {
            let ask = async |page_size, page_token| {
                let request = v1::ListContactsRequest { page_size, page_token, opted_out };
                let response = server.contacts().list_contacts(request).await?;
                Ok(response.map(|page| Page { rows: page.contacts, next_page_token: page.next_page_token }))
            };
            let contacts: Vec<ContactView> = limit.collect(&screen, ask).await?;
            screen.many(&contacts, table)?;
        }
        ContactCommand::Get(address) => {
            let request = v1::GetContactRequest { address: Some(address.into()) };
            let contact = server.contacts().get_contact(request).await?.into_inner().contact.unwrap_or_default();
            screen.one(&ContactView::from(contact), page)?;
        }
        ContactCommand::OptOut { said: SaidArgs { address, text, author }, proof } => {
            let address = Some(address.into());
            let request = v1::OptOutContactRequest { address, text, proof, author: author.author };
            let done = server.contacts().opt_out_contact(request).await?.into_inner();
            screen.one(&OptedOutView::from(done), opted_out)?;
        }
        ContactCommand::OptIn { said: SaidArgs { address, text, author }, proof } => {
            let address = Some(address.into());
            let request = v1::OptInContactRequest { address, text, proof, author: author.author };
            let contact = server.contacts().opt_in_contact(request).await?.into_inner().contact.unwrap_or_default();
            screen.one(&ContactView::from(contact), page)?;
        }
    }
    Ok(Done::All)
}

impl From<AddressArgs> for v1::ContactAddress {
    fn from(args: AddressArgs) -> Self {
        v1::ContactAddress { network: args.network.as_str().to_owned(), address: args.address }
    }
}

fn network(text: &str) -> Result<Network, String> {
    super::word(text, &Network::ALL, Network::as_str)
}
