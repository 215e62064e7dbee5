//! The real store on virtual time, and what can go wrong with it.
//!
//! Each call blocks the simulation's one thread until SQLite has answered, so that no real thread ever races with virtual
//! time. How long a call takes, and what becomes of it, is the seed's: a call may be slow, may find the disk full, and its
//! host may crash right before the commit, or right after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
use muster_domain::{BotId, Epoch, GatewayId, IdStart, MessageId, NodeId, TenantId, Timestamp};
use muster_store::sqlite::SqliteStore;
use muster_store::{
    AbsencesActed, AcceptResult, ApplyError, AttemptAtNode, AttemptRecord, BotFilter, BotRoute, CancelResult, Changes,
    Claim, Claimed, ClaimedAttempt, Clock, ContactFilter, DesiredState, FailedBy, FailedFilter, FailedGroup,
    FleetWrite, InboundFilter, MessageFilter, OptIn, OptInResult, OptOut, OptedOut, Replay, ReplayPart, ReportBatch,
    ReportsApplied, RequestKey, ResolveResult, Result, RetentionPolicy, SessionOpen, SessionOpened, SessionRef, Store,
    StoreError, UnderWayFilter, WakeResult,
};
use tokio::runtime::Handle;

use crate::agent::{ATTEMPTS_MAX, ATTEMPTS_PER_BOT_MAX, agent_host};
use crate::clock::HostClock;
use crate::host::{Crash, Power};
use crate::network::Network;
use crate::storm::Weather;
use crate::time::Time;

/// How often a write that waits for its session to be overtaken looks whether it is.
const LATE_WRITE_LOOKS: Duration = Duration::from_millis(10);

/// What the database's calls share over restarts of the server.
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    /// A runtime on real threads, for the store alone.
    pub(crate) threads: Handle,
    pub(crate) time: Time,
    pub(crate) clock: HostClock,
    pub(crate) weather: Weather,
    network: Network,
    /// The latest epoch of each node, as far as the present database can know.
    epochs: Mutex<BTreeMap<NodeId, Epoch>>,
}

impl Database {
    pub(crate) fn new(dir: &Path, threads: Handle, clock: HostClock, weather: Weather, network: Network) -> Self {
        let time = weather.time.clone();
        Database { path: dir.join("muster.db"), threads, time, clock, weather, network, epochs: Mutex::default() }
    }

    /// Waits for the store, as the simulation's one thread.
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let _still = self.time.standing_still();
        let _entered = self.threads.enter();
        // The budget of the task that asks is not the store's to spend.
        futures::executor::block_on(tokio::task::unconstrained(future))
    }

    /// Opens the store for a server.
    pub(crate) fn open(self: &Arc<Self>, power: Power) -> Result<Arc<VirtualStore>> {
        let clock = self.clock.clone();
        let clock = Clock::new(move || clock.timestamp());
        let id_start = IdStart::from_entropy(self.weather.chance.bits());
        let real = self.wait(SqliteStore::open_by(&self.path, clock, id_start))?;
        Ok(Arc::new(VirtualStore { real: Arc::new(real), database: Arc::clone(self), power }))
    }

    /// Lets go of the files that a crashed server had open. What is committed stays.
    pub(crate) fn close(&self, store: &VirtualStore) {
        self.wait(store.real.close());
    }

    /// The files of the database while no call is under way.
    fn files(path: &Path) -> [PathBuf; 2] {
        [path.to_owned(), PathBuf::from(format!("{}-wal", path.display()))]
    }

    /// Takes a backup.
    pub(crate) fn back_up(&self) -> std::io::Result<()> {
        for file in Self::files(&self.path) {
            if file.exists() {
                std::fs::copy(&file, format!("{}.backup", file.display()))?;
            }
        }
        Ok(())
    }

    /// Puts the backup in place of a database that nobody has open.
    pub(crate) fn restore(&self) -> std::io::Result<()> {
        for file in Self::files(&self.path) {
            let backup = PathBuf::from(format!("{}.backup", file.display()));
            let _ = std::fs::remove_file(&file);
            if backup.exists() {
                std::fs::copy(&backup, &file)?;
            }
        }
        let _ = std::fs::remove_file(format!("{}-shm", self.path.display()));
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    fn note_epoch(&self, session: &SessionRef) {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = epochs.insert(session.node.clone(), session.epoch)
            && before >= session.epoch
        {
            let what = format!("{} was given epoch {} after {}", session.node, session.epoch.0, before.0);
            self.weather.chronicle.violation("P6", what);
        }
    }

    /// Whether a later session of the same node was opened.
    fn is_overtaken(&self, session: &SessionRef) -> bool {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.get(&session.node).is_some_and(|latest| *latest > session.epoch)
    }

    fn check_fence(&self, name: &str, session: &SessionRef) {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latest) = epochs.get(&session.node).filter(|latest| **latest > session.epoch) {
            let what =
                format!("{name} of epoch {} of {} changed something at {}", session.epoch.0, session.node, latest.0);
            self.weather.chronicle.violation("P6", what);
        }
    }
}

