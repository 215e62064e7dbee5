//! `muster gateway`

use clap::{Args, Subcommand};
use muster_domain::{GatewayId, NodeId};
use muster_proto::v1;

use super::CommonArgs;
use super::pages::{LimitArgs, Page};
use crate::error::{Done, Error};
use crate::views::gateway::{GatewayView, page, table};

/// Gateways on nodes.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: GatewayCommand,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// List gateways
    #[command(visible_alias = "list")]
    Ls {
        /// Only those on this node
        #[arg(long)]
        node: Option<NodeId>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show one gateway in full
    Get {
        /// Its id
        gateway: GatewayId,
    },
}

pub(super) async fn run(args: GatewayArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        GatewayCommand::Ls { node, limit } => {
            let node = node.map(|node| node.resource_name()).unwrap_or_default();
            let ask = async |page_size, page_token| {
                let request = v1::ListGatewaysRequest { node: node.clone(), page_size, page_token };
                let response = server.gateways().list_gateways(request).await?;
                Ok(response.map(|page| Page { rows: page.gateways, next_page_token: page.next_page_token }))
            };
            let gateways: Vec<GatewayView> = limit.collect(&screen, ask).await?;
            screen.many(&gateways, table)?;
        }
        GatewayCommand::Get { gateway } => {
            let request = v1::GetGatewayRequest { name: gateway.resource_name() };
            let gateway = server.gateways().get_gateway(request).await?.into_inner().gateway.unwrap_or_default();
            screen.one(&GatewayView::from(gateway), page)?;
        }
    }
    Ok(Done::All)
}
