//! A fleet whose gateway is the simulator: how both sides are set up for a measurement.

use anyhow::Result;
use muster_demo::processes::Process;
use muster_proto::v1::GatewayKind;

use super::null_gateway::Run;
use crate::load::CLIENTS;
use crate::product::{self, Fleet};
use crate::rig::{GatewayEntry, Rig, SimulatedGateway, connect_many};

/// The gateway's global key. It opens nothing but a process on loopback.
pub(super) const KEY: &str = "trials";

/// Simulator, server and agent, with every bot connected.
pub(super) struct Simulated {
    pub(super) run: Run,
    pub(super) simulator: Process,
    _server: Process,
    _agent: Process,
    _rig: Rig,
}

impl Simulated {
    /// Starts everything. Webhooks are dropped by the simulator, for Muster and for the reference alike: what is compared
    /// is the way of a message to the gateway, and receipts would cost the simulator more than the sends.
    pub(super) async fn start(bots: usize) -> Result<Self> {
        let fleet = Fleet { kind: GatewayKind::Evolution, nodes: 1, bots };
        let rig = Rig::new()?;
        let simulator = rig
            .simulator(&[SimulatedGateway {
                name: Fleet::gateway(0),
                key: KEY.to_owned(),
                instances: (0..bots).map(|bot| (Fleet::bot(bot), Fleet::address(bot))).collect(),
                settings: "faults.webhooks.drop = 1.0\n".to_owned(),
            }])
            .await?;
        let server = rig.server("").await?;
        let clients = connect_many(server.address("api"), CLIENTS).await?;
        product::declare(&clients[0], &fleet).await?;
        let product = Some((Self::url_of(&simulator), KEY.to_owned()));
        let gateway = GatewayEntry { id: Fleet::gateway(0), product };
        let agent = rig.agent(&Fleet::node(0), server.address("api"), &[gateway], "").await?;
        let mut run = Run { clients, fleet, sent: 0 };
        run.warm_up().await?;
        Ok(Self { run, simulator, _server: server, _agent: agent, _rig: rig })
    }

    /// Where the gateway listens.
    pub(super) fn url(&self) -> String {
        Self::url_of(&self.simulator)
    }

    fn url_of(simulator: &Process) -> String {
        simulator.address(&format!("gateways/{}", Fleet::gateway(0))).trim_end_matches('/').to_owned()
    }
}
