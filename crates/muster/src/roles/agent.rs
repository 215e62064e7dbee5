//! `muster agent`

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use muster_agent::{AgentError, Config, Refusal};
use muster_client::Done;
use tokio_util::sync::CancellationToken;

use super::announce;
use crate::args::RoleArgs;
use crate::config::agent::{AgentFile, AgentFlags};
use crate::failure::Failure;
use crate::shutdown;

/// How often an agent whose node is not declared asks again.
const DECLARATION_POLL: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  muster agent --config /etc/muster/agent.toml
  muster agent --config agent.toml --server http://10.0.0.1:7400
  muster config print agent                        every key, with its comment and its value

The configuration holds the addresses and keys of the node's gateways:
  node = \"node-a\"
  server = \"http://127.0.0.1:7400\"

  [gateways.evolution-a]
  url = \"http://127.0.0.1:8080\"
  api_key_file = \"/etc/muster/evolution-a.key\"";

/// Runs the agent of a node.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    flags: AgentFlags,
}

pub(crate) async fn run(args: AgentArgs) -> Result<Done, Failure> {
    let file = AgentFile::load(args.role.config.as_deref(), args.flags)?;
    let config = file.role()?;
    let shutdown = shutdown::token(args.role.exit_with_parent).context("listen to signals")?;
    let told = format!("node {}, server {}, journal {}", config.node, config.server, config.journal.display());
    announce(&args.role, "agent", &told, Vec::new())?;
    until_declared(config, shutdown).await.map_err(anyhow::Error::new)?;
    Ok(Done::All)
}

/// Runs the agent, and waits where its node is not declared yet: operators start agents before they declare a fleet.
async fn until_declared(config: Config, shutdown: CancellationToken) -> Result<(), AgentError> {
    loop {
        match muster_agent::run(config.clone(), shutdown.clone()).await {
            Err(AgentError::Refused { reason: Refusal::NodeUnknown, node, .. }) => {
                tracing::warn!(%node, "the node is not declared; the agent waits until `muster apply` declares it");
            }
            ended => return ended,
        }
        tokio::select! {
            () = tokio::time::sleep(DECLARATION_POLL) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}
