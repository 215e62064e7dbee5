//! What the server wants this node to look like, and what the agent makes of it.
//!
//! Latest state, not a log. The last applied state is kept beside the journal, so that an agent that restarts while the server
//! is away knows its bots and finishes what it accepted. It is a copy for that case only: at its first session an agent asks
//! for the complete state.

mod declared;
mod kept;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use muster_domain::desired::DesiredVersion;
use muster_domain::gateway::GatewayKind;
use muster_domain::limits::FLEET_RESOURCES_MAX;
use muster_domain::{BotId, GatewayId};
use muster_gateway::GatewaySettings;
use muster_proto::agent_v1 as wire;
use tokio::sync::{Semaphore, watch};

use self::declared::{Change, Declared, DeclaredBot};
use crate::bots::{Bots, OpenGateway, Route};
use crate::journal::Journal;
use crate::lane::Lanes;
use crate::supervisor::{self, CALLS_AT_ONCE_MAX, Supervisor};
use crate::webhook::WebhookAddress;

/// Errors that are told of one state. More of them have one cause, and all have to fit into a frame.
const ERRORS_TOLD_MAX: usize = 1_000;

/// Why a desired state cannot be taken at all. The agent asks for a complete one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DesiredError {
    /// It builds upon a version that is not applied here.
    #[error("desired state {version} builds upon {base}, and {applied} is applied")]
    BaseMismatch {
        /// Where it leads.
        version: u64,
        /// What it builds upon.
        base: u64,
        /// What is applied.
        applied: u64,
    },
    /// It names more resources than any node may have.
    #[error("a desired state names more than {FLEET_RESOURCES_MAX} resources")]
    TooLarge,
}

/// Opens the adapter of a gateway, or says what is wrong with its settings.
pub type OpenAdapter = dyn Fn(GatewayKind, GatewaySettings) -> Result<Arc<dyn muster_gateway::Gateway>, muster_gateway::ConfigError>
    + Send
    + Sync;

/// What desired states are applied to.
pub(crate) struct Desired {
    settings: BTreeMap<GatewayId, GatewaySettings>,
    open: Box<OpenAdapter>,
    bots: Arc<Bots>,
    lanes: Arc<Lanes>,
    journal: Journal,
    webhook: WebhookAddress,
    path: PathBuf,
    declared: Declared,
    /// Frames of a state whose last one has not come yet.
    incomplete: Option<wire::DesiredState>,
    gateways: HashMap<GatewayId, Result<Arc<OpenGateway>, String>>,
    supervisors: HashMap<BotId, Supervisor>,
    applied: watch::Sender<DesiredVersion>,
}

/// Everything that [`Desired`] works with.
pub(crate) struct DesiredParts {
    pub(crate) settings: BTreeMap<GatewayId, GatewaySettings>,
    pub(crate) open: Box<OpenAdapter>,
    pub(crate) bots: Arc<Bots>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) journal: Journal,
    pub(crate) webhook: WebhookAddress,
    pub(crate) path: PathBuf,
}

impl Desired {
    /// Begins with the state that was kept at the last run, if there is one.
    pub(crate) fn new(parts: DesiredParts) -> Self {
        let DesiredParts { settings, open, bots, lanes, journal, webhook, path } = parts;
        let mut desired = Desired {
            settings,
            open,
            bots,
            lanes,
            journal,
            webhook,
            path,
            declared: Declared::default(),
            incomplete: None,
            gateways: HashMap::new(),
            supervisors: HashMap::new(),
            applied: watch::Sender::default(),
        };
        if let Some(kept) = kept::read(&*desired.journal.machine().disk, &desired.path) {
            tracing::info!(
                bots = kept.bots.len(),
                "going on with the desired state of the last run until the server tells"
            );
            let (change, _) = desired.declared.replace(kept);
            desired.apply(&change);
        }
        desired
    }

    /// Follows the version that is applied. None until the server has told one to this process.
    pub(crate) fn applied(&self) -> watch::Receiver<DesiredVersion> {
        self.applied.subscribe()
    }

    /// A session begins: what an earlier one left incomplete is told anew, or nobody knows any more.
    pub(crate) fn begin(&mut self) {
        self.incomplete = None;
    }

    /// Ends all supervisors.
    pub(crate) fn stop_supervising(&mut self) {
        self.supervisors.clear();
    }

