//! The client commands of `muster`, and how their answers look.
//!
//! Each file of [`commands`] holds one noun of the command line: its arguments, its calls, its screens. [`views`] says how
//! a resource looks, as JSON and as a table; [`rows`] reads files of recipients, and [`send`] carries them to the server.
//! What the server decides is not decided here a second time: a client checks only what it can say better, such as the line
//! of a file.
//!
//! Data goes to standard output and talk to standard error, so that every command can stand in a pipe.

pub mod commands;
pub mod connection;
pub mod error;
pub mod fleet_file;
pub mod retry;
pub mod rows;
pub mod screen;
pub mod send;
pub mod suggest;
pub mod text;
pub mod views;
pub mod watch;

pub use commands::{ClientCommand, run};
pub use connection::{Server, ServerAddress};
pub use error::{Done, Error};
