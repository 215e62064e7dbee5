//! Frames of the agents' stream as they were recorded: what an agent or a server of before sent keeps its meaning.
//!
//! `fixtures/agent_v1.frames` has a line for each: direction, name, bytes in hexadecimal. A recorded line never changes. When a
//! frame, a field or a kind of content is added, add a line that has it, with its value below: `cargo test --package muster-proto
//! --test wire` prints the bytes of what is not recorded yet.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::needless_update, reason = "a field that is added later is unset in what was recorded before")]

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use muster_proto::FILE_DESCRIPTOR_SET;
use muster_proto::agent_v1::agent_frame::Body as FromAgent;
use muster_proto::agent_v1::content::{
    Audio, Document, Image, Kind, Reaction, Text, Unsupported as UnsupportedContent,
};
use muster_proto::agent_v1::server_frame::Body as FromServer;
use muster_proto::agent_v1::*;
use prost::Message as _;
use prost_types::FileDescriptorSet;

const RECORDED: &str = include_str!("fixtures/agent_v1.frames");

/// What a recorded line means.
#[derive(Debug, Clone, PartialEq)]
enum Frame {
    Agent(AgentFrame),
    Server(ServerFrame),
}

impl Frame {
    fn encode(&self) -> Vec<u8> {
        match self {
            Frame::Agent(frame) => frame.encode_to_vec(),
            Frame::Server(frame) => frame.encode_to_vec(),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Frame {
        match self {
            Frame::Agent(_) => Frame::Agent(AgentFrame::decode(bytes).unwrap()),
            Frame::Server(_) => Frame::Server(ServerFrame::decode(bytes).unwrap()),
        }
    }

    fn direction(&self) -> &'static str {
        match self {
            Frame::Agent(_) => "agent",
            Frame::Server(_) => "server",
        }
    }
}

fn attempt_ref(message_id: u64) -> AttemptRef {
    AttemptRef { message_id, attempt_no: 2, ..AttemptRef::default() }
}

fn failure() -> Failure {
    Failure {
        reason: FailureReason::RateLimited.into(),
        detail: "HTTP 429".into(),
        retry_after_ms: 30_000,
        scope: FailureScope::Bot.into(),
        ..Failure::default()
    }
}

fn content(kind: Kind) -> Option<Content> {
    Some(Content { kind: Some(kind) })
}

fn text(body: &str) -> Option<Content> {
    content(Kind::Text(Text { body: body.into() }))
}

fn media(source: media::Source) -> Option<Media> {
    Some(Media { source: Some(source), mime_type: "image/png".into(), ..Media::default() })
}

fn attempt(content: Option<Content>) -> Attempt {
    Attempt {
        r#ref: Some(attempt_ref(0x0123_4567_89ab_cdef)),
        bot: "clinic-1".into(),
        recipient: "+5511900000001".into(),
        content,
        chain: 0xfedc_ba98_7654_3210,
        start_within_ms: 600_000,
        reply_to: "3EB0".into(),
        mark_read: true,
        typing_ms: 1_500,
        resend_after: 1,
        ..Attempt::default()
    }
}

fn reports(bodies: Vec<report::Body>) -> FromAgent {
    let reports = bodies.into_iter().map(|body| Report { age_ms: 250, body: Some(body), ..Report::default() });
    FromAgent::Reports(Reports { first_offset: 41, reports: reports.collect(), ..Reports::default() })
}

fn outcome(outcome: Outcome) -> OutcomeReport {
    OutcomeReport {
        attempt: Some(attempt_ref(7)),
        outcome: outcome.into(),
        queued_ms: 12,
        gateway_ms: 345,
        ..OutcomeReport::default()
    }
}

fn update() -> CommandUpdate {
    CommandUpdate { command_id: 3, r#final: true, ..CommandUpdate::default() }
}

fn from_agent() -> Vec<(&'static str, FromAgent)> {
    let hello = Hello {
        node: "nodes/north-1".into(),
        agent_version: "0.1.0".into(),
        protocol_min: 1,
        protocol_max: 2,
        capabilities: vec!["teleport".into()],
        journal_id: vec![7; 16],
        journal_opening: 3,
        process_id: vec![8; 16],
        report_head: 44,
        held: vec![HeldAttempt {
            attempt: Some(attempt_ref(7)),
            started: true,
            report_offset: 43,
            ..HeldAttempt::default()
        }],
        desired_version: 5,
        credit: Some(Credit { attempts_total: 1_000, bytes_total: 1 << 20, per_bot: 2, ..Credit::default() }),
        receive_bytes_max: 4_194_304,
        report_acknowledged: 40,
        forgotten: Some(ForgottenOutcomes { through: 9, age_ms: 604_800_000, ..ForgottenOutcomes::default() }),
        ..Hello::default()
    };
    let heartbeat =
        Heartbeat { held: 1, report_head: 44, desired_version: 5, journal_free_bytes: 1 << 30, ..Heartbeat::default() };
    let error = ResourceError { name: "gateways/g".into(), message: "no key".into(), ..ResourceError::default() };
    let handed_back =
        OutcomeReport { handback_reason: HandbackReason::Draining.into(), ..outcome(Outcome::HandedBack) };
    let receipt = ReceiptReport {
        bot: "clinic-1".into(),
        network_id: "3EB0".into(),
        kind: ReceiptKind::Failed.into(),
        failure: Some(failure()),
        ..ReceiptReport::default()
    };
    let inbound = |content| InboundReport {
        bot: "clinic-1".into(),
        network_id: "3EB1".into(),
        sender: "+5511900000001".into(),
        participant: "+5511900000002".into(),
        sender_name: "Ana".into(),
        content,
        reply_to: "3EB0".into(),
        ..InboundReport::default()
    };
    let unsupported = content(Kind::Unsupported(UnsupportedContent { kind: "poll".into() }));
    let connection = ConnectionReport {
        bot: "clinic-1".into(),
        connection: muster_proto::agent_v1::Connection::LoggedOut.into(),
        detail: "401".into(),
        address: "+5511900000009".into(),
        banned: true,
        ..ConnectionReport::default()
    };
    let outcomes = vec![
        report::Body::Outcome(OutcomeReport { network_id: "3EB0".into(), ..outcome(Outcome::Sent) }),
        report::Body::Outcome(OutcomeReport { failure: Some(failure()), ..outcome(Outcome::Failed) }),
        report::Body::Outcome(OutcomeReport { failure: Some(failure()), ..outcome(Outcome::Uncertain) }),
        report::Body::Outcome(handed_back),
        report::Body::Outcome(outcome(Outcome::Expired)),
        report::Body::Outcome(outcome(Outcome::Cancelled)),
    ];
    let link = LinkProgress {
        state: link_progress::State::Code.into(),
        qr: "2@abc".into(),
        pairing_code: "ABCD1234".into(),
        address: "+5511900000009".into(),
        ..LinkProgress::default()
    };
    let recipient = RecipientStatus {
        address: "+5511900000001".into(),
        exists: true,
        network_address: "+551190000001".into(),
        ..RecipientStatus::default()
    };
    vec![
        ("hello", FromAgent::Hello(hello.clone())),
        ("hello/desired_lineage", FromAgent::Hello(Hello { desired_lineage: 77, ..hello })),
        ("heartbeat", FromAgent::Heartbeat(heartbeat)),
        ("dispatch_ack", FromAgent::DispatchAck(DispatchAck { through_seq: 6, ..DispatchAck::default() })),
        ("reports", reports(outcomes)),
        (
            "reports/others",
            reports(vec![
                report::Body::Receipt(receipt),
                report::Body::Inbound(inbound(text("Good morning"))),
                report::Body::Inbound(inbound(unsupported)),
                report::Body::Connection(connection),
            ]),
        ),
        (
            "credit",
            FromAgent::Credit(Credit { attempts_total: 2_000, bytes_total: 2 << 20, per_bot: 2, ..Credit::default() }),
        ),
        (
            "desired_status",
            FromAgent::DesiredStatus(DesiredStatus { version: 5, errors: vec![error], ..DesiredStatus::default() }),
        ),
        ("command_update", FromAgent::CommandUpdate(CommandUpdate { failure: Some(failure()), ..update() })),
        ("command_update/link", FromAgent::CommandUpdate(CommandUpdate { link: Some(link), ..update() })),
        (
            "command_update/recipients",
            FromAgent::CommandUpdate(CommandUpdate { recipients: vec![recipient], ..update() }),
        ),
        ("drain", FromAgent::Drain(Drain { deadline_ms: 30_000, ..Drain::default() })),
        ("goodbye", FromAgent::Goodbye(Goodbye { reason: goodbye::Reason::ServerFault.into(), ..Goodbye::default() })),
        ("unsupported", FromAgent::Unsupported(Unsupported { seq: 4, ..Unsupported::default() })),
    ]
}

fn from_server() -> Vec<(&'static str, FromServer)> {
    let welcome = Welcome {
        protocol: 1,
        epoch: 12,
        capabilities: vec!["teleport".into()],
        heartbeat_interval_ms: 10_000,
        stall_timeout_ms: 30_000,
        report_committed: 40,
        drop: vec![attempt_ref(9)],
        receive_bytes_max: 4_194_304,
        ..Welcome::default()
    };
    let url = || media(media::Source::Url("https://example.org/a.png".into()));
    let digest = || media(media::Source::Digest(vec![9; 32]));
    let contents = vec![
        attempt(text("See you at ten.")),
        attempt(content(Kind::Image(Image { media: url(), caption: "The way".into() }))),
        attempt(content(Kind::Audio(Audio { media: digest() }))),
        attempt(content(Kind::Document(Document {
            media: digest(),
            caption: "The bill".into(),
            file_name: "bill.pdf".into(),
        }))),
        attempt(content(Kind::Reaction(Reaction { network_id: "3EB0".into(), from_bot: true, emoji: "👍".into() }))),
    ];
    let desired = DesiredState {
        version: 6,
        base_version: 5,
        gateways: vec![DesiredGateway { id: "g".into(), kind: "evolution".into(), ..DesiredGateway::default() }],
        bots: vec![DesiredBot {
            id: "clinic-1".into(),
            gateway: "g".into(),
            may_send: true,
            connect: true,
            address: "+5511900000009".into(),
            ..DesiredBot::default()
        }],
        removed_gateways: vec!["h".into()],
        removed_bots: vec!["clinic-2".into()],
        more: true,
        draining: true,
        ..DesiredState::default()
    };
    let windowed = DesiredState {
        version: 7,
        bots: vec![DesiredBot { id: "clinic-1".into(), window_generation: 3, ..DesiredBot::default() }],
        ..DesiredState::default()
    };
    let until_closing = Attempt { window_closes: true, window_generation: 3, ..attempt(text("See you at ten.")) };
    let command = |body| {
        FromServer::Command(Command { command_id: 3, bot: "clinic-1".into(), body: Some(body), ..Command::default() })
    };
    let close = Close {
        reason: close::Reason::ProtocolUnsupported.into(),
        message: "upgrade the agent".into(),
        retry_after_ms: 5_000,
        permanent: true,
        ..Close::default()
    };
    vec![
        ("welcome", FromServer::Welcome(welcome)),
        (
            "heartbeat_ack",
            FromServer::HeartbeatAck(HeartbeatAck {
                report_committed: 40,
                desired_version: 5,
                ..HeartbeatAck::default()
            }),
        ),
        (
            "dispatch",
            FromServer::Dispatch(Dispatch { attempts: contents, report_committed: 40, ..Dispatch::default() }),
        ),
        ("dispatch/window", FromServer::Dispatch(Dispatch { attempts: vec![until_closing], ..Dispatch::default() })),
        ("report_ack", FromServer::ReportAck(ReportAck { committed: 44, ..ReportAck::default() })),
        ("cancel", FromServer::Cancel(CancelAttempts { attempts: vec![attempt_ref(7)], ..CancelAttempts::default() })),
        ("desired_state", FromServer::DesiredState(desired.clone())),
        ("desired_state/lineage", FromServer::DesiredState(DesiredState { lineage: 77, ..desired })),
        ("desired_state/window", FromServer::DesiredState(windowed)),
        (
            "command",
            command(command::Body::StartLink(StartLink {
                pairing_address: "+5511900000009".into(),
                ..StartLink::default()
            })),
        ),
        ("command/cancel", command(command::Body::Cancel(CancelCommand {}))),
        ("command/unlink", command(command::Body::Unlink(Unlink {}))),
        ("command/reconnect", command(command::Body::Reconnect(Reconnect {}))),
        (
            "command/check_recipients",
            command(command::Body::CheckRecipients(CheckRecipients {
                recipients: vec!["+5511900000001".into()],
                ..CheckRecipients::default()
            })),
        ),
        (
            "command/mark_read",
            command(command::Body::MarkRead(MarkRead {
                chat: "+5511900000001".into(),
                network_id: "3EB1".into(),
                ..MarkRead::default()
            })),
        ),
        ("drain_ack", FromServer::DrainAck(DrainAck {})),
        ("close", FromServer::Close(close)),
        ("unsupported", FromServer::Unsupported(Unsupported { seq: 4, ..Unsupported::default() })),
    ]
}

/// What each line means, by direction and name.
fn meanings() -> BTreeMap<String, Frame> {
    let agent = from_agent()
        .into_iter()
        .map(|(name, body)| (name, Frame::Agent(AgentFrame { seq: 5, ack: 3, body: Some(body) })));
    let server = from_server()
        .into_iter()
        .map(|(name, body)| (name, Frame::Server(ServerFrame { seq: 6, ack: 4, body: Some(body) })));
    agent.chain(server).map(|(name, frame)| (format!("{} {name}", frame.direction()), frame)).collect()
}

fn recorded() -> BTreeMap<String, Vec<u8>> {
    let lines = RECORDED.lines().filter(|line| !line.is_empty());
    let read = lines.map(|line| {
        let (name, bytes) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), HEXLOWER.decode(bytes.as_bytes()).unwrap())
    });
    read.collect()
}

