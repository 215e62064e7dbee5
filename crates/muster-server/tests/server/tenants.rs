//! Tenants: declared, named by callers and agents, and blind to each other.

use muster_proto::agent_v1::report::Body as ReportBody;
use muster_proto::agent_v1::{self as wire};
use muster_proto::v1::contact_service_client::ContactServiceClient;
use muster_proto::v1::tenant_service_client::TenantServiceClient;
use muster_proto::{TENANT_METADATA, v1};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::agent::{Agent, hello};
use crate::raw_call::{Api, call};
use crate::world::{World, fields, fleet, refused, text, until};

fn tenants(world: &World) -> TenantServiceClient<Channel> {
    TenantServiceClient::new(world.channel.clone())
}

async fn put(world: &World, id: &str, weight: u32) -> Result<v1::Tenant, Status> {
    let tenant = v1::Tenant { name: format!("tenants/{id}"), weight, ..Default::default() };
    let request = v1::PutTenantRequest { tenant: Some(tenant) };
    Ok(tenants(world).put_tenant(request).await?.into_inner().tenant.unwrap())
}

async fn delete(world: &World, id: &str) -> Result<(), Status> {
    tenants(world).delete_tenant(v1::DeleteTenantRequest { name: format!("tenants/{id}") }).await.map(drop)
}

/// A request of a tenant.
fn by<T>(tenant: &str, request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert(TENANT_METADATA, tenant.parse().unwrap());
    request
}

#[tokio::test]
async fn tenants_are_declared_changed_and_removed() {
    let world = World::start().await;
    assert_eq!(put(&world, "clinic", 4).await.unwrap().weight, 4);
    assert_eq!(put(&world, "clinic", 0).await.unwrap().weight, 1);
    let status = refused(put(&world, "clinic", 101).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["tenant.weight"]);
    let listed = tenants(&world).list_tenants(v1::ListTenantsRequest::default()).await.unwrap().into_inner().tenants;
    let names: Vec<_> = listed.iter().map(|tenant| tenant.name.as_str()).collect();
    assert_eq!(names, ["tenants/clinic", "tenants/default"]);
    world.fleet().apply_fleet(by("clinic", fleet(&["a"]))).await.unwrap();
    refused(delete(&world, "clinic").await, Code::FailedPrecondition, "RESOURCE_IN_USE");
    refused(delete(&world, "default").await, Code::FailedPrecondition, "RESOURCE_IN_USE");
    refused(delete(&world, "nobody").await, Code::NotFound, "TENANT_UNKNOWN");
    let nothing = v1::ApplyFleetRequest { prune: true, ..Default::default() };
    world.fleet().apply_fleet(by("clinic", nothing)).await.unwrap();
    delete(&world, "clinic").await.unwrap();
    let status = world.nodes().list_nodes(by("clinic", v1::ListNodesRequest::default())).await;
    let status = refused(status, Code::NotFound, "TENANT_UNKNOWN");
    assert!(status.message().contains("muster tenant put clinic"), "{status:?}");
    put(&world, "clinic", 2).await.unwrap();
    world.nodes().list_nodes(by("clinic", v1::ListNodesRequest::default())).await.unwrap();
}

#[tokio::test]
async fn a_tenant_that_is_no_id_is_refused() {
    let world = World::start().await;
    let answer = world.nodes().list_nodes(by("No Id", v1::ListNodesRequest::default())).await;
    assert_eq!(fields(&refused(answer, Code::InvalidArgument, "INVALID_REQUEST")), [TENANT_METADATA]);
}

/// Nodes of the same id, each with the agent of its own tenant: each gets the messages of its own, at the same time.
#[tokio::test]
async fn agents_belong_to_their_tenants() {
    let world = World::with_bots(&["a"]).await;
    put(&world, "clinic", 1).await.unwrap();
    world.fleet().apply_fleet(by("clinic", fleet(&["a"]))).await.unwrap();
    let mut own = Agent::open(&world).await;
    let other = wire::Hello { journal_id: vec![9; 16], process_id: vec![9; 16], ..hello() };
    let mut other = Agent::open_for(&world, "clinic", other).await;
    own.report_connected(&["a"]).await;
    let bot = async |tenant| {
        let request = by(tenant, v1::GetBotRequest { name: "bots/a".into() });
        world.bots().get_bot(request).await.unwrap().into_inner().bot.unwrap().connection()
    };
    assert_eq!(bot("default").await, v1::Connection::Connected);
    assert_eq!(bot("clinic").await, v1::Connection::Unlinked);
    other.report_connected(&["a"]).await;
    let message = v1::SendMessageRequest { message: Some(text("a", "r", "of the clinic")) };
    world.messages().send_message(by("clinic", message)).await.unwrap();
    assert_eq!(other.attempts(1).await.len(), 1);
    own.quiet().await;
}

