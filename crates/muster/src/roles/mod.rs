//! Start-up of the roles: configuration in, a ready line out, and an orderly end.

pub(crate) mod agent;
pub(crate) mod demo;
pub(crate) mod server;
pub(crate) mod sim;

use std::io::Write;

use anyhow::Context;
use muster_demo::ready::Ready;

use crate::args::RoleArgs;

/// Says that the role serves: a line for people, and the file for programs, if one was asked for.
fn announce(args: &RoleArgs, role: &str, told: &str, addresses: Vec<(String, String)>) -> anyhow::Result<()> {
    let _ = writeln!(std::io::stderr().lock(), "muster {role} is ready: {told}");
    if let Some(path) = &args.ready_file {
        let ready = Ready::of_this_process(role, addresses);
        ready.write(path).with_context(|| format!("write the ready-file {}", path.display()))?;
    }
    Ok(())
}
