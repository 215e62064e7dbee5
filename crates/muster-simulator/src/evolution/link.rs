//! An instance's way between `close`, `connecting` and `open`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::event::Event;
use super::gateway::Gateway;
use super::instance::{ConnectionState, Disconnection, Instance, InstanceState, Login};
use super::outbox::After;
use super::qr::LinkCode;
use super::timeline::Due;
use crate::faults::Faults;

/// The network has ended the login: the device was removed.
pub(crate) const LOGGED_OUT: u16 = 401;

/// The network has banned the account.
pub(crate) const FORBIDDEN: u16 = 403;

/// The socket was closed; also told when the codes of a link are used up.
const CONNECTION_CLOSED: u16 = 428;

/// The session is of no use; told with the last code of a link.
const BAD_SESSION: u16 = 500;

/// Whether the gateway stays closed after the network closed with this code.
pub(crate) fn is_final(code: u16) -> bool {
    matches!(code, LOGGED_OUT | 402 | FORBIDDEN | 406)
}

/// The JID of an account with this number.
fn owner_jid(number: &str) -> String {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    format!("{digits}@s.whatsapp.net")
}

/// A link cannot be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("the instance shows no code to scan; call instance/connect first")]
    NoCode,
    #[error("the instance has no number; name one in the scan or when it is created")]
    NoNumber,
}

impl Gateway {
    /// Starts a socket: with credentials it logs in, without them it shows codes. A `number` asks for a pairing code.
    pub(super) fn start_socket(&self, instance: &Arc<Instance>, state: &mut InstanceState, number: Option<String>) {
        state.socket.generation += 1;
        state.socket.state = ConnectionState::Connecting;
        state.socket.code = None;
        state.socket.code_count = 0;
        state.socket.pairing_number = number.or_else(|| state.number.clone());
        self.emit_connection(instance, state, ConnectionState::Connecting.as_str(), 200);
        let generation = state.socket.generation;
        let reconnect = Duration::from_millis(self.behaviour.reconnect_ms);
        match state.login {
            Login::Linked => self.timeline.after(reconnect, Due::Open(instance.clone(), generation)),
            Login::Revoked => self.timeline.after(reconnect, Due::Refuse(instance.clone(), generation, LOGGED_OUT)),
            Login::None => {
                self.show_next_code(instance, state);
                let at_once = (self.behaviour.auto_link && state.number.is_some()).then_some(0);
                if let Some(ms) = at_once.or(self.behaviour.auto_scan_after_ms) {
                    self.timeline.after(Duration::from_millis(ms), Due::Scan(instance.clone(), generation));
                }
            }
        }
        self.state.touch();
    }

    /// Shows the next code, or gives up after the last one.
    fn show_next_code(&self, instance: &Arc<Instance>, state: &mut InstanceState) {
        if state.socket.code_count >= self.behaviour.qr_limit {
            let data = json!({"message": "QR code limit reached, please login again", "statusCode": BAD_SESSION});
            self.emit(instance, state, Event::QrcodeUpdated, &data);
            self.emit_connection(instance, state, "refused", CONNECTION_CLOSED);
            self.stop_socket(state);
            self.state.touch();
            return;
        }
        let code = LinkCode::draw(&mut state.chance, state.socket.pairing_number.is_some());
        if Self::is_wanted(state, Event::QrcodeUpdated) {
            let data = json!({"qrcode": {
                "instance": &*instance.name,
                "pairingCode": code.pairing_code,
                "code": code.code,
                "base64": code.picture(),
            }});
            self.emit(instance, state, Event::QrcodeUpdated, &data);
        }
        state.socket.code = Some(code);
        state.socket.code_count += 1;
        let period = Duration::from_millis(self.behaviour.qr_period_ms);
        self.timeline.after(period, Due::NextCode(instance.clone(), state.socket.generation));
    }

    pub(super) fn next_code_due(&self, instance: &Arc<Instance>, generation: u64) {
        let mut state = instance.lock();
        if state.socket.generation == generation && state.socket.code.is_some() {
            self.show_next_code(instance, &mut state);
        }
    }

    pub(super) fn scan_due(&self, instance: &Arc<Instance>, generation: u64) {
        if instance.lock().socket.generation == generation
            && let Err(error) = self.scan(instance, None)
        {
            tracing::info!(gateway = %self.name, instance = %instance.name, %error, "no scan by itself");
        }
    }

    /// A person scans the code with the account of `number`, or of the instance's own number.
    pub(crate) fn scan(&self, instance: &Arc<Instance>, number: Option<&str>) -> Result<(), ScanError> {
        let mut state = instance.lock();
        if state.socket.code.is_none() || state.socket.state != ConnectionState::Connecting {
            return Err(ScanError::NoCode);
        }
        self.link(instance, &mut state, number)
    }

