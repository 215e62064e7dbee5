//! Fleets that are declared for a measurement.

use std::time::Duration;

use anyhow::{Context, Result};
use muster_proto::v1::fleet_service_client::FleetServiceClient;
use muster_proto::v1::node_service_client::NodeServiceClient;
use muster_proto::v1::{ApplyFleetRequest, Bot, Gateway, GatewayKind, ListNodesRequest, Node};
use tonic::transport::Channel;

use super::Caller;

/// Bots of one call, so that it stays well below the largest frame.
const BOTS_PER_CALL: usize = 20_000;

/// Nodes of one page: as many as the server gives.
const NODES_PER_PAGE: i32 = 1_000;

/// How often a page is asked for again.
const POLL: Duration = Duration::from_millis(50);

/// A regular fleet: every node has one gateway of its own, and the bots are spread evenly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) kind: GatewayKind,
    pub(crate) nodes: usize,
    pub(crate) bots: usize,
}

impl Fleet {
    /// The id of a node.
    pub(crate) fn node(node: usize) -> String {
        format!("node-{node:04}")
    }

    /// The id of the gateway of a node.
    pub(crate) fn gateway(node: usize) -> String {
        format!("gateway-{node:04}")
    }

    /// The id of a bot.
    pub(crate) fn bot(bot: usize) -> String {
        format!("bot-{bot:06}")
    }

    /// The number of a bot.
    pub(crate) fn address(bot: usize) -> String {
        format!("+55119{:08}", 10_000_000 + bot)
    }

    /// The node that a bot is on.
    pub(crate) fn node_of(&self, bot: usize) -> usize {
        bot % self.nodes
    }

    /// The bots of a node.
    pub(crate) fn bots_of(&self, node: usize) -> impl Iterator<Item = String> {
        (node..self.bots).step_by(self.nodes).map(Self::bot)
    }
}

/// Declares the fleet of the tenant that the caller acts for.
pub(crate) async fn declare(caller: &(impl Clone + Into<Caller>), fleet: &Fleet) -> Result<()> {
    let caller: Caller = caller.clone().into();
    let mut client = FleetServiceClient::new(caller.channel.clone());
    let named = |collection: &str, id: String| format!("{collection}/{id}");
    let nodes = (0..fleet.nodes).map(|node| Node { name: named("nodes", Fleet::node(node)), ..Node::default() });
    let gateways = (0..fleet.nodes).map(|node| Gateway {
        name: named("gateways", Fleet::gateway(node)),
        kind: fleet.kind.into(),
        node: named("nodes", Fleet::node(node)),
        ..Gateway::default()
    });
    let hosts =
        ApplyFleetRequest { nodes: nodes.collect(), gateways: gateways.collect(), ..ApplyFleetRequest::default() };
    client.apply_fleet(caller.request(hosts)).await.context("declare nodes and gateways")?;
    let bots: Vec<Bot> = (0..fleet.bots)
        .map(|bot| Bot {
            name: named("bots", Fleet::bot(bot)),
            gateway: named("gateways", Fleet::gateway(fleet.node_of(bot))),
            address: Fleet::address(bot),
            ..Bot::default()
        })
        .collect();
    for bots in bots.chunks(BOTS_PER_CALL) {
        let request = ApplyFleetRequest { bots: bots.to_vec(), ..ApplyFleetRequest::default() };
        client.apply_fleet(caller.request(request)).await.context("declare bots")?;
    }
    Ok(())
}

/// Waits until the server knows that every agent has applied what its node should look like.
pub(crate) async fn all_applied(server: &Channel) -> Result<()> {
    let mut client = NodeServiceClient::new(server.clone());
    let mut page_token = String::new();
    loop {
        let request = ListNodesRequest { page_size: NODES_PER_PAGE, page_token: page_token.clone() };
        let page = client.list_nodes(request).await.context("list the nodes")?.into_inner();
        if page.nodes.iter().any(|node| node.applied_version < node.desired_version) {
            tokio::time::sleep(POLL).await;
        } else if page.next_page_token.is_empty() {
            return Ok(());
        } else {
            page_token = page.next_page_token;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bot_is_on_its_node() {
        let fleet = Fleet { kind: GatewayKind::Null, nodes: 3, bots: 8 };
        let all: usize = (0..3).map(|node| fleet.bots_of(node).count()).sum();
        assert_eq!(all, 8);
        assert!(fleet.bots_of(fleet.node_of(7)).any(|bot| bot == Fleet::bot(7)));
    }
}
