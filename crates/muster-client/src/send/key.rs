//! Keys that make a second run of the same file harmless.
//!
//! The key of a row is the hash of the message that it asks for: who sends what to whom, when, and with which priority. It
//! does not depend on the file's name or the row's place, so a file that was mended, sorted or cut short sends only what
//! was not sent before. Equal rows of one file are numbered, so that each of them counts.

use std::collections::{HashMap, HashSet};

use muster_proto::convert::v1::fingerprint;
use muster_proto::v1;

/// Gives rows their keys, in the order of the file.
///
/// Remembers 8 bytes a row to number equal ones: about 20 MB for a million rows. Rows with a key of their own take nothing.
#[derive(Debug)]
pub struct RowKeys {
    run: String,
    seen: HashSet<u64>,
    repeated: HashMap<u64, u32>,
}

impl RowKeys {
    /// Keys for one file. Another `run` makes other keys of the same rows.
    pub fn new(run: &str) -> Self {
        RowKeys { run: format!("row of run {run}"), seen: HashSet::new(), repeated: HashMap::new() }
    }

    /// The key of the next row. The message has no key yet.
    pub fn next(&mut self, message: &v1::Message) -> String {
        debug_assert!(message.idempotency_key.is_empty());
        let hash = fingerprint::of(&self.run, message);
        let key = format!("row-{}", data_encoding::HEXLOWER.encode(&hash));
        let mut short = [0; 8];
        short.copy_from_slice(&hash[..8]);
        let short = u64::from_be_bytes(short);
        if self.seen.insert(short) {
            return key;
        }
        let occurrence = self.repeated.entry(short).or_insert(1);
        *occurrence += 1;
        format!("{key}-{occurrence}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(recipient: &str) -> v1::Message {
        v1::Message { bot: "bots/a".into(), recipient: recipient.into(), ..Default::default() }
    }

    #[test]
    fn keys_follow_what_is_asked_for_and_not_the_place() {
        let keys = |rows: &[&str]| -> Vec<String> {
            let mut keys = RowKeys::new("");
            rows.iter().map(|row| keys.next(&message(row))).collect()
        };
        let first = keys(&["+1", "+2", "+1", "+1"]);
        assert_eq!(first, keys(&["+1", "+2", "+1", "+1"]));
        let distinct: HashSet<_> = first.iter().collect();
        assert_eq!(distinct.len(), 4);
        let mut mended = keys(&["+2", "+1", "+1", "+3", "+1"]);
        mended.retain(|key| first.contains(key));
        assert_eq!(mended.len(), 4);
    }

    #[test]
    fn another_run_or_priority_has_other_keys() {
        let mut other = message("+1");
        other.priority = v1::Priority::Conversation.into();
        let plain = RowKeys::new("").next(&message("+1"));
        assert_ne!(plain, RowKeys::new("").next(&other));
        assert_ne!(plain, RowKeys::new("2").next(&message("+1")));
        assert!(muster_domain::message::check_idempotency_key(&format!("{plain}-4000000000")).is_ok());
    }
}