    /// Gives the instance credentials; the network restarts the socket (515), and the next one is open.
    fn link(&self, instance: &Arc<Instance>, state: &mut InstanceState, number: Option<&str>) -> Result<(), ScanError> {
        let number = number.or(state.socket.pairing_number.as_deref()).or(state.number.as_deref());
        state.owner = Some(owner_jid(number.ok_or(ScanError::NoNumber)?));
        state.login = Login::Linked;
        state.disconnection = None;
        state.socket.generation += 1;
        state.socket.code = None;
        self.emit_connection(instance, state, ConnectionState::Connecting.as_str(), 200);
        let bounce = Duration::from_millis(self.behaviour.link_bounce_ms);
        self.timeline.after(bounce, Due::Open(instance.clone(), state.socket.generation));
        self.state.touch();
        Ok(())
    }

    pub(super) fn open_due(&self, instance: &Arc<Instance>, generation: u64) {
        let mut state = instance.lock();
        if state.socket.generation != generation {
            return;
        }
        if self.faults.of(&instance.name).faults.banned {
            self.close_for_good(instance, &mut state, FORBIDDEN);
        } else {
            self.open(instance, &mut state);
        }
    }

    /// The socket is logged in; what waited for that goes on.
    fn open(&self, instance: &Arc<Instance>, state: &mut InstanceState) {
        state.socket.state = ConnectionState::Open;
        state.socket.code = None;
        let data = json!({
            "instance": &*instance.name,
            "wuid": state.owner,
            "profileName": state.profile_name(),
            "profilePictureUrl": Value::Null,
            "state": ConnectionState::Open.as_str(),
            "statusReason": 200,
        });
        self.emit(instance, state, Event::ConnectionUpdate, &data);
        self.unpark(instance, state);
        self.state.touch();
    }

    pub(super) fn refuse_due(&self, instance: &Arc<Instance>, generation: u64, code: u16) {
        let mut state = instance.lock();
        if state.socket.generation == generation {
            self.close_for_good(instance, &mut state, code);
        }
    }

    /// The network closes the connection with `code`. The gateway reconnects without a word of the close, unless it is final.
    pub(crate) fn disconnect(&self, instance: &Arc<Instance>, code: u16) {
        let mut state = instance.lock();
        if is_final(code) {
            self.close_for_good(instance, &mut state, code);
        } else if state.socket.state != ConnectionState::Close {
            self.start_socket(instance, &mut state, None);
        }
    }

    /// Closes and stays closed. The credentials are wiped only after the webhook of the logout, with all its attempts.
    pub(super) fn close_for_good(&self, instance: &Arc<Instance>, state: &mut InstanceState, code: u16) {
        let at = Timestamp::now();
        if state.login == Login::Linked {
            state.login = Login::Revoked;
        }
        self.stop_socket(state);
        state.disconnection = Some(Disconnection { code, at });
        let data = json!({
            "instance": &*instance.name,
            "status": "closed",
            "disconnectionAt": format!("{at:.3}"),
            "disconnectionReasonCode": code,
            "disconnectionObject": disconnection_object(code),
        });
        self.emit(instance, state, Event::StatusInstance, &data);
        self.emit_then(instance, state, Event::LogoutInstance, &Value::Null, After::Wipe(instance.clone()));
        self.emit_connection(instance, state, ConnectionState::Close.as_str(), code);
        self.state.touch();
    }

    fn stop_socket(&self, state: &mut InstanceState) {
        state.socket.generation += 1;
        state.socket.state = ConnectionState::Close;
        state.socket.code = None;
        state.socket.code_count = 0;
    }

    /// Replaces the faults of the gateway (`None`) or of one instance. A ban strikes at once; what became reachable catches up.
    pub(crate) fn set_faults(&self, name: Option<&str>, faults: Faults) {
        self.faults.set(name, faults);
        self.faults_changed();
    }

    /// Makes an instance follow its gateway's faults again.
    pub(crate) fn clear_faults(&self, name: &str) {
        self.faults.clear(name);
        self.faults_changed();
    }

    fn faults_changed(&self) {
        for instance in self.all() {
            let setting = self.faults.of(&instance.name);
            let mut state = instance.lock();
            if setting.faults.banned && state.socket.state != ConnectionState::Close {
                self.close_for_good(&instance, &mut state, FORBIDDEN);
            } else if state.is_reachable(&setting) {
                self.unpark(&instance, &mut state);
            }
        }
    }

    /// Removes credentials that the network has revoked.
    pub(super) fn wipe(&self, instance: &Instance) {
        let mut state = instance.lock();
        if state.login == Login::Revoked {
            state.login = Login::None;
            self.state.touch();
        }
    }

    /// Closes the present socket and starts another; ends a zombie that a restart can end.
    pub(super) fn restart(&self, instance: &Arc<Instance>, state: &mut InstanceState) {
        state.cured = self.faults.of(&instance.name).edition;
        self.start_socket(instance, state, None);
    }

    fn emit_connection(&self, instance: &Arc<Instance>, state: &mut InstanceState, name: &str, reason: u16) {
        let data = json!({"instance": &*instance.name, "state": name, "statusReason": reason});
        self.emit(instance, state, Event::ConnectionUpdate, &data);
    }
}

/// What the product keeps of the network's last word, as JSON in a text.
pub(super) fn disconnection_object(code: u16) -> String {
    json!({"error": {"data": Value::Null, "isBoom": true, "output": {"statusCode": code}}, "date": Value::Null})
        .to_string()
}
