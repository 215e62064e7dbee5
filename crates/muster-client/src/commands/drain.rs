//! `muster node drain`: begins a drain, and follows it to its end.

use std::time::Duration;

use clap::Args;
use muster_domain::NodeId;
use muster_proto::convert::v1::time::write_duration;
use muster_proto::v1;
use serde::Serialize;
use tonic::Code;

use super::AuthorArgs;
use super::pages::{LimitArgs, Page};
use crate::connection::Server;
use crate::error::{Done, Error};
use crate::screen::{Look, Screen};
use crate::text::{parse_duration, plural};
use crate::views::attempt::{AttemptAtNodeView, table};
use crate::views::node::{NodeView, page};

/// How often it is asked how far a drain is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const MORE: &str = "\
Nothing is cut off at the deadline: a call to a gateway cannot be taken back, and what it came to is told whenever it ends.
The node stays cordoned; let it work again with `muster node uncordon`. Ctrl-C ends the command, not the drain. The same
command again follows the drain, with a new deadline. Exit code 1: something is still under way.";

/// Empty a node: nothing new goes there, what is not started comes back, what is started ends
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub(super) struct DrainArgs {
    /// Its id
    node: NodeId,
    /// Within which it should be done, such as 90s or 10m; 24h at the most
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = parse_duration)]
    deadline: Duration,
    /// Why; everybody who asks why a message waits will read it [default: that of its cordon, or "maintenance"]
    #[arg(long)]
    reason: Option<String>,
    /// Begin it, and do not wait for its end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    author: AuthorArgs,
}

/// What a drain came to, as JSON.
#[derive(Debug, Serialize)]
struct DrainView {
    node: NodeView,
    /// Their messages wait again.
    handed_back: Vec<AttemptAtNodeView>,
    finished: Vec<AttemptAtNodeView>,
    /// Still under way.
    open: Vec<AttemptAtNodeView>,
}

pub(super) async fn run(screen: &Screen, server: &Server, args: DrainArgs) -> Result<Done, Error> {
    let DrainArgs { node: id, deadline, reason, no_wait, author: AuthorArgs { author } } = args;
    let (reason, author) = match reason {
        Some(reason) => (reason, author),
        // Who follows a drain, or drains what somebody else cordoned, does not take its reason away.
        None => {
            let request = v1::GetNodeRequest { name: id.resource_name() };
            let cordon = server.nodes().get_node(request).await?.into_inner().node.and_then(|node| node.cordon);
            cordon.map_or(("maintenance".to_owned(), author), |cordon| (cordon.reason, cordon.author))
        }
    };
    let request = v1::DrainNodeRequest {
        name: id.resource_name(),
        reason,
        author,
        deadline: Some(write_duration(deadline)),
        request_id: String::new(),
    };
    let node = server.nodes().drain_node(request).await?.into_inner().node.unwrap_or_default();
    if no_wait {
        screen.one(&NodeView::from(node), page)?;
        return Ok(Done::All);
    }
    let Some(node) = follow(screen, server, &id, node).await? else { return Ok(Done::Partly) };
    let ask = async |page_size, page_token| {
        let request = v1::ListDrainedAttemptsRequest { name: id.resource_name(), page_size, page_token };
        let response = server.nodes().list_drained_attempts(request).await?;
        Ok(response.map(|page| Page { rows: page.attempts, next_page_token: page.next_page_token }))
    };
    let attempts: Vec<AttemptAtNodeView> = LimitArgs::everything().collect(screen, ask).await?;
    let (open, ended): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|attempt| attempt.outcome.is_none());
    let (handed_back, finished): (Vec<_>, Vec<_>) = ended.into_iter().partition(AttemptAtNodeView::is_back);
    let what_next = if is_away(&node) { AWAY } else { "what they come to is told when they end" };
    let view = DrainView { node: NodeView::from(node), handed_back, finished, open };
    let [back, finished, open] = [&view.handed_back, &view.finished, &view.open].map(|list| list.len() as u64);
    if back + finished + open > 0 || !matches!(screen.format, crate::screen::Format::Table) {
        screen.one(&view, draw)?;
    }
    let came_to = format!("{} handed back, {finished} finished", plural(back, "attempt"));
    if open == 0 {
        screen.say(&format!("{id} is drained: {came_to}"));
        return Ok(Done::All);
    }
    screen.say(&format!("{id} is not drained at the deadline: {came_to}, {open} still under way; {what_next}"));
    Ok(Done::Partly)
}

fn draw(view: &DrainView, look: &Look) -> String {
    // What needs a look comes first.
    let attempts: Vec<_> = [&view.open, &view.finished, &view.handed_back].into_iter().flatten().cloned().collect();
    table(&attempts, look)
}

/// Why nothing moves at a node that is away.
const AWAY: &str = "its agent has no session, and is told when it comes back";

fn is_away(node: &v1::Node) -> bool {
    matches!(node.state(), v1::NodeState::Offline | v1::NodeState::Lost)
}

/// Looks at a drain until it is done or its deadline has passed. `None` if somebody interrupted that.
async fn follow(screen: &Screen, server: &Server, id: &NodeId, begun: v1::Node) -> Result<Option<v1::Node>, Error> {
    use v1::drain::State;
    let mut node = begun;
    let mut told = String::new();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        if node.drain.as_ref().map(v1::Drain::state) != Some(State::Draining) {
            return Ok(Some(node));
        }
        let away = if is_away(&node) { format!("; {AWAY}") } else { String::new() };
        let text = format!("{id}: {} under way{away}", plural(node.under_way, "attempt"));
        if text != told {
            screen.say(&text);
            told = text;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = &mut interrupted => {
                screen.say(&format!(
                    "the drain goes on; follow it with `muster node drain {id}`, end it with `muster node uncordon {id}`"
                ));
                return Ok(None);
            }
        }
        match server.nodes().get_node(v1::GetNodeRequest { name: id.resource_name() }).await {
            Ok(answer) => node = answer.into_inner().node.unwrap_or_default(),
            // A server that restarts takes the drain up again.
            Err(status) if status.code() == Code::Unavailable => {
                let text = format!("{id}: no server answers; asking again");
                if text != told {
                    screen.say(&text);
                    told = text;
                }
            }
            Err(status) => return Err(status.into()),
        }
    }
}
