//! The words by which a person opts out, per language.
//!
//! Only a message that consists of such a word alone counts: "stop" does, "please stop by at five" does not. What is in the list
//! says nothing else in an answer to a message. That is why CANCEL is in it for English only, where operators and the law give it
//! this one meaning: its sisters in other languages (CANCELAR, ANNULLA, ANNULER) are how people answer a reminder of an
//! appointment.

use crate::content::Content;
use crate::limits::OPT_OUT_WORD_CHARS_MAX;

/// The words of a language. They are written as [`fold`] leaves them.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// Its tag, as BCP 47 has it.
    pub tag: &'static str,
    /// Where the words come from.
    pub source: &'static str,
    /// The words.
    pub words: &'static [&'static str],
}

/// All languages. STOP counts in each of them: it stands once, in the first.
pub const LANGUAGES: [Language; 6] = [
    Language {
        tag: "en",
        source: "47 CFR 64.1200(a)(10); the opt-out keywords that Twilio, Telnyx and AWS End User Messaging act on by themselves",
        words: &[
            "stop",
            "stop all",
            "stopall",
            "quit",
            "end",
            "revoke",
            "opt out",
            "opt-out",
            "optout",
            "cancel",
            "unsubscribe",
            "remove",
        ],
    },
    Language {
        tag: "fr",
        source: "Canadian common short codes (ARRET); the opt-out keywords of AWS End User Messaging; customary",
        words: &["arret", "arrêt", "arreter", "arrêter", "desabonner", "désabonner", "desinscrire", "désinscrire"],
    },
    Language {
        tag: "pt",
        source: "customary with senders in Brazil and Portugal",
        words: &["parar", "pare", "sair", "descadastrar", "remover"],
    },
    Language {
        tag: "es",
        source: "customary with operators in Spain and Latin America (BAJA)",
        words: &["baja", "darme de baja", "alto", "parar"],
    },
    Language { tag: "de", source: "customary", words: &["stopp", "abmelden", "abbestellen"] },
    Language { tag: "it", source: "customary", words: &["basta", "disiscrivimi", "cancellami"] },
];

/// A text as words are compared: lower case, one space between words, and nothing around it but letters and digits. `None` for one
/// that is too long for a word: [`OPT_OUT_WORD_CHARS_MAX`].
pub fn fold(text: &str) -> Option<String> {
    let is_around = |c: char| !c.is_alphanumeric();
    let text = text.trim_matches(is_around);
    // A long text is no word, and not worth folding.
    if text.len() > OPT_OUT_WORD_CHARS_MAX * 4 {
        return None;
    }
    // Once more afterwards: a letter may fold into a letter and a mark.
    let folded = text.to_lowercase();
    let folded = folded.trim_matches(is_around).split_whitespace().collect::<Vec<_>>().join(" ");
    (!folded.is_empty() && folded.chars().count() <= OPT_OUT_WORD_CHARS_MAX).then_some(folded)
}

/// Whether a message says that its sender opts out.
pub fn is_opt_out(content: &Content) -> bool {
    let Content::Text { body } = content else { return false };
    fold(body).is_some_and(|word| LANGUAGES.iter().any(|language| language.words.contains(&word.as_str())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn says(body: &str) -> bool {
        is_opt_out(&Content::Text { body: body.into() })
    }

    #[test]
    fn a_word_alone_opts_out() {
        for body in [
            "STOP",
            "stop",
            " Stop. ",
            "PARAR",
            "sair!",
            "*BAJA*",
            "Opt  out",
            "“stop”",
            "ARRÊT",
            "Stop\n",
            "🛑 stop 🛑",
        ] {
            assert!(says(body), "{body}");
        }
    }

    #[test]
    fn what_says_more_does_not() {
        for body in [
            "",
            "!!!",
            "don't stop",
            "please stop by at five",
            "stop sending me these",
            "nonstop",
            "cancelar",
            "bus stop",
            "the end",
            "no",
            &"stop ".repeat(100),
        ] {
            assert!(!says(body), "{body}");
        }
        assert!(!is_opt_out(&Content::Unsupported { kind: "stop".into() }));
    }

    #[test]
    fn the_list_is_as_it_is_compared() {
        let mut tags = BTreeSet::new();
        for Language { tag, source, words } in LANGUAGES {
            assert!(tags.insert(tag) && !source.is_empty() && !words.is_empty());
            let all: BTreeSet<_> = words.iter().collect();
            assert_eq!(all.len(), words.len(), "{tag} has a word twice");
            for word in words {
                assert_eq!(fold(word).as_deref(), Some(*word), "{tag}");
            }
        }
    }

    #[test]
    fn a_word_has_an_end() {
        assert!(fold(&"x".repeat(OPT_OUT_WORD_CHARS_MAX)).is_some());
        assert!(fold(&"x".repeat(OPT_OUT_WORD_CHARS_MAX + 1)).is_none());
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(text in "\\PC{0,60}") {
            if let Some(word) = fold(&text) {
                prop_assert_eq!(fold(&word), Some(word.clone()));
            }
        }

        #[test]
        fn the_case_and_what_stands_around_does_not_matter(
            at in 0..LANGUAGES.len(), word in any::<prop::sample::Index>(), around in "[ .!*\n\t]{0,5}",
        ) {
            let word = word.get(LANGUAGES[at].words);
            let body = format!("{around}{}{around}", word.to_uppercase());
            prop_assert!(says(&body), "{}", body);
        }
    }
}