/// P8. Every call of the API, as its descriptor tells it, with the ids of another tenant's things: it finds none of them, tells
/// nothing of them, and changes nothing.
#[tokio::test]
async fn no_call_reaches_into_another_tenant() {
    let world = World::start().await;
    let mut declared = fleet(&["a"]);
    declared.nodes[0].display_name = "foreign".into();
    declared.gateways[0].display_name = "foreign".into();
    declared.bots[0].display_name = "foreign".into();
    world.fleet().apply_fleet(declared).await.unwrap();
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "foreign-recipient", "foreign").await.name;
    agent.attempts(1).await;
    let content =
        wire::Content { kind: Some(wire::content::Kind::Text(wire::content::Text { body: "foreign".into() })) };
    let inbound = wire::InboundReport {
        bot: "a".into(),
        network_id: "foreign-1".into(),
        sender: "foreign-sender".into(),
        content: Some(content),
        ..Default::default()
    };
    agent.report_only(vec![ReportBody::Inbound(inbound)]).await;
    let inbound = until(async || {
        let request = v1::ListInboundMessagesRequest::default();
        let found = world.inbound().list_inbound_messages(request).await.unwrap().into_inner();
        found.inbound_messages.first().map(|inbound| inbound.name.clone())
    })
    .await;

    let contact = v1::OptOutContactRequest {
        address: Some(v1::ContactAddress { network: "null".into(), address: "+5511900000001".into() }),
        text: "foreign".into(),
        ..Default::default()
    };
    ContactServiceClient::new(world.channel.clone()).opt_out_contact(contact).await.unwrap();

    let value = |of: &str, field: &str| -> Option<String> {
        let subject = of.trim_end_matches("Request");
        let is = |noun: &str| subject.ends_with(noun);
        Some(match field {
            "name" if is("Node") || is("DrainedAttempts") => "nodes/n".into(),
            "name" if is("Gateway") => "gateways/g".into(),
            "name" if is("Bot") => "bots/a".into(),
            "name" if is("InboundMessage") || is("InboundMessageRead") => inbound.clone(),
            "name" if is("Message") => message.clone(),
            "name" if is("Tenant") => "tenants/default".into(),
            "bot" => "bots/a".into(),
            "gateway" => "gateways/g".into(),
            "node" => "nodes/n".into(),
            "node_id" | "gateway_id" | "bot_id" => "mine".into(),
            "message" => message.clone(),
            "recipient" | "recipients" | "sender" => "+5511900000001".into(),
            "network" => "null".into(),
            "address" => "+5511900000001".into(),
            "body" | "reason" | "author" | "text" | "proof" => "mine".into(),
            "data" => "mine".into(),
            // The oldest change that is kept.
            "cursor" => "0".into(),
            _ => return None,
        })
    };
    let api = Api::read();
    assert!(api.methods.len() > 35, "only {} methods were found", api.methods.len());
    let state = async || {
        let mut all = Vec::new();
        for list in
            ["NodeService/ListNodes", "GatewayService/ListGateways", "BotService/ListBots", "TenantService/ListTenants"]
        {
            all.push(call(&world.channel, "default", &format!("/muster.v1.{list}"), Vec::new()).await.unwrap());
        }
        for list in ["MessageService/ListMessages", "ContactService/ListContacts"] {
            all.push(call(&world.channel, "default", &format!("/muster.v1.{list}"), Vec::new()).await.unwrap());
        }
        all
    };
    // Each method comes from a tenant of its own, so that none finds what an earlier one declared.
    for number in 0..api.methods.len() {
        put(&world, &format!("t-{number}"), 1).await.unwrap();
    }
    let before = state().await;
    for (number, method) in api.methods.iter().enumerate() {
        let (path, tenant) = (&method.path, format!("t-{number}"));
        match call(&world.channel, &tenant, path, api.request(method, &value)).await {
            Ok(answer) => {
                let leaks = |secret: &str| answer.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
                for secret in ["foreign", message.as_str(), inbound.as_str()] {
                    assert!(!leaks(secret), "{path} tells {secret}");
                }
            }
            // Anything else would mean that the request was not good enough to be looked up.
            Err(status) => {
                let blind = [Code::NotFound, Code::PermissionDenied];
                assert!(blind.contains(&status.code()), "{path}: {status:?}");
            }
        }
        assert_eq!(state().await, before, "{path} changed something");
    }
}
