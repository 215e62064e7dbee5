//! Etags: the generation of a resource, opaque to callers.

use data_encoding::BASE32_DNSSEC;
use muster_domain::Violation;

/// The etag of a generation.
pub fn write(generation: u64) -> String {
    BASE32_DNSSEC.encode(&generation.to_be_bytes())
}

/// Reads an etag; the empty text stands for none.
pub fn read(text: &str) -> Result<Option<u64>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Violation::new("etag", "must be empty, or the etag of an earlier answer");
    let bytes = BASE32_DNSSEC.decode(text.as_bytes()).map_err(|_| wrong())?;
    Ok(Some(u64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_etag_is_read_as_written_and_any_text_is_read_or_refused(generation in any::<u64>(), text in "\\PC{0,20}") {
            prop_assert_eq!(read(&write(generation)).unwrap(), Some(generation));
            let _ = read(&text);
        }
    }
}
