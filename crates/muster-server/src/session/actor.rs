//! The actor of one session.
//!
//! One loop owns everything: the stream, the books of credit, the bots that wait for their turn, and at most one call of
//! each kind to the store (a claim, a batch of reports, a desired state). While a call runs, what comes in meanwhile joins
//! the next one, so that batches grow with the load and nothing waits for a timer.
//!
//! Order that others rely on: a ReportAck leaves after every Dispatch whose claim did not know these reports yet. A claim
//! that runs while reports are taken may not have seen them, so the ReportAck waits for it.

use std::future::pending;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use muster_domain::TenantId;
use muster_domain::limits::PRIORITY_STEP;
use muster_domain::message::Outcome;
use muster_domain::{BotId, NodeId};
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::server_frame::Body as ServerBody;
use muster_store::{Claim, Claimed, DesiredState, ReportBatch, ReportBody, ReportsApplied, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument as _;

use super::commands::Commands;
use super::credit::Credit;
use super::desired::Desired;
use super::ending::Ending;
use super::handshake::{self, Opening};
use super::outbox::{Gone, Outbox, WIRE_FRAMES};
use super::registry::{Handle, Notes};
use super::reports::Reports;
use super::waiting_bots::WaitingBots;
use super::wire as convert;
use super::{Broken, Context};

/// Attempts in one claim at the most: enough to amortise a commit, few enough that its transaction stays short.
const CLAIM_ATTEMPTS_MAX: u64 = 2_000;

/// Bytes of attempts in one claim at the most.
const CLAIM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Serves one stream of a tenant's agent from Hello to its end. The returned receiver is what the agent reads: frames in boxes,
/// because the channel has places for many of them all the time.
pub(crate) fn serve<S>(
    context: Arc<Context>,
    tenant: TenantId,
    frames: S,
) -> (mpsc::Receiver<Box<wire::ServerFrame>>, impl Future<Output = ()> + Send)
where
    S: Stream<Item = Result<wire::AgentFrame, Broken>> + Unpin + Send,
{
    let (wire, reader) = mpsc::channel(WIRE_FRAMES);
    (reader, run(context, tenant, frames, Outbox::new(wire)))
}

async fn run<S>(context: Arc<Context>, tenant: TenantId, mut frames: S, mut out: Outbox)
where
    S: Stream<Item = Result<wire::AgentFrame, Broken>> + Unpin + Send,
{
    let opening = tokio::select! {
        opening = handshake::open(&context, tenant, &mut frames) => opening,
        () = context.stopping.cancelled() => Err(Some(Ending::stopping())),
    };
    out.received(1);
    match opening {
        Ok(opening) => {
            let session = &opening.opened.session;
            let span = tracing::info_span!("session", node.id = %session.node, epoch = %session.epoch);
            Actor::new(context, opening, out).run(frames).instrument(span).await;
        }
        Err(Some(ending)) => {
            tracing::info!(reason = ending.word(), "refused a session");
            out.close(ServerBody::Close(ending.into())).await;
        }
        Err(None) => {}
    }
}

/// How a session ends.
#[derive(Debug, PartialEq)]
enum End {
    /// The server ends it, and says why.
    Close(Ending),
    /// The agent said goodbye.
    Goodbye,
    /// The stream broke.
    Gone,
}

/// What happened.
enum Event {
    Stopping,
    Woken,
    Claimed(muster_store::Result<Claimed>),
    Applied(muster_store::Result<ReportsApplied>),
    Desired(muster_store::Result<DesiredState>),
    Noted(muster_store::Result<()>),
    Writable(Result<(), Gone>),
    Frame(Option<Result<wire::AgentFrame, Broken>>),
    Tick,
}

/// The calls to the store that are under way; of each kind one at the most.
#[derive(Default)]
struct Calls {
    claim: Option<BoxFuture<'static, muster_store::Result<Claimed>>>,
    apply: Option<BoxFuture<'static, muster_store::Result<ReportsApplied>>>,
    desired: Option<BoxFuture<'static, muster_store::Result<DesiredState>>>,
    note: Option<BoxFuture<'static, muster_store::Result<()>>>,
}

/// Waits for a call, and clears its place.
async fn ended<T>(call: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(running) = call else { return pending().await };
    let answer = running.await;
    *call = None;
    answer
}

struct Actor {
    context: Arc<Context>,
    handle: Arc<Handle>,
    out: Outbox,
    calls: Calls,
    credit: Credit,
    bots: WaitingBots,
    reports: Reports,
    desired: Desired,
    commands: Commands,
    receive_bytes_max: usize,
    /// Number of the latest frame that was received.
    seq: u64,
    received: Instant,
    /// Reports up to here are durable.
    report_committed: u64,
    /// Reports up to here are acknowledged.
    report_acknowledged: u64,
    /// What follows once the reports that are being taken are durable.
    follow: Follow,
    /// What the agent made of the latest desired state, if the store does not know it yet.
    applied: Option<(u64, Vec<wire::ResourceError>)>,
    drain: Drain,
}

/// What a batch of reports may change beside what the store tells.
#[derive(Debug, Clone, Copy, Default)]
struct Follow {
    /// A login that changed moves a bot's stage, and with it what the agent should know.
    desired: bool,
    /// A failure is tried again at a time of its own.
    parked: bool,
    /// Somebody may watch for inbound messages.
    inbound: bool,
}

impl Follow {
    fn of(batch: &ReportBatch) -> Self {
        let any = |is: fn(&ReportBody) -> bool| batch.reports.iter().any(|report| is(&report.body));
        Follow {
            desired: any(|body| matches!(body, ReportBody::Connection { .. })),
            parked: any(|body| matches!(body, ReportBody::Outcome { outcome: Outcome::Failed(_), .. })),
            inbound: any(|body| matches!(body, ReportBody::Inbound(_))),
        }
    }
}

/// Whether the agent asked for no more work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    Asked,
    Acknowledged,
}

