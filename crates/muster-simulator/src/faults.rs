//! What can go wrong at a simulated gateway, as settings, and which of them apply to an instance right now.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::behaviour::check_share;
use crate::chance::Chance;
use crate::delay::Delay;

/// The faults of a gateway or of one instance. Every key is optional; the default is: nothing goes wrong.
///
/// An instance's own faults replace its gateway's as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Extra time that every call of the instance takes before it does anything.
    pub latency: Option<Delay>,
    /// What becomes of sends, by share.
    pub send: SendFaults,
    /// What becomes of the receipts of accepted messages, by share.
    pub receipts: ReceiptFaults,
    /// What becomes of webhooks, by share.
    pub webhooks: WebhookFaults,
    /// Reports `open` while every send fails and nothing arrives.
    pub zombie: Zombie,
    /// The account may not open new chats (463): messages to numbers without history end in `ERROR`.
    pub restricted: bool,
    /// The network closes the account with 403 at once and at every later connection.
    pub banned: bool,
    /// The instance's row exists, but the process has not loaded it: it has no state, and every call fails with 500.
    pub unloaded: bool,
}

/// Shares of sends that end in a fault. They exclude each other, so their sum must not exceed 1.
///
/// "After" means that the network has taken the message: it stands in the ledger, and receipts follow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendFaults {
    /// 500 `"Connection Closed"`, not sent.
    pub connection_closed_500: f64,
    /// 400 `["Error: Connection Closed"]`, not sent.
    pub connection_closed_400: f64,
    /// 400 as if the number did not exist, not sent.
    pub not_on_whatsapp: f64,
    /// 401, not sent.
    pub unauthorized: f64,
    /// 500 without a useful text, not sent.
    pub server_error_500: f64,
    /// 503 in the shape of 2.4 without a licence, not sent.
    pub license_503: f64,
    /// 201 with an error of the Cloud API as body, not sent.
    pub meta_error_201: f64,
    /// 400 `["PrismaClient…"]` after the send; the gateway has no row of the message, so no event follows.
    pub prisma_400_after_send: f64,
    /// 201 with an empty body after the send.
    pub empty_201: f64,
    /// Never answers; not sent.
    pub hang_before: f64,
    /// Never answers; sent.
    pub hang_after: f64,
    /// Resets the connection; not sent.
    pub reset_before: f64,
    /// Resets the connection; sent.
    pub reset_after: f64,
}

/// One fault of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFault {
    ConnectionClosed500,
    ConnectionClosed400,
    NotOnWhatsapp,
    Unauthorized,
    ServerError,
    License,
    MetaError,
    PrismaAfterSend,
    EmptyAfterSend,
    HangBefore,
    HangAfter,
    ResetBefore,
    ResetAfter,
}

impl SendFaults {
    fn table(&self) -> [(&'static str, f64, SendFault); 13] {
        [
            ("connection_closed_500", self.connection_closed_500, SendFault::ConnectionClosed500),
            ("connection_closed_400", self.connection_closed_400, SendFault::ConnectionClosed400),
            ("not_on_whatsapp", self.not_on_whatsapp, SendFault::NotOnWhatsapp),
            ("unauthorized", self.unauthorized, SendFault::Unauthorized),
            ("server_error_500", self.server_error_500, SendFault::ServerError),
            ("license_503", self.license_503, SendFault::License),
            ("meta_error_201", self.meta_error_201, SendFault::MetaError),
            ("prisma_400_after_send", self.prisma_400_after_send, SendFault::PrismaAfterSend),
            ("empty_201", self.empty_201, SendFault::EmptyAfterSend),
            ("hang_before", self.hang_before, SendFault::HangBefore),
            ("hang_after", self.hang_after, SendFault::HangAfter),
            ("reset_before", self.reset_before, SendFault::ResetBefore),
            ("reset_after", self.reset_after, SendFault::ResetAfter),
        ]
    }

    /// The fault that this send meets, if any.
    pub(crate) fn draw(&self, chance: &mut Chance) -> Option<SendFault> {
        let mut point = chance.unit();
        self.table().into_iter().find_map(|(_, share, fault)| {
            point -= share;
            (point < 0.0).then_some(fault)
        })
    }
}

/// Shares of accepted messages whose receipts are not the usual chain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptFaults {
    /// The network refuses the message later: `ERROR`, without a reason.
    pub error: f64,
    /// Stays `PENDING` for ever.
    pub never: f64,
    /// No `SERVER_ACK`; the chain begins with `DELIVERY_ACK`.
    pub skip_server_ack: f64,
    /// The receipts come in the wrong order, the last one first.
    pub reversed: f64,
}

/// Shares of webhooks that are not delivered as they should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookFaults {
    /// Never sent.
    pub drop: f64,
    /// Sent twice.
    pub double: f64,
    /// Sent late.
    pub late: f64,
    /// How late the late ones are. Default 1000 ms.
    pub late_by: Delay,
    /// Held back until the instance's next webhook has gone out, or a second has passed.
    pub out_of_order: f64,
}

