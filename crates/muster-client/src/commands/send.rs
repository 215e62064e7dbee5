//! `muster send`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use muster_domain::message::Priority;
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::{BotId, inbound::InboundId};
use muster_proto::convert::v1::message::write_on_uncertain;
use muster_proto::convert::v1::time::{write_duration, write_timestamp};
use muster_proto::v1;
use tokio::time::Instant;

use super::{CommonArgs, send_file};
use crate::connection::Server;
use crate::error::{Done, Error, Refusal};
use crate::rows::RowFormat;
use crate::screen::Screen;
use crate::send::content::{Parts, content};
use crate::send::draft::{on_uncertain, priority, wire_priority};
use crate::send::media::{MediaKind, MediaReader, Uploader};
use crate::text::{self, parse_duration, parse_time, parse_time_or_duration};
use crate::views::message::{MessageView, page};

const EXAMPLES: &str = "\
Examples:
  muster send sales-1 +5511900000001 --text 'Olá!'
  muster send sales-1 +5511900000001 --image promo.png --caption 'Hoje'
  muster send sales-1 +5511900000001 --text 'Amanhã' --not-before 9h --validity 2h
  muster send --file recipients.csv --text 'Olá {name}'
  muster send --file recipients.jsonl --bot sales-1 --text 'Olá {name}' --strict
  generate | muster send --file - --format jsonl

