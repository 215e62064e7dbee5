//! How a simulated gateway behaves while nothing is wrong with it.

use serde::{Deserialize, Serialize};

use crate::delay::Delay;

/// Timings and shares of a gateway. Every key is optional; the defaults are quick, for tests and demonstrations, and each
/// key says what the real product does where the two differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long `instance/create` with `qrcode: true` blocks, in ms. Default 100; the product takes 5000.
    pub create_wait_ms: u64,
    /// How long `instance/connect` blocks when it has to start the socket, in ms. Default 100; the product takes 2000.
    pub connect_wait_ms: u64,
    /// How long one QR code lasts, in ms. Default 45000, as in the product.
    pub qr_period_ms: u64,
    /// How many QR codes are shown before the link is refused. Default 30, as in the product.
    pub qr_limit: u32,
    /// Scans the QR code by itself so many ms after it is first shown. Default: never.
    pub auto_scan_after_ms: Option<u64>,
    /// Scans the QR code at once if the instance has a number. Default false.
    pub auto_link: bool,
    /// From the scan to the open connection, through the restart with code 515, in ms. Default 50.
    pub link_bounce_ms: u64,
    /// From a lost connection to the open one, in ms. Default 50.
    pub reconnect_ms: u64,
    /// From acceptance to `SERVER_ACK`. Default 50 ms.
    pub server_ack: Delay,
    /// From `SERVER_ACK` to `DELIVERY_ACK`. Default 200 ms.
    pub delivery: Delay,
    /// From `DELIVERY_ACK` to `READ`. Default 500 ms.
    pub read: Delay,
    /// Share of messages that reach the recipient's device. Default 1.
    pub delivered_share: f64,
    /// Share of delivered messages that are read. Default 0.6.
    pub read_share: f64,
    /// Share of delivered messages that the recipient answers. Default 0.
    pub reply_share: f64,
    /// From the last receipt to the answer. Default 500 ms.
    pub reply: Delay,
    /// What the recipient answers. Default `ok`.
    pub reply_text: String,
    /// Numbers that end like this are not on WhatsApp. Default: none.
    pub not_on_whatsapp_suffixes: Vec<String>,
    /// Groups (`…@g.us`) that end like this before the `@` do not exist. Default: none.
    pub missing_group_suffixes: Vec<String>,
    /// Wraps the list of schema errors in one more list, as the source of 2.3.6 does. Default false, as documented.
    pub nested_schema_errors: bool,
    /// How webhooks are delivered.
    pub webhook: WebhookPolicy,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            create_wait_ms: 100,
            connect_wait_ms: 100,
            qr_period_ms: 45_000,
            qr_limit: 30,
            auto_scan_after_ms: None,
            auto_link: false,
            link_bounce_ms: 50,
            reconnect_ms: 50,
            server_ack: Delay::FixedMs(50),
            delivery: Delay::FixedMs(200),
            read: Delay::FixedMs(500),
            delivered_share: 1.0,
            read_share: 0.6,
            reply_share: 0.0,
            reply: Delay::FixedMs(500),
            reply_text: "ok".to_owned(),
            not_on_whatsapp_suffixes: Vec::new(),
            missing_group_suffixes: Vec::new(),
            nested_schema_errors: false,
            webhook: WebhookPolicy::default(),
        }
    }
}

/// How a gateway delivers webhooks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookPolicy {
    /// How long one attempt may take, in ms. Default 30000, as in the product.
    pub timeout_ms: u64,
    /// Factor on every wait of the product's retry table (5 s doubling to 300 s). Default 1; tests use 0.01 or less.
    pub retry_scale: f64,
    /// How many posts of this gateway are under way at once. Default 256; the product has no bound.
    pub concurrency: usize,
    /// Puts the instance's token into the payload, as the product's sample configuration does. Default true.
    pub expose_token: bool,
}

impl Default for WebhookPolicy {
    fn default() -> Self {
        WebhookPolicy { timeout_ms: 30_000, retry_scale: 1.0, concurrency: 256, expose_token: true }
    }
}

impl Behaviour {
    /// What is wrong with the settings, if anything, beginning with the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        let shares = [
            ("delivered_share", self.delivered_share),
            ("read_share", self.read_share),
            ("reply_share", self.reply_share),
        ];
        for (key, share) in shares {
            check_share(share).map_err(|what| format!("{key}: {what}"))?;
        }
        let delays =
            [("server_ack", self.server_ack), ("delivery", self.delivery), ("read", self.read), ("reply", self.reply)];
        for (key, delay) in delays {
            delay.check().map_err(|what| format!("{key}: {what}"))?;
        }
        let waits = [
            ("create_wait_ms", self.create_wait_ms),
            ("connect_wait_ms", self.connect_wait_ms),
            ("qr_period_ms", self.qr_period_ms),
            ("auto_scan_after_ms", self.auto_scan_after_ms.unwrap_or(0)),
            ("link_bounce_ms", self.link_bounce_ms),
            ("reconnect_ms", self.reconnect_ms),
            ("webhook.timeout_ms", self.webhook.timeout_ms),
        ];
        for (key, ms) in waits {
            Delay::FixedMs(ms).check().map_err(|what| format!("{key}: {what}"))?;
        }
        if self.qr_period_ms == 0 || self.qr_limit == 0 {
            return Err("qr_period_ms and qr_limit: must be at least 1".to_owned());
        }
        if !self.webhook.retry_scale.is_finite() || !(0.0..=100.0).contains(&self.webhook.retry_scale) {
            return Err(format!("webhook.retry_scale: must be from 0 to 100, is {}", self.webhook.retry_scale));
        }
        if self.webhook.concurrency == 0 || self.webhook.timeout_ms == 0 {
            return Err("webhook.concurrency and webhook.timeout_ms: must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// Whether `share` is a probability.
pub(crate) fn check_share(share: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&share) { Ok(()) } else { Err(format!("must be a share from 0 to 1, is {share}")) }
}
