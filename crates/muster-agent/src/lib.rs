//! The agent of a node: takes attempts from the server, hands them to the node's gateways, and reports what became of them.
//!
//! Everything that it promises is in its `journal` first. A session (`session`) carries work in and reports out; lanes
//! (`lane`) call the gateways, one message at a time per bot; webhooks (`webhook`) bring what the networks say later; and
//! supervisors (`supervisor`) keep the bots logged in. The agent goes on while the server is away, and starts again from
//! its journal after a crash. Start at [`start`].

mod agent;
mod bots;
mod clock;
mod command;
mod config;
mod desired;
mod disk;
mod echoes;
mod error;
mod journal;
mod lane;
mod machine;
mod media;
mod report;
mod session;
mod supervisor;
mod webhook;

pub use agent::{Agent, Dial, Surroundings, start, start_in};
pub use clock::Clock;
pub use config::{
    ATTEMPTS_MAX_DEFAULT, ATTEMPTS_PER_BOT_MAX_DEFAULT, BYTES_MAX_DEFAULT, Config, DRAIN_DEADLINE_DEFAULT,
    SEND_TIMEOUT_DEFAULT, WEBHOOK_PORT_DEFAULT,
};
pub use desired::OpenAdapter;
pub use disk::{Disk, DiskFile};
pub use error::{AgentError, Refusal};
pub use journal::{FREE_BYTES_MIN, JournalError};
pub use machine::{Machine, Pace, Waiting};
pub use webhook::{Line, Listen, Listening};

#[cfg(test)]
mod tests;