impl Actor {
    fn new(context: Arc<Context>, opening: Opening, mut out: Outbox) -> Self {
        let Opening { handle, opened, welcome, credit: granted, receive_bytes_max } = opening;
        tracing::info!(returned = opened.returned, uncertain = opened.uncertain, "session opened");
        out.push(ServerBody::Welcome(welcome));
        if !opened.cancel.is_empty() {
            let attempts = opened.cancel.into_iter().map(Into::into).collect();
            out.push(ServerBody::Cancel(wire::CancelAttempts { attempts }));
        }
        let mut credit = Credit::default();
        credit.grant(&granted);
        opened.held.into_iter().for_each(|(bot, attempts)| credit.holds(bot, attempts));
        let mut bots = WaitingBots::default();
        opened.bots_waiting.into_iter().for_each(|bot| bots.add(bot));
        let actor = Actor {
            context,
            handle,
            out,
            calls: Calls::default(),
            credit,
            bots,
            reports: Reports::new(opened.report_committed),
            desired: Desired::new(opened.desired_base, opened.desired_version),
            commands: Commands::default(),
            receive_bytes_max,
            seq: 1,
            received: Instant::now(),
            report_committed: opened.report_committed,
            report_acknowledged: opened.report_committed,
            follow: Follow::default(),
            applied: None,
            drain: Drain::No,
        };
        actor.wake_elsewhere(opened.elsewhere);
        actor
    }

    async fn run<S>(mut self, mut frames: S)
    where
        S: Stream<Item = Result<wire::AgentFrame, Broken>> + Unpin + Send,
    {
        let end = self.work(&mut frames).await;
        self.context.sessions.remove(&self.handle);
        self.handle.end();
        let Actor { context, handle, out, commands, .. } = self;
        // The callers of commands learn now that nobody answers any more.
        drop(commands);
        let fenced = matches!(&end, End::Close(ending) if *ending == Ending::superseded());
        match end {
            End::Close(ending) => {
                tracing::info!(reason = ending.word(), "session closed");
                out.close(ServerBody::Close(ending.into())).await;
            }
            End::Goodbye => tracing::info!("the agent said goodbye"),
            End::Gone => tracing::info!("the stream broke"),
        }
        if !fenced {
            if let Err(error) = context.store.session_close(&handle.session).await {
                tracing::warn!(%error, "the end of a session was not noted");
            }
            context.absences.now();
        }
    }

