//! Contacts: who opts out gets nothing any more, and only who may opts in again.

use muster_proto::agent_v1::report::Body as ReportBody;
use muster_proto::agent_v1::server_frame::Body;
use muster_proto::agent_v1::{self as wire};
use muster_proto::v1::contact_service_client::ContactServiceClient;
use muster_proto::v1::{self, MessageState};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::agent::outcome;
use crate::world::{World, fields, refused, text, until};

const OPTED_OUT: &str = "RECIPIENT_OPTED_OUT";

fn contacts(world: &World) -> ContactServiceClient<Channel> {
    ContactServiceClient::new(world.channel.clone())
}

fn address(text: &str) -> Option<v1::ContactAddress> {
    Some(v1::ContactAddress { network: "null".into(), address: text.into() })
}

async fn opt_out(world: &World, recipient: &str) -> v1::OptOutContactResponse {
    let request = v1::OptOutContactRequest {
        address: address(recipient),
        text: "asked on the phone".into(),
        author: "ana".into(),
        ..Default::default()
    };
    contacts(world).opt_out_contact(request).await.unwrap().into_inner()
}

async fn opt_in(world: &World, recipient: &str, proof: &str) -> Result<v1::Contact, Status> {
    let request = v1::OptInContactRequest { address: address(recipient), proof: proof.into(), ..Default::default() };
    Ok(contacts(world).opt_in_contact(request).await?.into_inner().contact.unwrap())
}

async fn get(world: &World, recipient: &str) -> Result<v1::Contact, Status> {
    let request = v1::GetContactRequest { address: address(recipient) };
    Ok(contacts(world).get_contact(request).await?.into_inner().contact.unwrap())
}

fn says(network_id: &str, sender: &str, body: &str) -> ReportBody {
    let content = wire::Content { kind: Some(wire::content::Kind::Text(wire::content::Text { body: body.into() })) };
    ReportBody::Inbound(wire::InboundReport {
        bot: "a".into(),
        network_id: network_id.into(),
        sender: sender.into(),
        content: Some(content),
        ..Default::default()
    })
}

/// The names of all inbound messages, once there are so many.
async fn inbound(world: &World, count: usize) -> Vec<String> {
    until(async || {
        let found = world.inbound().list_inbound_messages(v1::ListInboundMessagesRequest::default()).await.unwrap();
        let names: Vec<_> = found.into_inner().inbound_messages.into_iter().map(|inbound| inbound.name).collect();
        (names.len() == count).then_some(names)
    })
    .await
}

