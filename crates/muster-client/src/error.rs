//! What can go wrong for a client, told once, in words that say what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::connection::ServerAddress;

/// How a command ended that did not fail outright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Everything was done.
    All,
    /// Some of it was refused, and the command said which.
    Partly,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the server's address.
    #[error(
        "no server answers at {address}; start one with `muster server`, or name another with --server or MUSTER_SERVER"
    )]
    Unreachable {
        /// Where it was looked for.
        address: ServerAddress,
        /// What the transport said.
        source: tonic::transport::Error,
    },
    /// The server refused the call.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection broke, and did not come back within the tries that were allowed.
    #[error("the connection to {address} was lost and did not come back after {tries} tries; the last answer: {last}")]
    Lost {
        /// The server's address.
        address: ServerAddress,
        /// Tries without an answer in between.
        tries: usize,
        /// What the last try said.
        last: Box<Refusal>,
    },
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried: "read" or "write".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's content is wrong as a whole, or from some line on.
    #[error("{0}")]
    Content(String),
    /// Standard output or standard error is gone.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// A file could not be read.
    pub fn read(path: &Path, source: io::Error) -> Self {
        Error::File { action: "read", path: path.to_owned(), source }
    }

    /// A file could not be written.
    pub fn write(path: &Path, source: io::Error) -> Self {
        Error::File { action: "write", path: path.to_owned(), source }
    }

    /// Whether the reader of our output went away, as `head` does: nothing that anybody has to be told.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Error::Refused(Refusal::from(&status))
    }
}

/// A call that the server refused, with everything that it said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// Stable reason, such as `BOT_UNKNOWN`, if the server gave one.
    pub reason: Option<String>,
    /// For people.
    pub message: String,
    /// Fields of the request that break a rule: path and description.
    pub violations: Vec<(String, String)>,
    /// When the same call may be made again.
    pub retry_after: Option<Duration>,
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let violations = details
            .bad_request()
            .map(|bad| bad.field_violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect());
        Refusal {
            code: status.code(),
            reason: details.error_info().map(|info| info.reason.clone()),
            message: status.message().to_owned(),
            violations: violations.unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

impl Refusal {
    /// What a caller can do about a code whose message does not say it.
    fn advice(&self) -> Option<&'static str> {
        match self.code {
            Code::Unimplemented => {
                Some("the server is older than this client; update it, or use a client of its version")
            }
            Code::Unavailable => Some("try again"),
            Code::ResourceExhausted if !self.says_what_to_do() => Some("the server is busy; try again later"),
            Code::Aborted if !self.says_what_to_do() => Some("somebody else was faster; read it again and repeat"),
            Code::Internal => Some("the server's log says more"),
            _ => None,
        }
    }

    /// Whether its message says what to do, which its code does not tell.
    fn says_what_to_do(&self) -> bool {
        matches!(self.reason.as_deref(), Some("BACKLOG_FULL" | "ANSWERS_UNREAD" | "UPLOAD_SILENT"))
    }

    /// After how long the server wants to see the same call again, if it is too much for it now.
    pub fn wants_again_after(&self) -> Option<Duration> {
        self.retry_after.filter(|_| self.code == Code::ResourceExhausted)
    }

    /// Whether the same call may succeed later, without anybody changing it.
    pub fn is_transient(&self) -> bool {
        match self.code {
            // A transport that breaks in the middle of a call shows as Unknown, Cancelled or Internal, by where it broke.
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => true,
            Code::Aborted | Code::DeadlineExceeded | Code::ResourceExhausted => true,
            Code::Ok | Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::PermissionDenied => false,
            Code::FailedPrecondition | Code::OutOfRange | Code::Unimplemented | Code::DataLoss => false,
            Code::Unauthenticated => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() { self.code.description() } else { &self.message };
        // Servers put the first violation into the message, for clients that show nothing else.
        let first = self.violations.first().map(|(field, description)| format!("{field}: {description}"));
        let repeats = first.is_some_and(|first| message.contains(&first));
        match &self.violations[..] {
            [(field, description)] if repeats => write!(f, "{field}: {description}")?,
            [_, _, ..] if repeats => f.write_str("the request breaks several rules")?,
            _ => f.write_str(message)?,
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})")?,
            None => write!(f, " ({:?})", self.code)?,
        }
        if let Some(advice) = self.advice() {
            write!(f, ": {advice}")?;
        }
        if !(repeats && self.violations.len() == 1) {
            for (field, description) in &self.violations {
                write!(f, "\n  {field}: {description}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_refusal_tells_reason_and_fields() {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "INVALID_MESSAGE",
            "muster",
            [("", ""); 0].map(|(k, v): (&str, &str)| (k.to_owned(), v.to_owned())),
        );
        details.add_bad_request_violation("message.recipient", "must be a WhatsApp address");
        let status = Status::with_error_details(Code::InvalidArgument, "the message breaks a rule", details);
        assert_eq!(
            Error::from(status).to_string(),
            "the message breaks a rule (INVALID_MESSAGE)\n  message.recipient: must be a WhatsApp address"
        );
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("message.recipient", "must not be empty");
        let repeated =
            Status::with_error_details(Code::InvalidArgument, "message.recipient: must not be empty", details);
        assert_eq!(Error::from(repeated).to_string(), "message.recipient: must not be empty (InvalidArgument)");
        let mut details = ErrorDetails::new();
        details.set_error_info("ANSWERS_UNREAD", "muster", std::collections::HashMap::<String, String>::new());
        let unread = Refusal::from(&Status::with_error_details(Code::Aborted, "nobody read; call again", details));
        assert_eq!(unread.to_string(), "nobody read; call again (ANSWERS_UNREAD)");
        assert!(unread.is_transient(), "a watch goes on by itself");
        let bare = Error::from(Status::new(Code::Unimplemented, ""));
        assert!(bare.to_string().contains("older than this client"), "{bare}");
    }
}
