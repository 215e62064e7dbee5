//! The first frames of a session: who the agent is, whether it may have its node now, and where both stand.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use muster_domain::desired::DesiredVersion;
use muster_domain::limits::FRAME_BYTES_MAX;
use muster_domain::{NodeId, TenantId, Violation, revision};
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_frame::Body;
use muster_store::{Forgotten, Held, SessionOpen, SessionOpened};

use super::ending::Ending;
use super::registry::Handle;
use super::{Broken, Context};

/// The revisions of the protocol that this server speaks.
const REVISIONS: RangeInclusive<u32> = 1..=1;

/// What this server can do beyond the base of the protocol. Both sides have to list what must not be ignored.
const CAPABILITIES: [&str; 0] = [];

/// How long an agent may take to say Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Least size of a frame that an agent must be able to read: an attempt with the longest text fits several times.
const RECEIVE_BYTES_MIN: usize = 64 * 1024;

/// How long ago an agent may have forgotten something: further means that its clock stood still or ran wild, and nothing that is
/// not over is so old.
const FORGOTTEN_AGE_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// Characters of an agent's build that are kept.
const VERSION_CHARS_MAX: usize = 64;

/// A session that was opened, and what the agent said.
pub(super) struct Opening {
    pub(super) handle: Arc<Handle>,
    pub(super) opened: SessionOpened,
    pub(super) welcome: wire::Welcome,
    pub(super) credit: wire::Credit,
    pub(super) receive_bytes_max: usize,
}

/// What an agent says of itself, checked.
struct Hello {
    /// The revision that both speak.
    revision: u32,
    node: NodeId,
    agent_version: String,
    capabilities: Vec<String>,
    journal_id: [u8; 16],
    journal_opening: u64,
    process_id: [u8; 16],
    report_head: u64,
    report_acknowledged: u64,
    forgotten: Option<Forgotten>,
    held: Vec<Held>,
    desired: DesiredVersion,
    credit: wire::Credit,
    receive_bytes_max: usize,
}

/// Leads the handshake. `Err(None)` when the agent went away.
pub(super) async fn open<S>(context: &Context, tenant: TenantId, frames: &mut S) -> Result<Opening, Option<Ending>>
where
    S: Stream<Item = Result<wire::AgentFrame, Broken>> + Unpin,
{
    let hello = match tokio::time::timeout(HELLO_TIMEOUT, frames.next()).await {
        Ok(Some(Ok(wire::AgentFrame { seq: 1, body: Some(Body::Hello(hello)), .. }))) => check(hello)?,
        Ok(Some(Ok(_))) => {
            return Err(Some(Ending::protocol_fault("the first frame must be Hello, with the number 1")));
        }
        Ok(Some(Err(Broken::Unreadable(why)))) => return Err(Some(Ending::protocol_fault(why))),
        Ok(Some(Err(Broken::Lost)) | None) => return Err(None),
        Err(_) => {
            let message = format!("no Hello within {} s", HELLO_TIMEOUT.as_secs());
            return Err(Some(Ending::stalled(message)));
        }
    };
    let Ok(_turn) = tokio::time::timeout(HELLO_TIMEOUT, context.sessions.admit(&tenant, &hello.node)).await else {
        return Err(Some(Ending::busy()));
    };
    let grace = 2 * context.heartbeat_interval;
    if let Some(present) = context.sessions.get(&tenant, &hello.node)
        && present.journal_id != hello.journal_id
        && present.silent_for() < grace
    {
        tracing::warn!(node.id = %hello.node, "two agents claim one node");
        return Err(Some(Ending::duplicate_identity(&hello.node)));
    }
    let Hello { node, journal_id, credit, receive_bytes_max, .. } = &hello;
    let (revision, node, journal_id, credit) = (hello.revision, node.clone(), *journal_id, *credit);
    let receive_bytes_max = *receive_bytes_max;
    let capabilities = hello.capabilities.iter().filter(|theirs| CAPABILITIES.contains(&theirs.as_str()));
    let capabilities = capabilities.cloned().collect();
    let open = SessionOpen {
        tenant,
        node: hello.node,
        agent_version: hello.agent_version,
        journal_id,
        journal_opening: hello.journal_opening,
        process_id: hello.process_id,
        report_head: hello.report_head,
        report_acknowledged: hello.report_acknowledged,
        forgotten: hello.forgotten,
        held: hello.held,
        desired: hello.desired,
    };
    let expected = context.sessions.expect(&open.tenant, &node);
    let mut opened = context.store.session_open(open).await.map_err(|error| Some(Ending::of_store(&error, &node)))?;
    if opened.restored {
        let (report_committed, uncertain) = (opened.report_committed, opened.uncertain);
        tracing::warn!(
            node.id = %node,
            report_committed,
            report_acknowledged = hello.report_acknowledged,
            uncertain,
            "the agent was told that more of its reports are durable than are here: the database was restored from a backup. \
             The agent tells again what it remembers"
        );
    }
    let welcome = wire::Welcome {
        protocol: revision,
        epoch: opened.session.epoch.0,
        capabilities,
        heartbeat_interval_ms: millis(context.heartbeat_interval),
        stall_timeout_ms: millis(context.stall_timeout),
        report_committed: opened.report_committed,
        drop: std::mem::take(&mut opened.drop).into_iter().map(Into::into).collect(),
        receive_bytes_max: FRAME_BYTES_MAX as u32,
    };
    let handle = Handle::new(opened.session.clone(), journal_id);
    context.sessions.put(expected, &handle);
    Ok(Opening { handle, opened, welcome, credit, receive_bytes_max })
}