#[tokio::test]
async fn what_waits_fails_and_nothing_more_is_accepted() {
    let world = World::with_bots(&["a"]).await;
    let waiting = world.send_text("a", "r", "x").await;
    let done = opt_out(&world, "r").await;
    assert_eq!((done.failed, done.under_way), (1, 0));
    let message = world.message(&waiting.name).await;
    assert_eq!((message.state(), message.failure.unwrap().reason.as_str()), (MessageState::Failed, OPTED_OUT));
    let status = refused(world.send(text("a", "r", "x")).await, Code::FailedPrecondition, OPTED_OUT);
    assert!(status.message().contains("muster contact get"), "{status:?}");
    let frame = vec![text("a", "r", "x"), text("a", "other", "x")];
    let results = world.send_frames(vec![frame]).await.unwrap().remove(0).results;
    let refusal = match &results[0].result {
        Some(v1::send_result::Result::Refusal(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!((refusal.code, refusal.reason.as_str()), (i32::from(Code::FailedPrecondition), OPTED_OUT));
    assert!(matches!(results[1].result, Some(v1::send_result::Result::Name(_))), "{results:?}");
    let contact = get(&world, "r").await.unwrap();
    assert_eq!(contact.opt_records.len(), 1);
    assert_eq!(contact.opt_records[0].source(), v1::OptSource::Operator);
    assert_eq!(
        (contact.opt_records[0].text.as_str(), contact.opt_records[0].author.as_str()),
        ("asked on the phone", "ana")
    );
    assert_eq!(opt_out(&world, "r").await.contact, Some(contact), "a repeated call changes nothing");
}

/// P5. A word opts its sender out, the agent is asked to drop what it has not begun, and what it drops does not come back.
#[tokio::test]
async fn a_word_takes_back_what_the_agent_has_not_begun() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "x").await;
    let attempt = agent.attempts(1).await.remove(0);
    agent.report(vec![says("1", "r", "Sair.")]).await;
    let cancel = agent.wait(|body| if let Body::Cancel(cancel) = body { Ok(cancel) } else { Err(body) }).await;
    assert_eq!(cancel.attempts, [attempt.r#ref.unwrap()]);
    agent.report(vec![outcome(&attempt, wire::Outcome::Cancelled, "")]).await;
    let message = world.message(&message.name).await;
    assert_eq!((message.state(), message.cancel_requested), (MessageState::Failed, false));
    assert_eq!(message.failure.unwrap().reason, OPTED_OUT);
    refused(world.send(text("a", "r", "x")).await, Code::FailedPrecondition, OPTED_OUT);
    let contact = get(&world, "r").await.unwrap();
    assert_eq!(contact.opt_records[0].source(), v1::OptSource::Keyword);
    assert_eq!(contact.opt_records[0].proof, inbound(&world, 1).await[0]);
}

#[tokio::test]
async fn what_a_person_said_only_they_take_back() {
    let world = World::with_bots(&["a"]).await;
    let mut agent = world.agent(&["a"]).await;
    refused(opt_in(&world, "r", "form").await, Code::NotFound, "CONTACT_UNKNOWN");
    agent.report(vec![says("1", "r", "stop")]).await;
    let status = refused(opt_in(&world, "r", "form").await, Code::FailedPrecondition, "OWN_WORD_NEEDED");
    assert!(status.message().contains("inboundMessages/"), "{status:?}");
    agent.report(vec![says("2", "r", "it is fine again")]).await;
    let own_word = inbound(&world, 2).await.remove(0);
    let contact = opt_in(&world, "r", &own_word).await.unwrap();
    assert_eq!((contact.opt_out_time, contact.opt_records.len()), (None, 2));
    refused(opt_in(&world, "r", &own_word).await, Code::FailedPrecondition, "CONTACT_NOT_OPTED_OUT");
    world.send_text("a", "r", "x").await;
    agent.attempts(1).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_by_field() {
    let world = World::start().await;
    let none = contacts(&world).opt_in_contact(v1::OptInContactRequest::default()).await;
    let status = refused(none, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["proof", "address.address"]);
    let long = v1::OptOutContactRequest { address: address("r"), text: "x".repeat(257), ..Default::default() };
    let status = refused(contacts(&world).opt_out_contact(long).await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["text"]);
    let status = refused(get(&world, "").await, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["address.address"]);
    refused(get(&world, "nobody").await, Code::NotFound, "CONTACT_UNKNOWN");
}

#[tokio::test]
async fn contacts_are_listed_page_by_page() {
    let world = World::start().await;
    for recipient in ["r-1", "r-2", "r-3"] {
        opt_out(&world, recipient).await;
    }
    opt_in(&world, "r-2", "form").await.unwrap();
    let list = async |opted_out, page_token: &str| {
        let request = v1::ListContactsRequest { page_size: 2, page_token: page_token.into(), opted_out };
        let page = contacts(&world).list_contacts(request).await.unwrap().into_inner();
        let shown: Vec<_> = page.contacts.iter().map(|contact| contact.addresses[0].address.clone()).collect();
        (shown, page.next_page_token)
    };
    let (first, token) = list(false, "").await;
    assert_eq!(first, ["r-1", "r-2"]);
    assert_eq!(list(false, &token).await, (vec!["r-3".to_owned()], String::new()));
    assert_eq!(list(true, "").await.0, ["r-1", "r-3"]);
}
