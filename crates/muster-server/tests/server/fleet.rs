//! What operators declare.

use std::collections::HashMap;

use muster_proto::v1::{self, difference::Verb};
use prost_types::FieldMask;
use tonic::Code;

use crate::world::{World, bot, fields, fleet, refused};

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn labels(text: &str) -> HashMap<String, String> {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

#[tokio::test]
async fn applying_twice_changes_nothing() {
    let world = World::start().await;
    let request = v1::ApplyFleetRequest { validate_only: true, ..fleet(&["a", "b"]) };
    let dry = world.fleet().apply_fleet(request).await.unwrap().into_inner();
    assert_eq!(dry.differences.len(), 4);
    assert!(dry.differences.iter().all(|difference| difference.verb() == Verb::Create));
    let get = v1::GetBotRequest { name: "a".into() };
    refused(world.bots().get_bot(get).await, Code::NotFound, "BOT_UNKNOWN");

    assert_eq!(world.fleet().apply_fleet(fleet(&["a", "b"])).await.unwrap().into_inner().differences, dry.differences);
    let again = world.fleet().apply_fleet(fleet(&["a", "b"])).await.unwrap().into_inner();
    assert_eq!((again.differences.len(), again.unchanged), (0, 4));

    let mut changed = fleet(&["a"]);
    changed.bots[0].display_name = "Ana".into();
    let changed = world.fleet().apply_fleet(changed).await.unwrap().into_inner();
    assert_eq!(changed.unchanged, 2);
    assert_eq!(changed.differences.len(), 1);
    assert_eq!(changed.differences[0].verb(), Verb::Update);
    assert_eq!(changed.differences[0].fields[0].field, "display_name");

    let pruned = v1::ApplyFleetRequest { prune: true, ..fleet(&["a"]) };
    let pruned = world.fleet().apply_fleet(pruned).await.unwrap().into_inner();
    let removed = pruned.differences.iter().find(|difference| difference.verb() == Verb::Remove).unwrap();
    assert_eq!(removed.resource, "bots/b");
    let retired = world.bot("b").await;
    assert_eq!(retired.stage(), v1::Stage::Retired);
    assert!(retired.stage_rule.starts_with("APPLY"), "{}", retired.stage_rule);
}

#[tokio::test]
async fn a_part_of_the_fleet_may_rest_on_what_is_there() {
    let world = World::with_bots(&["a"]).await;
    let part = v1::ApplyFleetRequest { bots: vec![bot("b")], ..Default::default() };
    assert_eq!(world.fleet().apply_fleet(part.clone()).await.unwrap().into_inner().differences.len(), 1);
    let alone = v1::ApplyFleetRequest { prune: true, ..part };
    let status = refused(world.fleet().apply_fleet(alone).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["bots/b.gateway"]);
}

#[tokio::test]
async fn a_faulty_fleet_is_refused_as_a_whole_with_every_fault() {
    let world = World::with_bots(&["a"]).await;
    let mut request = fleet(&["b", "c"]);
    request.bots[0].address = "+5511900000001".into();
    request.bots[1].address = "+5511900000001".into();
    let status = refused(world.fleet().apply_fleet(request).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["bots/c.address"]);
    let mut request = fleet(&["b", "B"]);
    request.gateways[0].node = "nodes/m".into();
    request.nodes[0].labels = labels("a b=c");
    let status = refused(world.fleet().apply_fleet(request).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["nodes[0].labels", "bots[1].name"]);
    let mut request = fleet(&[]);
    request.gateways[0].kind = v1::GatewayKind::Evolution.into();
    let status = refused(world.fleet().apply_fleet(request).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["gateways/g.kind"]);
    refused(world.bots().get_bot(v1::GetBotRequest { name: "b".into() }).await, Code::NotFound, "BOT_UNKNOWN");
}

#[tokio::test]
async fn each_resource_is_created_read_and_removed() {
    let world = World::start().await;
    let node = v1::CreateNodeRequest { node_id: "n".into(), ..Default::default() };
    world.nodes().create_node(node.clone()).await.unwrap();
    refused(world.nodes().create_node(node).await, Code::AlreadyExists, "NODE_EXISTS");
    let bad = v1::CreateNodeRequest { node_id: "N".into(), ..Default::default() };
    let status = refused(world.nodes().create_node(bad).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["node_id"]);

    let kind = v1::GatewayKind::Evolution.into();
    let declared = v1::Gateway { kind, node: "n".into(), ..Default::default() };
    let gateway = v1::CreateGatewayRequest { gateway_id: "g".into(), gateway: Some(declared), ..Default::default() };
    let created = world.gateways().create_gateway(gateway.clone()).await.unwrap().into_inner().gateway.unwrap();
    assert_eq!(created.node, "nodes/n");
    refused(world.gateways().create_gateway(gateway).await, Code::AlreadyExists, "GATEWAY_EXISTS");

    let declared = v1::Bot { gateway: "g".into(), address: "not a number".into(), ..Default::default() };
    let request = v1::CreateBotRequest { bot_id: "a".into(), bot: Some(declared), ..Default::default() };
    let status = refused(world.bots().create_bot(request.clone()).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["bot.address"]);
    let with = |address: &str, id: &str| v1::CreateBotRequest {
        bot_id: id.into(),
        bot: Some(v1::Bot { address: address.into(), ..bot(id) }),
        ..Default::default()
    };
    let created = world.bots().create_bot(with("5511900000001", "a")).await.unwrap().into_inner().bot.unwrap();
    assert_eq!(created.address, "+5511900000001");
    assert_eq!(created.stage(), v1::Stage::Provisioning);
    refused(world.bots().create_bot(with("", "a")).await, Code::AlreadyExists, "BOT_EXISTS");
    refused(world.bots().create_bot(with("+5511900000001", "b")).await, Code::AlreadyExists, "ADDRESS_TAKEN");
    let nowhere = v1::Bot { gateway: "h".into(), ..Default::default() };
    let nowhere = v1::CreateBotRequest { bot_id: "c".into(), bot: Some(nowhere), ..Default::default() };
    refused(world.bots().create_bot(nowhere).await, Code::NotFound, "GATEWAY_UNKNOWN");

    let delete = v1::DeleteNodeRequest { name: "nodes/n".into(), ..Default::default() };
    refused(world.nodes().delete_node(delete).await, Code::FailedPrecondition, "RESOURCE_IN_USE");
    let delete = v1::DeleteGatewayRequest { name: "gateways/g".into(), ..Default::default() };
    refused(world.gateways().delete_gateway(delete).await, Code::FailedPrecondition, "RESOURCE_IN_USE");
    let gone = v1::DeleteGatewayRequest { name: "gateways/h".into(), ..Default::default() };
    refused(world.gateways().delete_gateway(gone).await, Code::NotFound, "GATEWAY_UNKNOWN");
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let world = World::with_bots(&["a"]).await;
    let update = async |bot: v1::Bot, update_mask: Option<FieldMask>| {
        let request = v1::UpdateBotRequest { bot: Some(bot), update_mask, ..Default::default() };
        world.bots().update_bot(request).await.map(|answer| answer.into_inner().bot.unwrap())
    };
    let wanted = v1::Bot { display_name: "Ana".into(), labels: labels("team=sales"), ..bot("a") };
    let after = update(wanted.clone(), mask(&["labels"])).await.unwrap();
    assert_eq!((after.display_name.as_str(), after.labels), ("", labels("team=sales")));
    let after = update(wanted, None).await.unwrap();
    assert_eq!(after.display_name, "Ana");

    let status = refused(
        update(bot("a"), mask(&["labels", "stage", "nickname"])).await,
        Code::InvalidArgument,
        "INVALID_REQUEST",
    );
    assert_eq!(fields(&status), ["update_mask.paths[1]", "update_mask.paths[2]"]);
    refused(update(bot("b"), None).await, Code::NotFound, "BOT_UNKNOWN");

    let stale = v1::Bot { etag: after.etag.clone(), display_name: "1".into(), ..bot("a") };
    update(stale.clone(), mask(&["display_name"])).await.unwrap();
    refused(update(stale, mask(&["display_name"])).await, Code::Aborted, "GENERATION_STALE");
    let nonsense = v1::Bot { etag: "nonsense".into(), ..bot("a") };
    let status = refused(update(nonsense, None).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["bot.etag"]);

    let addressed = |address: &str| v1::Bot { address: address.into(), ..bot("a") };
    update(addressed("+5511900000001"), mask(&["address"])).await.unwrap();
    refused(update(addressed("+5511900000002"), mask(&["address"])).await, Code::FailedPrecondition, "ADDRESS_FIXED");
    assert_eq!(world.bot("a").await.address, "+5511900000001");
}

#[tokio::test]
async fn a_request_id_makes_a_call_safe_to_repeat() {
    let world = World::with_bots(&[]).await;
    let create = |display_name: &str| v1::CreateBotRequest {
        bot_id: "a".into(),
        bot: Some(v1::Bot { display_name: display_name.into(), labels: labels("a=1,b=2,c=3,d=4,e=5"), ..bot("a") }),
        request_id: "r-1".into(),
    };
    let first = world.bots().create_bot(create("Ana")).await.unwrap().into_inner();
    for _ in 0..5 {
        assert_eq!(world.bots().create_bot(create("Ana")).await.unwrap().into_inner(), first);
    }
    refused(world.bots().create_bot(create("Bob")).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let long = v1::CreateBotRequest { request_id: "x".repeat(200), ..create("Ana") };
    let status = refused(world.bots().create_bot(long).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["request_id"]);
    let hold =
        v1::HoldBotRequest { name: "a".into(), reason: "x".into(), request_id: "r-2".into(), ..Default::default() };
    let held = world.bots().hold_bot(hold.clone()).await.unwrap().into_inner();
    assert_eq!(world.bots().hold_bot(hold).await.unwrap().into_inner(), held);
}

#[tokio::test]
async fn bots_are_listed_by_filter_and_page() {
    let world = World::start().await;
    let mut request = fleet(&["a", "b", "c", "d", "e"]);
    for (i, bot) in request.bots.iter_mut().enumerate() {
        bot.labels = labels(if i % 2 == 0 { "team=sales,tier=1" } else { "team=support,tier=1" });
    }
    world.fleet().apply_fleet(request).await.unwrap();
    let filter = Some(v1::BotFilter { labels: labels("team=sales,tier=1"), ..Default::default() });
    let mut request = v1::ListBotsRequest { page_size: 2, filter, ..Default::default() };
    let mut names = Vec::new();
    loop {
        let page = world.bots().list_bots(request.clone()).await.unwrap().into_inner();
        names.extend(page.bots.into_iter().map(|bot| bot.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["bots/a", "bots/c", "bots/e"]);
    let hold = v1::HoldBotRequest { name: "b".into(), reason: "x".into(), ..Default::default() };
    world.bots().hold_bot(hold).await.unwrap();
    let list = async |filter: v1::BotFilter| {
        let request = v1::ListBotsRequest { filter: Some(filter), ..Default::default() };
        world.bots().list_bots(request).await.map(|answer| answer.into_inner().bots.len())
    };
    assert_eq!(list(v1::BotFilter { held: true, ..Default::default() }).await.unwrap(), 1);
    let stages = vec![v1::Stage::Provisioning.into()];
    assert_eq!(list(v1::BotFilter { stages, node: "n".into(), ..Default::default() }).await.unwrap(), 5);
    let bad = v1::BotFilter { stages: vec![99], connections: vec![0], node: "N".into(), ..Default::default() };
    let status = refused(list(bad).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["filter.node", "filter.stages", "filter.connections"]);
    let negative = v1::ListBotsRequest { page_size: -1, ..Default::default() };
    refused(world.bots().list_bots(negative).await, Code::InvalidArgument, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_hold_needs_a_reason_and_an_end_ahead() {
    let world = World::with_bots(&["a"]).await;
    let past = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let hold = v1::HoldBotRequest { name: "a".into(), until: past, author: "x".repeat(300), ..Default::default() };
    let status = refused(world.bots().hold_bot(hold).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["reason", "until", "author"]);
    // Ending a hold that is not there is no error.
    let resume = v1::ResumeBotRequest { name: "a".into(), ..Default::default() };
    world.bots().resume_bot(resume).await.unwrap();
}
