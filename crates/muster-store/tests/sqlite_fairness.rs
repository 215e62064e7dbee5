//! Tenants that contend for the writer are served by their weights.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster_domain::TenantId;
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::tenant::TenantSpec;
use muster_store::conformance::fixture::{bot_spec, gateway_spec, node_spec, text};
use muster_store::sqlite::SqliteStore;
use muster_store::{Expect, FleetWrite, Store};
use tokio::task::JoinSet;

/// Messages of one call.
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
    let total = || shares.iter().map(|(_, accepted)| accepted.load(Ordering::Relaxed)).sum::<u64>();
    let until = async |count| {
        while total() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // What came before all of them contended does not count.
    until(20_000).await;
    let before: Vec<u64> = shares.iter().map(|(_, accepted)| accepted.load(Ordering::Relaxed)).collect();
    let from = total();
    until(from + 70_000).await;
    let got: Vec<f64> =
        shares.iter().zip(before).map(|((_, a), before)| (a.load(Ordering::Relaxed) - before) as f64).collect();
    let sum: f64 = got.iter().sum();
    for ((weight, _), got) in shares.iter().zip(&got) {
        let (share, expected) = (got / sum, f64::from(*weight) / 7.0);
        assert!((share - expected).abs() < 0.1, "weight {weight} has {share:.3}, not {expected:.3}");
    }
    // Somebody who comes now is not behind the callers of the others, but behind a few transactions.
    let small = tenant(&store, "small", 1).await;
    let begin = Instant::now();
    let accepted = total();
    store.message_accept(&small, vec![text("a", "+5511900000001", "hello")]).await.unwrap();
    let behind = total() - accepted;
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
