//! The agent of a node.
mod clock;
mod journal;
