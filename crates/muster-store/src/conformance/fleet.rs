//! The fleet: what is declared, what a write expects to find, and what nodes are told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::bot::{BotSpec, Connection, Hold, Stage};
use muster_domain::desired::DesiredVersion;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::gate::WaitReason;
use muster_domain::gateway::{GatewayKind, GatewaySpec};
use muster_domain::message::Outcome;
use muster_domain::{Address, GatewayId, Network, NodeId, TenantId, Timestamp};

use super::fixture::{Fixture, bot, bot_spec, connected, gateway_spec, node, node_spec, note, outcome, sent, text};
use crate::{
    ApplyError, BotFilter, BotRoute, Expect, FleetWrite, ReportBody, RequestKey, SessionOpen, SessionRef, StoreError,
};

fn gateway(id: &str) -> GatewayId {
    GatewayId::new(id).unwrap()
}

fn other_node() -> Vec<FleetWrite> {
    vec![
        FleetWrite::PutNode(node_spec("other"), Expect::Absent),
        FleetWrite::PutGateway(gateway_spec("og", "other"), Expect::Absent),
    ]
}

fn with_address(spec: BotSpec, address: &str) -> BotSpec {
    BotSpec { address: Some(Address::from_stored(address)), ..spec }
}

async fn session_of(fixture: &Fixture, id: &str, journal: u8) -> SessionRef {
    let node = NodeId::new(id).unwrap();
    let open = SessionOpen { node, journal_id: [journal; 16], ..fixture.opening() };
    fixture.store.session_open(open).await.unwrap().session
}

/// What was declared is there, with everything that was said of it.
pub async fn what_was_declared_is_there(fixture: Fixture) {
    let labels = BTreeMap::from([("team".to_owned(), "sales".to_owned())]);
    let spec = BotSpec { display_name: "Sales".into(), labels, ..with_address(bot_spec("c", "g"), "+5511900000009") };
    fixture.write(vec![FleetWrite::PutBot(spec.clone(), Expect::Absent)]).await.unwrap();
    let found = fixture.store.bot_get(&fixture.tenant, &spec.id).await.unwrap().unwrap();
    assert_eq!((&found.spec, &found.node, found.network), (&spec, &node(), Network::WhatsApp));
    assert_eq!((found.generation, found.stage, found.connection), (1, Stage::Provisioning, Connection::Unlinked));
    let fleet = fixture.store.fleet(&fixture.tenant).await.unwrap();
    assert_eq!((fleet.nodes.len(), fleet.gateways.len(), fleet.bots.len()), (1, 1, 3));
    assert_eq!(fleet.bots[&spec.id], spec);
    assert_eq!(fixture.store.bot_get(&fixture.tenant, &bot("nobody")).await.unwrap(), None);
}

/// A write finds what it expects, or says what is wrong and changes nothing.
pub async fn a_write_finds_what_it_expects(fixture: Fixture) {
    let put = |expect| vec![FleetWrite::PutBot(bot_spec("a", "g"), expect)];
    assert!(matches!(fixture.write(put(Expect::Absent)).await, Err(StoreError::Exists(_))));
    fixture.write(put(Expect::Generation(1))).await.unwrap();
    assert!(matches!(fixture.write(put(Expect::Generation(1))).await, Err(StoreError::Stale(_))));
    fixture.write(put(Expect::Present)).await.unwrap();
    fixture.write(put(Expect::Any)).await.unwrap();
    assert_eq!(fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap().generation, 4);
    let absent: [FleetWrite; 7] = [
        FleetWrite::PutNode(node_spec("x"), Expect::Present),
        FleetWrite::PutGateway(gateway_spec("x", "n"), Expect::Generation(1)),
        FleetWrite::PutGateway(gateway_spec("x", "nowhere"), Expect::Any),
        FleetWrite::PutBot(bot_spec("x", "g"), Expect::Present),
        FleetWrite::PutBot(bot_spec("x", "nowhere"), Expect::Any),
        FleetWrite::DeleteGateway(gateway("x"), Expect::Any),
        FleetWrite::SetStage(bot("x"), Stage::Active, note()),
    ];
    for write in absent {
        let result = fixture.write(vec![write.clone()]).await;
        assert!(matches!(result, Err(StoreError::NotFound(_))), "{write:?}: {result:?}");
    }
}

