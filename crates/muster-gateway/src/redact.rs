//! What a product said, made fit for logs and for the server: without addresses, texts and keys.
//!
//! Products quote what they were given in their errors: numbers, whole database rows, keys. An adapter passes every foreign
//! text through here before it becomes the detail of a failure.

/// Digits in a row from which on they may be a phone number or a part of one.
const DIGITS_MAX: usize = 4;

/// Characters of a word that holds both letters and digits, from which on it may be a key, an id or a part of a medium.
const TOKEN_CHARS_MAX: usize = 15;

/// Characters of a word of any kind, from which on it may be a key: longer than any name of an error class in use.
const WORD_CHARS_MAX: usize = 48;

const HIDDEN: &str = "…";

/// The first line of `text` without what is quoted in it, without addresses, numbers, links and keys, and without the given
/// `private` texts. Never longer than `text` in characters, apart from the marks that stand for what was taken out.
pub(crate) fn redact(text: &str, private: &[&str]) -> String {
    let mut line = text.trim().lines().next().unwrap_or_default().to_owned();
    for private in private.iter().flat_map(|text| text.lines()).map(str::trim).filter(|text| !text.is_empty()) {
        line = line.replace(private, HIDDEN);
    }
    without_quotes(&line).split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// Hides what stands between quotation marks or in braces. An open quotation hides the rest.
fn without_quotes(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(['"', '`', '{', '\'']) {
        let mut chars = rest[start..].chars();
        let close = match chars.next() {
            Some('{') => '}',
            Some(mark) => mark,
            None => break,
        };
        kept.push_str(&rest[..start]);
        kept.push_str(HIDDEN);
        rest = chars.as_str().split_once(close).map_or("", |(_, after)| after);
    }
    kept + rest
}

fn word(word: &str) -> String {
    if word.contains(['@', '\\']) || word.contains("://") {
        return HIDDEN.to_owned();
    }
    let token = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=' | '.');
    let mut kept = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| token(c) != token(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        kept.push_str(if token(first) && is_telling(run) { HIDDEN } else { run });
        rest = after;
    }
    kept
}

/// Whether a run of letters, digits and joining marks may be an address or a key.
fn is_telling(run: &str) -> bool {
    let chars = run.chars().count();
    let digits = run.chars().filter(char::is_ascii_digit).count();
    let letters = run.chars().filter(|c| c.is_alphabetic()).count();
    // Joining marks do not end a number: people write 55-11-90000-0001.
    digits > DIGITS_MAX || chars > WORD_CHARS_MAX || chars > TOKEN_CHARS_MAX && digits > 0 && letters > 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_helps_stays_and_what_tells_on_people_goes() {
        for (text, kept) in [
            ("Connection Closed", "Connection Closed"),
            ("Error: getaddrinfo ENOTFOUND files.example", "Error: getaddrinfo ENOTFOUND files.example"),
            ("PrismaClientKnownRequestError: \nInvalid `create()` { text: 'hello' }", "PrismaClientKnownRequestError:"),
            ("no route to 5511900000001 (code 463)", "no route to … (code 463)"),
            ("no route to +55-11-90000-0001!", "no route to …!"),
            ("jid 5511900000001:3@s.whatsapp.net gone", "jid … gone"),
            ("bad key B6D711FCDE4D4FD5936544120E713976", "bad key …"),
            ("bad text \"see you at nine", "bad text …"),
            ("value {\"text\":\"see you\"} refused", "value … refused"),
            ("GET https://files.example/a.png?sig=abc failed", "GET … failed"),
        ] {
            assert_eq!(redact(text, &[]), kept, "{text}");
        }
        assert_eq!(redact("text see you at nine is too long", &["see you at nine"]), "text … is too long");
    }

    proptest! {
        #[test]
        fn no_number_survives(before in "[a-z ]{0,8}", number in "[+]?[1-9][0-9]{6,14}", after in "\\PC{0,8}") {
            let shown = redact(&format!("{before} {number}{after}"), &[]);
            let digits = number.trim_start_matches('+');
            prop_assert!(!shown.contains(digits), "{shown}");
        }

        #[test]
        fn no_private_text_survives(text in "[a-zA-Z]{3,20}( [a-zA-Z]{3,20}){0,5}", frame in "[A-Z]{0,10}") {
            let shown = redact(&format!("{frame}: {text} {frame}"), &[&text]);
            prop_assert!(!shown.contains(&text), "{shown}");
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,200}", private in "\\PC{0,5}") {
            redact(&text, &[&private]);
        }
    }
}
