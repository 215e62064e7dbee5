//! `muster server`

use std::io;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use muster_client::Done;
use muster_store::sqlite::SqliteStore;
use muster_store::{Store, StoreError};
use tokio::net::TcpListener;

use super::announce;
use crate::args::RoleArgs;
use crate::config::server::{ServerFile, ServerFlags};
use crate::failure::Failure;
use crate::shutdown;

const EXAMPLES: &str = "\
Examples:
  muster server                                    on 127.0.0.1:7400, with ./muster.db
  muster server --config /etc/muster/server.toml
  muster config print server                       every key, with its comment and its value";

/// Runs the server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    flags: ServerFlags,
}

pub(crate) async fn run(args: ServerArgs) -> Result<Done, Failure> {
    let file = ServerFile::load(args.role.config.as_deref(), args.flags)?;
    let shutdown = shutdown::token(args.role.exit_with_parent).context("listen to signals")?;
    let listener = TcpListener::bind(file.listen).await.map_err(|error| cannot_listen(&file, &error))?;
    let address = listener.local_addr().context("ask for the own address")?;
    let store = SqliteStore::open(&file.database).await.map_err(|error| cannot_open(&file, &error))?;
    let store: Arc<dyn Store> = Arc::new(store);

    let url = format!("http://{address}");
    let told = format!("{url}, database {}", file.database.display());
    announce(&args.role, "server", &told, vec![("api".to_owned(), url)])?;
    let served = muster_server::serve(file.role(), Arc::clone(&store), listener, shutdown).await;
    store.close().await;
    served.map_err(anyhow::Error::new)?;
    Ok(Done::All)
}

fn cannot_listen(file: &ServerFile, error: &io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it: stop that one, or choose another port with --listen",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose a higher one",
        _ => "",
    };
    anyhow!("listen on {}: {error}{advice}", file.listen)
}

fn cannot_open(file: &ServerFile, error: &StoreError) -> anyhow::Error {
    anyhow!("open the database {}: {error}", file.database.display())
}
