//! `muster apply`

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;

use super::CommonArgs;
use crate::error::{Done, Error};
use crate::fleet_file::{parse, request};
use crate::screen::{Format, Screen};
use crate::views::fleet::{ApplyView, differences, summary};

const EXAMPLES: &str = "\
Examples:
  muster apply -f fleet.toml --dry-run   what would change
  muster apply -f fleet.toml             show it, and change it
  muster apply -f fleet.toml --prune     also remove what the file does not declare

A fleet file:
  [[node]]
  id = \"recife\"

  [[gateway]]
  id = \"evolution-recife\"
  kind = \"evolution\"
  node = \"recife\"

  [[bot]]
  id = \"sales-1\"
  gateway = \"evolution-recife\"
  address = \"+5511900000001\"
  display_name = \"Sales 1\"
  labels = { team = \"sales\" }
  # When its node is gone: wait (the default), fail, or fail_over to a gateway on another node where it is linked too.
  # on_node_absent = \"fail_over\"
  # absent_after = \"10m\"
  # standby_gateway = \"evolution-porto\"";

/// Makes the fleet what a file declares. Prints the difference first. Applying the same file again changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ApplyArgs {
    #[command(flatten)]
    common: CommonArgs,

    /// The file that declares nodes, gateways and bots; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Print the difference and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Retire bots and remove gateways and nodes that the file does not declare
    #[arg(long)]
    prune: bool,

    /// Do not ask before something is removed
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(args: ApplyArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let (name, text) = read(&args.file)?;
    let fleet = parse(&name, &text).map_err(|error| Error::Content(error.to_string()))?;
    let server = args.common.connect().await?;

    let planned = server.fleet().apply_fleet(request(&fleet, args.prune, true)).await?.into_inner();
    let planned = ApplyView::new(planned, false);
    if args.dry_run || planned.differences.is_empty() {
        screen.one(&planned, |view, look| join(&differences(view, look), &summary(view)))?;
        return Ok(Done::All);
    }
    if screen.format == Format::Table {
        screen.print(&differences(&planned, &screen.look))?;
    }
    if planned.removals() > 0 && !args.yes && !confirmed(&screen, planned.removals())? {
        screen.say("nothing was changed");
        return Ok(Done::Partly);
    }
    let applied = server.fleet().apply_fleet(request(&fleet, args.prune, false)).await?.into_inner();
    screen.one(&ApplyView::new(applied, true), |view, _| summary(view))?;
    Ok(Done::All)
}

fn read(path: &PathBuf) -> Result<(String, String), Error> {
    if path.as_os_str() == "-" {
        let name = "standard input".to_owned();
        let text = io::read_to_string(io::stdin()).map_err(|error| Error::read(path, error))?;
        return Ok((name, text));
    }
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.map_err(|error| Error::read(path, error))?;
    Ok((path.display().to_string(), text))
}

fn join(differences: &str, summary: &str) -> String {
    if differences.is_empty() { summary.to_owned() } else { format!("{differences}\n{summary}") }
}

/// Asks before something goes. Without a terminal nobody can answer, so the answer has to come with the command.
fn confirmed(screen: &Screen, removals: u64) -> Result<bool, Error> {
    if !io::stdin().is_terminal() || !screen.talk_is_watched() {
        return Err(Error::Usage(format!(
            "{} would be removed; pass --yes to agree, or leave out --prune",
            crate::text::plural(removals, "resource")
        )));
    }
    screen.say(&format!("remove {}? Retired bots do not come back. [y/N]", crate::text::plural(removals, "resource")));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
