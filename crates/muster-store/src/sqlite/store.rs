//! The contract, method by method: which half carries it out.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_domain::bot::{Bot, StateCounts};
use muster_domain::contact::{Contact, ContactAddress, ContactId};
use muster_domain::content::MediaDigest;
use muster_domain::fleet::Fleet;
use muster_domain::gateway::Gateway;
use muster_domain::inbound::{Inbound, InboundId};
use muster_domain::message::{Idempotency, Message, NewMessage};
use muster_domain::node::Node;
use muster_domain::resolution::{Resolution, ResolutionRecord};
use muster_domain::tenant::{Tenant, TenantSpec};
use muster_domain::{BotId, GatewayId, MessageId, NodeId, TenantId, Timestamp};
use tokio::sync::watch;

use super::fence::{self, Fence};
use super::txn::Txn;
use super::writer::{SERVER, Turn};
use super::{
    SqliteStore, absences, attempts, bots, change_log, claim, contacts, desired, drains, failed, fleet, inbound, media,
    messages, nodes, opt_outs, replay, reports, resolve, retention, sessions, tenants, turns, wake,
};
use crate::{
    AbsencesActed, AcceptResult, ApplyError, AttemptAtNode, AttemptRecord, BotFilter, BotRoute, CancelResult, Changes,
    Claim, Claimed, ContactFilter, DesiredState, FailedBy, FailedFilter, FailedGroup, FleetWrite, InboundFilter,
    MessageFilter, OptIn, OptInResult, OptOut, OptedOut, Replay, ReplayPart, ReportBatch, ReportsApplied, RequestKey,
    ResolveResult, Result, RetentionPolicy, SessionOpen, SessionOpened, SessionRef, Store, UnderWayFilter, WakeResult,
};

impl SqliteStore {
    /// Runs a write of a session, with the fence that stands in its WHERE clauses. See [`Turn::cost`].
    async fn fenced<T, F>(&self, session: &SessionRef, cost: u64, body: F) -> Result<T>
    where
        F: FnOnce(&mut Txn, i64, Fence) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (tenant_key, session) = (self.tenant(&session.tenant)?, session.clone());
        let call = move |txn: &mut Txn| {
            let fence = fence::of(txn, tenant_key, &session)?;
            body(txn, tenant_key, fence)
        };
        self.writer.call(Turn { tenant_key, cost }, call).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn tenant_get(&self, id: &TenantId) -> Result<Option<Tenant>> {
        Ok(self.directory.tenant_get(id))
    }