impl Default for WebhookFaults {
    fn default() -> Self {
        WebhookFaults { drop: 0.0, double: 0.0, late: 0.0, late_by: Delay::FixedMs(1000), out_of_order: 0.0 }
    }
}

/// A login that looks healthy and is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zombie {
    /// Healthy.
    #[default]
    No,
    /// Until the instance is restarted.
    UntilRestart,
    /// Until these faults are replaced, whatever is restarted.
    Always,
}

impl Faults {
    /// What is wrong with the settings, if anything, beginning with the key.
    pub fn check(&self) -> Result<(), String> {
        let mut sum = 0.0;
        for (key, share, _) in self.send.table() {
            check_share(share).map_err(|what| format!("send.{key}: {what}"))?;
            sum += share;
        }
        // Shares such as ten times 0.1 do not add up to exactly 1 in binary.
        if sum > 1.0 + 1e-9 {
            return Err(format!("send: the shares exclude each other, so their sum must not exceed 1; it is {sum}"));
        }
        let shares = [
            ("receipts.error", self.receipts.error),
            ("receipts.never", self.receipts.never),
            ("receipts.skip_server_ack", self.receipts.skip_server_ack),
            ("receipts.reversed", self.receipts.reversed),
            ("webhooks.drop", self.webhooks.drop),
            ("webhooks.double", self.webhooks.double),
            ("webhooks.late", self.webhooks.late),
            ("webhooks.out_of_order", self.webhooks.out_of_order),
        ];
        for (key, share) in shares {
            check_share(share).map_err(|what| format!("{key}: {what}"))?;
        }
        self.webhooks.late_by.check().map_err(|what| format!("webhooks.late_by: {what}"))?;
        self.latency.unwrap_or(Delay::ZERO).check().map_err(|what| format!("latency: {what}"))
    }
}

/// The faults of one gateway as they are set now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayFaults {
    /// For instances without their own.
    pub gateway: Faults,
    /// For these instances only.
    pub instances: BTreeMap<String, Faults>,
}

/// The faults of one gateway, changeable while it runs.
pub(crate) struct FaultBoard(RwLock<Board>);

struct Board {
    gateway: Setting,
    instances: BTreeMap<String, Setting>,
    /// Number of the last setting, so that each one is told from those before it.
    edition: u64,
}

/// Faults as they were set once.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) faults: Arc<Faults>,
    /// Which setting this is; a later one has a greater number, even if it says the same.
    pub(crate) edition: u64,
}

impl FaultBoard {
    pub(crate) fn new(faults: GatewayFaults) -> Self {
        let first = |faults| Setting { faults: Arc::new(faults), edition: 1 };
        FaultBoard(RwLock::new(Board {
            gateway: first(faults.gateway),
            instances: faults.instances.into_iter().map(|(name, faults)| (name, first(faults))).collect(),
            edition: 1,
        }))
    }

    /// The setting that applies to `instance`.
    pub(crate) fn of(&self, instance: &str) -> Setting {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        board.instances.get(instance).unwrap_or(&board.gateway).clone()
    }

    /// Replaces the faults of the gateway (`None`) or of one instance.
    pub(crate) fn set(&self, instance: Option<&str>, faults: Faults) {
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        board.edition += 1;
        let setting = Setting { faults: Arc::new(faults), edition: board.edition };
        match instance {
            None => board.gateway = setting,
            Some(name) => {
                board.instances.insert(name.to_owned(), setting);
            }
        }
    }

    /// Makes an instance follow its gateway again.
    pub(crate) fn clear(&self, instance: &str) {
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        board.instances.remove(instance);
    }

    pub(crate) fn snapshot(&self) -> GatewayFaults {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let plain = |setting: &Setting| Faults::clone(&setting.faults);
        GatewayFaults {
            gateway: plain(&board.gateway),
            instances: board.instances.iter().map(|(name, setting)| (name.clone(), plain(setting))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_that_exclude_each_other_may_fill_the_whole() {
        let mut faults = Faults::default();
        faults.send.hang_before = 0.7;
        faults.send.reset_after = 0.3;
        faults.check().unwrap();
        faults.send.unauthorized = 0.1;
        assert!(faults.check().unwrap_err().starts_with("send:"));
        faults.send.unauthorized = f64::NAN;
        assert!(faults.check().unwrap_err().starts_with("send.unauthorized:"));
    }

    #[test]
    fn draws_follow_the_shares() {
        let mut chance = Chance::new(1, &["faults"]);
        let faults = SendFaults { hang_before: 0.25, reset_after: 0.5, ..SendFaults::default() };
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            match faults.draw(&mut chance) {
                None => counts[0] += 1,
                Some(SendFault::HangBefore) => counts[1] += 1,
                Some(SendFault::ResetAfter) => counts[2] += 1,
                Some(other) => panic!("{other:?} has no share"),
            }
        }
        assert!(
            counts.iter().zip([2500, 2500, 5000]).all(|(have, want): (&i32, i32)| (have - want).abs() < 250),
            "{counts:?}"
        );
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = serde_json::from_str::<Faults>(r#"{"send":{"hang":1}}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `hang`"), "{error}");
    }
}