/// The store of one run of the server. Clones are the same one.
#[derive(Clone)]
pub(crate) struct VirtualStore {
    real: Arc<SqliteStore>,
    database: Arc<Database>,
    power: Power,
}

impl VirtualStore {
    async fn read<T>(&self, name: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.delay(name).await;
        self.database.wait(call)
    }

    async fn write<T>(&self, name: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let weather = &self.database.weather;
        self.delay(name).await;
        if weather.database_is_full() {
            weather.chronicle.fault("server", "database full", name);
            return Err(StoreError::NotWritable("the disk is full".into()));
        }
        if weather.strikes(weather.odds.crash_at_commit) {
            self.power.crash(Crash::new("crash before a commit", name)).await;
        }
        let result = self.database.wait(call);
        weather
            .chronicle
            .event("server", format_args!("{name} {}", if result.is_ok() { "is committed" } else { "fails" }));
        if result.is_ok() && weather.strikes(weather.odds.crash_at_commit) {
            self.power.crash(Crash::new("crash after a commit", name)).await;
        }
        self.delay(name).await;
        result
    }

    /// A write of a session. The database carries out what it was given, whether or not anybody waits for the answer.
    async fn fenced<T: Send + 'static>(
        &self,
        name: &'static str,
        session: &SessionRef,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (store, session) = (self.clone(), session.clone());
        let carried_out = tokio::spawn(async move {
            store.wait_until_overtaken(name, &session).await;
            let call = async {
                let result = call.await;
                if result.is_ok() {
                    store.database.check_fence(name, &session);
                    store.check_credit(&session).await;
                }
                result
            };
            store.write(name, call).await
        });
        carried_out.await.unwrap_or_else(|_| Err(StoreError::Failed(format!("{name} was not carried out"))))
    }

    /// A fault: the session's line breaks, and its write waits in the database's queue until the next session is there.
    async fn wait_until_overtaken(&self, name: &str, session: &SessionRef) {
        let Database { weather, network, .. } = &*self.database;
        if !weather.strikes(weather.odds.late_write) {
            return;
        }
        weather.chronicle.fault("server", "late write", format_args!("{name} of {}", session.node));
        network.break_lines(&agent_host(&session.node), true);
        let mut waits = weather.chance.millis(1_000, 8_000);
        while !self.database.is_overtaken(session) && !waits.is_zero() && !weather.is_over() {
            tokio::time::sleep(LATE_WRITE_LOOKS).await;
            waits = waits.saturating_sub(LATE_WRITE_LOOKS);
        }
    }

    /// A server has no more under way at an agent than the agent takes. Of a restored one the agent may have something else.
    async fn check_credit(&self, session: &SessionRef) {
        if self.database.weather.chronicle.struck("restored database") > 0 {
            return;
        }
        let filter = UnderWayFilter { node: Some(session.node.clone()), ..UnderWayFilter::default() };
        let found = self.real.under_way(&session.tenant, &filter, None, 10 * ATTEMPTS_MAX).await.unwrap_or_default();
        let mut of_bots: BTreeMap<&BotId, u32> = BTreeMap::new();
        for attempt in &found {
            *of_bots.entry(&attempt.bot).or_default() += 1;
        }
        let chronicle = &self.database.weather.chronicle;
        if found.len() as u64 > u64::from(ATTEMPTS_MAX) {
            chronicle.violation("credit", format_args!("{} attempts are under way at {}", found.len(), session.node));
        }
        for (bot, count) in of_bots.into_iter().filter(|(_, count)| *count > ATTEMPTS_PER_BOT_MAX) {
            chronicle.violation("credit", format_args!("{count} attempts of {bot} are under way at {}", session.node));
        }
    }

    /// P5: nothing is claimed for somebody who opted out. No opt-out comes between a claim and this look.
    async fn check_recipients(&self, session: &SessionRef, claimed: &Claimed) {
        if claimed.attempts.is_empty() {
            return;
        }
        let filter = ContactFilter { opted_out: true };
        let opted_out = self.real.contact_list(&session.tenant, filter, None, 1_000).await.unwrap_or_default();
        let addresses: BTreeSet<_> = opted_out.iter().flat_map(|contact| &contact.addresses).collect();
        let unwanted = |attempt: &&ClaimedAttempt| addresses.iter().any(|known| known.address == attempt.recipient);
        for attempt in claimed.attempts.iter().filter(unwanted) {
            let what = format!("{} was claimed for {}", attempt.attempt, attempt.recipient.as_str());
            self.database.weather.chronicle.violation("P5", format_args!("{what}, who had opted out"));
        }
    }

    async fn delay(&self, name: &str) {
        let weather = &self.database.weather;
        if weather.strikes(weather.odds.slow_database) {
            let delay = weather.chance.millis(5, 1_500);
            weather.chronicle.fault("server", "slow database", format_args!("{name} {} ms", delay.as_millis()));
            tokio::time::sleep(delay).await;
        }
    }
}