    async fn tenant_list(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>> {
        Ok(self.directory.tenant_list(after, limit as usize))
    }

    async fn tenant_put(&self, spec: TenantSpec) -> Result<Tenant> {
        self.writer.call(Turn::of(SERVER), move |txn| tenants::put(txn, spec)).await
    }

    async fn tenant_delete(&self, id: TenantId) -> Result<()> {
        let tenant_key = self.tenant(&id)?;
        self.writer.call(Turn::of(tenant_key), move |txn| tenants::delete(txn, tenant_key, id)).await
    }

    async fn fleet(&self, tenant: &TenantId) -> Result<Fleet> {
        fleet::snapshot(&self.readers, self.tenant(tenant)?, self.now()).await
    }

    async fn fleet_write(&self, tenant: &TenantId, writes: Vec<FleetWrite>, request: Option<RequestKey>) -> Result<()> {
        let tenant_key = self.tenant(tenant)?;
        self.writer.call(Turn::of(tenant_key), move |txn| fleet::write(txn, tenant_key, writes, request)).await
    }

    async fn node_get(&self, tenant: &TenantId, id: &NodeId) -> Result<Option<Node>> {
        Ok(nodes::node_list(&self.readers, self.tenant(tenant)?, Some(id.as_str()), "", 1).await?.pop())
    }

    async fn node_list(&self, tenant: &TenantId, after: Option<&NodeId>, limit: u32) -> Result<Vec<Node>> {
        nodes::node_list(&self.readers, self.tenant(tenant)?, None, after.map_or("", NodeId::as_str), limit).await
    }

    async fn bots_waiting(&self, tenant: &TenantId, node: &NodeId) -> Result<Vec<BotId>> {
        let (tenant_key, node) = (self.tenant(tenant)?, node.clone());
        self.writer
            .call(Turn::of(tenant_key), move |txn| {
                let node_key = fleet::node_key(txn, tenant_key, &node)?;
                sessions::bots_waiting(txn, node_key)
            })
            .await
    }

    async fn drain_list(
        &self,
        tenant: &TenantId,
        node: &NodeId,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<AttemptAtNode>> {
        let after = after.map_or(i64::MIN, MessageId::raw);
        drains::list(&self.readers, self.tenant(tenant)?, node, after, limit).await
    }

    async fn under_way(
        &self,
        tenant: &TenantId,
        filter: &UnderWayFilter,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<AttemptAtNode>> {
        let after = after.map_or(i64::MIN, MessageId::raw);
        drains::under_way(&self.readers, self.tenant(tenant)?, filter, after, limit).await
    }

    async fn gateway_get(&self, tenant: &TenantId, id: &GatewayId) -> Result<Option<Gateway>> {
        Ok(nodes::gateway_list(&self.readers, self.tenant(tenant)?, Some(id.as_str()), None, "", 1).await?.pop())
    }

    async fn gateway_list(
        &self,
        tenant: &TenantId,
        node: Option<&NodeId>,
        after: Option<&GatewayId>,
        limit: u32,
    ) -> Result<Vec<Gateway>> {
        let after = after.map_or("", GatewayId::as_str);
        nodes::gateway_list(&self.readers, self.tenant(tenant)?, None, node.map(NodeId::as_str), after, limit).await
    }

    async fn bot_get(&self, tenant: &TenantId, id: &BotId) -> Result<Option<Bot>> {
        bots::get(&self.readers, self.tenant(tenant)?, id, self.now()).await
    }

    async fn bot_list(
        &self,
        tenant: &TenantId,
        filter: &BotFilter,
        after: Option<&BotId>,
        limit: u32,
    ) -> Result<Vec<Bot>> {
        bots::list(&self.readers, self.tenant(tenant)?, filter, after, limit, self.now()).await
    }

    async fn message_counts(&self, tenant: &TenantId, ids: &[BotId]) -> Result<Vec<StateCounts>> {
        let tenant_key = self.tenant(tenant)?;
        let keys: Vec<_> = self
            .directory
            .bots(tenant_key, ids.iter())
            .into_iter()
            .map(|entry| entry.map(|entry| entry.bot_key))
            .collect();
        bots::counts(&self.readers, tenant_key, &keys).await
    }

    async fn bot_route(&self, tenant: &TenantId, id: &BotId) -> Result<Option<BotRoute>> {
        self.directory.route(self.tenant(tenant)?, id)
    }

    async fn session_open(&self, open: SessionOpen) -> Result<SessionOpened> {
        let tenant_key = self.tenant(&open.tenant)?;
        self.writer.call(Turn::of(tenant_key), move |txn| sessions::open(txn, tenant_key, open)).await
    }

    async fn session_close(&self, session: &SessionRef) -> Result<()> {
        self.fenced(session, 1, |txn, _, fence| sessions::close(txn, fence)).await
    }

    async fn desired_state(&self, session: &SessionRef, since: u64) -> Result<DesiredState> {
        desired::state(&self.readers, self.tenant(&session.tenant)?, session, since, self.clock.now()).await
    }

    async fn desired_applied(&self, session: &SessionRef, version: u64, errors: Vec<ApplyError>) -> Result<()> {
        self.fenced(session, 1, move |txn, tenant_key, fence| desired::applied(txn, tenant_key, fence, version, errors))
            .await
    }

    async fn dispatch_claim(&self, session: &SessionRef, wanted: Claim) -> Result<Claimed> {
        self.fenced(session, 1, move |txn, tenant_key, fence| claim::claim(txn, tenant_key, fence, wanted)).await
    }

    async fn reports_apply(&self, session: &SessionRef, batch: ReportBatch) -> Result<ReportsApplied> {
        // What a session claims follows from what it reports: its share of one is its share of the other.
        let cost = batch.reports.len() as u64;
        self.fenced(session, cost, move |txn, tenant_key, fence| reports::apply(txn, tenant_key, fence, batch)).await
    }

    async fn message_accept(&self, tenant: &TenantId, new: Vec<NewMessage>) -> Result<Vec<AcceptResult>> {
        self.writer.accept(self.tenant(tenant)?, new).await
    }

    async fn message_repeats(&self, tenant: &TenantId, asked: &[Idempotency]) -> Result<Vec<Option<AcceptResult>>> {
        messages::repeats(&self.readers, self.tenant(tenant)?, asked).await
    }

    async fn message_get(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>> {
        messages::get(&self.readers, self.tenant(tenant)?, id).await
    }

    async fn message_list(
        &self,
        tenant: &TenantId,
        filter: &MessageFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Message>> {
        messages::list(&self.readers, &self.directory, self.tenant(tenant)?, filter, before, limit).await
    }

    async fn failed_count(&self, tenant: &TenantId, filter: &FailedFilter, by: FailedBy) -> Result<Vec<FailedGroup>> {
        failed::count(&self.readers, &self.directory, self.tenant(tenant)?, filter, by).await
    }

    async fn failed_list(
        &self,
        tenant: &TenantId,
        filter: &FailedFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Message>> {
        failed::list(&self.readers, &self.directory, self.tenant(tenant)?, filter, before, limit).await
    }

    async fn failed_replay(&self, tenant: &TenantId, asked: Replay) -> Result<ReplayPart> {
        let tenant_key = self.tenant(tenant)?;
        self.writer.call(Turn::of(tenant_key), move |txn| replay::replay(txn, tenant_key, asked)).await
    }

    async fn message_replays(
        &self,
        tenant: &TenantId,
        id: MessageId,
    ) -> Result<(Option<MessageId>, Option<MessageId>)> {
        replay::of(&self.readers, self.tenant(tenant)?, id).await
    }

    async fn message_attempts(&self, tenant: &TenantId, id: MessageId) -> Result<Vec<AttemptRecord>> {
        attempts::list(&self.readers, self.tenant(tenant)?, id).await
    }

    async fn message_queue_ahead(&self, tenant: &TenantId, id: MessageId, priority_step: Duration) -> Result<u64> {
        turns::ahead(&self.readers, self.tenant(tenant)?, id, priority_step, self.clock.now()).await
    }

    async fn message_cancel(&self, tenant: &TenantId, id: MessageId) -> Result<CancelResult> {
        let tenant_key = self.tenant(tenant)?;
        self.writer.call(Turn::of(tenant_key), move |txn| messages::cancel(txn, tenant_key, id)).await
    }

    async fn message_resolve(
        &self,
        tenant: &TenantId,
        id: MessageId,
        resolution: Resolution,
        reason: String,
    ) -> Result<ResolveResult> {
        let tenant_key = self.tenant(tenant)?;
        self.writer
            .call(Turn::of(tenant_key), move |txn| resolve::resolve(txn, tenant_key, id, resolution, &reason))
            .await
    }

    async fn message_resolutions(&self, tenant: &TenantId, id: MessageId) -> Result<Vec<ResolutionRecord>> {
        resolve::list(&self.readers, self.tenant(tenant)?, id).await
    }

    async fn changes_since(&self, tenant: &TenantId, cursor: u64, bot: Option<&BotId>, limit: u32) -> Result<Changes> {
        change_log::since(&self.readers, &self.directory, self.tenant(tenant)?, cursor, bot, limit).await
    }

    async fn changes_head(&self, _tenant: &TenantId) -> Result<u64> {
        change_log::head(&self.readers).await
    }

    fn committed(&self) -> watch::Receiver<u64> {
        self.writer.committed()
    }

    async fn inbound_get(&self, tenant: &TenantId, id: InboundId) -> Result<Option<Inbound>> {
        inbound::get(&self.readers, self.tenant(tenant)?, id).await
    }

    async fn inbound_list(
        &self,
        tenant: &TenantId,
        filter: &InboundFilter,
        before: Option<InboundId>,
        limit: u32,
    ) -> Result<Vec<Inbound>> {
        inbound::list(&self.readers, self.tenant(tenant)?, filter, before, limit).await
    }

    async fn inbound_since(
        &self,
        tenant: &TenantId,
        after: Option<InboundId>,
        bot: Option<&BotId>,
        limit: u32,
    ) -> Result<Vec<Inbound>> {
        inbound::since(&self.readers, self.tenant(tenant)?, after, bot, limit).await
    }

    async fn media_put(&self, tenant: &TenantId, digest: MediaDigest, bytes: Bytes) -> Result<()> {
        let tenant_key = self.tenant(tenant)?;
        self.writer.call(Turn::of(tenant_key), move |txn| media::put(txn, tenant_key, digest, bytes)).await
    }

    async fn media_get(&self, digest: &MediaDigest) -> Result<Option<Bytes>> {
        media::get(&self.readers, digest).await
    }

    async fn media_exists(&self, tenant: &TenantId, digest: &MediaDigest) -> Result<bool> {
        media::exists(&self.readers, self.tenant(tenant)?, digest).await
    }

    async fn contact_opt_out(&self, tenant: &TenantId, address: &ContactAddress, said: OptOut) -> Result<OptedOut> {
        let (tenant_key, address) = (self.tenant(tenant)?, address.clone());
        self.writer.call(Turn::of(tenant_key), move |txn| opt_outs::opt_out(txn, tenant_key, &address, said)).await
    }

    async fn contact_opt_in(&self, tenant: &TenantId, address: &ContactAddress, asked: OptIn) -> Result<OptInResult> {
        let (tenant_key, address) = (self.tenant(tenant)?, address.clone());
        self.writer.call(Turn::of(tenant_key), move |txn| opt_outs::opt_in(txn, tenant_key, &address, asked)).await
    }

    async fn contact_get(&self, tenant: &TenantId, address: &ContactAddress) -> Result<Option<Contact>> {
        contacts::get(&self.readers, self.tenant(tenant)?, address).await
    }

    async fn contact_list(
        &self,
        tenant: &TenantId,
        filter: ContactFilter,
        after: Option<ContactId>,
        limit: u32,
    ) -> Result<Vec<Contact>> {
        contacts::list(&self.readers, self.tenant(tenant)?, filter, after, limit).await
    }

    async fn wake_due(&self, limit: u32, silence: Duration, uncertain_wait: Duration) -> Result<WakeResult> {
        self.writer.call(Turn::of(SERVER), move |txn| wake::due(txn, limit, silence, uncertain_wait)).await
    }

    async fn holds_end(&self) -> Result<WakeResult> {
        self.writer.call(Turn::of(SERVER), wake::holds_end).await
    }

    async fn absences_act(&self, serving_since: Timestamp, limit: u32) -> Result<AbsencesActed> {
        self.writer.call(Turn::of(SERVER), move |txn| absences::act(txn, serving_since, limit)).await
    }

    async fn retention_run(&self, policy: &RetentionPolicy, limit: u32) -> Result<u64> {
        let policy = *policy;
        self.writer.call(Turn::of(SERVER), move |txn| retention::run(txn, &policy, limit)).await
    }

    async fn close(&self) {
        // The writer goes last: the last connection moves the log into the database, which only it can.
        self.readers.close().await;
        self.writer.close().await;
    }
}
