//! Many messages through real processes, and whether memory and files stay flat meanwhile.
//!
//! A server and an agent with the gateway that sends nothing take the messages in waves. Rows are kept for moments only, so
//! that a run of a minute meets what months do: everything that is written is also removed. A client that watches every change
//! counts the outcomes.

mod flat;
mod outcomes;
mod report;
mod samples;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use muster_demo::processes::Process;
use muster_proto::v1::GatewayKind;

use self::outcomes::Outcomes;
use self::samples::Sampler;
use crate::load::{CLIENTS, Supply};
use crate::product::{self, Fleet};
use crate::rig::{GatewayEntry, Rig, connect, connect_many};

pub use flat::{Finding, KEPT};
pub use report::Report;
pub use samples::Wave;

/// Bots that share the load.
const BOTS: usize = 64;

/// Waves of a run: the memory of each is one point of the lines that must be flat.
const WAVES: u64 = 40;

/// How long nothing may move before a run counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends so many messages, and looks at server and agent all the while.
///
/// # Errors
///
/// If a process does not start, a message ends otherwise than sent, or nothing moves any more. That something grows is no
/// error: the report says so.
pub async fn run(messages: u64, progress: impl Fn(&str)) -> Result<Report> {
    let fleet = Fleet { kind: GatewayKind::Null, nodes: 1, bots: BOTS };
    let rig = Rig::new()?;
    let server = rig.server(&retention()?).await?;
    let clients = connect_many(server.address("api"), CLIENTS).await?;
    product::declare(&clients[0], &fleet).await?;
    let gateway = GatewayEntry { id: Fleet::gateway(0), product: None };
    let agent = rig.agent(&Fleet::node(0), server.address("api"), &[gateway], "").await?;
    let mut outcomes = Outcomes::watch(&connect(server.address("api")).await?).await?;
    let sampler = Sampler::new(pid(&server)?, pid(&agent)?, rig.database(), rig.journal(&Fleet::node(0)));

    let (begin, mut waves, mut sent) = (Instant::now(), Vec::new(), 0);
    for wave in 1..=WAVES {
        let count = messages * wave / WAVES - sent;
        if count == 0 {
            continue;
        }
        let supply = Supply::of(sent, count);
        sent += count;
        let load = async {
            product::streamed_without_keys(&clients, fleet, &supply).await?;
            outcomes.until(sent, PATIENCE).await
        };
        let measured = sampler.during(load).await?;
        waves.push(Wave { messages: sent, seconds: begin.elapsed().as_secs_f64(), ..measured });
        if wave.is_multiple_of(WAVES / 10) {
            progress(&format!("{sent} of {messages} messages"));
        }
    }
    Ok(Report::new(waves))
}

fn pid(process: &Process) -> Result<u32> {
    process.pid().context("a process ended")
}

/// The server's settings: whatever can be removed is removed after [`KEPT`].
fn retention() -> Result<String> {
    let mut text = "[retention]\n".to_owned();
    for table in ["messages", "inbound", "changes", "media"] {
        writeln!(text, "{table} = \"{}s\"", KEPT.as_secs())?;
    }
    Ok(text)
}