    /// Takes a frame. The status follows the last frame of a state.
    pub(crate) async fn take(
        &mut self,
        frame: wire::DesiredState,
    ) -> Result<Option<wire::DesiredStatus>, DesiredError> {
        let is_last = !frame.more;
        let state = match self.incomplete.take() {
            Some(begun) if begun.version == frame.version => declared::joined(begun, frame),
            // A newer state overtook one that was never completed.
            _ => frame,
        };
        if declared::resources(&state) > FLEET_RESOURCES_MAX {
            return Err(DesiredError::TooLarge);
        }
        if !is_last {
            self.incomplete = Some(state);
            return Ok(None);
        }
        let (version, lineage, base) = (state.version, state.lineage, state.base_version);
        let applied = self.applied.borrow().version;
        if base != 0 && base != applied {
            self.applied.send_replace(DesiredVersion::default());
            return Err(DesiredError::BaseMismatch { version, base, applied });
        }
        // A bot that was moved away and back in the meantime is named like any other: the server has forgotten its login. A
        // supervisor that is begun below tells it anyway, so it must not find the mark when it has.
        let named = state.bots.iter().filter_map(|bot| BotId::new(&bot.id).ok());
        named.filter_map(|id| self.bots.get(&id)).for_each(|bot| bot.tell_again());
        let (change, unreadable) = if base == 0 { self.declared.replace(state) } else { self.declared.amend(state) };
        self.apply(&change);
        self.applied.send_replace(DesiredVersion { version, lineage });
        self.keep().await;
        let errors: Vec<_> = unreadable.into_iter().chain(self.errors()).take(ERRORS_TOLD_MAX).collect();
        tracing::info!(version, bots = self.declared.bots.len(), errors = errors.len(), "the desired state is applied");
        Ok(Some(wire::DesiredStatus { version, errors }))
    }

    /// Brings gateways, bots and supervisors in line with what is declared.
    fn apply(&mut self, change: &Change) {
        for id in &change.gateways {
            match self.declared.gateways.get(id) {
                Some(kind) => {
                    let opened = self.open_gateway(id, *kind);
                    if let Err(why) = &opened {
                        tracing::error!(gateway = %id, %why, "a gateway cannot be used");
                    }
                    self.gateways.insert(id.clone(), opened);
                }
                None => {
                    self.gateways.remove(id);
                }
            }
        }
        for id in &change.bots {
            self.apply_bot(id);
        }
        self.bots.note_declared(self.declared.bots.len());
        self.lanes.note_declared(self.declared.draining);
        self.bots.tidy();
    }

    fn open_gateway(&self, id: &GatewayId, kind: GatewayKind) -> Result<Arc<OpenGateway>, String> {
        let settings = match (self.settings.get(id), kind) {
            (Some(settings), _) => settings.clone(),
            // It needs no address and no key.
            (None, GatewayKind::Null) => GatewaySettings::default(),
            (None, GatewayKind::Evolution) => {
                return Err(format!(
                    "the agent's configuration has no section [gateways.{id}]: add one with url and key, and restart the agent"
                ));
            }
        };
        let gateway = (self.open)(kind, settings).map_err(|error| format!("[gateways.{id}] {error}"))?;
        Ok(Arc::new(OpenGateway { id: id.clone(), kind, gateway, supervision: Semaphore::new(CALLS_AT_ONCE_MAX) }))
    }

    fn apply_bot(&mut self, id: &BotId) {
        let Some(declared) = self.declared.bots.get(id).cloned() else {
            self.supervisors.remove(id);
            if let Some(bot) = self.bots.get(id) {
                bot.set_route(None);
            }
            return;
        };
        let DeclaredBot { gateway, may_send, connect, address, window_generation } = declared;
        let opened = self.gateways.get(&gateway).and_then(|opened| opened.as_ref().ok()).cloned();
        let bot = self.bots.get_or_insert(id);
        bot.set_route(Some(Arc::new(Route { gateway: opened.clone(), may_send, window_generation })));
        let Some(opened) = opened.filter(|_| connect) else {
            self.supervisors.remove(id);
            return;
        };
        // A supervisor in the middle of a link or of a reconnection is left alone by a mere hold.
        if self.supervisors.get(id).is_none_or(|supervisor| !supervisor.is_of(&opened)) {
            self.supervisors.remove(id);
            let webhook = self.webhook.target(&gateway, id);
            let supervisor = supervisor::start(&bot, opened, address, webhook, self.journal.clone());
            self.supervisors.insert(id.clone(), supervisor);
        }
    }

    /// What is declared and cannot be used.
    fn errors(&self) -> impl Iterator<Item = wire::ResourceError> {
        let gateways = self.gateways.iter().filter_map(|(id, opened)| {
            let message = opened.as_ref().err()?.clone();
            Some(wire::ResourceError { name: id.resource_name(), message })
        });
        let bots = self.declared.bots.iter().filter_map(|(id, bot)| {
            let message = match self.gateways.get(&bot.gateway) {
                Some(Ok(_)) => return None,
                Some(Err(_)) => format!("{} cannot be used: see its own error", bot.gateway.resource_name()),
                None => format!("{} is not declared on this node", bot.gateway.resource_name()),
            };
            Some(wire::ResourceError { name: id.resource_name(), message })
        });
        gateways.chain(bots)
    }

    async fn keep(&self) {
        let (state, path, machine) = (self.declared.to_wire(), self.path.clone(), self.journal.machine());
        let disk = Arc::clone(&machine.disk);
        if let Err(error) = machine.wait_for(move || kept::write(&*disk, &path, &state)).await {
            tracing::warn!(path = %self.path.display(), %error, "the desired state cannot be kept for the next start");
        }
    }
}