Files:
  CSV has a header row; the separator is a comma, a semicolon or a tab. JSON Lines has one object a line.
  Columns: to (or recipient); and where they are wanted bot, key, text, image, audio, document, caption,
  mime_type, priority, not_before, validity, on_uncertain. Every column can be used in the text: {name}. Write {{ for a brace.
  A row with a picture or a document gets the text as its caption, unless it has one of its own.
  Media are addresses or files; files named in rows lie beside the file, and each is uploaded once.
  A bad row is reported with its line and column and does not stop the others. Running the same file again sends
  nothing twice: every row has a key, made of what it asks for, that the server keeps for at least 24 hours.
  To send the same rows once more on purpose, name the run: --run monday.

Full backlogs:
  A bot that would not get to a message within its validity takes no more for now (BACKLOG_FULL), and says when to come
  again. The command waits and goes on, for 10 minutes at most: --wait 2h waits longer, --wait 0s not at all.";

/// Sends a message, or one to each row of a file. The answer means that it is durable.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SendArgs {
    #[command(flatten)]
    common: CommonArgs,

    /// The sender
    #[arg(value_name = "BOT", required_unless_present = "file", conflicts_with = "file")]
    sender: Option<BotId>,

    /// The recipient's address
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    recipient: Option<String>,

    #[command(flatten)]
    content: ContentArgs,

    #[command(flatten)]
    schedule: ScheduleArgs,

    #[command(flatten)]
    reply: ReplyArgs,

    #[command(flatten)]
    rows: RowArgs,
}

/// What is said.
#[derive(Debug, Args)]
#[command(next_help_heading = "Content")]
pub(super) struct ContentArgs {
    /// The text; with --file, {name} stands for the row's column
    #[arg(long)]
    pub(super) text: Option<String>,

    /// A picture: a file or an http address
    #[arg(long, value_name = "FILE|URL", group = "medium")]
    image: Option<String>,

    /// A sound or voice note: a file or an http address
    #[arg(long, value_name = "FILE|URL", group = "medium")]
    audio: Option<String>,

    /// A document: a file or an http address
    #[arg(long, value_name = "FILE|URL", group = "medium")]
    document: Option<String>,

    /// Text below a picture or a document, where it differs from --text
    #[arg(long)]
    pub(super) caption: Option<String>,

    /// Media type, where the name does not tell it
    #[arg(long, value_name = "TYPE/SUBTYPE")]
    pub(super) mime_type: Option<String>,

    /// An emoji on an earlier message instead of a content; '' takes it back
    #[arg(long, value_name = "EMOJI", requires = "on", conflicts_with_all = ["text", "medium", "caption", "file"])]
    react: Option<String>,

    /// The message that is reacted to: messages/… or inboundMessages/…
    #[arg(long, value_name = "MESSAGE", requires = "react")]
    on: Option<String>,
}

/// When it leaves.
#[derive(Debug, Args)]
#[command(next_help_heading = "Schedule")]
pub(super) struct ScheduleArgs {
    /// Which of the bot's queues: conversation, campaign or automation
    #[arg(long, value_parser = priority)]
    pub(super) priority: Option<Priority>,

    /// Earliest time to leave: a time, or from now on, such as 2h; with --file a time
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,

    /// How long it may leave, such as 12h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) validity: Option<Duration>,

    /// What is done if nobody can tell whether it was sent: hold, resend (it may arrive twice) or drop; what its tenant
    /// says if left out
    #[arg(long, value_name = "POLICY", value_parser = on_uncertain)]
    pub(super) on_uncertain: Option<OnUncertain>,

    /// How long to wait for room where a bot takes no more for now; with --file, how long nothing may be accepted meanwhile
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub(super) wait: Duration,

    /// Makes the call safe to repeat: the same key returns the first answer
    #[arg(long, conflicts_with = "file")]
    key: Option<String>,
}

/// How it answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reply")]
struct ReplyArgs {
    /// The inbound message that this one answers
    #[arg(long, value_name = "MESSAGE", value_parser = InboundId::from_resource_name, conflicts_with = "file")]
    reply_to: Option<InboundId>,

    /// Mark the answered message as read first
    #[arg(long, requires = "reply_to")]
    mark_read: bool,

    /// Show the typing indicator for this long first, such as 3s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "reply_to")]
    typing: Option<Duration>,
}

/// Many at once.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rows of a file")]
pub(super) struct RowArgs {
    /// Send one message to each row of this file; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// How the rows are written: csv or jsonl; the name of the file decides if this is left out
    #[arg(long, value_enum, requires = "file", hide_possible_values = true)]
    pub(super) format: Option<RowFormat>,

    /// What separates the columns of a CSV file; the header decides if this is left out
    #[arg(long, value_name = "CHARACTER", requires = "file", value_parser = delimiter)]
    pub(super) delimiter: Option<u8>,

    /// The sender of rows that name none
    #[arg(long, requires = "file")]
    pub(super) bot: Option<BotId>,

    /// End with the first row that is refused; rows go one by one, so nothing after it is sent
    #[arg(long, requires = "file")]
    pub(super) strict: bool,

    /// Check every row, and send nothing
    #[arg(long, requires = "file")]
    pub(super) dry_run: bool,

    /// A name that makes other keys of the same rows, to send them once more on purpose
    #[arg(long, value_name = "NAME", requires = "file", default_value = "", hide_default_value = true)]
    pub(super) run: String,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ if text == "\\t" || text == "tab" => Ok(b'\t'),
        _ => Err("expected one character, such as ; or tab".to_owned()),
    }
}

impl ContentArgs {
    /// The medium that was named, if one was.
    pub(super) fn medium(&self) -> Option<(MediaKind, String)> {
        let named = |kind| match kind {
            MediaKind::Image => &self.image,
            MediaKind::Audio => &self.audio,
            MediaKind::Document => &self.document,
        };
        MediaKind::ALL.into_iter().find_map(|kind| Some((kind, named(kind).clone()?)))
    }
}

impl ScheduleArgs {
    /// The earliest time. For rows it must not depend on the moment of the call: their keys would, too, and a second run
    /// would send them twice.
    pub(super) fn not_before(&self, for_rows: bool, zone: &TimeZone) -> Result<Option<Timestamp>, Error> {
        let Some(text) = &self.not_before else { return Ok(None) };
        let time = if for_rows {
            parse_time(text, zone).map_err(|told| format!("{told}; with --file it must not be a length of time"))
        } else {
            parse_time_or_duration(text, Timestamp::now(), zone)
        };
        time.map(Some).map_err(|told| Error::Usage(format!("--not-before: {told}")))
    }
}

