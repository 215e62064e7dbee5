//! Tenants: declared, changed, removed, and there again.

use muster_domain::TenantId;
use muster_domain::bot::Stage;
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::tenant::TenantSpec;

use super::fixture::{Fixture, bot, bot_spec, gateway_spec, node_spec, note, text};
use crate::{AcceptResult, Expect, FleetWrite, MessageFilter, StoreError};

fn id(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

fn spec(text: &str, weight: u32) -> TenantSpec {
    TenantSpec { id: id(text), weight, on_uncertain: OnUncertain::Hold }
}

/// What was declared is there, by id and page by page; declared again, it keeps its time.
pub async fn what_was_declared_is_there(fixture: Fixture) {
    let store = &fixture.store;
    let first = store.tenant_put(spec("clinic", 4)).await.unwrap();
    let changed = TenantSpec { on_uncertain: OnUncertain::Drop, ..spec("clinic", 2) };
    let second = store.tenant_put(changed.clone()).await.unwrap();
    assert_eq!((&second.spec, second.create_time), (&changed, first.create_time));
    assert_eq!(store.tenant_get(&id("clinic")).await.unwrap(), Some(second));
    assert_eq!(store.tenant_get(&id("nobody")).await.unwrap(), None);
    store.tenant_put(spec("a", 1)).await.unwrap();
    let listed = async |after: Option<&TenantId>, limit| {
        let tenants = store.tenant_list(after, limit).await.unwrap();
        tenants.into_iter().map(|tenant| tenant.spec.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 9).await, ["a", "clinic", "default"]);
    assert_eq!(listed(Some(&id("a")), 1).await, ["clinic"]);
}

/// A tenant goes when it has nothing in service; its messages wait for its return. Nobody else sees them.
pub async fn a_removed_tenant_keeps_its_rows(fixture: Fixture) {
    let (store, clinic) = (&fixture.store, id("clinic"));
    let in_use = |result| assert!(matches!(result, Err(StoreError::InUse { .. })), "{result:?}");
    in_use(store.tenant_delete(TenantId::default_tenant()).await);
    assert!(matches!(store.tenant_delete(clinic.clone()).await, Err(StoreError::NotFound(_))));
    store.tenant_put(spec("clinic", 1)).await.unwrap();
    store.fleet_write(&clinic, vec![FleetWrite::PutNode(node_spec("n"), Expect::Absent)], None).await.unwrap();
    in_use(store.tenant_delete(clinic.clone()).await);
    let writes = vec![
        FleetWrite::PutGateway(gateway_spec("g", "n"), Expect::Absent),
        FleetWrite::PutBot(bot_spec("a", "g"), Expect::Absent),
    ];
    store.fleet_write(&clinic, writes, None).await.unwrap();
    in_use(store.tenant_delete(clinic.clone()).await);
    let accepted = store.message_accept(&clinic, vec![text("a", "+5511900000001", "hello")]).await.unwrap();
    let AcceptResult::Accepted(message) = accepted[0] else { panic!("not accepted: {accepted:?}") };
    let writes = vec![
        FleetWrite::SetStage(bot("a"), Stage::Retired, note()),
        FleetWrite::DeleteGateway(gateway_spec("g", "n").id, Expect::Any),
        FleetWrite::DeleteNode(node_spec("n").id, Expect::Any),
    ];
    store.fleet_write(&clinic, writes, None).await.unwrap();
    store.tenant_delete(clinic.clone()).await.unwrap();
    assert!(matches!(store.message_get(&clinic, message).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.message_get(&fixture.tenant, message).await.unwrap(), None);
    store.tenant_put(spec("clinic", 3)).await.unwrap();
    assert_eq!(store.message_get(&clinic, message).await.unwrap().map(|message| message.id), Some(message));
    let all = store.message_list(&fixture.tenant, &MessageFilter::default(), None, 9).await.unwrap();
    assert_eq!(all, []);
}
