//! The ledger: what the simulated network took, in a file that outlives the process.
//!
//! One JSON object per line, appended in batches by a thread of its own. [`Ledger::record`] returns when the line has been
//! written to the operating system, so that killing the simulator loses nothing that a caller could have been told; it is
//! not synchronised to the disk, so a power cut may. A checker compares with this file instead of trusting what it checks.

mod entry;
mod file;
mod summary;
mod writer;

pub use entry::{Accepted, Answer, Content, Kind, LedgerEntry, LedgerEvent, LedgerLine, Media, Status, content_sha256};
pub use file::LedgerOpenError;
pub use summary::{InstanceSummary, Summary};

pub(crate) use entry::to_hex;
pub(crate) use writer::{Ledger, LedgerUnavailable, Written};