/// The writes of a call happen together or not at all.
pub async fn writes_of_a_call_are_all_or_nothing(fixture: Fixture) {
    let before = fixture.store.fleet(&fixture.tenant).await.unwrap();
    let writes = vec![
        FleetWrite::PutNode(node_spec("x"), Expect::Absent),
        FleetWrite::SetStage(bot("a"), Stage::Retired, note()),
        FleetWrite::PutBot(bot_spec("x", "g"), Expect::Absent),
        FleetWrite::DeleteNode(node(), Expect::Any),
    ];
    assert!(matches!(fixture.write(writes).await, Err(StoreError::InUse { .. })));
    assert_eq!(fixture.store.fleet(&fixture.tenant).await.unwrap(), before);
    assert_eq!(fixture.store.bot_route(&fixture.tenant, &bot("x")).await.unwrap(), None);
    fixture.accept(vec![text("a", "+5511900000001", "still in service")]).await;
}

/// A request that comes again is skipped; its id for another request is refused; a failed one may be tried again.
pub async fn a_request_is_carried_out_once(fixture: Fixture) {
    let key = |id: &str, fingerprint| Some(RequestKey { request_id: id.into(), fingerprint: [fingerprint; 16] });
    let create = || vec![FleetWrite::PutNode(node_spec("x"), Expect::Absent)];
    let write = |writes, key| fixture.store.fleet_write(&fixture.tenant, writes, key);
    write(create(), key("r", 1)).await.unwrap();
    write(create(), key("r", 1)).await.unwrap();
    assert!(matches!(write(create(), key("r", 2)).await, Err(StoreError::RequestIdReused)));
    assert!(matches!(write(create(), key("s", 1)).await, Err(StoreError::Exists(_))));
    write(vec![FleetWrite::DeleteNode(NodeId::new("x").unwrap(), Expect::Any)], None).await.unwrap();
    write(create(), key("s", 1)).await.unwrap();
}

/// What is in use stays: a node with a gateway, a gateway with a bot. A retired bot uses nothing.
pub async fn what_is_in_use_is_not_removed(fixture: Fixture) {
    let delete_gateway = || vec![FleetWrite::DeleteGateway(gateway("g"), Expect::Any)];
    let delete_node = || vec![FleetWrite::DeleteNode(node(), Expect::Any)];
    assert!(matches!(fixture.write(delete_gateway()).await, Err(StoreError::InUse { .. })));
    assert!(matches!(fixture.write(delete_node()).await, Err(StoreError::InUse { .. })));
    let retire = |id: &str| FleetWrite::SetStage(bot(id), Stage::Retired, note());
    fixture.write(vec![retire("a"), retire("b")]).await.unwrap();
    assert!(matches!(fixture.write(delete_node()).await, Err(StoreError::InUse { .. })));
    fixture.write(delete_gateway()).await.unwrap();
    fixture.write(delete_node()).await.unwrap();
    let fleet = fixture.store.fleet(&fixture.tenant).await.unwrap();
    assert_eq!((fleet.nodes.len(), fleet.gateways.len(), fleet.bots.len()), (0, 0, 0));
    // A retired bot can still be looked at.
    assert_eq!(fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap().stage, Stage::Retired);
}

