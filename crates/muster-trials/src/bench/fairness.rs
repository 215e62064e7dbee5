//! Tenants that all want more than there is: what each of them gets, against its weight.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use muster_proto::v1::tenant_service_client::TenantServiceClient;
use muster_proto::v1::{GatewayKind, PutTenantRequest, Tenant};
use serde::Serialize;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::Extent;
use super::null_gateway::PATIENCE;
use crate::load::Supply;
use crate::product::{self, Caller, Counts, Fleet};
use crate::rig::{GatewayEntry, Rig, connect, connect_many};

/// What tenants get of a server that all of them fill.
#[derive(Debug, Clone, Serialize)]
pub struct Fairness {
    /// What each got.
    pub tenants: Vec<TenantShare>,
    /// Messages that were accepted in a second, of all tenants.
    pub accepted_per_second: f64,
    /// Messages whose outcome was committed in a second, of all tenants.
    pub left_per_second: f64,
    /// How far the tenant that is furthest off is from its part by weight in what was accepted, in parts of that: 0 is exact.
    pub accepted_off_weight: f64,
    /// The same in what left.
    pub left_off_weight: f64,
}

/// What a tenant got.
#[derive(Debug, Clone, Serialize)]
pub struct TenantShare {
    /// Its weight.
    pub weight: u32,
    /// Its part by weight, from 0 to 1.
    pub by_weight: f64,
    /// Its part of what was accepted.
    pub accepted: f64,
    /// Its part of what left.
    pub left: f64,
}

/// The weights of the tenants.
const WEIGHTS: [u32; 3] = [1, 2, 4];

/// Nodes of each tenant, each with an agent of its own: what they may hold at a time is more than one transaction takes, so
/// that there is always something to choose from.
const NODES: usize = 2;

/// Streams of each tenant. The server works on 4 frames of a stream at a time: that of the tenant with the largest weight have to
/// be more than its part of a transaction, 4,096 messages, while the answers to others are under way.
const STREAMS: usize = 32;

/// Bots of each tenant.
const BOTS: usize = 128;

/// How often the window is looked at for its end.
const LOOK: Duration = Duration::from_millis(50);

/// Messages of each tenant that have to be accepted and to leave in the window at the least: a share of fewer says nothing.
const MESSAGES_MIN: u64 = 500;

pub(super) async fn measure(extent: Extent) -> Result<Fairness> {
    let fleet = Fleet { kind: GatewayKind::Null, nodes: NODES, bots: BOTS };
    let rig = Rig::new()?;
    let server = rig.server("").await?;
    let address = server.address("api");
    let operator = connect(address).await?;
    let (mut tenants, mut flood, mut agents) = (Vec::new(), JoinSet::new(), Vec::new());
    for weight in WEIGHTS {
        let id = format!("weight-{weight}");
        put_tenant(&operator, &id, weight).await?;
        let caller = Caller::of(operator.clone(), &id)?;
        product::declare(&caller, &fleet).await?;
        // The nodes of all tenants have the same names: each tenant's agents have a folder of their own.
        let folder = Rig::new()?;
        for node in 0..NODES {
            let gateway = GatewayEntry { id: Fleet::gateway(node), product: None };
            let settings = format!("tenant = {id:?}\n");
            agents.push(folder.agent(&Fleet::node(node), address, &[gateway], &settings).await?);
        }
        let channels = connect_many(address, STREAMS).await?;
        let clients = channels.into_iter().map(|channel| Caller::of(channel, &id)).collect::<Result<Vec<_>>>()?;
        tenants.push((caller, clients, folder));
    }
    for (caller, clients, _) in &tenants {
        // One message from every bot, so that all of them are connected when it begins.
        product::streamed(clients, fleet, &Supply::of(0, BOTS as u64)).await?;
        product::all_sent(caller, BOTS as u64, PATIENCE).await?;
    }
    let mut callers = Vec::new();
    for (caller, clients, _) in &tenants {
        callers.push(caller.clone());
        let clients = clients.clone();
        flood.spawn(async move {
            let endless = Supply::of(BOTS as u64, u64::MAX - BOTS as u64);
            product::streamed(&clients, fleet, &endless).await
        });
    }
    tokio::select! {
        shares = watch(&callers, extent.load()) => shares,
        ended = broken(&mut flood) => match ended? {},
    }
}