fn check(hello: wire::Hello) -> Result<Hello, Option<Ending>> {
    let theirs = hello.protocol_min..=hello.protocol_max;
    if theirs.is_empty() {
        let violation = Violation::new("protocol_max", "must be at least protocol_min");
        return Err(Some(Ending::bad_hello(&violation)));
    }
    let revision = revision::common(&theirs, &REVISIONS)
        .map_err(|older| Some(Ending::protocol_unsupported(theirs, REVISIONS, older)))?;
    read(hello, revision).map_err(|violation| Some(Ending::bad_hello(&violation)))
}

fn read(hello: wire::Hello, revision: u32) -> Result<Hello, Violation> {
    let id = |field: &str, bytes: &[u8]| -> Result<[u8; 16], Violation> {
        bytes.try_into().map_err(|_| Violation::new(field, format!("must have 16 bytes, has {}", bytes.len())))
    };
    let held = hello
        .held
        .into_iter()
        .enumerate()
        .map(|(i, held)| {
            let attempt = held.attempt.ok_or_else(|| Violation::new(format!("held[{i}].attempt"), "must be set"))?;
            let attempt =
                attempt.try_into().map_err(|violation: Violation| violation.below(&format!("held[{i}].attempt")))?;
            let reported_at = Some(held.report_offset).filter(|offset| *offset > 0);
            Ok(Held { attempt, started: held.started, reported_at })
        })
        .collect::<Result<_, Violation>>()?;
    let receive_bytes_max = match hello.receive_bytes_max as usize {
        0 => FRAME_BYTES_MAX,
        bytes if bytes < RECEIVE_BYTES_MIN => {
            return Err(Violation::new("receive_bytes_max", format!("must be at least {RECEIVE_BYTES_MIN}")));
        }
        bytes => bytes.min(FRAME_BYTES_MAX),
    };
    Ok(Hello {
        revision,
        node: NodeId::from_resource_name(&hello.node).map_err(|violation| violation.below("node"))?,
        agent_version: hello.agent_version.chars().filter(|c| !c.is_control()).take(VERSION_CHARS_MAX).collect(),
        capabilities: hello.capabilities,
        journal_id: id("journal_id", &hello.journal_id)?,
        journal_opening: hello.journal_opening,
        process_id: id("process_id", &hello.process_id)?,
        report_head: hello.report_head,
        report_acknowledged: hello.report_acknowledged,
        forgotten: hello.forgotten.map(|wire::ForgottenOutcomes { through, age_ms }| Forgotten {
            through,
            age: Duration::from_millis(age_ms).min(FORGOTTEN_AGE_MAX),
        }),
        held,
        desired: DesiredVersion { version: hello.desired_version, lineage: hello.desired_lineage },
        credit: hello.credit.unwrap_or_default(),
        receive_bytes_max,
    })
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