/// An address has one owner among the bots that are not retired; one that a link tells is never taken away from its owner.
pub async fn an_address_has_one_owner(fixture: Fixture) {
    let put = |id: &str| vec![FleetWrite::PutBot(with_address(bot_spec(id, "g"), "+5511900000009"), Expect::Any)];
    fixture.write(put("a")).await.unwrap();
    fixture.write(put("a")).await.unwrap();
    assert!(matches!(fixture.write(put("b")).await, Err(StoreError::AddressTaken(_, _))));
    let session = fixture.open().await.session;
    let linked = |id: &str, address: &str| ReportBody::Connection {
        bot: bot(id),
        connection: Connection::Connected,
        detail: String::new(),
        address: Some(Address::from_stored(address)),
        banned: false,
    };
    let address =
        async |id: &str| fixture.store.bot_get(&fixture.tenant, &bot(id)).await.unwrap().unwrap().spec.address;
    fixture.tell(&session, vec![linked("b", "+5511900000009")]).await;
    assert_eq!(address("b").await, None);
    fixture.tell(&session, vec![linked("b", "+5511900000008")]).await;
    fixture.tell(&session, vec![linked("b", "+5511900000007")]).await;
    assert_eq!(address("b").await.unwrap().as_str(), "+5511900000008");
    fixture.write(vec![FleetWrite::SetStage(bot("a"), Stage::Retired, note())]).await.unwrap();
    fixture.write(put("c")).await.unwrap();
}

/// A gateway that moves takes its bots along, and what waits for them; both nodes are told, and the old one sends no more.
pub async fn a_gateway_takes_its_bots_along(fixture: Fixture) {
    let old = fixture.open_connected().await;
    fixture.write(other_node()).await.unwrap();
    let new = session_of(&fixture, "other", 2).await;
    let (at_old, at_new) =
        (fixture.store.desired_state(&old, 0).await.unwrap(), fixture.store.desired_state(&new, 0).await.unwrap());
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    let moved = GatewaySpec { node: new.node.clone(), ..gateway_spec("g", "n") };
    fixture.write(vec![FleetWrite::PutGateway(moved, Expect::Present)]).await.unwrap();
    let left = fixture.store.desired_state(&old, at_old.version).await.unwrap();
    assert_eq!((left.removed_gateways, left.removed_bots), (vec![gateway("g")], vec![bot("a"), bot("b")]));
    assert_eq!((left.base_version, left.gateways, left.bots), (at_old.version, vec![], vec![]));
    let came = fixture.store.desired_state(&new, at_new.version).await.unwrap();
    assert_eq!((came.gateways.len(), came.bots.len(), came.removed_bots), (1, 2, vec![]));
    // The new node says itself whether the bots are connected there; the old one has no say any more.
    fixture.tell(&old, vec![connected("a")]).await;
    assert_eq!(fixture.claim_ids(&old).await, []);
    assert_eq!(fixture.claim_ids(&new).await, []);
    fixture.tell(&new, vec![connected("a")]).await;
    assert_eq!(fixture.claim_ids(&new).await, [id]);
}

/// A node gets what changed since the version that it has, and everything when that version is none of ours.
pub async fn desired_states_are_differences(fixture: Fixture) {
    let session = fixture.open().await.session;
    let complete = fixture.store.desired_state(&session, 0).await.unwrap();
    assert_eq!((complete.base_version, complete.gateways.len(), complete.bots.len()), (0, 1, 2));
    assert!(complete.bots.iter().all(|bot| bot.may_send && bot.connect));
    let same = fixture.store.desired_state(&session, complete.version).await.unwrap();
    assert_eq!((same.version, same.base_version), (complete.version, complete.version));
    assert_eq!((same.gateways.len(), same.bots.len(), same.removed_bots.len()), (0, 0, 0));
    let hold = Hold { reason: "check".into(), author: "me".into(), since: Timestamp::now(), until: None };
    fixture.write(vec![FleetWrite::SetHold(bot("a"), Some(hold))]).await.unwrap();
    let delta = fixture.store.desired_state(&session, complete.version).await.unwrap();
    assert!(delta.version > complete.version && delta.gateways.is_empty());
    assert!(matches!(&delta.bots[..], [held] if held.id == bot("a") && !held.may_send && held.connect));
    fixture.write(vec![FleetWrite::SetStage(bot("a"), Stage::Retired, note())]).await.unwrap();
    let delta = fixture.store.desired_state(&session, delta.version).await.unwrap();
    assert!(matches!(&delta.bots[..], [retired] if !retired.may_send && !retired.connect));
    let stranger = fixture.store.desired_state(&session, delta.version + 1_000).await.unwrap();
    assert_eq!((stranger.base_version, stranger.bots.len()), (0, 2));
}

