//! What is decided about messages of which nobody can tell whether they were sent.

use jiff::Timestamp;

use crate::Violation;
use crate::limits::NOTE_CHARS_MAX;

/// What an uncertain message is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// It arrived.
    Sent,
    /// It did not arrive: it leaves again. If it did arrive, the recipient gets it twice.
    Resend,
    /// It is not needed any more.
    Drop,
}

impl Resolution {
    /// All resolutions, in the order of declaration.
    pub const ALL: [Resolution; 3] = [Resolution::Sent, Resolution::Resend, Resolution::Drop];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Resolution::Sent => "SENT",
            Resolution::Resend => "RESEND",
            Resolution::Drop => "DROP",
        }
    }
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecidedBy {
    /// A person.
    Operator,
    /// The message's [`OnUncertain`](crate::on_uncertain::OnUncertain): nobody looked.
    Policy,
}

impl DecidedBy {
    /// All of them, in the order of declaration.
    pub const ALL: [DecidedBy; 2] = [DecidedBy::Operator, DecidedBy::Policy];

    /// The stable spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            DecidedBy::Operator => "OPERATOR",
            DecidedBy::Policy => "POLICY",
        }
    }
}

/// A decision about one message, as it is kept for the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionRecord {
    /// What was decided.
    pub resolution: Resolution,
    /// Who decided.
    pub decided_by: DecidedBy,
    /// The latest attempt at that time; zero if the server knew of none.
    pub attempt_no: u32,
    /// When.
    pub time: Timestamp,
    /// What it rests on, in the operator's words; empty for a policy.
    pub reason: String,
    /// What a late report or receipt said against it.
    pub conflict: Option<String>,
}

/// Checks the reason that an operator gives: [`NOTE_CHARS_MAX`] printable characters at the most, or none.
pub fn check_reason(reason: &str) -> Result<(), Violation> {
    if reason.chars().count() > NOTE_CHARS_MAX || reason.chars().any(char::is_control) {
        return Err(Violation::new("", format!("must have at most {NOTE_CHARS_MAX} printable characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_a_bound_and_no_control_characters() {
        for good in ["", "seen in the chat", &"é".repeat(NOTE_CHARS_MAX)] {
            assert_eq!(check_reason(good), Ok(()));
        }
        for bad in ["two\nlines", &"x".repeat(NOTE_CHARS_MAX + 1)] {
            assert!(check_reason(bad).is_err());
        }
    }
}
