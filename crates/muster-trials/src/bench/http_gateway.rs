//! End to end through the simulator over HTTP, against a bare HTTP client that calls the same simulator in a loop.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::Extent;
use super::simulated::{KEY, Simulated};
use crate::load::{self, Supply};
use crate::product::Fleet;

/// What the way over HTTP costs.
#[derive(Debug, Clone, Serialize)]
pub struct HttpGateway {
    /// Calls a second of the bare loop, one in flight per bot.
    pub loop_per_second: f64,
    /// Messages a second through Muster, from the client to the committed outcome, in streamed frames of 64.
    pub streamed_per_second: f64,
}

/// Bots that share the load. An agent calls the gateway once at a time for each, and so does the loop.
const BOTS: usize = 32;

pub(super) async fn measure(extent: Extent) -> Result<HttpGateway> {
    let mut stage = Simulated::start(BOTS).await?;
    let loop_per_second = bare_loop(&stage.url(), extent.load()).await?;
    // As many messages as the loop sent: accepting them is so much faster that a time would only build up a queue.
    let count = (loop_per_second * extent.load().as_secs_f64()) as u64;
    let streamed_per_second = stage.run.streamed_count(count).await?;
    Ok(HttpGateway { loop_per_second, streamed_per_second })
}

async fn bare_loop(gateway: &str, duration: Duration) -> Result<f64> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let gateway = gateway.to_owned();
    let begin = Instant::now();
    let call = move |caller: usize, number: u64| {
        let url = format!("{gateway}/message/sendText/{}", Fleet::bot(caller));
        let body = json!({ "number": format!("55319{:08}", number % 100_000_000), "text": format!("Olá, mensagem {number}!") });
        let request = http.post(url).header("apikey", KEY).json(&body);
        async move {
            let answer = request.send().await.context("call the simulator")?.error_for_status()?;
            answer.bytes().await.context("read the simulator's answer").map(drop)
        }
    };
    let supply = Supply::lasting(0, duration);
    load::calls(&supply, BOTS, call).await?;
    Ok(supply.taken() as f64 / begin.elapsed().as_secs_f64())
}
