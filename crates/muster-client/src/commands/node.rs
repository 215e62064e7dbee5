//! `muster node`

use clap::{Args, Subcommand};
use muster_domain::NodeId;
use muster_proto::v1;

use super::drain::{self, DrainArgs};
use super::pages::{LimitArgs, Page};
use super::{AuthorArgs, CommonArgs};
use crate::error::{Done, Error};
use crate::views::attempt::{self, AttemptAtNodeView};
use crate::views::node::{NodeView, page, table};

const EXAMPLES: &str = "\
Examples:
  muster node ls                                       which agents are there, and what is under way
  muster node cordon node-a --reason \"disk is failing\" nothing new goes to node-a; what it has goes on
  muster node drain node-a --deadline 2m               empty it before an upgrade; tells what came back
  muster node attempts node-a                          what is under way there
  muster node uncordon node-a                          work goes there again

States: ONLINE, SUSPECT (missed a heartbeat), OFFLINE (no session), LOST (no session for longer than `lost_after` of the
server's configuration). A node that is LOST keeps what it holds: when it comes back, its reports are taken as ever.";

/// Machines that run agents.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct NodeArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// List nodes
    #[command(visible_alias = "list")]
    Ls(LimitArgs),
    /// Show one node in full
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        node: NodeId,
    },
    /// Give a node no new work: what waits for its bots keeps waiting, what it has goes on
    Cordon {
        /// Its id
        node: NodeId,
        /// Why; everybody who asks why a message waits will read it
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        author: AuthorArgs,
    },
    Drain(DrainArgs),
    /// List what was given to a node and is still under way
    Attempts {
        /// The node's id
        node: NodeId,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Let a node take work again, and end its drain
    Uncordon {
        /// Its id
        node: NodeId,
        #[command(flatten)]
        author: AuthorArgs,
    },
}

pub(super) async fn run(args: NodeArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        NodeCommand::Ls(limit) => {
            let ask = async |page_size, page_token| {
                let response = server.nodes().list_nodes(v1::ListNodesRequest { page_size, page_token }).await?;
                Ok(response.map(|page| Page { rows: page.nodes, next_page_token: page.next_page_token }))
            };
            let nodes: Vec<NodeView> = limit.collect(&screen, ask).await?;
            screen.many(&nodes, table)?;
        }
        NodeCommand::Get { node } => {
            let request = v1::GetNodeRequest { name: node.resource_name() };
            let node = server.nodes().get_node(request).await?.into_inner().node.unwrap_or_default();
            screen.one(&NodeView::from(node), page)?;
        }
        NodeCommand::Cordon { node, reason, author: AuthorArgs { author } } => {
            let (name, request_id) = (node.resource_name(), String::new());
            let request = v1::CordonNodeRequest { name, reason, author, request_id };
            let node = server.nodes().cordon_node(request).await?.into_inner().node.unwrap_or_default();
            screen.one(&NodeView::from(node), page)?;
        }
        NodeCommand::Drain(args) => return drain::run(&screen, &server, args).await,
        NodeCommand::Attempts { node, limit } => {
            let ask = async |page_size, page_token| {
                let node = node.resource_name();
                let request = v1::ListAttemptsUnderWayRequest { node, page_size, page_token, ..Default::default() };
                let response = server.nodes().list_attempts_under_way(request).await?;
                Ok(response.map(|page| Page { rows: page.attempts, next_page_token: page.next_page_token }))
            };
            let attempts: Vec<AttemptAtNodeView> = limit.collect(&screen, ask).await?;
            screen.many(&attempts, attempt::table)?;
        }
        NodeCommand::Uncordon { node, author: AuthorArgs { author } } => {
            let request = v1::UncordonNodeRequest { name: node.resource_name(), author, request_id: String::new() };
            let node = server.nodes().uncordon_node(request).await?.into_inner().node.unwrap_or_default();
            screen.one(&NodeView::from(node), page)?;
        }
    }
    Ok(Done::All)
}
