//! The server's role: use cases, gRPC services, the agents' sessions, and background tasks.
//!
//! - `app` holds the use cases, one file per noun; it decides nothing that `muster-domain` decides.
//! - `grpc` holds the services: reading a request, calling a use case, writing the answer.
//! - `session` holds the agents' streams, one actor each.
//! - `tasks` does what becomes due by time alone.
//!
//! The server never calls a gateway; agents do. Start at [`serve`].

mod app;
mod config;
mod grpc;
mod server;
mod session;
mod tasks;

pub use config::Config;
pub use server::{ServeError, serve, serve_on};
