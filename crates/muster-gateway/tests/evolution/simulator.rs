//! The adapter against the simulated product: whole conversations over real HTTP, in both directions, and the simulator's
//! own ledger as the judge of what was sent.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use muster_domain::bot::Connection;
use muster_domain::content::{Content, Courtesy, Media, MediaDigest, MediaSource, ReactionTarget};
use muster_domain::failure::FailureReason;
use muster_domain::message::ReceiptKind;
use muster_domain::reconnect::CloseReason;
use muster_domain::{BotId, MessageId};
use muster_gateway::evolution::{EvolutionConfig, EvolutionGateway};
use muster_gateway::{
    Event, Gateway, LinkProgress, LinkRequest, Secret, SendError, SendRequest, Sent, WebhookRequest, WebhookTarget,
};
use muster_simulator::{
    Accepted, AdminClient, Behaviour, Config, Delay, Faults, GatewayConfig, Kind, LedgerEvent, SendFaults, Simulator,
    WebhookPolicy, Zombie, start,
};
use tokio::net::TcpListener;

use crate::replay::address;

const NUMBER: &str = "5511900000009";
const ANA: &str = "+5511900000001";
const SECRET: &str = "agreed-secret";

/// Longest wait for a state: the slowest chain of the simulator takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulator with one gateway, the adapter for it, and a receiver of its webhooks.
struct Bench {
    simulator: Simulator,
    admin: AdminClient,
    gateway: Arc<EvolutionGateway>,
    bot: BotId,
    webhook: WebhookTarget,
    events: Arc<Mutex<Vec<Event>>>,
    _directory: tempfile::TempDir,
}

#[derive(Clone)]
struct Receiver {
    gateway: Arc<EvolutionGateway>,
    bot: BotId,
    events: Arc<Mutex<Vec<Event>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned())).collect();
    let request = WebhookRequest { bot: &receiver.bot, secret: SECRET, headers: &headers, body: &body };
    let events = receiver.gateway.read_webhook(&request).unwrap();
    receiver.events.lock().unwrap().extend(events);
    StatusCode::OK
}

