//! What the watching commands share.

use std::io;

use clap::Args;
use muster_domain::BotId;

use super::bot_name;
use crate::connection::Server;
use crate::error::{Done, Error};
use crate::screen::Screen;
use crate::text;
use crate::watch::{Resumable, Watch, Watched};

/// Where a watch begins, and what it shows.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Only of this bot
    #[arg(long)]
    bot: Option<BotId>,
    /// Go on behind this cursor, as an earlier watch printed it
    #[arg(long, value_name = "CURSOR", conflicts_with = "from_start")]
    cursor: Option<String>,
    /// Begin with the oldest that is kept, instead of with what comes from now on
    #[arg(long)]
    from_start: bool,
}

/// Prints what comes until Ctrl-C, over breaks of the connection, and says where to go on.
pub(super) async fn watch<A: Resumable>(
    screen: &Screen,
    server: &Server,
    args: WatchArgs,
    mut print: impl FnMut(A, &Screen) -> io::Result<()>,
) -> Result<Done, Error> {
    let begin = if args.from_start { "0".to_owned() } else { args.cursor.unwrap_or_default() };
    let mut watch = Watch::<A>::new(server, begin, bot_name(args.bot.as_ref()));
    if screen.talk_is_watched() {
        screen.say("watching; end with Ctrl-C");
    }
    // One listener for the whole watch: a new one for each answer would miss a signal that comes in between.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let watched = tokio::select! {
            watched = watch.next() => watched,
            _ = &mut interrupted => break,
        };
        match watched? {
            Watched::Answer(answer) => print(answer, screen)?,
            Watched::Broken { because, wait } => {
                screen.say(&format!("lost the server: {because}; trying again in {}", text::duration(wait)));
            }
        }
    }
    if !watch.cursor().is_empty() {
        screen.say(&format!("go on with --cursor {}", watch.cursor()));
    }
    Ok(Done::All)
}
