//! Pages of list calls.
//!
//! A page token is opaque: a check of the call's other fields, and where the next page begins. A token that comes back with
//! other fields is refused, instead of giving rows of two lists.

use data_encoding::BASE64URL_NOPAD;
use muster_domain::Violation;
use muster_domain::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// What a caller asks for, of a list that is ordered by `K`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<K> {
    size: u32,
    /// The last row of the page before.
    pub(crate) after: Option<K>,
    check: [u8; 16],
}

impl<K> Page<K> {
    /// Reads a request. `check` is the fingerprint of its other fields; `key` reads what [`Page::cut`] wrote.
    pub(crate) fn read(
        size: i32,
        token: &str,
        check: [u8; 16],
        key: impl FnOnce(&str) -> Option<K>,
    ) -> Result<Self, Violation> {
        let size = match u32::try_from(size) {
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) => size.min(PAGE_SIZE_MAX),
            Err(_) => return Err(Violation::new("page_size", "must not be negative")),
        };
        if token.is_empty() {
            return Ok(Page { size, after: None, check });
        }
        let wrong = || Violation::new("page_token", "must be empty, or the token of an earlier answer");
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).map_err(|_| wrong())?;
        let (theirs, after) = bytes.split_at_checked(check.len()).ok_or_else(wrong)?;
        if theirs != check {
            let text = "is the token of a list with other fields; keep them, or begin with an empty token";
            return Err(Violation::new("page_token", text));
        }
        let after = std::str::from_utf8(after).ok().and_then(key).ok_or_else(wrong)?;
        Ok(Page { size, after: Some(after), check })
    }

    /// Rows to ask the store for: one more than are shown, to know whether another page follows.
    pub(crate) fn limit(&self) -> u32 {
        self.size + 1
    }

    /// Cuts what the store gave to the page, and makes the token of the next one: empty if there is none.
    pub(crate) fn cut<T>(&self, rows: &mut Vec<T>, key: impl FnOnce(&T) -> String) -> String {
        if rows.len() <= self.size as usize {
            return String::new();
        }
        rows.truncate(self.size as usize);
        rows.last().map(|last| self.token(&key(last))).unwrap_or_default()
    }

    /// Rows of the page.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// The token of a page that begins behind `key`.
    pub(crate) fn token(&self, key: &str) -> String {
        let mut bytes = self.check.to_vec();
        bytes.extend_from_slice(key.as_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(size: i32, token: &str, check: u8) -> Result<Page<u32>, Violation> {
        Page::read(size, token, [check; 16], |text| text.parse().ok())
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let mut rows = vec![1, 2, 3];
        let token = read(2, "", 7).unwrap().cut(&mut rows, u32::to_string);
        assert_eq!(rows, [1, 2]);
        assert_eq!(read(2, &token, 7).unwrap().after, Some(2));
        assert_eq!(read(2, &token, 8).unwrap_err().field, "page_token");
        assert_eq!(read(2, "", 7).unwrap().cut(&mut rows, u32::to_string), "");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(read(0, "", 0).unwrap().limit(), PAGE_SIZE_DEFAULT + 1);
        assert_eq!(read(i32::MAX, "", 0).unwrap().limit(), PAGE_SIZE_MAX + 1);
        assert_eq!(read(-1, "", 0).unwrap_err().field, "page_size");
    }

    proptest! {
        #[test]
        fn any_token_is_read_or_refused(token in "[A-Za-z0-9_-]{0,60}", other in "\\PC{0,20}") {
            let _ = read(1, &token, 0);
            let _ = read(1, &other, 0);
        }
    }
}