/// A session says from which version on its agent is told: all versions of the latest one's lineage count.
pub async fn an_agent_is_told_what_it_does_not_have(fixture: Fixture) {
    let base = async |desired: DesiredVersion| {
        let opened = fixture.store.session_open(SessionOpen { desired, ..fixture.opening() }).await.unwrap();
        (opened.session, opened.desired_base)
    };
    let (session, none) = base(DesiredVersion::default()).await;
    let state = fixture.store.desired_state(&session, none).await.unwrap();
    let first = DesiredVersion { version: state.version, lineage: state.lineage };
    assert_eq!(none, 0);
    let (session, unsure) = base(first).await;
    assert_eq!(unsure, 0, "nobody knows what it made of it");
    fixture.store.desired_applied(&session, first.version, vec![]).await.unwrap();
    assert_eq!(base(first).await.1, first.version);
    assert_eq!(base(DesiredVersion { lineage: first.lineage ^ 1, ..first }).await.1, 0);
    fixture.write(vec![FleetWrite::SetStage(bot("a"), Stage::Retired, note())]).await.unwrap();
    let (session, earlier) = base(first).await;
    assert_eq!(earlier, first.version);
    let delta = fixture.store.desired_state(&session, earlier).await.unwrap();
    assert_eq!((delta.lineage, delta.base_version, delta.bots.len()), (first.lineage, first.version, 1));
    assert_eq!(base(DesiredVersion { version: delta.version + 1, ..first }).await.1, 0);
}

/// What a node could not apply is shown at the resource until the node applies the next state.
pub async fn apply_errors_are_shown_until_the_next_state(fixture: Fixture) {
    let session = fixture.open().await.session;
    let errors =
        vec![ApplyError::Gateway(gateway("g"), "no section".into()), ApplyError::Bot(bot("a"), "no token".into())];
    fixture.store.desired_applied(&session, 4, errors).await.unwrap();
    let shown = async || {
        let gateway = fixture.store.gateway_get(&fixture.tenant, &gateway("g")).await.unwrap().unwrap();
        let bot = fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap();
        [gateway.apply_error, bot.apply_error]
    };
    assert_eq!(shown().await, ["no section", "no token"]);
    assert_eq!(fixture.store.node_get(&fixture.tenant, &node()).await.unwrap().unwrap().applied_version, 4);
    fixture.store.desired_applied(&session, 5, vec![]).await.unwrap();
    assert_eq!(shown().await, ["", ""]);
}

