//! `muster sim`

use anyhow::Context;
use clap::Args;
use muster_client::Done;
use muster_simulator::StartError;

use super::announce;
use crate::args::RoleArgs;
use crate::config::ConfigError;
use crate::config::sim::{SimFile, SimFlags};
use crate::failure::Failure;
use crate::shutdown;

const EXAMPLES: &str = "\
Examples:
  muster sim                                            two gateways, on ports 8080 and 8081
  muster sim --gateway evolution-a=127.0.0.1:8080       one gateway
  muster sim --fault send.hang_after=0.02 --fault webhooks.double=0.1
  curl http://127.0.0.1:8079/ledger/summary             what the simulated network took
  muster config print sim                               every key, with its value";

/// Runs simulated gateways: HTTP servers that behave like the products, and keep their own ledger.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SimArgs {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    flags: SimFlags,
}

pub(crate) async fn run(args: SimArgs) -> Result<Done, Failure> {
    let file = SimFile::load(args.role.config.as_deref(), args.flags)?;
    let shutdown = shutdown::token(args.role.exit_with_parent).context("listen to signals")?;
    let simulator = muster_simulator::start(file.role()).await.map_err(|error| match error {
        StartError::Config(told) => Failure::Config(ConfigError::key("sim", "gateways", told)),
        other => Failure::Role(anyhow::Error::new(other)),
    })?;
    let mut told = Vec::new();
    let mut addresses = vec![("admin".to_owned(), bare(simulator.admin_url().as_str()))];
    for gateway in simulator.gateways() {
        let url = bare(gateway.url.as_str());
        told.push(format!("{} {url}", gateway.name));
        addresses.push((format!("gateways/{}", gateway.name), url));
    }
    told.push(format!("admin {}", bare(simulator.admin_url().as_str())));
    announce(&args.role, "sim", &told.join(", "), addresses)?;
    simulator.run_until(shutdown).await;
    Ok(Done::All)
}

/// A URL without the slash that nobody types.
fn bare(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}
