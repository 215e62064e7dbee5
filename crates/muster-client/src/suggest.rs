//! "Did you mean": the nearest of the words that were possible.

/// Longest distance, as a share of similarity from 0 to 1, at which a suggestion helps more than it puzzles.
const SIMILARITY_MIN: f64 = 0.7;

/// The nearest of `known` to what somebody wrote, if one is near enough.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(written, word), word))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// A TOML error with file, line, column and, for an unknown key, the one that was probably meant.
///
/// The line itself is not shown: it may hold a credential.
pub fn explain_toml(file: &str, text: &str, error: &toml::de::Error) -> String {
    let place = match error.span() {
        Some(span) => {
            let (line, column) = line_and_column(text, span.start);
            format!("{file}:{line}:{column}")
        }
        None => file.to_owned(),
    };
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let meant = if message.starts_with("unknown field") {
        quoted.next().and_then(|written| nearest(written, quoted)).map(|word| format!("; did you mean `{word}`?"))
    } else {
        None
    };
    format!("{place}: {message}{}", meant.unwrap_or_default())
}

/// Line and column, both from 1, of a byte of `text`. Columns count characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its name matters")]
        listen: Option<String>,
        #[expect(dead_code, reason = "only its name matters")]
        database: Option<String>,
    }

    #[test]
    fn an_unknown_key_is_placed_and_corrected() {
        let text = "database = \"a\"\nlisten_ = \"b\"\n";
        let error = toml::from_str::<Sample>(text).unwrap_err();
        let told = explain_toml("server.toml", text, &error);
        assert!(told.starts_with("server.toml:2:1: unknown field `listen_`"), "{told}");
        assert!(told.ends_with("did you mean `listen`?"), "{told}");
        let text = "zzz = 1";
        let told = explain_toml("server.toml", text, &toml::from_str::<Sample>(text).unwrap_err());
        assert!(!told.contains("did you mean"), "{told}");
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("é=1\nãb", 7), (2, 2));
    }
}