/// Lists are sorted by id, page behind their cursor, and every filter leaves out the others.
pub async fn lists_page_and_filter(fixture: Fixture) {
    fixture.open_connected().await;
    fixture.write(other_node()).await.unwrap();
    let labelled =
        BotSpec { labels: BTreeMap::from([("team.x".to_owned(), "sales".to_owned())]), ..bot_spec("c", "og") };
    let hold = Hold { reason: "check".into(), author: "me".into(), since: Timestamp::now(), until: None };
    fixture.write(vec![FleetWrite::PutBot(labelled, Expect::Absent)]).await.unwrap();
    fixture.write(vec![FleetWrite::SetHold(bot("b"), Some(hold))]).await.unwrap();
    let list = async |filter: BotFilter, after: Option<&str>, limit| {
        let after = after.map(bot);
        let rows = fixture.store.bot_list(&fixture.tenant, &filter, after.as_ref(), limit).await.unwrap();
        rows.into_iter().map(|row| row.spec.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    let any = BotFilter::default;
    assert_eq!(list(any(), None, 2).await, ["a", "b"]);
    assert_eq!(list(any(), Some("b"), 2).await, ["c"]);
    assert_eq!(list(BotFilter { node: Some(node()), ..any() }, None, 9).await, ["a", "b"]);
    assert_eq!(list(BotFilter { gateway: Some(gateway("og")), ..any() }, None, 9).await, ["c"]);
    assert_eq!(list(BotFilter { stages: vec![Stage::Active, Stage::Ready], ..any() }, None, 9).await, ["a", "b"]);
    assert_eq!(list(BotFilter { connections: vec![Connection::Unlinked], ..any() }, None, 9).await, ["c"]);
    let label = |key: &str, value: &str| BotFilter { labels: vec![(key.into(), value.into())], ..any() };
    assert_eq!(list(label("team.x", "sales"), None, 9).await, ["c"]);
    assert_eq!(list(label("team", "sales"), None, 9).await, Vec::<String>::new());
    assert_eq!(list(BotFilter { held: true, ..any() }, None, 9).await, ["b"]);
    let nodes = fixture.store.node_list(&fixture.tenant, Some(&node()), 9).await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.spec.id.as_str()).collect::<Vec<_>>(), ["other"]);
    let gateways = fixture.store.gateway_list(&fixture.tenant, Some(&node()), None, 9).await.unwrap();
    assert_eq!(gateways.iter().map(|gateway| gateway.spec.id.as_str()).collect::<Vec<_>>(), ["g"]);
    let gateways = fixture.store.gateway_list(&fixture.tenant, None, Some(&gateway("g")), 9).await.unwrap();
    assert_eq!(gateways.iter().map(|gateway| gateway.spec.id.as_str()).collect::<Vec<_>>(), ["og"]);
}

/// A tenant that nobody declared has nothing, and can do nothing.
pub async fn an_unknown_tenant_has_nothing(fixture: Fixture) {
    let stranger = TenantId::new("stranger").unwrap();
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    assert!(fixture.store.fleet(&stranger).await.is_err());
    assert!(fixture.store.message_get(&stranger, id).await.is_err());
    assert!(fixture.store.message_accept(&stranger, vec![text("a", "+5511900000001", "hello")]).await.is_err());
    let session = SessionRef { tenant: stranger, ..fixture.open().await.session };
    assert!(fixture.store.dispatch_claim(&session, super::fixture::claim_all()).await.is_err());
}

/// A removed gateway or node is gone for every call until it is declared again.
pub async fn what_was_removed_is_gone_until_declared_again(fixture: Fixture) {
    fixture.write(other_node()).await.unwrap();
    let other = NodeId::new("other").unwrap();
    fixture.write(vec![FleetWrite::DeleteGateway(gateway("og"), Expect::Present)]).await.unwrap();
    assert_eq!(fixture.store.gateway_get(&fixture.tenant, &gateway("og")).await.unwrap(), None);
    let gone = [
        FleetWrite::DeleteGateway(gateway("og"), Expect::Any),
        FleetWrite::PutGateway(gateway_spec("og", "other"), Expect::Present),
        FleetWrite::PutBot(bot_spec("x", "og"), Expect::Any),
    ];
    for write in gone {
        let result = fixture.write(vec![write.clone()]).await;
        assert!(matches!(result, Err(StoreError::NotFound(_))), "{write:?}: {result:?}");
    }
    fixture.write(vec![FleetWrite::DeleteNode(other.clone(), Expect::Present)]).await.unwrap();
    let again = fixture.write(vec![FleetWrite::DeleteNode(other.clone(), Expect::Any)]).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))));
    assert_eq!(fixture.store.node_get(&fixture.tenant, &other).await.unwrap(), None);
    fixture.write(other_node()).await.unwrap();
    fixture.write(vec![FleetWrite::PutBot(bot_spec("x", "og"), Expect::Absent)]).await.unwrap();
}