/// The contract: each call on the real store, as a read, a write, or a write of a session.
macro_rules! contract {
    (
        read { $($read:ident($($read_arg:ident: $read_type:ty),*) -> $read_result:ty;)* }
        write { $($write:ident($($write_arg:ident: $write_type:ty),*) -> $write_result:ty;)* }
        fenced { $($fenced:ident($($fenced_arg:ident: $fenced_type:ty),*) -> $fenced_result:ty;)* }
    ) => {
        #[async_trait]
        impl Store for VirtualStore {
            fn now(&self) -> Timestamp {
                self.database.clock.timestamp()
            }

            $(async fn $read(&self, $($read_arg: $read_type),*) -> Result<$read_result> {
                self.read(stringify!($read), self.real.$read($($read_arg),*)).await
            })*

            $(async fn $write(&self, $($write_arg: $write_type),*) -> Result<$write_result> {
                self.write(stringify!($write), self.real.$write($($write_arg),*)).await
            })*

            $(async fn $fenced(&self, session: &SessionRef, $($fenced_arg: $fenced_type),*) -> Result<$fenced_result> {
                let (real, of) = (Arc::clone(&self.real), session.clone());
                let call = async move { real.$fenced(&of, $($fenced_arg),*).await };
                self.fenced(stringify!($fenced), session, call).await
            })*

            async fn session_open(&self, open: SessionOpen) -> Result<SessionOpened> {
                self.write("session_open", async {
                    let opened = self.real.session_open(open).await?;
                    self.database.note_epoch(&opened.session);
                    Ok(opened)
                })
                .await
            }

            async fn dispatch_claim(&self, session: &SessionRef, claim: Claim) -> Result<Claimed> {
                let (store, of) = (self.clone(), session.clone());
                let call = async move {
                    let claimed = store.real.dispatch_claim(&of, claim).await?;
                    store.check_recipients(&of, &claimed).await;
                    Ok(claimed)
                };
                self.fenced("dispatch_claim", session, call).await
            }

            // A session that was overtaken may end as it likes: nothing changes by it.
            async fn session_close(&self, session: &SessionRef) -> Result<()> {
                self.write("session_close", self.real.session_close(session)).await
            }

            fn committed(&self) -> tokio::sync::watch::Receiver<u64> {
                self.real.committed()
            }

            async fn close(&self) {
                self.database.wait(self.real.close());
            }
        }
    };
}

