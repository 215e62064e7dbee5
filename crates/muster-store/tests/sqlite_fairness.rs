//! Tenants that contend for the writer are served by their weights.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster_domain::desired::DesiredVersion;
use muster_domain::message::ReceiptKind;
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::tenant::TenantSpec;
use muster_domain::{NodeId, TenantId};
use muster_store::conformance::fixture::{batch, bot_spec, gateway_spec, node_spec, receipt, text};
use muster_store::sqlite::SqliteStore;
use muster_store::{Expect, FleetWrite, SessionOpen, Store};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Messages or reports of one call.
const CALL: usize = 200;

async fn tenant(store: &SqliteStore, id: &str, weight: u32) -> TenantId {
    let id = TenantId::new(id).unwrap();
    store.tenant_put(TenantSpec { id: id.clone(), weight, on_uncertain: OnUncertain::Hold }).await.unwrap();
    let writes = vec![
        FleetWrite::PutNode(node_spec("n"), Expect::Absent),
        FleetWrite::PutGateway(gateway_spec("g", "n"), Expect::Absent),
        FleetWrite::PutBot(bot_spec("a", "g"), Expect::Absent),
    ];
    store.fleet_write(&id, writes, None).await.unwrap();
    id
}

/// Accepts messages of a tenant without pause by so many callers.
fn flood(callers: &mut JoinSet<()>, store: &Arc<SqliteStore>, tenant: &TenantId, count: usize) -> Arc<AtomicU64> {
    let accepted = Arc::new(AtomicU64::new(0));
    for _ in 0..count {
        let (store, tenant, accepted) = (Arc::clone(store), tenant.clone(), Arc::clone(&accepted));
        callers.spawn(async move {
            loop {
                let messages = vec![text("a", "+5511900000001", "hello"); CALL];
                store.message_accept(&tenant, messages).await.unwrap();
                accepted.fetch_add(CALL as u64, Ordering::Relaxed);
            }
        });
    }
    accepted
}

/// Has agents of a tenant report without pause, so many of them, once all of all tenants have a session.
async fn report(
    callers: &mut JoinSet<()>,
    store: &Arc<SqliteStore>,
    tenant: &TenantId,
    agents: usize,
    begin: &Arc<Barrier>,
) -> Arc<AtomicU64> {
    let taken = Arc::new(AtomicU64::new(0));
    for agent in 0..agents {
        let node = format!("n-{agent}");
        let writes = vec![FleetWrite::PutNode(node_spec(&node), Expect::Absent)];
        store.fleet_write(tenant, writes, None).await.unwrap();
        let open = SessionOpen {
            tenant: tenant.clone(),
            node: NodeId::new(&node).unwrap(),
            agent_version: "test".into(),
            journal_id: [1; 16],
            journal_opening: 1,
            process_id: [1; 16],
            report_head: 0,
            report_acknowledged: 0,
            forgotten: None,
            held: Vec::new(),
            desired: DesiredVersion::default(),
        };
        let session = store.session_open(open).await.unwrap().session;
        let (store, taken, begin) = (Arc::clone(store), Arc::clone(&taken), Arc::clone(begin));
        callers.spawn(async move {
            begin.wait().await;
            for first in (1..).step_by(CALL) {
                let receipts = (0..CALL).map(|nth| receipt(&format!("{agent}-{first}-{nth}"), ReceiptKind::Delivered));
                store.reports_apply(&session, batch(first, receipts.collect())).await.unwrap();
                taken.fetch_add(CALL as u64, Ordering::Relaxed);
            }
        });
    }
    taken
}

/// What each has of what all have.
fn sum(shares: &[(u32, Arc<AtomicU64>)]) -> u64 {
    shares.iter().map(|(_, got)| got.load(Ordering::Relaxed)).sum()
}

/// Waits until so much more was served, and compares the shares of that with the weights.
async fn assert_shares(shares: &[(u32, Arc<AtomicU64>)], ignored: u64, served: u64) {
    let until = async |count| {
        while sum(shares) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // What came before all of them contended does not count.
    until(sum(shares) + ignored).await;
    let before: Vec<u64> = shares.iter().map(|(_, got)| got.load(Ordering::Relaxed)).collect();
    until(sum(shares) + served).await;
    let got: Vec<f64> =
        shares.iter().zip(before).map(|((_, got), before)| (got.load(Ordering::Relaxed) - before) as f64).collect();
    let (all, weights) = (got.iter().sum::<f64>(), shares.iter().map(|(weight, _)| weight).sum::<u32>());
    for ((weight, _), got) in shares.iter().zip(&got) {
        let (share, expected) = (got / all, f64::from(*weight) / f64::from(weights));
        assert!((share - expected).abs() < 0.1, "weight {weight} has {share:.3}, not {expected:.3}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_follow_weights_whatever_the_callers() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&dir.path().join("muster.db")).await.unwrap());
    let mut callers = JoinSet::new();
    // The one with the least weight brings the most callers.
    let mut shares = Vec::new();
    for (id, weight, count) in [("w1", 1, 200), ("w2", 2, 80), ("w4", 4, 80)] {
        let tenant = tenant(&store, id, weight).await;
        shares.push((weight, flood(&mut callers, &store, &tenant, count)));
    }
    assert_shares(&shares, 20_000, 70_000).await;
    // Somebody who comes now is not behind the callers of the others, but behind a few transactions.
    let small = tenant(&store, "small", 1).await;
    let begin = Instant::now();
    let accepted = sum(&shares);
    store.message_accept(&small, vec![text("a", "+5511900000001", "hello")]).await.unwrap();
    let behind = sum(&shares) - accepted;
    assert!(behind <= 5 * 4_096, "{behind} messages went before it, {:?}", begin.elapsed());
    callers.shutdown().await;
    // Alone, one has everything.
    let mut callers = JoinSet::new();
    let alone = flood(&mut callers, &store, &small, 4);
    while alone.load(Ordering::Relaxed) < 10_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    callers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_taken_by_weight_whatever_the_agents() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&dir.path().join("muster.db")).await.unwrap());
    let mut callers = JoinSet::new();
    let begin = Arc::new(Barrier::new(100 + 40 + 40));
    // The one with the least weight has the most agents.
    let mut shares = Vec::new();
    for (id, weight, agents) in [("w1", 1, 100), ("w2", 2, 40), ("w4", 4, 40)] {
        let tenant = tenant(&store, id, weight).await;
        shares.push((weight, report(&mut callers, &store, &tenant, agents, &begin).await));
    }
    assert_shares(&shares, 20_000, 70_000).await;
    callers.shutdown().await;
}
