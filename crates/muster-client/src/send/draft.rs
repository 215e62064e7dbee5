//! What a row asks for.
//!
//! Columns: `to` (or `recipient`), and where they are wanted `bot`, `key`, `text`, `image`, `audio`, `document`, `caption`,
//! `mime_type`, `priority`, `not_before`, `validity` and `on_uncertain`. Every column, these included, may be named by a placeholder.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use muster_domain::message::{Priority, check_idempotency_key};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::{BotId, Network, Timestamp, Violation};
use muster_proto::convert::v1::{message as convert, time};
use muster_proto::v1;

use super::content::{MediaPart, Parts, content};
use super::key::RowKeys;
use super::media::{LocalMedia, MediaKind, MediaReader};
use super::template::Template;
use crate::rows::{Column, Columns, Problem, ProblemKind, Row};
use crate::text::{parse_duration, parse_time};

/// What holds for every row that does not say otherwise.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sender.
    pub bot: Option<BotId>,
    /// The text, or the caption of a picture or a file.
    pub text: Option<Template>,
    /// A medium for every row: as the command line names it.
    pub media: Option<(MediaKind, String)>,
    /// Caption of a picture or a file, where it differs from the text.
    pub caption: Option<Template>,
    /// Media type of the media, where the name does not tell it.
    pub mime_type: Option<String>,
    /// Which of the bot's queues.
    pub priority: Option<Priority>,
    /// Earliest time to leave.
    pub not_before: Option<Timestamp>,
    /// How long the messages may leave.
    pub validity: Option<std::time::Duration>,
    /// What is done if nobody can tell whether they were sent.
    pub on_uncertain: Option<OnUncertain>,
    /// Folder that the names of media files in rows are read against.
    pub folder: PathBuf,
    /// Zone of times without one.
    pub zone: TimeZone,
}

/// A message that is ready to be sent, and where it came from.
#[derive(Debug)]
pub struct Draft {
    /// The row.
    pub origin: Origin,
    /// What it asks for; it has a key.
    pub message: v1::Message,
    /// What has to be uploaded before.
    pub media: Option<LocalMedia>,
}

/// The row that a message came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its line, from 1.
    pub line: u64,
    columns: Arc<Columns>,
}

impl Origin {
    /// A row of which nothing but its line is known.
    #[cfg(test)]
    pub(crate) fn of_line(line: u64) -> Self {
        Origin { line, columns: Arc::new(Columns::default()) }
    }

    /// The column of the row that a field of the message came from, if one did.
    pub fn column_of(&self, field: &str) -> Option<Column> {
        let field = field.strip_prefix("message.").unwrap_or(field);
        let find = |names: &[&str]| self.columns.find(names);
        match field {
            "recipient" => find(&["to", "recipient"]),
            "bot" | "priority" | "not_before" | "validity" | "on_uncertain" => find(&[field]),
            "idempotency_key" => find(&["key"]),
            _ if field.starts_with("content.text") => find(&["text"]),
            _ if field.ends_with(".caption") => find(&["caption", "text"]),
            _ if field.ends_with(".mime_type") => find(&["mime_type", "image", "audio", "document"]),
            _ if field.starts_with("content.") => find(&["image", "audio", "document"]),
            _ => None,
        }
    }

    /// A problem with the fields of the message, told at the column of the first.
    pub fn problem(&self, reason: impl Into<String>, violations: &[(String, String)], told: &str) -> Problem {
        let column = violations.first().and_then(|(field, _)| self.column_of(field));
        let each: Vec<String> = violations
            .iter()
            .map(|(field, description)| match &column {
                Some(_) if violations.len() == 1 => description.clone(),
                _ => format!("{field} {description}"),
            })
            .collect();
        let told = if each.is_empty() { told.to_owned() } else { each.join("; ") };
        Problem { line: self.line, column, reason: reason.into(), told }
    }
}

/// Turns rows into messages, one after the other in the order of the file.
#[derive(Debug)]
pub struct Drafter {
    plan: Plan,
    keys: RowKeys,
    media: MediaReader,
}

impl Drafter {
    /// A drafter for one file. Another `run` sends the same rows once more.
    pub fn new(plan: Plan, run: &str) -> Self {
        Drafter { plan, keys: RowKeys::new(run), media: MediaReader::default() }
    }

