//! When the process is asked to stop: by a signal, or because its parent is gone.

use std::io::Read;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::FAILED;

/// How long a role may take to stop by itself after its parent is gone.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(10);

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the process at once.
///
/// With `exit_with_parent`, the end of standard input stops it as well: a parent holds the other end, and whatever ends the
/// parent closes it.
pub(crate) fn token(exit_with_parent: bool) -> Result<CancellationToken, std::io::Error> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if first {
                tracing::info!(signal = name, "stopping");
                cancelled.cancel();
            }
        }
        tracing::warn!("stopped at once by a second signal");
        std::process::exit(FAILED);
    });
    if exit_with_parent {
        let cancelled = token.clone();
        // Not a task of the runtime: reading standard input cannot be interrupted.
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            let mut input = std::io::stdin().lock();
            while matches!(input.read(&mut buffer), Ok(count) if count > 0) {}
            tracing::info!("stopping, the parent process is gone");
            cancelled.cancel();
            std::thread::sleep(ORPHAN_PATIENCE);
            std::process::exit(FAILED);
        });
    }
    Ok(token)
}
