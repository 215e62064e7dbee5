//! From rows to accepted messages.
//!
//! [`draft`] decides what a row asks for, [`key`] gives it the key that makes a second run harmless, [`media`] uploads what
//! lies on this machine, and [`stream`] carries everything to the server: in frames, a few in flight, resumed after a break.
//! What a full backlog refuses comes again ([`postponed`]).

pub mod content;
pub mod draft;
pub mod key;
pub mod media;
pub mod postponed;
pub mod stream;
pub mod tally;
pub mod template;