contract! {
    read {
        tenant_get(id: &TenantId) -> Option<Tenant>;
        tenant_list(after: Option<&TenantId>, limit: u32) -> Vec<Tenant>;
        fleet(tenant: &TenantId) -> Fleet;
        node_get(tenant: &TenantId, id: &NodeId) -> Option<Node>;
        node_list(tenant: &TenantId, after: Option<&NodeId>, limit: u32) -> Vec<Node>;
        gateway_get(tenant: &TenantId, id: &GatewayId) -> Option<Gateway>;
        gateway_list(tenant: &TenantId, node: Option<&NodeId>, after: Option<&GatewayId>, limit: u32) -> Vec<Gateway>;
        bot_get(tenant: &TenantId, id: &BotId) -> Option<Bot>;
        bot_list(tenant: &TenantId, filter: &BotFilter, after: Option<&BotId>, limit: u32) -> Vec<Bot>;
        message_counts(tenant: &TenantId, bots: &[BotId]) -> Vec<StateCounts>;
        bot_route(tenant: &TenantId, id: &BotId) -> Option<BotRoute>;
        desired_state(session: &SessionRef, since: u64) -> DesiredState;
        message_repeats(tenant: &TenantId, asked: &[Idempotency]) -> Vec<Option<AcceptResult>>;
        message_get(tenant: &TenantId, id: MessageId) -> Option<Message>;
        message_list(tenant: &TenantId, filter: &MessageFilter, before: Option<MessageId>, limit: u32) -> Vec<Message>;
        failed_count(tenant: &TenantId, filter: &FailedFilter, by: FailedBy) -> Vec<FailedGroup>;
        failed_list(tenant: &TenantId, filter: &FailedFilter, before: Option<MessageId>, limit: u32) -> Vec<Message>;
        message_replays(tenant: &TenantId, id: MessageId) -> (Option<MessageId>, Option<MessageId>);
        message_attempts(tenant: &TenantId, id: MessageId) -> Vec<AttemptRecord>;
        message_queue_ahead(tenant: &TenantId, id: MessageId, priority_step: Duration) -> u64;
        message_resolutions(tenant: &TenantId, id: MessageId) -> Vec<ResolutionRecord>;
        changes_since(tenant: &TenantId, cursor: u64, bot: Option<&BotId>, limit: u32) -> Changes;
        changes_head(tenant: &TenantId) -> u64;
        contact_get(tenant: &TenantId, address: &ContactAddress) -> Option<Contact>;
        contact_list(
            tenant: &TenantId,
            filter: ContactFilter,
            after: Option<ContactId>,
            limit: u32
        ) -> Vec<Contact>;
        inbound_get(tenant: &TenantId, id: InboundId) -> Option<Inbound>;
        inbound_list(tenant: &TenantId, filter: &InboundFilter, before: Option<InboundId>, limit: u32) -> Vec<Inbound>;
        inbound_since(tenant: &TenantId, after: Option<InboundId>, bot: Option<&BotId>, limit: u32) -> Vec<Inbound>;
        bots_waiting(tenant: &TenantId, node: &NodeId) -> Vec<BotId>;
        drain_list(tenant: &TenantId, node: &NodeId, after: Option<MessageId>, limit: u32) -> Vec<AttemptAtNode>;
        under_way(tenant: &TenantId, filter: &UnderWayFilter, after: Option<MessageId>, limit: u32) -> Vec<AttemptAtNode>;
        media_get(digest: &MediaDigest) -> Option<Bytes>;
        media_exists(tenant: &TenantId, digest: &MediaDigest) -> bool;
    }
    write {
        tenant_put(spec: TenantSpec) -> Tenant;
        tenant_delete(id: TenantId) -> ();
        fleet_write(tenant: &TenantId, writes: Vec<FleetWrite>, request: Option<RequestKey>) -> ();
        message_accept(tenant: &TenantId, messages: Vec<NewMessage>) -> Vec<AcceptResult>;
        message_cancel(tenant: &TenantId, id: MessageId) -> CancelResult;
        failed_replay(tenant: &TenantId, replay: Replay) -> ReplayPart;
        message_resolve(tenant: &TenantId, id: MessageId, resolution: Resolution, reason: String) -> ResolveResult;
        media_put(tenant: &TenantId, digest: MediaDigest, bytes: Bytes) -> ();
        contact_opt_out(tenant: &TenantId, address: &ContactAddress, said: OptOut) -> OptedOut;
        contact_opt_in(tenant: &TenantId, address: &ContactAddress, asked: OptIn) -> OptInResult;
        wake_due(limit: u32, silence: Duration, uncertain_wait: Duration) -> WakeResult;
        holds_end() -> WakeResult;
        absences_act(serving_since: Timestamp, limit: u32) -> AbsencesActed;
        retention_run(policy: &RetentionPolicy, limit: u32) -> u64;
    }
    fenced {
        desired_applied(version: u64, errors: Vec<ApplyError>) -> ();
        reports_apply(batch: ReportBatch) -> ReportsApplied;
    }
}
