//! The webhook receiver over real HTTP.

use muster_gateway::WebhookTarget;
use muster_proto::agent_v1 as wire;

use super::server::Conversation;
use super::{Bench, until};

pub(super) async fn target(bench: &Bench) -> WebhookTarget {
    until("the gateway to be told", || bench.agent.gateway.webhook.lock().unwrap().is_some()).await;
    bench.agent.gateway.webhook.lock().unwrap().clone().unwrap()
}

pub(super) async fn post(url: &str, secret: &str, body: impl Into<reqwest::Body>) -> u16 {
    reqwest::Client::new().post(url).header("x-secret", secret).body(body).send().await.unwrap().status().as_u16()
}

/// The next report that is no outcome and tells of no login.
async fn told(session: &mut Conversation) -> wire::report::Body {
    loop {
        for report in session.reports().await.reports {
            match report.body.unwrap() {
                wire::report::Body::Connection(_) => {}
                body => return body,
            }
        }
    }
}

#[tokio::test]
async fn what_networks_say_is_reported() {
    let (bench, mut session) = Bench::new().await;
    let WebhookTarget { url, secret } = target(&bench).await;
    assert_eq!(post(&url, &secret, "receipt id-1").await, 200);
    let wire::report::Body::Receipt(receipt) = told(&mut session).await else { panic!() };
    assert_eq!(
        (receipt.bot.as_str(), receipt.network_id.as_str(), receipt.kind()),
        ("a", "id-1", wire::ReceiptKind::Delivered)
    );
    assert_eq!(post(&url, &secret, "inbound in-1").await, 200);
    let wire::report::Body::Inbound(inbound) = told(&mut session).await else { panic!() };
    assert_eq!((inbound.network_id.as_str(), inbound.sender_name.as_str()), ("in-1", "Ana"));
    assert_eq!(post(&url, &secret, "nothing").await, 200);
}

#[tokio::test]
async fn what_is_forged_malformed_huge_or_unknown_is_refused() {
    let (bench, mut session) = Bench::new().await;
    let WebhookTarget { url, secret } = target(&bench).await;
    assert_eq!(post(&url, "guess", "receipt id-1").await, 401);
    assert_eq!(post(&url, &secret, "what").await, 400);
    assert_eq!(post(&url, &secret, vec![0xff, 0xfe]).await, 400);
    assert_eq!(post(&url, &secret, "other").await, 404);
    assert_eq!(post(&url.replace("/g/", "/h/"), &secret, "nothing").await, 404);
    assert_eq!(post(&url.replace("/g/a", "/g/stranger"), &secret, "nothing").await, 404);
    assert_eq!(post(&url.replace("/g/a", "/g/%00%FF"), &secret, "nothing").await, 400);
    assert_eq!(post(&url, &secret, vec![b'x'; 1024 * 1024 + 1]).await, 413);
    assert_eq!(reqwest::get(&url).await.unwrap().status().as_u16(), 405);
    // An id that no report may carry is left out; the gateway has nothing to mend.
    assert_eq!(post(&url, &secret, format!("receipt {}", "x".repeat(300))).await, 200);
    assert_eq!(post(&url, &secret, "receipt good").await, 200);
    let wire::report::Body::Receipt(receipt) = told(&mut session).await else { panic!() };
    assert_eq!(receipt.network_id, "good");
}

#[tokio::test]
async fn a_full_disk_refuses_webhooks_so_that_they_come_again() {
    let (bench, _session) = Bench::with(|config| config.journal_free_bytes_min = u64::MAX).await;
    let WebhookTarget { url, secret } = target(&bench).await;
    assert_eq!(post(&url, &secret, "receipt id-1").await, 503);
    assert_eq!(post(&url, &secret, "nothing").await, 200);
}

#[tokio::test]
async fn a_full_disk_grants_no_credit() {
    let mut server = super::HandDriven::start().await;
    let dir = tempfile::tempdir().unwrap();
    let config = crate::Config { journal_free_bytes_min: u64::MAX, ..super::config(&server, dir.path()) };
    let _agent = super::Agent::start(config);
    assert_eq!(server.session().await.hello().await.credit.unwrap().attempts_total, 0);
}
