//! A credential in memory: readable where it is used, and nowhere else by accident.

use std::fmt;

/// A key or token. `Debug` prints stars, and there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a credential as it was read, without the line break that files end with.
    pub fn new(text: &str) -> Self {
        Secret(text.trim_end_matches(['\r', '\n']).into())
    }

    /// The credential itself, for the one place that puts it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_stars_and_files_may_end_with_a_line_break() {
        let secret = Secret::new("key-1\r\n");
        assert_eq!(secret.expose(), "key-1");
        assert_eq!(format!("{secret:?}"), "***");
    }
}