    async fn work<S>(&mut self, frames: &mut S) -> End
    where
        S: Stream<Item = Result<wire::AgentFrame, Broken>> + Unpin + Send,
    {
        let mut tick = tokio::time::interval(self.context.stall_timeout / 4);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.begin_calls();
            let takes_frames = self.takes_frames();
            let Calls { claim, apply, desired, note } = &mut self.calls;
            // In this order: what ends the session, what the store committed in its order, and only then what makes more work.
            let event = tokio::select! {
                biased;
                () = self.context.stopping.cancelled() => Event::Stopping,
                () = self.handle.woken() => Event::Woken,
                answer = ended(claim) => Event::Claimed(answer),
                answer = ended(apply) => Event::Applied(answer),
                answer = ended(desired) => Event::Desired(answer),
                answer = ended(note) => Event::Noted(answer),
                writable = self.out.writable() => Event::Writable(writable),
                frame = frames.next(), if takes_frames => Event::Frame(frame),
                _ = tick.tick() => Event::Tick,
            };
            if let Err(end) = self.handle_event(event) {
                return end;
            }
            for (seq, id) in self.out.take_sent_commands() {
                self.commands.sent(seq, id);
            }
        }
    }

    /// Reading stops while the store or the agent's reading falls behind: the stream's flow control passes it on.
    fn takes_frames(&self) -> bool {
        !self.reports.is_full() && !self.out.is_crowded()
    }

    fn handle_event(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Stopping => return Err(End::Close(Ending::stopping())),
            Event::Woken => self.read_inbox()?,
            Event::Claimed(answer) => {
                let claimed = self.answer(answer)?;
                self.dispatch(claimed);
            }
            Event::Applied(answer) => {
                let applied = self.answer(answer)?;
                self.reports_applied(applied);
            }
            Event::Desired(answer) => {
                let state = self.answer(answer)?;
                for frame in self.desired.frames(state, self.receive_bytes_max) {
                    self.out.push(ServerBody::DesiredState(frame));
                }
            }
            Event::Noted(answer) => self.answer(answer)?,
            Event::Writable(Ok(())) => self.out.flush(),
            Event::Writable(Err(Gone)) => return Err(End::Gone),
            Event::Frame(Some(Ok(frame))) => self.frame(frame)?,
            Event::Frame(Some(Err(Broken::Unreadable(why)))) => return Err(End::Close(Ending::protocol_fault(why))),
            Event::Frame(Some(Err(Broken::Lost)) | None) => return Err(End::Gone),
            Event::Tick => self.check_signs()?,
        }
        Ok(())
    }

    fn answer<T>(&self, answer: muster_store::Result<T>) -> Result<T, End> {
        answer.map_err(|error| End::Close(Ending::of_store(&error, &self.handle.session.node)))
    }

    // ---- what was left by others -----------------------------------------------------------------------------------

    fn read_inbox(&mut self) -> Result<(), End> {
        let inbox = self.handle.take();
        if inbox.superseded {
            return Err(End::Close(Ending::superseded()));
        }
        let Notes { bots, desired, cancels } = inbox.notes;
        bots.into_iter().for_each(|bot| self.bots.add(bot));
        self.desired.stale |= desired;
        if !cancels.is_empty() {
            let attempts = cancels.into_iter().map(Into::into).collect();
            self.out.push(ServerBody::Cancel(wire::CancelAttempts { attempts }));
        }
        for command in inbox.commands {
            self.commands.begin(&command);
            self.out.push(ServerBody::Command(convert::command(command.id, &command.bot, command.command)));
        }
        for id in inbox.forgotten {
            if let Some(bot) = self.commands.forget(id) {
                self.out.push(ServerBody::Command(convert::cancel_command(id, &bot)));
            }
        }
        Ok(())
    }

    // ---- calls to the store ----------------------------------------------------------------------------------------

    fn begin_calls(&mut self) {
        if self.calls.claim.is_none() {
            self.calls.claim = self.next_claim().map(|claim| {
                self.call(move |store, session| async move { store.dispatch_claim(&session, claim).await }.boxed())
            });
        }
        if self.calls.apply.is_none()
            && let Some(batch) = self.reports.take()
        {
            self.follow = Follow::of(&batch);
            self.calls.apply = Some(
                self.call(move |store, session| async move { store.reports_apply(&session, batch).await }.boxed()),
            );
        }
        if self.calls.desired.is_none() && self.desired.stale && !self.out.is_stuck() {
            self.desired.stale = false;
            let since = self.desired.sent;
            self.calls.desired = Some(
                self.call(move |store, session| async move { store.desired_state(&session, since).await }.boxed()),
            );
        }
        if self.calls.note.is_none() {
            self.calls.note = self.applied.take().map(|(version, errors)| {
                let errors = convert::apply_errors(errors);
                self.call(move |store, session| {
                    async move { store.desired_applied(&session, version, errors).await }.boxed()
                })
            });
        }
    }

    fn call<T>(
        &self,
        call: impl FnOnce(Arc<dyn Store>, muster_store::SessionRef) -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        call(Arc::clone(&self.context.store), self.handle.session.clone())
    }

    /// What to claim now, if there is work, credit for it, and room on the stream.
    fn next_claim(&mut self) -> Option<Claim> {
        let (attempts, bytes) = (self.credit.attempts(), self.credit.bytes());
        if self.bots.is_empty() || attempts == 0 || bytes == 0 || self.drain != Drain::No || self.out.is_stuck() {
            return None;
        }
        let bots = self.bots.take(&self.credit);
        if bots.is_empty() {
            return None;
        }
        let attempts_max = u32::try_from(attempts.min(CLAIM_ATTEMPTS_MAX)).unwrap_or(u32::MAX);
        let bytes_max = bytes.min(CLAIM_BYTES_MAX);
        Some(Claim { bots, attempts_max, bytes_max, priority_step: PRIORITY_STEP })
    }

    fn dispatch(&mut self, claimed: Claimed) {
        let Claimed { attempts, report_committed, more } = claimed;
        for attempt in &attempts {
            self.credit.dispatched(&attempt.bot, attempt.credit_bytes());
        }
        for frame in convert::dispatches(attempts, report_committed, self.receive_bytes_max) {
            self.out.push(ServerBody::Dispatch(frame));
        }
        more.into_iter().for_each(|bot| self.bots.add(bot));
        self.acknowledge_reports();
        self.acknowledge_drain();
    }

    fn reports_applied(&mut self, applied: ReportsApplied) {
        let ReportsApplied { committed, finished, wake, elsewhere, cancel, something_due } = applied;
        self.report_committed = self.report_committed.max(committed);
        for (bot, attempts) in finished {
            self.credit.finished(&bot, attempts);
            self.bots.freed(&bot);
        }
        wake.into_iter().for_each(|bot| self.bots.add(bot));
        self.wake_elsewhere(elsewhere);
        self.context.sessions.cancel_all(&self.handle.session.tenant, &cancel);
        let Follow { desired, parked, inbound } = std::mem::take(&mut self.follow);
        self.desired.stale |= desired;
        if parked || something_due {
            self.context.wake.now();
        }
        if inbound {
            self.context.inbound.send_modify(|batches| *batches += 1);
        }
        if self.calls.claim.is_none() {
            self.acknowledge_reports();
        }
    }

    /// Tells other sessions of bots that have left this node and have work again.
    fn wake_elsewhere(&self, bots: Vec<(NodeId, BotId)>) {
        for (node, bot) in bots {
            self.context.sessions.wake(&self.handle.session.tenant, &node, [bot]);
        }
    }

    fn acknowledge_reports(&mut self) {
        if self.report_committed > self.report_acknowledged {
            self.report_acknowledged = self.report_committed;
            self.out.push(ServerBody::ReportAck(wire::ReportAck { committed: self.report_committed }));
        }
    }

    fn acknowledge_drain(&mut self) {
        if self.drain == Drain::Asked && self.calls.claim.is_none() {
            self.drain = Drain::Acknowledged;
            self.out.push(ServerBody::DrainAck(wire::DrainAck {}));
        }
    }

    // ---- frames ----------------------------------------------------------------------------------------------------

    fn frame(&mut self, frame: wire::AgentFrame) -> Result<(), End> {
        let wire::AgentFrame { seq, ack, body } = frame;
        let fault = |message: String| Err(End::Close(Ending::protocol_fault(message)));
        if seq != self.seq + 1 {
            return fault(format!("frame {seq} came after frame {}", self.seq));
        }
        if ack > self.out.last_seq() {
            return fault(format!("frame {seq} acknowledges frame {ack}, which was never sent"));
        }
        self.seq = seq;
        self.out.received(seq);
        self.received = Instant::now();
        self.handle.signed();
        match body {
            Some(AgentBody::Hello(_)) => return fault("Hello comes once".to_owned()),
            Some(AgentBody::Heartbeat(_)) => self.out.push(ServerBody::HeartbeatAck(wire::HeartbeatAck {
                report_committed: self.report_acknowledged,
                desired_version: self.desired.sent,
            })),
            Some(AgentBody::DispatchAck(ack)) => {
                if ack.through_seq > self.out.last_seq() {
                    return fault(format!("frame {} is acknowledged and was never sent", ack.through_seq));
                }
                self.out.acknowledged(ack.through_seq);
            }
            Some(AgentBody::Reports(reports)) => self.receive_reports(reports)?,
            Some(AgentBody::Credit(credit)) => {
                self.credit.grant(&credit);
                self.bots.all_freed();
            }
            Some(AgentBody::DesiredStatus(status)) => self.applied = Some((status.version, status.errors)),
            Some(AgentBody::CommandUpdate(update)) => self.command_update(update),
            Some(AgentBody::Drain(_)) => {
                if self.drain == Drain::No {
                    self.drain = Drain::Asked;
                    self.acknowledge_drain();
                }
            }
            Some(AgentBody::Goodbye(_)) => return Err(End::Goodbye),
            Some(AgentBody::Unsupported(wire::Unsupported { seq: refused })) => {
                // A command fails at its caller. All other frames belong to the revision that both speak: a session cannot do
                // without any of them.
                if !self.commands.unsupported(refused) {
                    return Err(End::Close(Ending::frame_unsupported(refused)));
                }
            }
            None => {
                tracing::warn!(seq, "refused a frame of the agent that this server does not know: upgrade the server");
                self.out.push(ServerBody::Unsupported(wire::Unsupported { seq }));
            }
        }
        Ok(())
    }

    fn receive_reports(&mut self, frame: wire::Reports) -> Result<(), End> {
        let now = self.context.store.now();
        let offsets = frame.first_offset..;
        let reports: Vec<_> = offsets
            .zip(frame.reports)
            .map(|(offset, report)| convert::report(report, now).ok_or_else(|| Ending::report_unknown(offset)))
            .collect::<Result<_, _>>()
            .map_err(End::Close)?;
        self.reports.receive(frame.first_offset, reports.into_iter()).map_err(End::Close)
    }

    fn command_update(&mut self, update: wire::CommandUpdate) {
        let id = update.command_id;
        match convert::update(update) {
            Ok(update) => {
                if let Some(bot) = self.commands.update(id, update) {
                    self.out.push(ServerBody::Command(convert::cancel_command(id, &bot)));
                }
            }
            Err(violation) => tracing::warn!(%violation, "an update of a command cannot be read"),
        }
    }

    // ---- signs of life ---------------------------------------------------------------------------------------------

    fn check_signs(&mut self) -> Result<(), End> {
        let limit = self.context.stall_timeout;
        if !self.takes_frames() {
            // Nobody can give a sign to a reader that does not read.
            self.received = Instant::now();
        }
        let stalled = |what: &str| Err(End::Close(Ending::stalled(format!("{what} for {} ms", limit.as_millis()))));
        if self.received.elapsed() >= limit {
            return stalled("the agent gave no sign");
        }
        if self.out.stuck_for() >= limit {
            return stalled("the agent did not read");
        }
        if self.out.unacknowledged_for() >= limit {
            return stalled("the agent did not acknowledge a Dispatch");
        }
        Ok(())
    }
}
