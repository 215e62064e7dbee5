//! `muster node`

use clap::{Args, Subcommand};
use muster_domain::NodeId;
use muster_proto::v1;

use super::CommonArgs;
use super::pages::{LimitArgs, Page};
use crate::error::{Done, Error};
use crate::views::node::{NodeView, page, table};

/// Machines that run agents.
#[derive(Debug, Args)]
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
    Get {
        /// Its id
        node: NodeId,
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
    }
    Ok(Done::All)
}