async fn put_tenant(operator: &Channel, id: &str, weight: u32) -> Result<()> {
    let tenant = Tenant { name: format!("tenants/{id}"), weight, ..Tenant::default() };
    let put = TenantServiceClient::new(operator.clone()).put_tenant(PutTenantRequest { tenant: Some(tenant) }).await;
    put.context("declare a tenant").map(drop)
}

/// The clients send without end: if one of them ends, something is wrong.
async fn broken(flood: &mut JoinSet<Result<()>>) -> Result<Infallible> {
    while let Some(ended) = flood.join_next().await {
        ended??;
    }
    bail!("the clients ended before the window did")
}

/// What was accepted of a tenant, and what left, up to a moment.
#[derive(Debug, Clone, Copy)]
struct Account {
    accepted: u64,
    left: u64,
}

impl Account {
    async fn of(tenant: &Caller) -> Result<Self> {
        let counts = Counts::ask(tenant).await?;
        Ok(Self { accepted: counts.under_way() + counts.settled(), left: counts.settled() })
    }

    fn since(self, before: Self) -> Self {
        Self { accepted: self.accepted - before.accepted, left: self.left - before.left }
    }
}

/// Compares what the tenants get in a window of `duration`, that begins once all of them have their full load.
async fn watch(tenants: &[Caller], duration: Duration) -> Result<Fairness> {
    let all = async || futures::future::try_join_all(tenants.iter().map(Account::of)).await;
    let is_enough = |got: &[Account]| got.iter().all(|got| got.accepted >= MESSAGES_MIN && got.left >= MESSAGES_MIN);
    let (mut before, mut begin) = (all().await?, Instant::now());
    let mut loaded = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = all().await?;
        let got: Vec<Account> = now.iter().zip(&before).map(|(now, before)| now.since(*before)).collect();
        let (elapsed, is_enough) = (begin.elapsed(), is_enough(&got));
        if !loaded && is_enough {
            (before, begin, loaded) = (now, Instant::now(), true);
        } else if loaded && is_enough && elapsed >= duration {
            return Ok(compare(&got, elapsed));
        } else if elapsed > duration + PATIENCE {
            bail!("a tenant has less than {MESSAGES_MIN} messages after {} s", elapsed.as_secs());
        }
    }
}

fn compare(got: &[Account], elapsed: Duration) -> Fairness {
    let all = |count: fn(&Account) -> u64| got.iter().map(count).sum::<u64>() as f64;
    let (accepted, left) = (all(|got| got.accepted), all(|got| got.left));
    let weights = f64::from(WEIGHTS.iter().sum::<u32>());
    let tenants: Vec<TenantShare> = WEIGHTS
        .iter()
        .zip(got)
        .map(|(weight, got)| TenantShare {
            weight: *weight,
            by_weight: f64::from(*weight) / weights,
            accepted: got.accepted as f64 / accepted,
            left: got.left as f64 / left,
        })
        .collect();
    let furthest = |share: fn(&TenantShare) -> f64| {
        tenants.iter().map(|tenant| (share(tenant) / tenant.by_weight - 1.0).abs()).fold(0.0, f64::max)
    };
    Fairness {
        accepted_per_second: accepted / elapsed.as_secs_f64(),
        left_per_second: left / elapsed.as_secs_f64(),
        accepted_off_weight: furthest(|tenant| tenant.accepted),
        left_off_weight: furthest(|tenant| tenant.left),
        tenants,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_against_its_weight() {
        let got = [(100, 100), (200, 100), (400, 500)].map(|(accepted, left)| Account { accepted, left });
        let found = compare(&got, Duration::from_secs(2));
        assert_eq!((found.accepted_per_second, found.left_per_second), (350.0, 350.0));
        assert!(found.accepted_off_weight < 1e-9);
        // The second has half of its part.
        assert!((found.left_off_weight - 0.5).abs() < 1e-9);
        assert!((found.tenants[2].left - 5.0 / 7.0).abs() < 1e-9);
    }
}
