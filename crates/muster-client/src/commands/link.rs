//! `muster bot link`

use std::path::PathBuf;

use clap::Args;
use fast_qr::QRBuilder;
use muster_domain::BotId;
use muster_proto::v1::{self, link_bot_response::State};
use serde::Serialize;

use crate::connection::Server;
use crate::error::{Done, Error};
use crate::screen::{Format, Screen};
use crate::views::bot::BotView;
use crate::views::message::FailureView;
use crate::views::word;

/// Logs a bot in. The code is shown again each time the network renews it.
#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    /// Its id
    bot: BotId,
    /// The number of the phone on which a code may be typed; the bot's own address if it is left out
    #[arg(long, value_name = "ADDRESS")]
    pair: Option<String>,
    /// Write the QR code to this file, as a PNG picture, each time it changes
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

/// Where a link stands, as JSON.
#[derive(Debug, Serialize)]
struct LinkView {
    state: String,
    qr_text: String,
    pairing_code: String,
    failure: Option<FailureView>,
    bot: Option<BotView>,
}

pub(super) async fn run(screen: &Screen, server: &Server, args: LinkArgs) -> Result<Done, Error> {
    let request = v1::LinkBotRequest { name: args.bot.resource_name(), pairing_address: args.pair.unwrap_or_default() };
    let mut stream = server.bots().link_bot(request).await?.into_inner();
    let mut last_code = String::new();
    while let Some(answer) = stream.message().await? {
        let state = answer.state();
        if let Some(path) = args.png.as_ref().filter(|_| !answer.qr_png.is_empty()) {
            std::fs::write(path, &answer.qr_png).map_err(|error| Error::write(path, error))?;
        }
        let code = format!("{} {}", answer.qr_text, answer.pairing_code);
        let is_new = last_code != code;
        last_code = code;
        show(screen, &args.bot, answer, is_new)?;
        match state {
            State::Linked => return Ok(Done::All),
            State::Expired | State::Failed => return Ok(Done::Partly),
            State::Unspecified | State::Preparing | State::Code => {}
        }
    }
    screen.say("the server ended the link before the bot was linked; run the command again");
    Ok(Done::Partly)
}

fn show(screen: &Screen, bot: &BotId, answer: v1::LinkBotResponse, code_is_new: bool) -> Result<(), Error> {
    let state = answer.state();
    if screen.format != Format::Table {
        let view = LinkView {
            state: word(Some(state.as_str_name()), "STATE_", answer.state),
            qr_text: answer.qr_text,
            pairing_code: answer.pairing_code,
            failure: answer.failure.map(FailureView::from),
            bot: answer.bot.map(BotView::from),
        };
        return Ok(screen.next(&view, |_, _| String::new())?);
    }
    let told = match state {
        State::Preparing => "the gateway prepares a code".to_owned(),
        State::Code if !code_is_new => return Ok(()),
        State::Code => code(&answer.qr_text, &answer.pairing_code),
        State::Linked => {
            let address = answer.bot.map(|bot| bot.address).filter(|address| !address.is_empty());
            let address = address.map(|address| format!(" as {}", screen.look.address(&address))).unwrap_or_default();
            format!("{bot} is linked{address}")
        }
        State::Expired => format!("nobody linked {bot} in time; run the command again for a fresh code"),
        State::Failed => {
            let failure = answer.failure.map(FailureView::from).map(|failure| failure.to_string());
            format!("the gateway could not link {bot}: {}", failure.unwrap_or_else(|| "it gave no reason".to_owned()))
        }
        State::Unspecified => return Ok(()),
    };
    Ok(screen.print(&told)?)
}

/// The codes to scan or to type.
fn code(qr_text: &str, pairing_code: &str) -> String {
    let mut lines = Vec::new();
    if let Ok(qr) = QRBuilder::new(qr_text).build()
        && !qr_text.is_empty()
    {
        lines.push(qr.to_str());
        lines.push("scan it with the phone: Settings, Linked devices, Link a device".to_owned());
    }
    if !pairing_code.is_empty() {
        lines.push(format!("or type this code on the phone: {pairing_code}"));
    }
    lines.join("\n")
}
