//! `muster agent`

use anyhow::Context;
use clap::Args;
use muster_client::Done;

use super::announce;
use crate::args::RoleArgs;
use crate::config::agent::{AgentFile, AgentFlags};
use crate::failure::Failure;
use crate::shutdown;

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
    let agent = muster_agent::start(config).await.map_err(anyhow::Error::new)?;
    let webhooks = format!("http://{}", agent.webhook_listen());
    announce(&args.role, "agent", &format!("{told}, webhooks {webhooks}"), vec![("webhooks".to_owned(), webhooks)])?;
    agent.run(shutdown).await.map_err(anyhow::Error::new)?;
    Ok(Done::All)
}