pub(super) async fn run(args: SendArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    if let Some(file) = args.rows.file.clone() {
        return send_file::run(&screen, &args.common, &file, args.content, args.schedule, args.rows).await;
    }
    let (Some(bot), Some(recipient)) = (args.sender, args.recipient) else {
        return Err(Error::Usage("name the bot and the recipient, or a --file of recipients".to_owned()));
    };
    one(&screen, &args.common, (&bot, recipient), args.content, args.schedule, args.reply).await
}

/// Sends one message.
async fn one(
    screen: &Screen,
    common: &CommonArgs,
    (bot, recipient): (&BotId, String),
    what: ContentArgs,
    schedule: ScheduleArgs,
    reply: ReplyArgs,
) -> Result<Done, Error> {
    let not_before = schedule.not_before(false, &screen.look.zone)?;
    let mut local = None;
    let content = match (&what.react, &what.on) {
        (Some(emoji), Some(target)) => {
            let reaction = v1::content::Reaction { target: target.clone(), emoji: emoji.clone() };
            v1::Content { kind: Some(v1::content::Kind::Reaction(reaction)) }
        }
        _ => {
            let media = match what.medium() {
                Some((kind, named)) => {
                    let read = MediaReader::default().read(kind, &named, what.mime_type.as_deref(), Path::new(""));
                    let (media, file) = read.map_err(|told| Error::Content(format!("--{}: {told}", kind.as_str())))?;
                    local = file;
                    Some(media)
                }
                None => None,
            };
            let parts = Parts { text: what.text, media, caption: what.caption };
            content(parts).map_err(|told| Error::Usage(told.to_owned()))?
        }
    };
    let courtesy = (reply.mark_read || reply.typing.is_some())
        .then(|| v1::Courtesy { mark_read: reply.mark_read, typing: reply.typing.map(write_duration) });
    let message = v1::Message {
        bot: bot.resource_name(),
        recipient,
        content: Some(content),
        priority: schedule.priority.map_or(v1::Priority::Unspecified, wire_priority).into(),
        not_before: not_before.map(write_timestamp),
        validity: schedule.validity.map(write_duration),
        idempotency_key: schedule.key.unwrap_or_default(),
        reply_to: reply.reply_to.map(InboundId::resource_name).unwrap_or_default(),
        courtesy,
        on_uncertain: schedule.on_uncertain.map_or(v1::OnUncertain::Unspecified, write_on_uncertain).into(),
        ..Default::default()
    };
    let server = common.connect().await?;
    if let Some(media) = &local {
        Uploader::default().ensure(&server, media).await?;
    }
    let response = send_patiently(screen, &server, message, schedule.wait).await?;
    if response.replayed {
        screen.say("accepted before under the same key; nothing was sent again");
    }
    screen.one(&MessageView::from(response.message.unwrap_or_default()), page)?;
    Ok(Done::All)
}

/// Sends a message, again and again where its bot takes no more for now, as long as there is patience.
async fn send_patiently(
    screen: &Screen,
    server: &Server,
    message: v1::Message,
    patience: Duration,
) -> Result<v1::SendMessageResponse, Error> {
    let begin = Instant::now();
    let mut is_first = true;
    loop {
        let request = v1::SendMessageRequest { message: Some(message.clone()) };
        let refusal = match server.messages().send_message(request).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => Refusal::from(&status),
        };
        let left = patience.saturating_sub(begin.elapsed());
        match refusal.wants_again_after().map(|wait| wait.min(left)) {
            Some(wait) if !wait.is_zero() => {
                let why = if is_first { refusal.to_string() } else { "still no room".to_owned() };
                let (shown, most) = (text::duration(wait), text::duration(left));
                screen.say(&format!("{why}; trying again in {shown}, for {most} at most (--wait)"));
                is_first = false;
                tokio::time::sleep(wait).await;
            }
            _ => return Err(Error::Refused(refusal)),
        }
    }
}