    /// The message that a row asks for. What a server would refuse whatever it knows is refused here, with its column.
    pub fn draft(&mut self, row: &Row) -> Result<Draft, Problem> {
        let problem = |column: &str, kind: ProblemKind, told: String| {
            Problem::new(row.line, row.columns.find(&[column]), kind, told)
        };
        let invalid = |column: &str, told: String| problem(column, ProblemKind::Value, told);
        let recipient = row.filled("to").or_else(|| row.filled("recipient"));
        let recipient_column = if row.get("to").is_some() { "to" } else { "recipient" };
        let recipient = recipient.ok_or_else(|| invalid(recipient_column, "must not be empty".to_owned()))?;
        let bot = match row.filled("bot") {
            Some(bot) => BotId::from_resource_name(bot).map_err(|violation| invalid("bot", violation.description))?,
            None => self.plan.bot.clone().ok_or_else(|| {
                invalid("bot", "names no bot; fill in the column \"bot\", or pass --bot for all rows".to_owned())
            })?,
        };
        let priority = match row.filled("priority") {
            Some(text) => Some(priority(text).map_err(|told| invalid("priority", told))?),
            None => self.plan.priority,
        };
        let not_before = match row.filled("not_before") {
            Some(text) => Some(parse_time(text, &self.plan.zone).map_err(|told| invalid("not_before", told))?),
            None => self.plan.not_before,
        };
        let validity = match row.filled("validity") {
            Some(text) => Some(parse_duration(text).map_err(|told| invalid("validity", told))?),
            None => self.plan.validity,
        };
        let on_uncertain = match row.filled("on_uncertain") {
            Some(text) => Some(on_uncertain(text).map_err(|told| invalid("on_uncertain", told))?),
            None => self.plan.on_uncertain,
        };
        let (media, local) = match self.media(row)? {
            Some((media, local)) => (Some(media), local),
            None => (None, None),
        };
        let caption = match row.filled("caption") {
            Some(caption) => Some(caption.to_owned()),
            None => fill(self.plan.caption.as_ref(), row)?,
        };
        let text = match &self.plan.text {
            Some(_) => fill(self.plan.text.as_ref(), row)?,
            None => row.filled("text").map(str::to_owned),
        };
        let content = content(Parts { text, media, caption })
            .map_err(|told| Problem::new(row.line, None, ProblemKind::Value, told))?;
        let mut message = v1::Message {
            bot: bot.resource_name(),
            recipient: recipient.to_owned(),
            content: Some(content),
            priority: priority.map_or(v1::Priority::Unspecified, wire_priority).into(),
            not_before: not_before.map(time::write_timestamp),
            validity: validity.map(time::write_duration),
            on_uncertain: on_uncertain.map_or(v1::OnUncertain::Unspecified, convert::write_on_uncertain).into(),
            ..Default::default()
        };
        message.idempotency_key = match row.filled("key") {
            Some(key) => {
                check_idempotency_key(key).map_err(|violation| invalid("key", violation.description))?;
                key.to_owned()
            }
            None => self.keys.next(&message),
        };
        let origin = Origin { line: row.line, columns: Arc::clone(&row.columns) };
        // Any network will do: only a server knows which one the bot is on.
        match violations(&message, Network::Null) {
            found if found.is_empty() => Ok(Draft { origin, message, media: local }),
            found => Err(origin.problem(ProblemKind::Value.as_str(), &found, "")),
        }
    }

    fn media(&mut self, row: &Row) -> Result<Option<(MediaPart, Option<LocalMedia>)>, Problem> {
        let mut named = MediaKind::ALL.into_iter().filter_map(|kind| Some((kind, row.filled(kind.as_str())?)));
        let of_row = named.next();
        if let Some((second, _)) = named.next() {
            let told = "a message carries one medium; leave all but one of image, audio and document empty";
            return Err(Problem::new(row.line, row.columns.find(&[second.as_str()]), ProblemKind::Value, told));
        }
        let of_plan = self.plan.media.as_ref().map(|(kind, name)| (*kind, name.as_str()));
        // What the command line names lies where the command runs, what a row names lies beside the file.
        let (kind, name, folder) = match (of_row, of_plan) {
            (Some((kind, name)), _) => (kind, name, self.plan.folder.as_path()),
            (None, Some((kind, name))) => (kind, name, std::path::Path::new("")),
            (None, None) => return Ok(None),
        };
        let mime_type = row.filled("mime_type").or(self.plan.mime_type.as_deref());
        self.media
            .read(kind, name, mime_type, folder)
            .map(Some)
            .map_err(|told| Problem::new(row.line, row.columns.find(&[kind.as_str()]), ProblemKind::Media, told))
    }
}

fn fill(template: Option<&Template>, row: &Row) -> Result<Option<String>, Problem> {
    let Some(template) = template else { return Ok(None) };
    template.render(|name| row.get(name)).map(Some).map_err(|name| {
        let meant =
            crate::suggest::nearest(name, row.columns.names()).map(|word| format!("; did you mean {{{word}}}?"));
        let told = format!("the text names {{{name}}}, and the row has no such column{}", meant.unwrap_or_default());
        Problem::new(row.line, None, ProblemKind::Placeholder, told)
    })
}

