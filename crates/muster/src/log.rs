//! What is logged, and how it looks. Logs go to standard error.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is logged.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Log more: -v tells decisions and their inputs, -vv every message
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// What is logged, such as info,muster_agent=debug
    #[arg(long, global = true, env = "MUSTER_LOG", value_name = "FILTER", conflicts_with = "verbose")]
    log: Option<EnvFilter>,

    /// How log lines look: text for people, json for collectors
    #[arg(
        long,
        global = true,
        env = "MUSTER_LOG_FORMAT",
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging for the life of the process. A role that serves logs what it does; a command that a person waits for says
/// so itself, and logs only what is odd.
pub(crate) fn init(args: &LogArgs, serves: bool) {
    let level = match args.verbose {
        0 if serves => LevelFilter::INFO,
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The libraries below us tell about every frame at their lower levels; that helps nobody who did not ask for it.
    // The name of each of our crates begins with this.
    let own = || EnvFilter::new(format!("warn,muster={level}"));
    let filter = args.log.clone().unwrap_or_else(own);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => {
            let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            subscriber.with_ansi(color).init();
        }
        LogFormat::Json => subscriber.json().init(),
    }
}