/// A session of a node that was removed stays fenced when the node is declared again.
pub async fn a_node_declared_again_begins_behind_its_sessions(fixture: Fixture) {
    fixture.write(other_node()).await.unwrap();
    let old = session_of(&fixture, "other", 2).await;
    let delete = vec![
        FleetWrite::DeleteGateway(gateway("og"), Expect::Any),
        FleetWrite::DeleteNode(NodeId::new("other").unwrap(), Expect::Any),
    ];
    fixture.write(delete).await.unwrap();
    assert!(matches!(fixture.store.desired_state(&old, 0).await, Err(StoreError::Fenced)));
    fixture.write(other_node()).await.unwrap();
    assert!(matches!(fixture.store.desired_applied(&old, 1, vec![]).await, Err(StoreError::Fenced)));
    assert!(session_of(&fixture, "other", 2).await.epoch > old.epoch);
}

/// A bot that moves to a gateway on another node is not connected until that node says so.
pub async fn a_moved_bot_is_connected_by_its_new_node(fixture: Fixture) {
    let old = fixture.open_connected().await;
    fixture.write(other_node()).await.unwrap();
    let new = session_of(&fixture, "other", 2).await;
    let at_old = fixture.store.desired_state(&old, 0).await.unwrap().version;
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    fixture.write(vec![FleetWrite::PutBot(bot_spec("a", "og"), Expect::Present)]).await.unwrap();
    let left = fixture.store.desired_state(&old, at_old).await.unwrap();
    assert_eq!((left.removed_bots, left.removed_gateways), (vec![bot("a")], vec![]));
    let route = fixture.store.bot_route(&fixture.tenant, &bot("a")).await.unwrap().unwrap();
    assert_eq!((route.node.as_str(), route.stage), ("other", Stage::Active));
    let moved = fixture.store.bot_get(&fixture.tenant, &bot("a")).await.unwrap().unwrap();
    assert_eq!(moved.connection, Connection::Disconnected);
    assert_eq!(fixture.claim_ids(&old).await, []);
    assert_eq!(fixture.claim_ids(&new).await, []);
    fixture.tell(&new, vec![connected("a")]).await;
    assert_eq!(fixture.claim_ids(&new).await, [id]);
    // Back again: it no longer counts as one that left.
    fixture.write(vec![FleetWrite::PutBot(bot_spec("a", "g"), Expect::Present)]).await.unwrap();
    let back = fixture.store.desired_state(&old, at_old).await.unwrap();
    assert_eq!((back.bots.len(), back.removed_bots), (1, vec![]));
}

/// What the old node still holds goes first: until it is known what became of it, nothing of its chain leaves elsewhere.
pub async fn a_moved_bot_overtakes_nothing(fixture: Fixture) {
    let old = fixture.open_connected().await;
    fixture.write(other_node()).await.unwrap();
    let new = session_of(&fixture, "other", 2).await;
    let first = fixture.dispatched(&old).await;
    fixture.write(vec![FleetWrite::PutBot(bot_spec("a", "og"), Expect::Present)]).await.unwrap();
    fixture.tell(&new, vec![connected("a")]).await;
    let messages = vec![text("a", "+5511900000001", "behind"), text("a", "+5511900000002", "another recipient")];
    let accepted = fixture.accept(messages).await;
    assert_eq!(fixture.claim_ids(&new).await, accepted[1..]);
    assert_eq!(fixture.message(accepted[0]).await.parked.unwrap().reason, WaitReason::ChainBlocked);
    let applied = fixture.tell(&old, vec![outcome(first, sent("X"))]).await;
    assert!(applied.something_due);
    let woken = fixture.wake_due(100).await.wake;
    assert_eq!(woken, [(fixture.tenant.clone(), new.node.clone(), bot("a"))]);
    assert_eq!(fixture.claim_ids(&new).await, accepted[..1]);
}

