//! One instance: an account of the network behind the gateway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jid;
use super::mailbox::{Mailbox, MessageIndex};
use super::outbox::Delivery;
use super::qr::LinkCode;
use super::webhook::Webhook;
use crate::chance::Chance;
use crate::faults::{Setting, Zombie};

/// State of an instance's socket, as the gateway reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// No socket.
    Close,
    /// A socket that is not logged in: it shows codes to link, or comes back after a loss.
    Connecting,
    /// Logged in.
    Open,
}

impl ConnectionState {
    /// The state as the gateway spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionState::Close => "close",
            ConnectionState::Connecting => "connecting",
            ConnectionState::Open => "open",
        }
    }
}

/// The credentials that an instance holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Login {
    /// None: a new link is needed.
    None,
    /// Valid ones.
    Linked,
    /// The network has revoked them, and the gateway has not wiped them yet.
    Revoked,
}

/// Which product speaks behind the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Integration {
    #[serde(rename = "WHATSAPP-BAILEYS")]
    Baileys,
    #[serde(rename = "WHATSAPP-BUSINESS")]
    Business,
    #[serde(rename = "EVOLUTION")]
    Evolution,
}

/// What the instance does by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    pub(crate) reject_call: bool,
    pub(crate) msg_call: String,
    pub(crate) groups_ignore: bool,
    pub(crate) always_online: bool,
    pub(crate) read_messages: bool,
    pub(crate) read_status: bool,
    pub(crate) sync_full_history: bool,
    pub(crate) wavoip_token: String,
}

/// Why and when the network closed the account for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disconnection {
    pub(crate) code: u16,
    pub(crate) at: Timestamp,
}

/// What of an instance outlives the process, messages aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) integration: Integration,
    pub(crate) number: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) state: ConnectionState,
    pub(crate) login: Login,
    /// JID of the account that was linked last.
    pub(crate) owner: Option<String>,
    pub(crate) disconnection: Option<Disconnection>,
    pub(crate) created_at: Timestamp,
    /// Last line of the ledger when the instance was created: what stands before is not about this instance.
    pub(crate) after_seq: u64,
}

/// One instance.
pub(crate) struct Instance {
    pub(crate) name: Arc<str>,
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) integration: Integration,
    pub(crate) created_at: Timestamp,
    pub(crate) after_seq: u64,
    inner: Mutex<InstanceState>,
}

/// The part of an instance that changes.
pub(crate) struct InstanceState {
    pub(crate) number: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) webhook: Option<Arc<Webhook>>,
    pub(crate) socket: Socket,
    pub(crate) login: Login,
    pub(crate) owner: Option<String>,
    pub(crate) disconnection: Option<Disconnection>,
    pub(crate) mailbox: Mailbox,
    /// Messages whose next status waits until the instance can be reached again.
    pub(crate) parked: Vec<MessageIndex>,
    /// A webhook that is held back until the next one has gone.
    pub(crate) held: Option<Delivery>,
    /// Edition of the fault setting whose zombie a restart has ended.
    pub(crate) cured: u64,
    pub(crate) chance: Chance,
}

/// An instance's socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) state: ConnectionState,
    /// Which socket this is; timers of an earlier one are void.
    pub(crate) generation: u64,
    pub(crate) code: Option<LinkCode>,
    /// How many codes this socket has shown.
    pub(crate) code_count: u32,
    /// The number that asked for a pairing code.
    pub(crate) pairing_number: Option<String>,
}

impl Instance {
    /// An instance as it was recorded, with an empty mailbox.
    pub(crate) fn new(record: InstanceRecord, chance: Chance) -> Self {
        Instance {
            name: record.name.into(),
            id: record.id,
            token: record.token,
            integration: record.integration,
            created_at: record.created_at,
            after_seq: record.after_seq,
            inner: Mutex::new(InstanceState {
                number: record.number,
                settings: record.settings,
                webhook: record.webhook.map(Arc::new),
                socket: Socket { state: record.state, generation: 0, code: None, code_count: 0, pairing_number: None },
                login: record.login,
                owner: record.owner,
                disconnection: record.disconnection,
                mailbox: Mailbox::default(),
                parked: Vec::new(),
                held: None,
                cured: 0,
                chance,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, InstanceState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has to outlive the process.
    pub(crate) fn record(&self) -> InstanceRecord {
        let state = self.lock();
        InstanceRecord {
            name: self.name.to_string(),
            id: self.id.clone(),
            token: self.token.clone(),
            integration: self.integration,
            number: state.number.clone(),
            settings: state.settings.clone(),
            webhook: state.webhook.as_deref().cloned(),
            state: state.socket.state,
            login: state.login,
            owner: state.owner.clone(),
            disconnection: state.disconnection.clone(),
            created_at: self.created_at,
            after_seq: self.after_seq,
        }
    }
}

impl InstanceState {
    /// Whether the login looks healthy and is not.
    pub(crate) fn is_zombie(&self, setting: &Setting) -> bool {
        match setting.faults.zombie {
            Zombie::No => false,
            Zombie::UntilRestart => self.cured < setting.edition,
            Zombie::Always => true,
        }
    }

    /// Whether messages pass in either direction.
    pub(crate) fn is_reachable(&self, setting: &Setting) -> bool {
        self.socket.state == ConnectionState::Open && !self.is_zombie(setting)
    }

    /// Whether the credentials are valid.
    pub(crate) fn is_linked(&self) -> bool {
        self.login == Login::Linked
    }

    /// Whether the instance is set to hear nothing of this chat.
    pub(crate) fn ignores(&self, jid: &str) -> bool {
        self.settings.groups_ignore && jid::is_group(jid)
    }

    /// The account's name, which a real one would have from its owner.
    pub(crate) fn profile_name(&self) -> Option<String> {
        self.owner.as_deref().map(|owner| format!("Bot {}", jid::user(owner)))
    }

    /// The code of a running link as `instance/connect` shows it.
    pub(crate) fn link_code(&self) -> Value {
        match &self.socket.code {
            Some(code) => json!({
                "pairingCode": code.pairing_code,
                "code": code.code,
                "base64": code.picture(),
                "count": self.socket.code_count,
            }),
            None => json!({"count": self.socket.code_count}),
        }
    }
}
