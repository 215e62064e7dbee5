//! A large fleet that does nothing: what it costs to be there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use muster_demo::processes::Process;
use muster_proto::v1::GatewayKind;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::task::JoinSet;

use super::Extent;
use crate::measure::{Usage, raise_file_limit};
use crate::product::{self, Counts, Fleet, Journal, StandIn};
use crate::rig::{Rig, connect};

/// What a server costs while nobody sends.
#[derive(Debug, Clone, Serialize)]
pub struct AtRest {
    /// Open sessions of agents.
    pub streams: usize,
    /// Declared and connected bots.
    pub bots: usize,
    /// Memory of the server per session, in bytes.
    pub bytes_per_stream: f64,
    /// Memory of the server per bot, in bytes.
    pub bytes_per_bot: f64,
    /// Share of one core, in percent.
    pub cpu_percent: f64,
    /// Transactions that changed the database, a second.
    pub commits_per_second: f64,
    /// Memory of the server with everything, in bytes.
    pub server_bytes: u64,
}

/// How often the database is asked whether it changed: more commits than one in this time would be counted as one.
const COMMIT_POLL: Duration = Duration::from_millis(10);

/// How long all sessions may take to open and to settle.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many sessions are opened at a time.
const HANDSHAKES_IN_FLIGHT: usize = 64;

pub(super) async fn measure(extent: Extent) -> Result<AtRest> {
    // The window takes in a heartbeat of every session.
    let (streams, bots, window) = match extent {
        Extent::Quick => (1_000, 20_000, Duration::from_secs(10)),
        Extent::Full => (1_000, 100_000, Duration::from_secs(30)),
    };
    raise_file_limit()?;
    let fleet = Fleet { kind: GatewayKind::Null, nodes: streams, bots };
    let rig = Rig::new()?;
    let mut server = rig.server("").await?;
    // The first start makes the database: that is no part of being at rest.
    server.stop().await?;
    server.start().await?;
    let empty = resident(&server).await?;

    let address = server.address("api").to_owned();
    product::declare(&connect(&address).await?, &fleet).await?;
    let journals = (0..streams).map(|node| Journal::new(Fleet::node(node), fleet.bots_of(node))).collect();
    // The first sessions report every bot as connected. What that costs is no cost of being at rest, so a fresh process
    // is measured afterwards.
    let sessions = open(&address, journals).await?;
    server.stop().await?;
    let journals = sessions.close().await?;
    server.start().await?;
    let with_bots = resident(&server).await?;
    let sessions = open(&address, journals).await?;
    let with_streams = resident(&server).await?;

    let pid = server.pid().context("the server ended")?;
    let (before, begin) = (Usage::of(pid)?, Instant::now());
    let commits = commits(&rig, window).await?;
    let (after, took) = (Usage::of(pid)?, begin.elapsed().as_secs_f64());
    drop(sessions);
    Ok(AtRest {
        streams,
        bots,
        bytes_per_stream: per(with_streams.saturating_sub(with_bots), streams),
        bytes_per_bot: per(with_bots.saturating_sub(empty), bots),
        cpu_percent: (after.cpu - before.cpu).as_secs_f64() / took * 100.0,
        commits_per_second: commits as f64 / took,
        server_bytes: with_streams,
    })
}

fn per(bytes: u64, count: usize) -> f64 {
    bytes as f64 / count as f64
}

/// Memory of the server once it has answered a call.
async fn resident(server: &Process) -> Result<u64> {
    Counts::ask(&connect(server.address("api")).await?).await?;
    Ok(Usage::of(server.pid().context("the server ended")?)?.resident_bytes)
}

/// Sessions that stay open until their server ends; each then gives its journal back.
struct Sessions(JoinSet<Journal>);

impl Sessions {
    /// Takes the journals back after the server has ended.
    async fn close(mut self) -> Result<Vec<Journal>> {
        let mut journals = Vec::new();
        while let Some(journal) = self.0.join_next().await {
            journals.push(journal?);
        }
        Ok(journals)
    }
}

/// Opens a session for every journal, and returns once the server has committed what all of them report, also of the desired
/// state: one whose word on that is lost would be told everything again.
async fn open(server: &str, journals: Vec<Journal>) -> Result<Sessions> {
    let (settled, mut settlements) = tokio::sync::mpsc::unbounded_channel();
    let handshakes = std::sync::Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_IN_FLIGHT));
    let (mut sessions, count) = (JoinSet::new(), journals.len());
    for mut journal in journals {
        let (server, settled, handshakes) = (server.to_owned(), settled.clone(), handshakes.clone());
        sessions.spawn(async move {
            let mut session = async || {
                let turn = handshakes.acquire().await?;
                let mut session = StandIn::connect(connect(&server).await?, &mut journal).await?;
                while !session.is_settled() {
                    session.next().await?;
                }
                drop(turn);
                // Whoever waits may have given up.
                let _ = settled.send(Ok(()));
                loop {
                    session.next().await?;
                }
            };
            let ended: Result<()> = session().await;
            let _ = settled.send(ended);
            journal
        });
    }
    for _ in 0..count {
        let settlement =
            tokio::time::timeout(PATIENCE, settlements.recv()).await.context("the sessions do not settle")?;
        settlement.context("all sessions ended")??;
    }
    let channel = connect(server).await?;
    let applied = tokio::time::timeout(PATIENCE, product::all_applied(&channel));
    applied.await.context("the sessions do not apply what they are told")??;
    Ok(Sessions(sessions))
}

/// How often the server's database changed within a time, as another reader of it sees.
async fn commits(rig: &Rig, window: Duration) -> Result<u64> {
    let options = SqliteConnectOptions::new().filename(rig.database()).read_only(true).disable_statement_logging();
    let mut reader = options.connect().await.context("open the server's database to read")?;
    let (begin, mut version, mut changes) = (Instant::now(), data_version(&mut reader).await?, 0);
    while begin.elapsed() < window {
        tokio::time::sleep(COMMIT_POLL).await;
        let now = data_version(&mut reader).await?;
        changes += u64::from(now != version);
        version = now;
    }
    reader.close().await?;
    Ok(changes)
}

async fn data_version(reader: &mut SqliteConnection) -> Result<i64> {
    Ok(sqlx::query_scalar("PRAGMA data_version").fetch_one(reader).await?)
}