#[test]
fn recorded_frames_keep_their_meaning() {
    let mut meanings = meanings();
    for (name, bytes) in recorded() {
        let frame = meanings.remove(&name).unwrap_or_else(|| panic!("{name} was recorded and has no meaning any more"));
        assert_eq!(
            frame.decode(&bytes),
            frame,
            "{name} reads differently now: agents and servers of before still send it"
        );
        assert_eq!(
            frame.encode(),
            bytes,
            "{name} is written differently now: agents and servers of before still read it"
        );
    }
    let missing: Vec<_> =
        meanings.iter().map(|(name, frame)| format!("{name} {}", HEXLOWER.encode(&frame.encode()))).collect();
    assert!(missing.is_empty(), "not recorded yet:\n{}", missing.join("\n"));
}

#[test]
fn every_kind_of_frame_is_recorded() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let files = set.file.iter().filter(|file| file.package() == "muster.agent.v1");
    let messages: Vec<_> = files.flat_map(|file| &file.message_type).collect();
    let recorded: BTreeSet<_> = recorded().into_keys().collect();
    for (message, direction) in [("AgentFrame", "agent"), ("ServerFrame", "server")] {
        let frame = messages.iter().find(|found| found.name() == message).unwrap();
        for field in frame.field.iter().filter(|field| field.oneof_index.is_some()) {
            let name = format!("{direction} {}", field.name());
            assert!(recorded.contains(&name), "{name} is not recorded");
        }
    }
}
