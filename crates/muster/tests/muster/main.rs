//! The executable as people use it: real processes, real HTTP, real SQLite.

#![expect(clippy::unwrap_used, reason = "tests")]

mod commands;
mod configuration;
mod demo;
mod deploy;
mod nodes;
mod quickstart;
mod restore;
mod rows;
mod stage;
mod uncertain;
