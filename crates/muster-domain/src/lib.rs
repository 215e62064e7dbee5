//! The rules of Muster, as plain values and pure functions.
//!
//! Nothing here reads a clock, draws a random number, waits, or touches a file or a socket: `now` and ids come in as
//! arguments, decisions go out as values that somebody else carries out. Start at [`gate`], the one place that decides
//! whether a message may leave, [`message`], what a client asked to send, and [`life`], the steps that it takes.

pub mod absence;
pub mod address;
pub mod aging;
pub mod backlog;
pub mod backoff;
pub mod bot;
pub mod contact;
pub mod content;
pub mod desired;
pub mod drain;
pub mod failure;
pub mod fair;
pub mod fleet;
pub mod gate;
pub mod gateway;
pub mod id;
pub mod inbound;
pub mod life;
pub mod limits;
pub mod message;
pub mod node;
pub mod on_uncertain;
pub mod opt_out;
pub mod opt_out_words;
pub mod reconnect;
pub mod replay;
pub mod resolution;
pub mod retry;
pub mod revision;
pub mod session;
pub mod tenant;
pub mod violation;
pub mod window;

pub use address::{Address, Network};
pub use id::{BotId, Epoch, GatewayId, IdStart, MessageId, NodeId, TenantId};
pub use violation::Violation;

/// A point in time. Columns and frames carry it as microseconds since the Unix epoch.
pub use jiff::Timestamp;