/// An attempt at the node that a bot has left was at another gateway: it tells nothing of the one that the bot is at.
pub async fn what_a_moved_bot_left_tells_nothing_of_its_gateway(fixture: Fixture) {
    let old = fixture.open_connected().await;
    fixture.write(other_node()).await.unwrap();
    let new = session_of(&fixture, "other", 2).await;
    fixture.write(vec![FleetWrite::PutBot(bot_spec("b", "og"), Expect::Present)]).await.unwrap();
    fixture.tell(&new, vec![connected("b")]).await;
    fixture.accept(vec![text("b", "+5511900000001", "waits")]).await;
    let refused_one = fixture.claim_attempts(&new).await[0];
    let hour = Duration::from_secs(3_600);
    let outage = Failure { retry_after: Some(hour), ..Failure::new(FailureReason::GatewayUnavailable, "no") };
    fixture.tell(&new, vec![outcome(refused_one, Outcome::Failed(outage))]).await;
    let left = fixture.dispatched(&old).await;
    fixture.write(vec![FleetWrite::PutBot(bot_spec("a", "og"), Expect::Present)]).await.unwrap();
    let applied = fixture.tell(&old, vec![outcome(left, sent("X"))]).await;
    assert_eq!((applied.wake, applied.elsewhere), (vec![], vec![]));
    assert_eq!(fixture.bot("b").await.backoff.unwrap().refusals, 1);
    assert_eq!(fixture.claim_ids(&new).await, []);
}

/// What waited elsewhere for an attempt at the node that the bot came back to waits no more: it leaves behind that attempt.
pub async fn a_bot_that_comes_back_waits_for_nothing(fixture: Fixture) {
    let old = fixture.open_connected().await;
    fixture.write(other_node()).await.unwrap();
    let new = session_of(&fixture, "other", 2).await;
    let first = fixture.dispatched(&old).await;
    fixture.write(vec![FleetWrite::PutBot(bot_spec("a", "og"), Expect::Present)]).await.unwrap();
    fixture.tell(&new, vec![connected("a")]).await;
    let behind = fixture.accept(vec![text("a", "+5511900000001", "behind")]).await;
    assert_eq!(fixture.claim_ids(&new).await, []);
    fixture.write(vec![FleetWrite::PutBot(bot_spec("a", "g"), Expect::Present)]).await.unwrap();
    fixture.tell(&old, vec![connected("a"), outcome(first, sent("X"))]).await;
    fixture.wake_due(100).await;
    assert_eq!(fixture.claim_ids(&old).await, behind);
}

/// A gateway stays of its kind, and a bot on its network: what waits names addresses there.
pub async fn what_a_thing_is_stays(fixture: Fixture) {
    let other_kind = GatewaySpec { kind: GatewayKind::Null, ..gateway_spec("g", "n") };
    let refused = fixture.write(vec![FleetWrite::PutGateway(other_kind.clone(), Expect::Any)]).await;
    assert!(matches!(&refused, Err(StoreError::Fixed { resource, field: "kind" }) if resource == "gateways/g"));
    let other = GatewaySpec { id: gateway("other"), ..other_kind };
    fixture.write(vec![FleetWrite::PutGateway(other, Expect::Absent)]).await.unwrap();
    let moved = fixture.write(vec![FleetWrite::PutBot(bot_spec("a", "other"), Expect::Any)]).await;
    assert!(matches!(&moved, Err(StoreError::Fixed { resource, field: "network" }) if resource == "bots/a"));
}

/// A write sees what the earlier ones of its call did.
pub async fn writes_of_a_call_see_each_other(fixture: Fixture) {
    let mut writes = other_node();
    writes.push(FleetWrite::PutBot(bot_spec("c", "og"), Expect::Absent));
    writes.push(FleetWrite::SetStage(bot("c"), Stage::Active, note()));
    writes.push(FleetWrite::PutBot(bot_spec("a", "og"), Expect::Present));
    writes.push(FleetWrite::SetStage(bot("a"), Stage::Cooling, note()));
    fixture.write(writes).await.unwrap();
    for (id, stage) in [("c", Stage::Active), ("a", Stage::Cooling)] {
        let found = fixture.store.bot_get(&fixture.tenant, &bot(id)).await.unwrap().unwrap();
        let route = fixture.store.bot_route(&fixture.tenant, &bot(id)).await.unwrap();
        assert_eq!((found.stage, found.node.as_str()), (stage, "other"));
        assert_eq!(route, Some(BotRoute { node: found.node, network: Network::WhatsApp, stage }), "{id}");
    }
}