/// Everything that is wrong with a message for a bot of `network`: paths and descriptions.
pub fn violations(message: &v1::Message, network: Network) -> Vec<(String, String)> {
    let told =
        |found: Vec<Violation>| found.into_iter().map(|violation| (violation.field, violation.description)).collect();
    let draft = match convert::draft(Some(message.clone())) {
        Ok(draft) => draft,
        Err(found) => return told(found),
    };
    draft.resolve(Timestamp::now(), network, convert::References::default()).err().map(told).unwrap_or_default()
}

/// Reads a policy as people write it.
pub fn on_uncertain(text: &str) -> Result<OnUncertain, String> {
    OnUncertain::ALL
        .into_iter()
        .find(|policy| policy.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "must be one of hold, resend, drop".to_owned())
}

/// Reads a priority as people write it.
pub fn priority(text: &str) -> Result<Priority, String> {
    Priority::ALL
        .into_iter()
        .find(|priority| priority.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "must be one of conversation, campaign, automation".to_owned())
}

/// A priority for the wire.
pub fn wire_priority(priority: Priority) -> v1::Priority {
    match priority {
        Priority::Conversation => v1::Priority::Conversation,
        Priority::Campaign => v1::Priority::Campaign,
        Priority::Automation => v1::Priority::Automation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Input, RowFormat, open};

    fn plan(text: &str) -> Plan {
        Plan {
            bot: BotId::new("sales-1").ok(),
            text: Template::parse(text).ok(),
            media: None,
            caption: None,
            mime_type: None,
            priority: None,
            not_before: None,
            validity: None,
            on_uncertain: None,
            folder: PathBuf::new(),
            zone: TimeZone::UTC,
        }
    }

    fn drafts(plan: Plan, csv: &str) -> Vec<Result<v1::Message, String>> {
        let input = Input::new("rows", None, std::io::Cursor::new(csv.as_bytes().to_vec()));
        let mut drafter = Drafter::new(plan, "");
        let rows = open(input, RowFormat::Csv, None).unwrap();
        rows.map(|row| drafter.draft(&row.unwrap().unwrap()).map(|draft| draft.message).map_err(|p| p.to_string()))
            .collect()
    }

    #[test]
    fn a_row_fills_the_template_and_overrides_the_plan() {
        let messages = drafts(
            plan("Olá {name}"),
            "to,name,bot,priority,not_before,validity,on_uncertain,key\n+5511900000001,Ana,,,,,Drop,\n\
             +5511900000002,Rui,support-2,automation,2099-01-01 09:00,2h,,k-1\n",
        );
        let first = messages[0].as_ref().unwrap();
        assert_eq!((first.bot.as_str(), first.recipient.as_str()), ("bots/sales-1", "+5511900000001"));
        assert!(first.idempotency_key.starts_with("row-"));
        assert_eq!(first.on_uncertain(), v1::OnUncertain::Drop);
        let told = messages[1].as_ref().unwrap_err();
        assert!(told.starts_with("line 3, column 5 (not_before): must lie within 90 days"), "{told}");
    }

    #[test]
    fn what_is_wrong_is_told_at_its_column() {
        let told = |csv: &str| drafts(plan("Olá {name}"), csv).remove(0).unwrap_err();
        assert_eq!(told("to,name\n,Ana\n"), "line 2, column 1 (to): must not be empty (INVALID_VALUE)");
        assert!(
            told("to,nome\n+1,Ana\n")
                .starts_with("line 2: the text names {name}, and the row has no such column; did you mean {nome}?")
        );
        assert!(told("to,name,bot\n+1,Ana,No Bot\n").starts_with("line 2, column 3 (bot): must consist of"));
        assert!(told("to,name,priority\n+1,Ana,high\n").starts_with("line 2, column 3 (priority): must be one of"));
        assert!(told("to,name,on_uncertain\n+1,Ana,retry\n").contains("column 3 (on_uncertain): must be one of hold"));
        assert!(told("to,name,image,audio\n+1,Ana,a.png,a.ogg\n").contains("one medium"));
        assert!(told("to,name,image\n+1,Ana,missing.png\n").contains("(MEDIA_UNREADABLE)"));
        let long = "x".repeat(5_000);
        let told = told(&format!("to,name\n+1,{long}\n"));
        assert!(told.contains("content.text.body must have at most 4096 characters, has 5004"), "{told}");
        let none = drafts(Plan { text: None, ..plan("") }, "to\n+1\n").remove(0).unwrap_err();
        assert!(none.contains("there is nothing to send: pass --text"), "{none}");
    }

    #[test]
    fn a_text_becomes_the_caption_of_a_picture() {
        let messages = drafts(plan("Olá {name}"), "to,name,image\n+1,Ana,https://x.example/a.png\n");
        let Some(v1::content::Kind::Image(image)) = messages[0].as_ref().unwrap().content.clone().unwrap().kind else {
            panic!()
        };
        assert_eq!((image.caption.as_str(), image.media.unwrap().mime_type.as_str()), ("Olá Ana", "image/png"));
    }
}