impl Bench {
    async fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let behaviour = Behaviour {
            connect_wait_ms: 20,
            server_ack: Delay::FixedMs(5),
            delivery: Delay::FixedMs(5),
            read: Delay::FixedMs(5),
            read_share: 1.0,
            not_on_whatsapp_suffixes: vec!["404".into()],
            webhook: WebhookPolicy { retry_scale: 0.001, ..WebhookPolicy::default() },
            ..Behaviour::default()
        };
        let config = GatewayConfig { behaviour, ..GatewayConfig::new("evo", "global-key") };
        let simulator = start(Config::new(directory.path().join("ledger.jsonl"), vec![config])).await.unwrap();
        let gateway = EvolutionGateway::new(EvolutionConfig {
            base_url: simulator.gateways()[0].url.clone(),
            api_key: Secret::new("global-key"),
            call_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
        });
        let gateway = Arc::new(gateway.unwrap());
        let bot = BotId::new("bot-01").unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/evo/bot-01", listener.local_addr().unwrap());
        let receiver = Receiver { gateway: gateway.clone(), bot: bot.clone(), events: events.clone() };
        let app = axum::Router::new().fallback(receive).with_state(receiver);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let admin = simulator.admin().unwrap();
        let webhook = WebhookTarget { url, secret: SECRET.into() };
        Bench { simulator, admin, gateway, bot, webhook, events, _directory: directory }
    }

    /// A bench whose bot is linked.
    async fn linked() -> Bench {
        let bench = Bench::new().await;
        bench.gateway.ensure(&bench.bot, &bench.webhook).await.unwrap();
        bench.link().await;
        bench
    }

    async fn link(&self) {
        let progress = self.gateway.link(&self.bot, &LinkRequest::default()).await.unwrap();
        assert!(matches!(progress, LinkProgress::Code { .. }), "{progress:?}");
        self.admin.scan("evo", "bot-01", Some(NUMBER)).await.unwrap();
        self.becomes(Connection::Connected).await;
    }

    /// Waits until the gateway reports this connection.
    async fn becomes(&self, expected: Connection) {
        let limit = Instant::now() + PATIENCE;
        loop {
            let connection = self.gateway.connection(&self.bot).await.unwrap();
            if connection == expected {
                return;
            }
            assert!(Instant::now() < limit, "{connection} never became {expected}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for an event and takes it.
    async fn event<T>(&self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        let limit = Instant::now() + PATIENCE;
        loop {
            {
                let mut events = self.events.lock().unwrap();
                if let Some((at, picked)) = events.iter().enumerate().find_map(|(at, event)| Some((at, pick(event)?))) {
                    events.remove(at);
                    return picked;
                }
                assert!(Instant::now() < limit, "no {what} among {events:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn closed(&self, reason: CloseReason) {
        self.event("close", |event| match event {
            Event::Closed { reason: found, .. } if *found == reason => Some(()),
            _ => None,
        })
        .await;
    }

    async fn send(&self, content: &Content) -> Result<Sent, SendError> {
        self.send_to(ANA, content).await
    }

    async fn send_to(&self, to: &str, content: &Content) -> Result<Sent, SendError> {
        self.gateway.send(&self.bot, request(&address(to), content, None)).await
    }

    /// Everything that the simulated network took, in order.
    async fn accepted(&self) -> Vec<Accepted> {
        let lines = self.admin.ledger().await.unwrap();
        let accepted = lines.into_iter().filter_map(|line| match line.entry.event {
            LedgerEvent::Accepted(accepted) => Some(Accepted::clone(&accepted)),
            _ => None,
        });
        accepted.collect()
    }

    async fn with_faults(&self, faults: Faults) {
        self.admin.set_gateway_faults("evo", &faults).await.unwrap();
    }
}

fn request<'a>(
    recipient: &'a muster_domain::Address,
    content: &'a Content,
    media: Option<&'a Bytes>,
) -> SendRequest<'a> {
    SendRequest {
        message_id: MessageId::from_raw(1).unwrap(),
        recipient,
        content,
        media,
        reply_to: None,
        courtesy: Courtesy::default(),
        timeout: Duration::from_secs(5),
    }
}

fn text(body: &str) -> Content {
    Content::Text { body: body.into() }
}

fn reason(result: Result<Sent, SendError>) -> FailureReason {
    result.unwrap_err().into_failure().reason
}

#[tokio::test]
async fn a_login_from_nothing_to_the_end() {
    let bench = Bench::new().await;
    let Bench { gateway, bot, webhook, admin, .. } = &bench;
    assert!(!gateway.probe().await.unwrap().is_empty());
    assert_eq!(gateway.connection(bot).await.unwrap(), Connection::Unlinked);
    assert_eq!(reason(bench.send(&text("too early")).await), FailureReason::NotConnected);
    assert_eq!(gateway.ensure(bot, webhook).await.unwrap(), Connection::Unlinked);
    assert_eq!(gateway.ensure(bot, webhook).await.unwrap(), Connection::Unlinked);

    let pairing = LinkRequest { pairing_address: Some(address(&format!("+{NUMBER}"))) };
    let LinkProgress::Code { qr, pairing_code } = gateway.link(bot, &pairing).await.unwrap() else { panic!("no code") };
    assert_eq!(pairing_code.unwrap().len(), 8);
    assert_eq!(gateway.connection(bot).await.unwrap(), Connection::Linking);
    bench
        .event("code", |event| match event {
            Event::Link(LinkProgress::Code { qr: told, .. }) if *told == qr => Some(()),
            _ => None,
        })
        .await;
    admin.scan("evo", "bot-01", Some(NUMBER)).await.unwrap();
    let own = bench
        .event("login", |event| match event {
            Event::Connected { address } => Some(address.clone()),
            _ => None,
        })
        .await;
    bench.becomes(Connection::Connected).await;
    assert_eq!(gateway.ensure(bot, webhook).await.unwrap(), Connection::Connected);
    let linked = gateway.link(bot, &LinkRequest::default()).await.unwrap();
    assert!(matches!(linked, LinkProgress::Linked { address } if address.is_some()));

    gateway.restart(bot).await.unwrap();
    bench.becomes(Connection::Connected).await;
    admin.disconnect("evo", "bot-01", 428).await.unwrap();
    bench.becomes(Connection::Connected).await;

    gateway.logout(bot).await.unwrap();
    bench.closed(CloseReason::LoggedOut).await;
    bench.becomes(Connection::LoggedOut).await;
    gateway.logout(bot).await.unwrap();
    assert_eq!(gateway.restart(bot).await.unwrap_err().failure.reason, FailureReason::NotConnected);
    assert_eq!(gateway.ensure(bot, webhook).await.unwrap(), Connection::LoggedOut);
    assert_eq!(reason(bench.send(&text("too late")).await), FailureReason::NotConnected);
    assert!(own.is_none_or(|own| own == address(&format!("+{NUMBER}"))));
    assert_eq!(bench.accepted().await.len(), 0);
    bench.simulator.stop().await;
}

#[tokio::test]
async fn a_ban_is_told() {
    let bench = Bench::linked().await;
    bench.admin.disconnect("evo", "bot-01", 403).await.unwrap();
    bench.closed(CloseReason::Banned).await;
    bench.becomes(Connection::LoggedOut).await;
    bench.simulator.stop().await;
}

#[tokio::test]
async fn every_content_arrives_and_is_receipted() {
    let bench = Bench::linked().await;
    let bytes = Bytes::from_static(&[0x89, b'P', b'N', b'G', 0, 0xff]);
    let stored =
        |mime_type: &str| Media { source: MediaSource::Stored(MediaDigest::of(&bytes)), mime_type: mime_type.into() };
    let at = |mime_type: &str| Media {
        source: MediaSource::Url("https://files.example/a".into()),
        mime_type: mime_type.into(),
    };
    let contents = [
        (text("Olá"), Kind::Text),
        (Content::Image { media: stored("image/png"), caption: "c".into() }, Kind::Image),
        (Content::Image { media: at("image/png"), caption: String::new() }, Kind::Image),
        (Content::Audio { media: stored("audio/ogg") }, Kind::Voice),
        (Content::Audio { media: at("audio/ogg") }, Kind::Voice),
        (
            Content::Document { media: stored("application/pdf"), caption: String::new(), file_name: "a.pdf".into() },
            Kind::Document,
        ),
    ];
    let mut sent = Vec::new();
    for (content, _) in &contents {
        let recipient = address(ANA);
        let request = request(&recipient, content, Some(&bytes));
        sent.push(bench.gateway.send(&bench.bot, request).await.unwrap().network_id);
    }
    let target = ReactionTarget { network_id: sent[0].clone(), from_bot: true, resource: None };
    sent.push(bench.send(&Content::Reaction { target, emoji: "👍".into() }).await.unwrap().network_id);

    let accepted = bench.accepted().await;
    assert_eq!(accepted.iter().map(|accepted| accepted.network_id.clone()).collect::<Vec<_>>(), sent);
    let kinds = contents.iter().map(|(_, kind)| *kind).chain([Kind::Reaction]);
    assert_eq!(accepted.iter().map(|accepted| accepted.content.kind).collect::<Vec<_>>(), kinds.collect::<Vec<_>>());
    assert!(accepted.iter().all(|accepted| accepted.recipient == "5511900000001@s.whatsapp.net"));
    assert_eq!(accepted[1].content.media.as_ref().unwrap().bytes, Some(bytes.len() as u64));
    assert_eq!(accepted[6].content.reaction_to.as_ref(), Some(&sent[0]));
    for id in &sent[..6] {
        bench
            .event("echo", |event| match event {
                Event::Echo { network_id, recipient, .. } if network_id == id => Some(recipient.clone()),
                _ => None,
            })
            .await;
        for expected in [ReceiptKind::Acknowledged, ReceiptKind::Delivered, ReceiptKind::Read] {
            bench
                .event("receipt", |event| match event {
                    Event::Receipt { network_id, kind, .. } if network_id == id && *kind == expected => Some(()),
                    _ => None,
                })
                .await;
        }
    }
    bench.simulator.stop().await;
}

#[tokio::test]
async fn a_conversation_with_courtesies() {
    let bench = Bench::linked().await;
    let inbound = bench.admin.inbound("evo", "bot-01", "5511900000001", "are you there?").await.unwrap().network_id;
    let (sender, content) = bench
        .event("inbound message", |event| match event {
            Event::Inbound { network_id, sender, content, .. } if *network_id == inbound => {
                Some((sender.clone(), content.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!(sender, address(ANA));
    assert_eq!(content, text("are you there?"));

    let typing = Duration::from_millis(150);
    let content = text("yes");
    let reply = SendRequest {
        reply_to: Some(&inbound),
        courtesy: Courtesy { mark_read: true, typing },
        // The typing time is not a part of it.
        timeout: Duration::from_secs(5),
        ..request(&sender, &content, None)
    };
    let begun = Instant::now();
    bench.gateway.send(&bench.bot, reply).await.unwrap();
    assert!(begun.elapsed() >= typing);
    assert_eq!(bench.accepted().await[0].content.quoted.as_ref(), Some(&inbound));
    let ledger = bench.admin.ledger().await.unwrap();
    let read =
        |event: &LedgerEvent| matches!(event, LedgerEvent::MarkedRead { network_id, .. } if *network_id == inbound);
    assert!(ledger.iter().any(|line| read(&line.entry.event)));
    bench.simulator.stop().await;
}

#[tokio::test]
async fn recipients_are_checked() {
    let bench = Bench::linked().await;
    let addresses = [address("+5511900000404"), address("+5531987654321"), address(ANA)];
    let statuses = bench.gateway.check_recipients(&bench.bot, &addresses).await.unwrap();
    let told: Vec<_> = statuses
        .iter()
        .map(|status| (status.exists, status.network_address.as_ref().map(|address| address.as_str().to_owned())))
        .collect();
    // The network knows mobile numbers of that region without their ninth digit.
    assert_eq!(told, [(false, None), (true, Some("+553187654321".into())), (true, None)]);
    assert_eq!(reason(bench.send_to("+5511900000404", &text("hello")).await), FailureReason::RecipientUnreachable);
    bench.simulator.stop().await;
}

#[tokio::test]
async fn looks_healthy_and_is_not() {
    let bench = Bench::linked().await;
    bench.with_faults(Faults { zombie: Zombie::UntilRestart, ..Faults::default() }).await;
    assert_eq!(bench.gateway.connection(&bench.bot).await.unwrap(), Connection::Connected);
    let refused = bench.send(&text("hello")).await.unwrap_err();
    assert!(
        matches!(&refused, SendError::NotSent(failure) if failure.reason == FailureReason::NotConnected),
        "{refused}"
    );
    bench.gateway.restart(&bench.bot).await.unwrap();
    bench.becomes(Connection::Connected).await;
    bench.send(&text("hello")).await.unwrap();

    bench.with_faults(Faults { unloaded: true, ..Faults::default() }).await;
    let refused = bench.send(&text("hello")).await.unwrap_err();
    assert!(
        matches!(&refused, SendError::NotSent(failure) if failure.reason == FailureReason::NotConnected),
        "{refused}"
    );
    assert_eq!(bench.gateway.connection(&bench.bot).await.unwrap(), Connection::Disconnected);
    bench.simulator.stop().await;
}

/// What the adapter says about a send, against what the network knows about it.
#[tokio::test]
async fn the_ledger_confirms_every_verdict() {
    let bench = Bench::linked().await;
    let none = SendFaults::default;
    let cases = [
        (none(), "sent", None),
        (SendFaults { connection_closed_500: 1.0, ..none() }, "not sent", Some(FailureReason::NotConnected)),
        (SendFaults { connection_closed_400: 1.0, ..none() }, "not sent", Some(FailureReason::NotConnected)),
        (SendFaults { not_on_whatsapp: 1.0, ..none() }, "not sent", Some(FailureReason::RecipientUnreachable)),
        (SendFaults { unauthorized: 1.0, ..none() }, "not sent", Some(FailureReason::AuthInvalid)),
        (SendFaults { license_503: 1.0, ..none() }, "not sent", Some(FailureReason::AuthInvalid)),
        (SendFaults { server_error_500: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
        (SendFaults { meta_error_201: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
        (SendFaults { prisma_400_after_send: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
        (SendFaults { empty_201: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
        (SendFaults { hang_before: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
        (SendFaults { hang_after: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
        (SendFaults { reset_before: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
        (SendFaults { reset_after: 1.0, ..none() }, "unknown", Some(FailureReason::OutcomeUnknown)),
    ];
    for (faults, expected, expected_reason) in cases {
        bench.with_faults(Faults { send: faults.clone(), ..Faults::default() }).await;
        let before = bench.accepted().await.len();
        let recipient = address(ANA);
        let content = text("hello");
        let request = SendRequest { timeout: Duration::from_millis(500), ..request(&recipient, &content, None) };
        let result = bench.gateway.send(&bench.bot, request).await;
        let taken = bench.accepted().await.len() - before;
        let (verdict, reason) = match &result {
            Ok(_) => ("sent", None),
            Err(SendError::NotSent(failure)) => ("not sent", Some(failure.reason)),
            Err(SendError::Unknown(failure)) => ("unknown", Some(failure.reason)),
        };
        assert_eq!((verdict, reason), (expected, expected_reason), "{faults:?}: {result:?}");
        match verdict {
            "sent" => assert_eq!(taken, 1, "{faults:?}"),
            "not sent" => assert_eq!(taken, 0, "{faults:?}"),
            _ => assert!(taken <= 1, "{faults:?}"),
        }
    }
    bench.simulator.stop().await;
}
