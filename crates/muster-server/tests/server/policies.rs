//! What is done about messages of which nobody can tell whether they were sent, without a person.

use std::time::Duration;

use muster_proto::agent_v1 as agent_wire;
use muster_proto::v1::tenant_service_client::TenantServiceClient;
use muster_proto::v1::{self, DecidedBy, MessageState, OnUncertain, Resolution};
use muster_server::Config;

use crate::world::{World, text, until};

async fn decisions(world: &World, name: &str) -> Vec<(Resolution, DecidedBy)> {
    let trace = v1::TraceMessageRequest { name: name.to_owned() };
    let trace = world.messages().trace_message(trace).await.unwrap().into_inner();
    trace.resolutions.iter().map(|record| (record.resolution(), record.decided_by())).collect()
}

/// The report that nobody knows what became of an attempt.
fn unknown(attempt: &agent_wire::Attempt) -> agent_wire::report::Body {
    agent_wire::report::Body::Outcome(agent_wire::OutcomeReport {
        attempt: attempt.r#ref,
        outcome: agent_wire::Outcome::Uncertain.into(),
        ..Default::default()
    })
}

#[tokio::test]
async fn a_message_decides_for_itself_and_else_its_tenant() {
    let world = World::start_with(Config { uncertain_wait: Duration::ZERO, ..Config::default() }).await;
    world.declare(&["a"]).await;
    let held = world.send_text("a", "r", "held").await;
    assert_eq!(held.on_uncertain(), OnUncertain::Hold);
    let tenant =
        v1::Tenant { name: "tenants/default".into(), on_uncertain: OnUncertain::Drop.into(), ..v1::Tenant::default() };
    let request = v1::PutTenantRequest { tenant: Some(tenant) };
    let put = TenantServiceClient::new(world.channel.clone()).put_tenant(request).await.unwrap().into_inner();
    assert_eq!(put.tenant.unwrap().on_uncertain(), OnUncertain::Drop);
    let dropped = world.send_text("a", "r", "dropped").await;
    assert_eq!(dropped.on_uncertain(), OnUncertain::Drop);
    let resent = v1::Message { on_uncertain: OnUncertain::Resend.into(), ..text("a", "r", "resent") };
    let resent = world.send(resent).await.unwrap();
    let mut agent = world.agent(&["a"]).await;
    let attempts = agent.attempts(3).await;
    agent.report(attempts.iter().map(unknown).collect()).await;
    let again = agent.attempts(1).await.remove(0);
    assert_eq!((again.r#ref.unwrap().attempt_no, again.resend_after), (2, 1));
    assert_eq!(decisions(&world, &resent.name).await, [(Resolution::Resend, DecidedBy::Policy)]);
    until(async || (world.message(&dropped.name).await.state() == MessageState::Failed).then_some(())).await;
    assert_eq!(decisions(&world, &dropped.name).await, [(Resolution::Drop, DecidedBy::Policy)]);
    let held = world.message(&held.name).await;
    assert_eq!((held.state(), held.on_uncertain()), (MessageState::Uncertain, OnUncertain::Hold));
    assert_eq!(decisions(&world, &held.name).await, []);
}
